"""open(2) with O_CREAT|O_EXCL of a name that the mirror has not looked for."""

from __future__ import annotations

import os

import pytest
from remotes.memory import Memory
from remotes.plans import Plan

from .drive import WRITE, Drives, opening, store

NEW = WRITE | os.O_EXCL


def _refuse(real: bytes, flags: int) -> int:
    raise PermissionError("the folder may not be written to")


async def test_the_remote_is_not_asked_before(drives: Drives, memory: Memory, plan: Plan) -> None:
    """Making it says whether it is there."""
    await store(memory, b"there", b"1")
    async with drives() as drive:
        asked = plan.count("stat")
        os.close(await drive.mirror.open(b"new", NEW, opening()))
        with pytest.raises(FileExistsError):
            await drive.mirror.open(b"there", NEW, opening())
        assert plan.count("stat") == asked
        assert await drive.read(b"there") == b"1"


async def test_that_it_is_there_comes_first(drives: Drives, memory: Memory) -> None:
    """EEXIST rather than EACCES or EROFS, which are for names that are not there."""
    await store(memory, b"there", b"1")
    await store(memory, b"there too", b"1")
    async with drives() as drive:
        with pytest.raises(PermissionError):
            await drive.mirror.open(b"new", NEW, _refuse)
        with pytest.raises(FileExistsError):
            await drive.mirror.open(b"there", NEW, _refuse)
    async with drives(read_only=True) as drive:
        with pytest.raises(OSError, match="Read-only"):
            await drive.mirror.open(b"new", NEW, opening())
        with pytest.raises(FileExistsError):
            await drive.mirror.open(b"there too", NEW, opening())
