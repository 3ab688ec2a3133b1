"""The embedded drive: an SQLite file and a folder, made at first use, for any number of sessions."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import SetupError
from broker.remotes.protocol import Remote
from broker.remotes.registry import open_remote
from broker.settings import RemoteSettings

from ..conformance import Conformance
from ..helpers import content_of, names_in, put, replaced

LIBRARIES = ("broker.drive", "broker.remotes.drive", "cryptography", "sqlalchemy", "obstore", "httpx")


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No drive of the user who runs the tests."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "data/seccomp-drive/drive"


class TestEmbedded(Conformance):
    @pytest.fixture
    def remote(self) -> Iterator[Remote]:
        remote = open_remote(RemoteSettings("drive:"))
        yield remote
        asyncio.run(remote.close())


async def opened(url: str = "drive:") -> Remote:
    """As a session does it: beside the loop."""
    return await asyncio.to_thread(open_remote, RemoteSettings(url))


async def test_it_is_made_once_and_found_again(homes: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The first use makes it, says so, and keeps it from others; the next one finds what is in it."""
    first = await opened()
    await put(first, b"f", b"content")
    await first.close()
    assert capfd.readouterr().err.startswith(f"seccomp-drive: made an encrypted drive in {homes}")
    assert stat.S_IMODE((homes / "identity.key").stat().st_mode) == 0o600
    assert not any(stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (homes, homes.parent))
    again = await opened()
    assert await content_of(again, b"f") == b"content"
    await again.close()
    assert capfd.readouterr().err == ""


async def test_many_sessions_at_once_make_one_drive() -> None:
    """One of them makes it, the others use that."""
    remotes = await asyncio.gather(*(opened() for _ in range(8)))
    for number, remote in enumerate(remotes):
        await put(remote, b"%d" % number, b"x")
    assert all([len(await names_in(remote, b"")) == 8 for remote in remotes])
    for remote in remotes:
        await remote.close()


async def test_sessions_write_one_file_at_once() -> None:
    """One of them wins each time, the others hear of it, and none waits for ever."""
    remotes = [await opened() for _ in range(3)]
    base = await put(remotes[0], b"f", b"0")
    for turn in range(5):
        writes = (replaced(remote, b"f", b"%d" % turn, base) for remote in remotes)
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        (base,) = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    for remote in remotes:
        await remote.close()


async def test_a_drive_in_a_folder(tmp_path: Path) -> None:
    """`drive:///folder` is one of its own."""
    remote = await opened((tmp_path / "my drive").as_uri().replace("file:", "drive:"))
    await put(remote, b"f", os.urandom(10_000))
    await remote.close()
    assert {path.name for path in (tmp_path / "my drive").iterdir()} >= {"identity.key", "metadata.sqlite", "blobs"}
    assert len([*(tmp_path / "my drive/blobs").glob("*/*")]) == 1


async def test_blobs_of_another_drive_are_left_alone(homes: Path) -> None:
    """Where database and key are gone, a new drive would collect what the old one had."""
    await (await opened()).close()
    for gone in (*homes.glob("metadata.sqlite*"), homes / "identity.key"):
        gone.unlink()
    with pytest.raises(SetupError, match="belong to another database"):
        await opened()
    assert not (homes / "identity.key").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda home: (home / "identity.key").write_text("seccomp-drive key 1\n"), "cut off or damaged"),
        (lambda home: (home / "identity.key").unlink(), "its key .* is gone: .* key recover"),
        (
            lambda home: (os.environ.update(LOGNAME="somebody"), (home / "identity.key").unlink()),
            "its key .* is gone",
        ),
        (lambda home: (home / "identity.key").chmod(0o644), "others can read the key file"),
        (lambda home: (home / "metadata.sqlite").unlink(), "database"),
        (lambda home: (home / "metadata.sqlite").write_bytes(b"x" * 10_000), "database"),
    ],
)
async def test_what_is_broken_is_said(
    homes: Path, damage: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clear error at the start, with what to do, and nothing is made anew over what is left, whoever asks."""
    monkeypatch.setenv("LOGNAME", "me")
    remote = await opened()
    await remote.close()
    assert callable(damage)
    damage(homes)
    with pytest.raises(SetupError, match=message):
        await opened()


def test_sessions_without_a_drive_load_nothing_of_it(tmp_path: Path) -> None:
    """Its libraries take longer to load than all else."""
    script = (
        "import sys, broker.session\n"
        "from broker.remotes.registry import open_remote\n"
        "from broker.settings import RemoteSettings\n"
        "open_remote(RemoteSettings(sys.argv[1]))\n"
        f"print([name for name in sys.modules if name.startswith({LIBRARIES})])"
    )
    assert asyncio.run(_output(script, tmp_path.as_uri())) == "[]\n"


async def _output(script: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *arguments, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[4]
    )
    output, _ = await process.communicate()
    return output.decode()
