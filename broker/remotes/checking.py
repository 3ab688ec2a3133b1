"""What a remote answers is hostile input: only what a file system could hold gets through.

Every remote is behind this, so that nothing else need ask whether a name, a size or a kind is one.
"""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from broker.remotes.around import Around
from broker.remotes.oserrors import remote_error
from broker.remotes.paths import Path, join, valid_name, valid_target
from broker.remotes.protocol import Attributes, BadAnswer, Changes, Entry, Remote, RemoteError, Step, Version, unseen

LOG = logging.getLogger(__name__)

_T = TypeVar("_T")

ENTRIES_MAX = 1 << 20
"""Names in one folder: a listing that goes on is taken to have no end."""
_EMPTY_PAGES_MAX = 100
_OFF_T = 1 << 63
_ID_MAX = (1 << 32) - 2
"""The highest id: the one above means "unchanged" (chown(2))."""
_TEXT_MAX = 4096
_KINDS = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK}
_SAYS = "the remote says that it has "
_XATTR_NAME_MAX, _XATTR_SIZE_MAX, _XATTRS_MAX = 255, 1 << 16, 1 << 20
"""Of one name and one value (xattr(7)), and of all attributes of a node: bytes."""


class Checked(Around):
    """`remote`, as far as it can be believed. What cannot is BadAnswer, and `refused` hears of it.

    What it raises that no remote may raise is logged with its traceback, and is BadAnswer as well.
    """

    def __init__(self, remote: Remote, refused: Callable[[BadAnswer], None]) -> None:
        super().__init__(remote)
        self._refused = refused

    async def stat(self, path: Path) -> Attributes:
        attributes = await super().stat(path)
        if not path and not attributes.is_directory:
            raise self._refuse(BadAnswer(path, "the remote has something other than a folder at its root"))
        return attributes

    async def list(self, path: Path) -> AsyncIterator[Sequence[Entry]]:
        seen: set[bytes] = set()
        empty = 0
        pages = aiter(super().list(path))
        while (page := await self._pass(path, _next(pages))) is not None:
            empty = 0 if page else empty + 1
            try:
                for entry in page:
                    _check_entry(path, entry, seen)
                if empty > _EMPTY_PAGES_MAX or len(seen) > ENTRIES_MAX:
                    raise BadAnswer(path, f"the remote's listing has no end; {len(seen)} names were read")
            except BadAnswer as error:
                raise self._refuse(error) from None
            yield page

    async def read(self, path: Path, version: Version, offset: int, length: int) -> bytes:
        data = await self._pass(path, super().read(path, version, offset, length))
        if len(data) > length:
            raise self._refuse(BadAnswer(path, f"the remote has sent {len(data)} bytes for {length}"))
        return data

    async def write(
        self,
        path: Path,
        source: int,
        base: Version | None,
        changes: Changes,
        *,
        durable: bool = True,
        step: Step = unseen,
    ) -> Attributes:
        work = super().write(path, source, base, changes, durable=durable, step=step)
        return self._require(path, await self._pass(path, work), stat.S_IFREG)

    async def mkdir(self, path: Path, changes: Changes) -> Attributes:
        return self._require(path, await super().mkdir(path, changes), stat.S_IFDIR)

    async def symlink(self, path: Path, target: bytes, changes: Changes) -> Attributes:
        return self._require(path, await super().symlink(path, target, changes), stat.S_IFLNK)

    async def mknod(self, path: Path, mode: int, rdev: int, changes: Changes) -> Attributes:
        return self._require(path, await super().mknod(path, mode, rdev, changes), stat.S_IFMT(mode))

    async def readlink(self, path: Path) -> bytes:
        target = await super().readlink(path)
        if not valid_target(target):
            raise self._refuse(BadAnswer(path, "the remote has a symlink whose text no symlink can have"))
        return target

    async def get_xattrs(self, path: Path) -> Mapping[bytes, bytes]:
        found = await super().get_xattrs(path)
        size = sum(len(name) + len(value) for name, value in found.items())
        if size > _XATTRS_MAX or not all(_valid_xattr(name, value) for name, value in found.items()):
            raise self._refuse(BadAnswer(path, "the remote has extended attributes that no file can have"))
        return found

    async def _pass(self, path: Path, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            result = await work
            if isinstance(result, Attributes):
                check(path, result)
        except BadAnswer as error:
            raise self._refuse(error) from None
        except (RemoteError, asyncio.CancelledError):
            raise
        except OSError as error:
            raise remote_error(error, path) from error
        except Exception as error:
            LOG.error("a remote raised what no remote may", exc_info=error)
            raise self._refuse(BadAnswer(path, f"the remote's answer was not understood ({error!r})")) from error
        return result

    def _require(self, path: Path, attributes: Attributes, kind: int) -> Attributes:
        if stat.S_IFMT(attributes.mode) != kind:
            raise self._refuse(BadAnswer(path, "the remote has made something other than what it was asked for"))
        return attributes

    def _refuse(self, error: BadAnswer) -> BadAnswer:
        self._refused(error)
        return error


def check(path: Path, attributes: Attributes) -> None:
    """BadAnswer, with what is wrong, if no node of a Linux file system could be like this."""
    if wrong := _wrong(attributes):
        raise BadAnswer(path, _SAYS + wrong)


def _wrong(found: Attributes) -> str | None:
    if not 0 <= found.size < _OFF_T:
        return f"{found.size} bytes"
    if not 0 <= found.mode < 1 << 16 or stat.S_IFMT(found.mode) not in _KINDS:
        return f"the mode {found.mode:#o}"
    if stat.S_ISLNK(found.mode) and not valid_target(found.target or b""):
        return "a text that no symlink can have"
    if not (-_OFF_T <= found.mtime_ns < _OFF_T and -_OFF_T <= found.atime_ns < _OFF_T):
        return "a time that no clock shows"
    if not (0 <= (found.uid or 0) <= _ID_MAX and 0 <= (found.gid or 0) <= _ID_MAX):
        return "an owner that nobody can be"
    if not (0 <= found.nlink < 1 << 32 and 0 <= (found.blocks or 0) < 1 << 54 and 0 <= found.rdev < 1 << 32):
        return "a count of names or blocks, or a device, that there cannot be"
    if not (_is_text(found.version) and (found.identity is None or _is_text(found.identity))):
        return "a version or identity that is no short text"
    return None


def _is_text(text: str) -> bool:
    try:
        return len(text.encode()) <= _TEXT_MAX and "\0" not in text
    except UnicodeEncodeError:
        return False


def _check_entry(folder: Path, entry: Entry, seen: set[bytes]) -> None:
    if not valid_name(entry.name) or entry.name in seen:
        shown = entry.name if len(entry.name) < 300 else entry.name[:300] + b"..."
        raise BadAnswer(folder, f"the remote lists the name {shown!r}, which no folder can have")
    if wrong := _wrong(entry.attributes):
        raise BadAnswer(join(folder, entry.name), _SAYS + wrong)
    seen.add(entry.name)


def _valid_xattr(name: bytes, value: bytes) -> bool:
    known = name.startswith(b"user.") and len(name) > len(b"user.") and b"\0" not in name
    return known and len(name) <= _XATTR_NAME_MAX and len(value) <= _XATTR_SIZE_MAX


async def _next(pages: AsyncIterator[Sequence[Entry]]) -> Sequence[Entry] | None:
    return await anext(pages, None)
