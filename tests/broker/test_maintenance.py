"""`status` and `sync` on the mirror that an ended session left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.maintenance import EX_IOERR, MirrorStatus, run, status, status_of, sync, unreachable
from broker.remotes.registry import SCHEMES
from broker.session import mirror_directory, mirrors_of
from broker.settings import MountSettings, RemoteSettings, Settings

CONFLICT = "file.conflict-host-20260101T000000Z"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "share").mkdir()
    mount = MountSettings(b"/drive", RemoteSettings((tmp_path / "share").as_uri()))
    return Settings((mount,), str(tmp_path / "cache"), 1 << 30)


@contextmanager
def _writing(settings: Settings, name: bytes, content: bytes) -> Iterator[int]:
    """A session that writes a file and ends before anything is pushed; the descriptor."""
    kept: list[int] = []

    async def main() -> None:
        async with mirrors_of(settings, lambda line: None) as mirrors:
            mirror = mirrors[0]
            file = await mirror.open(
                name, os.O_WRONLY | os.O_CREAT, lambda real, flags: os.open(real, flags | os.O_CLOEXEC, 0o644)
            )
            os.write(file, content)
            kept.append(file)

    asyncio.run(main())
    try:
        yield kept[0]
    finally:
        os.close(kept[0])


def _leave_behind(settings: Settings, content: bytes, name: bytes = b"file") -> None:
    with _writing(settings, name, content):
        pass


def test_a_mirror_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    """Asking does not make it."""
    assert status_of(str(tmp_path / "gone")) == MirrorStatus()
    assert not (tmp_path / "gone").exists()


def test_what_was_left_behind_is_shown_and_pushed(settings: Settings, tmp_path: Path) -> None:
    """One file before, with its size and time, none after, and then the remote has the content."""
    _leave_behind(settings, b"x" * 5000)
    directory = mirror_directory(settings, settings.mounts[0])
    before = status_of(directory)
    ((path, size, open_),) = [(file.path, file.size, file.open) for file in before.pending]
    assert (path, size, open_) == (b"file", 5000, False)
    assert before.pending[0].changed == pytest.approx(os.stat(f"{directory}/tree/file").st_mtime)
    assert before.size >= 5000
    assert sync(settings) == 0
    assert (tmp_path / "share" / "file").read_bytes() == b"x" * 5000
    assert status_of(directory).pending == []


def test_the_table(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    """Every file that is not where it belongs has a line: the oldest first, long names whole, and nothing in a name
    moves the cursor."""
    _leave_behind(settings, b"x" * 5000, b"old")
    long = b"n" * 250
    _leave_behind(settings, b"", long)
    _leave_behind(settings, b"", b"\x1b[2J\xff")
    tree = Path(mirror_directory(settings, settings.mounts[0]), "tree")
    os.utime(tree / "old", (1, 1))
    (tree / CONFLICT).touch()
    assert run("status", settings) == 0
    out = capfd.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[1].startswith("/drive file://") and lines[1].endswith(" 3 1")
    assert any(re.match(rf"{settings.cache_directory} \S+ kB 1\.1 GB ", line) for line in lines)
    (old,) = [number for number, line in enumerate(lines) if line.startswith("/drive/old 5.0 kB ")]
    (new,) = [number for number, line in enumerate(lines) if line.startswith(f"/drive/{long.decode()} 0 bytes ")]
    assert old < new and lines[old].endswith("days ago waiting")
    assert "\x1b" not in out and "/drive/\\x1b[2J\\xff" in out
    assert f"/drive/{CONFLICT}" in lines


def test_a_file_that_is_being_written(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    """It is told from one that waits for the remote."""
    with _writing(settings, b"file", b"1"):
        assert [file.open for file in status_of(mirror_directory(settings, settings.mounts[0])).pending] == [True]
        status(settings)
    assert "being written" in capfd.readouterr().out


def test_sync_says_what_it_leaves_to_its_writers(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    """In one line, however many they are; it is no failure. When they have closed it all is pushed."""
    with contextlib.ExitStack() as writers:
        for number in range(12):
            writers.enter_context(_writing(settings, b"%02d" % number, b"1"))
        _leave_behind(settings, b"2", b"closed")
        assert sync(settings) == 0
        said = capfd.readouterr()
        (line,) = said.err.splitlines()
        assert not said.out and "still open for writing, so not pushed: /drive/00, /drive/01, " in line
        assert "/drive/09 and 2 more; " in line and "closed" not in line
        directory = mirror_directory(settings, settings.mounts[0])
        assert len(status_of(directory).pending) == 12
    assert sync(settings) == 0
    assert capfd.readouterr() == ("everything is pushed\n", "")
    assert status_of(directory).pending == []


def test_nothing_to_say(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    """A mirror that is in order has one line, and a title."""
    assert status(settings) == 0
    assert len(capfd.readouterr().out.splitlines()) == 2


def test_a_remote_that_is_gone_is_said(settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is 125 and names the folder; the dirty node stays on record."""
    _leave_behind(settings, b"kept")
    (tmp_path / "share" / "file").unlink(missing_ok=True)
    (tmp_path / "share").rmdir()
    assert sync(settings) == 125
    assert str(tmp_path / "share") in capfd.readouterr().err
    assert len(status_of(mirror_directory(settings, settings.mounts[0])).pending) == 1


def test_a_ledger_is_not_changed_by_asking(settings: Settings) -> None:
    """The database is opened for reading only."""
    _leave_behind(settings, b"kept")
    ledger = Path(mirror_directory(settings, settings.mounts[0]), "ledger.sqlite")
    rows = sqlite3.connect(ledger).execute("SELECT * FROM node").fetchall()
    status_of(str(ledger.parent))
    assert sqlite3.connect(ledger).execute("SELECT * FROM node").fetchall() == rows
    assert EX_IOERR == os.EX_IOERR


def test_whether_a_remote_answers(settings: Settings, tmp_path: Path) -> None:
    """None if it does; the reason, and what to do, if it does not, or is no folder."""
    (mount,) = settings.mounts
    assert unreachable(mount) is None
    (tmp_path / "file").touch()
    for name in ("gone", "file"):
        reason = unreachable(MountSettings(b"/drive", RemoteSettings((tmp_path / name).as_uri())))
        assert reason is not None and str(tmp_path / name) in reason


def test_a_remote_that_does_not_open(settings: Settings) -> None:
    """A mount that hangs is left after its timeout."""
    released = threading.Event()

    def hang(_: RemoteSettings) -> object:
        released.wait(60)
        raise AssertionError("nobody waits for this")

    mount = MountSettings(b"/drive", RemoteSettings("file:///x"), timeout=0.05)
    reason = unreachable(mount, {**SCHEMES, "file": hang})  # type: ignore[dict-item]
    released.set()
    assert reason is not None and "does not answer" in reason
