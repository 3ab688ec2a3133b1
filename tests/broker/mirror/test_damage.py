"""A ledger that is damaged, lost or of another make: nothing that was not pushed is lost, nothing is read wrong."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from remotes.conftest import ROOT
from remotes.memory import Memory
from remotes.plans import Plan

from broker.mirror.clearing import clear
from broker.mirror.database import connect, renew
from broker.mirror.shared import Generation
from broker.mirror.stash import Stash

from .drive import WRITE, Drive, Drives, content_of, share

Damage = Callable[[Path], None]


def truncated(ledger: Path) -> None:
    fold(ledger)
    os.truncate(ledger, ledger.stat().st_size // 2)


def emptied(ledger: Path) -> None:
    fold(ledger)
    os.truncate(ledger, 0)


def headless(ledger: Path) -> None:
    fold(ledger)
    with ledger.open("r+b") as file:
        file.write(bytes(100))


def overwritten(ledger: Path) -> None:
    """Random bytes in all pages but the first."""
    fold(ledger)
    with ledger.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(1).randbytes(ledger.stat().st_size - 4096))


def missing(ledger: Path) -> None:
    fold(ledger)
    ledger.unlink()


def older(ledger: Path) -> None:
    """Another schema."""
    fold(ledger)
    ledger.unlink()
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        database.execute("CREATE TABLE node (ino INTEGER PRIMARY KEY, version TEXT)")


def without_log(ledger: Path) -> None:
    log_of(ledger).unlink()


def with_half_a_log(ledger: Path) -> None:
    os.truncate(log_of(ledger), log_of(ledger).stat().st_size // 2)


def fold(ledger: Path) -> None:
    """Copy the log into the ledger, whose session was killed nevertheless."""
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    log_of(ledger).touch()


def log_of(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}-wal")


LOSSES = [truncated, emptied, headless, overwritten, missing, older]
"""After these nothing of the ledger can be used; after the others, what it says is old."""
DAMAGES = [*LOSSES, without_log, with_half_a_log]

KILLED = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests/broker")!r}]
import asyncio, os
from mirror.drive import WRITE, Drives, settled, share
from remotes.plans import Plan
async def work():
    async with Drives(sys.argv[1], share(sys.argv[2]), Plan())() as drive:
        await drive.read(b"read")
        await drive.mkdir(b"d")
        for name in (b"d/pushed", b"d/gone"):
            await drive.write(name, name * 1000)
        await settled(drive)
        for name, flags in ((b"d/new", WRITE), (b"changed", os.O_WRONLY | os.O_APPEND), (b"d/pushed", WRITE)):
            os.write(await drive.open(name, flags), b"not pushed")
        await drive.unlink(b"d/gone")
        await drive.rename(b"changed", b"renamed")
        os._exit(0)
asyncio.run(work())
"""
EXPECTED = {
    "read": b"read" * 1000,
    "renamed": b"changed" * 1000 + b"not pushed",
    "d/new": b"not pushed",
    "d/pushed": b"not pushed",
}


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The folder of a session that was killed while it wrote: ``mirror`` and ``share``."""
    (tmp_path / "share").mkdir()
    for name in ("read", "changed"):
        (tmp_path / "share" / name).write_bytes(name.encode() * 1000)
    where = str(tmp_path / "mirror"), str(tmp_path / "share")
    subprocess.run([sys.executable, "-c", KILLED, *where], check=True)
    return tmp_path


def session(base: Path, plan: Plan | None = None) -> contextlib.AbstractAsyncContextManager[Drive]:
    return Drives(str(base / "mirror"), share(str(base / "share")), plan or Plan())()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", [None, *DAMAGES])
async def test_what_was_not_pushed_is_found(killed: Path, damage: Damage | None) -> None:
    """All of it is pushed, to its place, and all that is read is right; the user is told if anything was wrong."""
    if damage is not None:
        damage(killed / "mirror/ledger.sqlite")
    async with session(killed) as drive:
        assert await drive.recover() == []
        assert files(killed / "share") == EXPECTED
        for name, content in EXPECTED.items():
            assert await drive.read(name.encode()) == content
        assert await drive.names(b"d") == {b"new", b"pushed"}
        assert await drive.dirty() == set()
        assert damage not in LOSSES or any("has lost the record of its local copies" in line for line in drive.said)
    async with session(killed) as drive:
        assert await drive.recover() == [] == drive.said
        assert files(killed / "share") == EXPECTED


async def test_marks_and_log_are_lost(killed: Path) -> None:
    """What the ledger itself has still said is enough."""
    shutil.rmtree(killed / "mirror/marks")
    older_version(killed / "mirror/ledger.sqlite")
    async with session(killed) as drive:
        assert await drive.recover() == []
        assert files(killed / "share") == EXPECTED


def older_version(ledger: Path) -> None:
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        database.execute("PRAGMA user_version=0")


@pytest.mark.parametrize("damage", DAMAGES)
async def test_the_remote_has_changed_since(killed: Path, damage: Damage) -> None:
    """Both contents are kept, and the user is told of the copy."""
    damage(killed / "mirror/ledger.sqlite")
    (killed / "share/renamed").write_bytes(b"somebody else's")
    async with session(killed) as drive:
        assert await drive.recover() == []
        found = files(killed / "share")
        assert found.pop("renamed") == b"somebody else's"
        (copy,) = (name for name in found if name.startswith("renamed.conflict-"))
        assert found[copy] == EXPECTED["renamed"]
        assert any(copy in line for line in drive.said)


async def test_damage_met_in_the_middle(killed: Path) -> None:
    """Calls fail with EIO as long as the session lasts, and say why; the next one makes the ledger anew."""
    async with session(killed) as drive:
        await drive.recover()
    overwritten(killed / "mirror/ledger.sqlite")
    log_of(killed / "mirror/ledger.sqlite").unlink()
    async with session(killed) as drive:
        with pytest.raises(OSError, match="damaged") as raised:
            await drive.read(b"read")
        assert raised.value.errno == errno.EIO
    async with session(killed) as drive:
        assert await drive.read(b"read") == EXPECTED["read"]
        assert any("has lost the record" in line for line in drive.said)


async def test_a_removal_was_killed(killed: Path) -> None:
    """What was about to be removed and is not on the remote yet comes back: the removal has not happened."""
    async with session(killed) as drive:
        stash = Stash(drive.mirror.tree)
        for name, twin in ((b"d/new", None), (b"renamed", b"d/pushed")):
            ino = os.lstat(drive.mirror.tree.real(name)).st_ino
            assert ino in await drive.dirty()
            stash.keep(name, ino, noted=True)
            if twin is None:
                os.unlink(drive.mirror.tree.real(name))
            else:
                os.rename(drive.mirror.tree.real(twin), drive.mirror.tree.real(name))
    async with session(killed) as drive:
        assert await drive.recover() == []
        found = files(killed / "share")
        assert found["d/new"] == EXPECTED["d/new"]
        (copy,) = (
            name for name in found if name.startswith("renamed.conflict-") and found[name] == EXPECTED["renamed"]
        )
        assert any(copy in line for line in drive.said)
        assert b"not pushed" in {content for name, content in found.items() if name.startswith("renamed")}
        assert not os.listdir(drive.mirror.tree.staging)


async def test_a_removal_was_killed_that_the_remote_has_made(killed: Path) -> None:
    """Then it has happened: nothing comes back."""
    async with session(killed) as drive:
        ino = os.lstat(drive.mirror.tree.real(b"d/new")).st_ino
        Stash(drive.mirror.tree).keep(b"d/new", ino, noted=True)
        os.unlink(drive.mirror.tree.real(b"d/new"))
    (killed / "share/d/new").unlink()
    async with session(killed) as drive:
        assert await drive.recover() == []
        assert files(killed / "share").keys() == EXPECTED.keys() - {"d/new"}
        assert not os.listdir(drive.mirror.tree.staging)


async def test_another_version_stays_until_it_is_made_anew(killed: Path) -> None:
    """Whoever opens it meanwhile, to see what he can evict, does not make it look like one of ours."""
    older(killed / "mirror/ledger.sqlite")
    connect(str(killed / "mirror/ledger.sqlite"), 0).close()
    async with session(killed) as drive:
        assert await drive.recover() == []
        assert files(killed / "share") == EXPECTED
        assert any("has lost the record" in line for line in drive.said)


def test_a_ledger_that_may_be_open_stays(tmp_path: Path) -> None:
    """Whether others are there is asked when nobody can open it any more."""
    ledger = tmp_path / "ledger.sqlite"
    ledger.write_bytes(b"damaged" * 1000)

    def alone() -> bool:
        with open(f"{ledger}.starting") as starting, pytest.raises(BlockingIOError):
            fcntl.flock(starting, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False

    assert renew(str(ledger), alone) is None
    assert ledger.read_bytes() == b"damaged" * 1000
    assert renew(str(ledger), lambda: True) == {}
    assert not ledger.exists()


async def test_what_another_session_makes_is_not_cleared(drives: Drives, memory: Memory, plan: Plan) -> None:
    """It has begun while another was still removing what nothing is known of, and has a file not on record yet."""
    async with drives() as drive, drives() as other:
        await drive.mkdir(b"d")
        Path(os.fsdecode(drive.mirror.tree.root), "d/stray").write_bytes(b"stray")
        await drive.write(b"known", b"")
        gate = plan.hold("write", path=b"new")
        opening = asyncio.ensure_future(drive.open(b"new", WRITE))
        await gate.reached
        store = other.mirror.store
        assert await clear(store.tree, store.ledger, store.locks) == 1
        gate.open()
        file = await opening
        os.write(file, b"content")
        await drive.close(file)
        assert content_of(memory, b"new") == b"content"
        assert await drive.names() == {b"d", b"known", b"new"}


async def lose_power(killed: Path, plan: Plan) -> None:
    """All is pushed and read; then the machine is started anew, and of one content the disk has got nothing."""
    async with session(killed, plan) as drive:
        await drive.recover()
        for name, content in EXPECTED.items():
            assert await drive.read(name.encode()) == content
        real = drive.mirror.tree.real(b"read")
        before = os.stat(real)
        with open(real, "r+b") as file:
            file.write(bytes(len(EXPECTED["read"])))
        os.utime(real, ns=(before.st_atime_ns, before.st_mtime_ns))
    (killed / "mirror/boot").write_text("another")


async def test_power_was_lost(killed: Path) -> None:
    """What is on record as complete may not be on disk: it is compared with its digest, and fetched if need be."""
    plan = Plan()
    await lose_power(killed, plan)
    fetches = plan.count("read")
    async with session(killed, plan) as drive:
        for name, content in EXPECTED.items():
            assert await drive.read(name.encode()) == content
        assert plan.count("read") == fetches + 1
    async with session(killed, plan) as drive:
        assert await drive.read(b"read") == EXPECTED["read"]
        assert plan.count("read") == fetches + 1


async def test_power_was_lost_and_sessions_begin_together(killed: Path) -> None:
    """Also while one that has mounted something else looks for what it can evict here."""
    await lose_power(killed, Plan())

    async def begin_and_read() -> bytes:
        async with session(killed) as drive:
            return await drive.read(b"read")

    with contextlib.closing(Generation(str(killed / "mirror/generation"))):
        assert await asyncio.gather(begin_and_read(), begin_and_read()) == [EXPECTED["read"]] * 2
