"""What the drive's commands say to what they cannot use: what to write instead, and nothing is asked of a server."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.drive.format.identity import fingerprint_text
from broker.drive.records import UserId
from broker.settings import RemoteSettings
from launcher import cli
from launcher.commands.share import named
from launcher.policy import load
from tests.broker.drive.certificates import certificate
from tests.broker.drive.seaweed import free_ports
from tests.broker.drive.server.serving import ServerProcess


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["register", "127.0.0.1:1", "--home", "/alice"],
            'register: "127.0.0.1:1" is no URL of a server: write https',
        ),
        (["register", "http://127.0.0.1:1/dora", "--home", "/erik"], "register: write http://127.0.0.1:1 alone"),
        (["register", "https://127.0.0.1:1", "--home", "/a", "--insecure"], "register: --ca is for https"),
        (["register", "http://127.0.0.1:1", "--home", "/a", "--ca", "/ca.pem"], "register: --ca is for https"),
        (["register", "http://127.0.0.1:1", "--home", "a/b"], 'register: "a/b" is no home'),
        (
            ["register", "http://127.0.0.1:1", "--home", "/a", "--policy", "/proc/none/p"],
            "register: no policy can be written to /proc/none/p: No such file or directory; give another place",
        ),
        (
            ["register", "http://127.0.0.1:1", "--home", "/a", "--prefix", 'a"b'],
            'register --prefix: the prefix "a',
        ),
        (["key", "recover", "alice"], "key recover: no code: type it, or give it in SECCOMP_DRIVE_RECOVERY_CODE"),
        (["key", "recover"], "key recover: whose key"),
        (["gc", "--grace", "99999999d"], 'gc: "99999999d" is no time, or too long'),
        (["fsck", "drive:", "--meta", "sqlite:///m", "--blobs", "memory:"], "drive:, or a server's store? Give"),
        (["fsck", "--data", "--meta", "sqlite:///m", "--blobs", "memory:"], "fsck: --data opens files, for which a"),
        (["key", "show", "bob"], 'key show takes no "bob"'),
    ],
)
def test_what_cannot_be_used(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """125, and a line."""
    for variable in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{variable}_HOME", str(tmp_path))
    monkeypatch.setenv("SECCOMP_DRIVE_POLICY", str(tmp_path / "policy.toml"))
    (tmp_path / "policy.toml").write_text('[[mount]]\nprefix = "drive:"\nremote = "drive+http://127.0.0.1:1/"\n')
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert cli.main(words) == 125
    assert re.match(f"seccomp-drive: {re.escape(said)}", capfd.readouterr().err.removeprefix("recovery code: "))


def test_a_user_as_key_show_prints_him() -> None:
    """With the name before the fingerprint, also where somebody writes it once more."""
    user = UserId(bytes(range(32)))
    shown = f"bob@{fingerprint_text(user)}"
    assert named(shown) == named(f"bob@{shown}") == ("bob", user)
    assert named("bob") == ("bob", None)


def test_a_damaged_memory_is_named_and_can_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the command that the message names, which does not fail on it itself."""
    for variable in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{variable}_HOME", str(tmp_path))
    drive = ["-m", f"own:=drive://{tmp_path}/own"]
    assert cli.main(["find", *drive, "own:/"]) == 0
    (memory,) = (tmp_path / "seccomp-drive/seen").glob("*.sqlite")
    memory.write_bytes(b"garbage" * 1000)
    capfd.readouterr()
    assert cli.main(["find", *drive, "own:/"]) == 125
    assert re.match(f"seccomp-drive: {memory} .* key accept-rollback", capfd.readouterr().err)
    assert cli.main(["key", "accept-rollback", *drive]) == 0
    assert cli.main(["find", *drive, "own:/"]) == 0


def test_find_names_what_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A name that is not there, as programs write it; and nothing else is printed."""
    for variable in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{variable}_HOME", str(tmp_path))
    assert cli.main(["find", "-m", "/drive=drive:", "/drive/no"]) == 125
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.endswith("seccomp-drive: /drive/no: there is no such file or folder\n")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    (tmp_path / "server").mkdir()
    store = f"sqlite:///{tmp_path}/server/metadata.sqlite", f"file://{tmp_path}/server/blobs"
    server = ServerProcess(str(tmp_path / "server"), *store)
    server.start()
    yield server
    server.stop()


def test_registering(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A key that cannot be written is told before anybody is registered. The policy can be read again."""
    for variable in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{variable}_HOME", str(tmp_path))
    words = ["register", server.url, "--home", "/al.ice", "--policy", f"{tmp_path}/p.toml", "--prefix", '/a"\\b']
    words += ["--insecure"]
    assert cli.main([*words, "--key", "/proc/none/k"]) == 125
    assert "the key file /proc/none/k cannot be written" in capfd.readouterr().err
    assert cli.main([*words, "--key", f'{tmp_path}/new/"k"']) == 0
    (mount,) = load(f"{tmp_path}/p.toml", [], os.environ).mounts
    assert mount.prefix == b'/a"\\b'
    options = {"key": f'{tmp_path}/new/"k"', "insecure": True}
    assert mount.remote == RemoteSettings(f"drive+{server.url}/", options, mount.remote.places)


def test_unsharing_what_is_not_there(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also where no user is named, and what was interrupted shall be finished."""
    for variable in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{variable}_HOME", str(tmp_path))
    assert cli.main(["register", server.url, "--home", "/alice", "--prefix", "s:"]) == 0
    capfd.readouterr()
    assert cli.main(["unshare", "s:/alice/no"]) == 125
    assert "s:/alice/no: there is no such file or folder" in capfd.readouterr().err
    assert cli.main(["unshare", "s:/alice"]) == 0


def test_how_the_server_was_reached_stands_in_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whose certificates are believed, by a path that holds everywhere; or that TLS may be missing."""
    for variable in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{variable}_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    cert, key = certificate(tmp_path, "localhost")
    (port,) = free_ports(1)
    url = f"https://localhost:{port}"
    more = ("--origin", url, "--listen", f"127.0.0.1:{port}", "--tls-cert", cert, "--tls-key", key)
    server = ServerProcess(str(tmp_path), f"sqlite:///{tmp_path}/m.sqlite", f"file://{tmp_path}/blobs", *more)
    server.start()
    try:
        assert cli.main(["register", url, "--home", "/alice", "--ca", "cert.pem", "--key", "k"]) == 0
        monkeypatch.chdir("/")
        (mount,) = load(None, [], os.environ).mounts
        assert mount.remote.options == {"key": f"{tmp_path}/k", "ca": cert}
        assert cli.main(["find", "drive:/alice"]) == 0, capfd.readouterr().err
    finally:
        server.stop()
