"""Policies and prefixes that cannot be: refused with status 125 and one line that says what is wrong where."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from .sides import seccomp_drive

POLICIES = {
    "unknown key": ('[[mount]]\nprefix = "/d"\nremote = "file://REMOTE"\nfoo = 1\n', ":4", "foo"),
    "unknown table": ('[[mount]]\nprefix = "/d"\nremote = "file://REMOTE"\n[cashe]\nlimit = "1GiB"\n', ":4", "cashe"),
    "wrong type": ('[[mount]]\nprefix = "/d"\nremote = "file://REMOTE"\nttl = "soon"\n', ":4", "ttl"),
    "wrong type of prefix": ('[[mount]]\nremote = "file://REMOTE"\nprefix = 7\n', ":3", "prefix"),
    "negative ttl": ('[[mount]]\nprefix = "/d"\nremote = "file://REMOTE"\nttl = -1\n', ":4", "ttl"),
    "bad access": ('[[mount]]\nprefix = "/d"\nremote = "file://REMOTE"\naccess = "sometimes"\n', ":4", "access"),
    "bad limit": ('[cache]\nlimit = "lots"\n[[mount]]\nprefix = "/d"\nremote = "file://REMOTE"\n', ":2", "limit"),
    "no prefix": ('[[mount]]\nremote = "file://REMOTE"\n', ":1", "prefix"),
    "no remote": ('[[mount]]\nprefix = "/d"\n', ":1", "remote"),
    "relative prefix": ('[[mount]]\nprefix = "d/e"\nremote = "file://REMOTE"\n', ":2", "d/e"),
    "unknown remote": ('[[mount]]\nprefix = "/d"\nremote = "nowhere"\n', ":3", "nowhere"),
    "unknown scheme": ('[[mount]]\nprefix = "/d"\nremote = "gopher://REMOTE"\n', ":3", "gopher"),
    "not TOML": ("[[mount]\nprefix\n", ":1", ""),
    "same prefix twice": ('[[mount]]\nprefix = "/d"\nremote = "file://REMOTE"\n' * 2, ":4", "/d"),
    "prefix within a prefix": (
        '[[mount]]\nprefix = "/d"\nremote = "file://REMOTE"\n[[mount]]\nprefix = "/d/e"\nremote = "file://REMOTE"\n',
        ":4",
        "/d/e",
    ),
}

OPTIONS = {
    "no remote": (["-m", "/d"], "/d"),
    "relative prefix": (["-m", "d=file://REMOTE"], "d"),
    "dots in a prefix": (["-m", "/d/../e=file://REMOTE"], "/d/../e"),
    "the root": (["-m", "/=file://REMOTE"], "/"),
    "bad option": (["-m", "/d=file://REMOTE,wr"], "wr"),
    "unknown scheme": (["-m", "/d=gopher://x"], "gopher"),
    "relative remote": (["-m", "/d=file:x/y"], "x/y"),
    "overlap": (["-m", "/d=file://REMOTE", "-m", "/d/e=file://REMOTE"], "/d/e"),
    "twice": (["-m", "/d=file://REMOTE", "-m", "/d=file://REMOTE"], "/d"),
    "remote that does not exist": (["-m", "/d=file://REMOTE/missing"], "missing"),
    "remote that is a file": (["-m", "/d=file://REMOTE/file"], "file"),
    "prefix that is a file": (["-m", "REMOTE/file=file://REMOTE"], "file"),
    "missing policy": (["-p", "REMOTE/missing.toml"], "missing.toml"),
    "policy that is a folder": (["-p", "REMOTE"], "REMOTE"),
}


def refusal(tmp_path: Path, options: list[str], user: int | None = None) -> str:
    """Run with these options; the message, after checking its form and that the command did not run."""
    remote = tmp_path / "remote"
    remote.mkdir(exist_ok=True)
    (remote / "file").touch()
    options = [option.replace("REMOTE", str(remote)) for option in options]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        seccomp_drive("exec", *options, "--", "touch", str(tmp_path / "ran")),
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
        user=user,
    )
    assert done.returncode == 125, done
    assert done.stdout == ""
    assert done.stderr.startswith("seccomp-drive: "), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()
    return done.stderr.replace(str(remote), "REMOTE")


@pytest.mark.usefixtures("drive_only")
@pytest.mark.parametrize("name", POLICIES)
def test_policy(tmp_path: Path, name: str) -> None:
    """A policy that is wrong is refused with its file, its line and the word that is wrong."""
    content, line, word = POLICIES[name]
    policy = tmp_path / "policy.toml"
    policy.write_text(content.replace("REMOTE", str(tmp_path / "remote")))
    message = refusal(tmp_path, ["-p", str(policy)])
    assert f"policy.toml{line}" in message or f"line {line[1:]}" in message, message
    assert word in message


@pytest.mark.usefixtures("drive_only")
@pytest.mark.parametrize("name", OPTIONS)
def test_option(tmp_path: Path, name: str) -> None:
    """A mount that cannot be is refused, and the message names it."""
    options, word = OPTIONS[name]
    assert word in refusal(tmp_path, options)


@pytest.mark.usefixtures("drive_only")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_no_permission(tmp_path: Path) -> None:
    """A remote that this user may not enter is refused at the start."""
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    tmp_path.chmod(0o777)
    (tmp_path / "remote").mkdir(mode=0o700)
    assert "ermission" in refusal(tmp_path, ["-m", "/d=file://REMOTE"], user=65534)


@pytest.mark.usefixtures("drive_only")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a pid namespace")
@pytest.mark.parametrize(("command", "status"), [(["exec", "touch", "/d/ran"], 125), (["check"], 1)])
def test_the_processes_of_another_namespace(tmp_path: Path, command: list[str], status: int) -> None:
    """Where /proc tells of other processes than ours, a relative path would lead to another's working directory."""
    argv = seccomp_drive(command[0], "-m", f"/d=file://{tmp_path}", *command[1:])
    done = subprocess.run(["unshare", "--pid", "--fork", *argv], capture_output=True, text=True, timeout=30)
    assert done.returncode == status
    assert "/proc is not that of this pid namespace" in done.stderr + done.stdout
    assert "unshare --mount-proc" in done.stderr + done.stdout
    assert not (tmp_path / "ran").exists()
