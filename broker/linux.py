"""System calls that `os` has no words for. ctypes would have, and would take 4 ms of every start to import."""

from __future__ import annotations

from broker.kernel import native

IN_CLOSE_WRITE = 0x8
IN_Q_OVERFLOW = 0x4000
_SETFSUID = 122
_STATFS = 137
_INOTIFY_ADD_WATCH = 254
_INOTIFY_RM_WATCH = 255
_FALLOCATE = 285
_INOTIFY_INIT1 = 294
_SYNCFS = 306
_PUNCH_HOLE, _KEEP_SIZE = 2, 1


def punch_hole(file: int, length: int) -> None:
    """Free the blocks that lie in the first `length` bytes, as fallocate(2) does; OSError where it cannot."""
    _call(_FALLOCATE, file, _PUNCH_HOLE | _KEEP_SIZE, 0, length)


def set_fsuid(uid: int) -> int:
    """Let this thread, and no other, be `uid` for the file system (setfsuid(2)); who it was before."""
    return _call(_SETFSUID, uid)


def filesystem_type(path: bytes) -> int:
    """The magic number of the file system that `path` is on, such as PROC_SUPER_MAGIC (statfs(2))."""
    buffer = bytearray(120)
    _call(_STATFS, path, buffer)
    return int.from_bytes(buffer[:8], "little")


def syncfs(file: int) -> None:
    """All that was written to the file system that `file` is on survives a power loss (syncfs(2))."""
    _call(_SYNCFS, file)


def inotify_init(flags: int) -> int:
    return _call(_INOTIFY_INIT1, flags)


def inotify_add_watch(inotify: int, path: bytes, mask: int) -> int:
    """The number of the watch."""
    return _call(_INOTIFY_ADD_WATCH, inotify, path, mask)


def inotify_rm_watch(inotify: int, watch: int) -> None:
    _call(_INOTIFY_RM_WATCH, inotify, watch)


def _call(number: int, *arguments: int | bytes | bytearray) -> int:
    return native.call(native.AUDIT_ARCH_X86_64, number, arguments)
