"""What is refused before a session begins, where mirrors are kept, and what the front is told."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from broker.errors import SetupError
from broker.fronting import listed
from broker.remotes.file import FileRemote
from broker.remotes.protocol import NotFound
from broker.remotes.registry import SCHEMES, Factory
from broker.session import mirror_directory, mirrors_of
from broker.settings import MountSettings, RemoteSettings, Settings


def _settings(cache: Path, *mounts: tuple[bytes, str]) -> Settings:
    built = tuple(MountSettings(prefix, RemoteSettings(url)) for prefix, url in mounts)
    return Settings(built, str(cache), 1 << 30)


def _refused(settings: Settings, schemes: Mapping[str, Factory] = SCHEMES) -> str:
    async def main() -> None:
        async with mirrors_of(settings, lambda line: None, schemes):
            pass

    with pytest.raises(SetupError) as refused:
        asyncio.run(main())
    return str(refused.value)


def test_a_missing_remote_is_refused_by_its_name(tmp_path: Path) -> None:
    """The message names the folder, and nothing is made in the cache."""
    assert str(tmp_path / "gone") in _refused(
        _settings(tmp_path / "cache", (b"/drive", (tmp_path / "gone").as_uri()))
    )
    assert not (tmp_path / "cache").exists()


def test_a_remote_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """It cannot be shown as a folder."""
    (tmp_path / "file").touch()
    assert "director" in _refused(_settings(tmp_path / "cache", (b"/drive", (tmp_path / "file").as_uri())))


@pytest.mark.parametrize("spoilt", ["cache", "ledger.sqlite"])
def test_an_unusable_cache_is_refused_and_the_remote_closed(tmp_path: Path, spoilt: str) -> None:
    """The message names the directory and what to do; the remote that was open already is let go."""
    (tmp_path / "share").mkdir()
    settings = _settings(tmp_path / "cache", (b"/drive", (tmp_path / "share").as_uri()))
    if spoilt == "cache":
        (tmp_path / "cache").touch()
    else:
        os.makedirs(os.path.join(mirror_directory(settings, settings.mounts[0]), spoilt))
    closed = []

    class Watched(FileRemote):
        async def close(self) -> None:
            closed.append(True)
            await super().close()

    def opened() -> int:
        return os.open(tmp_path / "share", os.O_RDONLY)

    def factory(_: RemoteSettings) -> FileRemote:
        return Watched(opened(), opened)

    message = _refused(settings, {"file": factory})
    assert str(tmp_path / "cache") in message
    assert "cache directory" in message
    assert closed == [True]


def test_each_prefix_and_remote_has_a_mirror_of_its_own(tmp_path: Path) -> None:
    """The same pair has the same one in every session; other options change nothing."""
    pairs = [(b"/drive", "file:///a"), (b"/drive", "file:///b"), (b"/other", "file:///a"), (b"/drivef", "ile:///a")]
    settings = _settings(tmp_path, *pairs)
    directories = [mirror_directory(settings, mount) for mount in settings.mounts]
    assert len(set(directories)) == len(pairs)
    again = MountSettings(b"/drive", RemoteSettings("file:///a"), read_only=True, ttl=9.0)
    assert mirror_directory(settings, again) == directories[0]
    assert all(directory.startswith(str(tmp_path)) for directory in directories)


def test_a_long_list_is_cut_off_with_its_count() -> None:
    """The message stays below what the front reads at once, whatever the names are, and none goes uncounted."""
    assert json.loads(listed(["/drive/a"])) == ["/drive/a"]
    pending = ["/drive/" + "\u00e9" * 200 + str(number) for number in range(1000)]
    told = listed(pending)
    *shown, last = json.loads(told)
    assert len(told) < 61_000
    assert shown == pending[: len(shown)]
    assert last == f"and {1000 - len(shown)} more"


def test_no_mount_shows_a_database_of_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that copies it through the broker would take SQLite's locks away; of the drive it sees the rest."""
    for variable in ("XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    drive = (b"drive:", f"drive://{tmp_path}/home/own")
    settings = _settings(tmp_path / "cache", drive, (b"/home", (tmp_path / "home").as_uri()))

    async def main() -> None:
        async with mirrors_of(settings, lambda line: None) as mirrors:
            remote = mirrors[1].remote
            (memory,) = (tmp_path / "home/seccomp-drive/seen").glob("*.sqlite")
            for database in (tmp_path / "home/own/metadata.sqlite", memory):
                assert database.exists()
                path = os.fsencode(database.relative_to(tmp_path / "home"))
                for beside in (b"", b"-wal", b"-shm"):
                    with pytest.raises(NotFound):
                        await remote.stat(path + beside)
            assert (await remote.stat(b"own/identity.key")).size

    asyncio.run(main())
