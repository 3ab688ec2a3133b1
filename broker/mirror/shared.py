"""What the sessions on one mirror share besides the files: change counters and locks, kept by the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
import struct
import time
from collections.abc import AsyncIterator

from msgspec import Struct, field

_SESSIONS = 64
"""Slots for sessions that change the ledger; one more shares the last."""
_FOLDERS = 1024
_SLOT = 8
_MOVES = (_SESSIONS + _FOLDERS) * _SLOT
_FILE_SIZE = _MOVES + _SLOT
_RETRY_FIRST, _RETRY_MOST = 0.001, 0.05
"""Seconds between attempts at a lock that another session holds."""
_PATIENCE = 10.0
"""Seconds that a lock is waited for by who does not need it, but had better wait."""

_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of fcntl(2): l_type, l_whence, l_start, l_len, l_pid (0 for OFD locks)."""


class Generation:
    """Random numbers in a shared mapping that say "something changed" without a system call.

    Each session writes a new number into its own slot when it has changed the ledger, into a folder's slot when it
    has changed the names in that folder, and into one for all when it moves a folder. A number is never counted up:
    two sessions could count to the same value.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # A hole in a mapping is SIGBUS when the disk is full.
        os.posix_fallocate(self._file, 0, _FILE_SIZE)
        self._map = mmap.mmap(self._file, _FILE_SIZE)
        self._slot = next((slot for slot in range(_SESSIONS - 1) if self._claim(slot)), _SESSIONS - 1)
        self._seen = bytearray(self._map[: _SESSIONS * _SLOT])

    @property
    def counters(self) -> tuple[mmap.mmap, bytearray]:
        """(the mapping, which begins with the numbers of all sessions, what was there at the last `take`)."""
        return self._map, self._seen

    def changed(self) -> bool:
        """Whether another session has changed the ledger since `take`."""
        return self._map[: _SESSIONS * _SLOT] != self._seen

    def take(self) -> None:
        """What is there now counts as known."""
        self._seen[:] = self._map[: _SESSIONS * _SLOT]

    def bump(self) -> None:
        """Tell the other sessions that the ledger has changed; call it after the commit."""
        number = os.urandom(_SLOT)
        mine = slice(self._slot * _SLOT, (self._slot + 1) * _SLOT)
        self._map[mine] = number
        if self._slot < _SESSIONS - 1:
            self._seen[mine] = number

    def alone(self) -> bool:
        """Whether no other session has claimed a slot."""
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, _SESSIONS, 0)
        found: int = _FLOCK.unpack(fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, wanted))[0]
        return found == fcntl.F_UNLCK

    def folder(self, path: bytes) -> bytes:
        """A token that differs once any session has changed a name in that folder."""
        start = self._folder_slot(path)
        return self._map[start : start + _SLOT]

    def touch_folder(self, path: bytes) -> None:
        start = self._folder_slot(path)
        self._map[start : start + _SLOT] = os.urandom(_SLOT)

    @property
    def moves(self) -> bytes:
        """A token that differs once any session has begun, or ended, to move a folder."""
        return self._map[_MOVES:_FILE_SIZE]

    def touch_moves(self) -> None:
        self._map[_MOVES:_FILE_SIZE] = os.urandom(_SLOT)

    def close(self) -> None:
        self._map.close()
        os.close(self._file)

    def _claim(self, slot: int) -> bool:
        return _try_lock(self._file, slot)

    @staticmethod
    def _folder_slot(path: bytes) -> int:
        return (_SESSIONS + _number(path) % _FOLDERS) * _SLOT


class _Sharing(Struct):
    """The tasks of this session that share a lock, of which the first takes it."""

    users: int = 0
    locked: bool = False
    first: asyncio.Lock = field(default_factory=asyncio.Lock)


class Locks:
    """Locks by number, held by one task of one session: an asyncio lock inside, an OFD lock between sessions.

    The kernel drops an OFD lock when its holder dies, so a killed session leaves none behind (fcntl(2)).
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._inside: dict[int, tuple[asyncio.Lock, int]] = {}
        self._sharing: dict[int, _Sharing] = {}
        self._filling: dict[int, asyncio.Event] = {}

    @contextlib.asynccontextmanager
    async def node(self, ino: int) -> AsyncIterator[None]:
        """Held over fetching, pushing, replacing and evicting a node's content."""
        async with self._hold(ino):
            yield

    @contextlib.asynccontextmanager
    async def attempt(self, ino: int) -> AsyncIterator[bool]:
        """The lock of a node if nobody holds it, or waits for it: True, else False."""
        if ino in self._inside or not _try_lock(self._file, ino):
            yield False
            return
        _unlock(self._file, ino)
        async with self._hold(ino):
            yield True

    @contextlib.asynccontextmanager
    async def names(self, *paths: bytes) -> AsyncIterator[None]:
        """Held over a change of those names; taken in one order, so that two renames cannot wait in a ring."""
        async with contextlib.AsyncExitStack() as stack:
            for number in sorted({_number(path) | 1 << 62 for path in paths}):
                await stack.enter_async_context(self._hold(number))
            yield

    def are_held(self, *paths: bytes) -> bool:
        """Whether some task of some session changes one of those names."""
        return any(self._is_held(_number(path) | 1 << 62) for path in paths)

    async def let_pass(self, *paths: bytes) -> None:
        """Wait while some task of some session changes one of those names; not for ever, as the caller may hold what
        that one waits for."""
        pause, give_up = _RETRY_FIRST, time.monotonic() + _PATIENCE
        while self.are_held(*paths) and time.monotonic() < give_up:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _RETRY_MOST)

    @contextlib.asynccontextmanager
    async def changing(self, *folders: bytes) -> AsyncIterator[None]:
        """Held, by many at once, over changes of names in those folders; taken before all other locks."""
        async with contextlib.AsyncExitStack() as stack:
            for number in sorted({_number(folder) | 1 << 61 for folder in folders}):
                await stack.enter_async_context(self._share(number))
            yield

    @contextlib.asynccontextmanager
    async def filling(self, folder: bytes) -> AsyncIterator[bool]:
        """Held over adding many names to a folder. False, without waiting, while somebody is changing names there."""
        number = _number(folder) | 1 << 61
        if number in self._sharing or number in self._filling or not _try_lock(self._file, number):
            yield False
            return
        done = self._filling[number] = asyncio.Event()
        try:
            yield True
        finally:
            _unlock(self._file, number)
            del self._filling[number]
            done.set()

    def close(self) -> None:
        os.close(self._file)

    def _is_held(self, number: int) -> bool:
        if number in self._inside or not _try_lock(self._file, number):
            return True
        _unlock(self._file, number)
        return False

    @contextlib.asynccontextmanager
    async def _hold(self, number: int) -> AsyncIterator[None]:
        lock, users = self._inside.get(number, (None, 0))
        lock = lock or asyncio.Lock()
        self._inside[number] = lock, users + 1
        try:
            async with lock:
                pause = _RETRY_FIRST
                while not _try_lock(self._file, number):
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _RETRY_MOST)
                try:
                    yield
                finally:
                    _unlock(self._file, number)
        finally:
            lock, users = self._inside[number]
            if users == 1:
                del self._inside[number]
            else:
                self._inside[number] = lock, users - 1

    @contextlib.asynccontextmanager
    async def _share(self, number: int) -> AsyncIterator[None]:
        sharing = self._sharing.setdefault(number, _Sharing())
        sharing.users += 1
        try:
            async with sharing.first:
                while not sharing.locked:
                    # To the kernel all tasks of a session are one: between them the dictionaries decide.
                    while (filling := self._filling.get(number)) is not None:
                        await filling.wait()
                    sharing.locked = _try_lock(self._file, number, fcntl.F_RDLCK)
                    if not sharing.locked:
                        await asyncio.sleep(_RETRY_FIRST)
            yield
        finally:
            sharing.users -= 1
            if not sharing.users:
                del self._sharing[number]
                if sharing.locked:
                    _unlock(self._file, number)


def _number(path: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(path, digest_size=7).digest(), "little")


def _try_lock(file: int, start: int, kind: int = fcntl.F_WRLCK) -> bool:
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, 1, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _unlock(file: int, start: int) -> None:
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, start, 1, 0))
