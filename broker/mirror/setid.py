"""Set-id bits: only the remote keeps them, since a mirror is nosuid; they go when the kernel would drop them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from typing import Protocol

from msgspec import Struct

from broker.mirror.nodes import SET_ID
from broker.mirror.records import Record


class Writer(Struct, frozen=True):
    """Who changes a file, as far as set-id bits are concerned: `capable` has CAP_FSETID, `owns_all` CAP_FOWNER."""

    uid: int
    groups: Collection[int]
    capable: bool
    owns_all: bool


NOBODY = Writer(-1, (), False, False)


def kept_by_write(mode: int, gid: int, writer: Writer) -> int:
    """The set-id bits that a write or truncation leaves (file_remove_privs in fs/inode.c)."""
    return mode & SET_ID if writer.capable else _kept_group(mode, gid, writer)


class Rule(Protocol):
    """What a change of attributes does to the set-id bits of a file."""

    def left(self, mode: int, uid: int, gid: int) -> int:
        """Those that remain of the file's own. EPERM where the kernel forbids the whole call for their sake."""
        ...


class ByChmod:
    """chmod(2) says itself which bits there are."""

    def left(self, mode: int, uid: int, gid: int) -> int:
        return 0


class ByChown(Struct, frozen=True):
    """chown(2) drops them, also for root, and only for who might have dropped them by chmod(2) (notify_change in
    fs/attr.c)."""

    caller: Writer

    def left(self, mode: int, uid: int, gid: int) -> int:
        left = _kept_group(mode, gid, self.caller)
        if left != mode & SET_ID and uid != self.caller.uid and not self.caller.owns_all:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return left


def _kept_group(mode: int, gid: int, writer: Writer) -> int:
    """The set-group-id bit where it means mandatory locks, for the group's members (setattr_should_drop_sgid)."""
    if mode & stat.S_IXGRP or not (writer.capable or gid in writer.groups):
        return 0
    return mode & stat.S_ISGID


class SetIds:
    """What all who have a file open for writing leave of its bits, by inode number."""

    def __init__(self) -> None:
        self._kept: dict[int, int] = {}

    def opened(self, record: Record, gid: int, writer: Writer) -> None:
        kept = kept_by_write(record.mode | SET_ID, gid, writer)
        self._kept[record.ino] = self._kept.get(record.ino, SET_ID) & kept

    def left(self, record: Record) -> int:
        """The bits that changed content leaves. None, of a file whose writers an earlier session knew."""
        return record.mode & self._kept.get(record.ino, 0)

    def forget(self, ino: int) -> None:
        self._kept.pop(ino, None)
