"""`status` and `sync` on the mirror that an ended session left behind."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from broker.maintenance import EX_IOERR, MirrorStatus, status, status_of, sync
from broker.session import mirror_directory, mirrors_of
from broker.settings import MountSettings, RemoteSettings, Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "share").mkdir()
    mount = MountSettings(b"/drive", RemoteSettings((tmp_path / "share").as_uri()))
    return Settings((mount,), str(tmp_path / "cache"), 1 << 30)


def _leave_behind(settings: Settings, content: bytes) -> None:
    """A session that writes a file and ends before anything is pushed."""

    async def main() -> None:
        async with mirrors_of(settings, lambda line: None) as mirrors:
            mirror = mirrors[0]
            file = await mirror.open(
                b"file", os.O_WRONLY | os.O_CREAT, lambda real, flags: os.open(real, flags | os.O_CLOEXEC, 0o644)
            )
            os.write(file, content)
            os.close(file)

    asyncio.run(main())


def test_a_mirror_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    """Asking does not make it."""
    assert status_of(str(tmp_path / "gone")) == MirrorStatus(0, 0, 0)
    assert not (tmp_path / "gone").exists()


def test_what_was_left_behind_is_counted_and_pushed(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One dirty node before, none after, and then the remote has the content."""
    _leave_behind(settings, b"x" * 5000)
    directory = mirror_directory(settings, settings.mounts[0])
    before = status_of(directory)
    assert before.dirty == 1
    assert before.size >= 5000
    assert sync(settings) == 0
    assert (tmp_path / "share" / "file").read_bytes() == b"x" * 5000
    assert status_of(directory).dirty == 0
    assert status(settings) == 0
    assert capsys.readouterr().out.startswith("/drive: ")


def test_conflict_copies_are_counted(settings: Settings) -> None:
    """By their names, anywhere in the tree."""
    _leave_behind(settings, b"")
    directory = mirror_directory(settings, settings.mounts[0])
    Path(directory, "tree", "file.conflict-host-20260101T000000").touch()
    assert status_of(directory).conflicts == 1


def test_a_remote_that_is_gone_is_said(settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is 125 and names the folder; the dirty node stays on record."""
    _leave_behind(settings, b"kept")
    (tmp_path / "share" / "file").unlink(missing_ok=True)
    (tmp_path / "share").rmdir()
    assert sync(settings) == 125
    assert str(tmp_path / "share") in capfd.readouterr().err
    assert status_of(mirror_directory(settings, settings.mounts[0])).dirty == 1


def test_a_ledger_is_not_changed_by_asking(settings: Settings) -> None:
    """The database is opened for reading only."""
    _leave_behind(settings, b"kept")
    ledger = Path(mirror_directory(settings, settings.mounts[0]), "ledger.sqlite")
    rows = sqlite3.connect(ledger).execute("SELECT * FROM node").fetchall()
    status_of(str(ledger.parent))
    assert sqlite3.connect(ledger).execute("SELECT * FROM node").fetchall() == rows
    assert EX_IOERR == os.EX_IOERR
