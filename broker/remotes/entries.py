"""One name in an open folder: looked at, synced, finished or taken back, or emptied of unfinished writes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from broker.remotes.nodes import TEMPORARY, change, describe
from broker.remotes.protocol import Attributes, Changes

_NODE = os.O_PATH | os.O_NOFOLLOW


def sync(folder: int, name: bytes) -> None:
    flags = os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        file = os.open(name, os.O_RDONLY | flags, dir_fd=folder)
    except PermissionError:
        file = os.open(name, os.O_WRONLY | flags, dir_fd=folder)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def look(folder: int, name: bytes) -> Attributes:
    node = os.open(name, _NODE, dir_fd=folder)
    try:
        return describe(node)
    finally:
        os.close(node)


def finish(folder: int, name: bytes, changes: Changes, undo: Callable[..., None]) -> Attributes:
    """Give the new node `name` its attributes, or take it back."""
    try:
        node = os.open(name, _NODE, dir_fd=folder)
        try:
            change(node, changes)
            return describe(node)
        finally:
            os.close(node)
    except OSError:
        undo(name, dir_fd=folder)
        raise


def emptied(folder: int, name: bytes, act: Callable[[], None]) -> None:
    """Do `act`, which needs the folder `name` to be empty: unfinished writes in it, which nobody sees, are removed
    when they are all that is in the way."""
    try:
        act()
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    if not _remove_unfinished(folder, name):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
    act()


def _remove_unfinished(folder: int, name: bytes) -> bool:
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        names = [os.fsencode(found) for found in os.listdir(inner)]
        if not all(map(TEMPORARY.fullmatch, names)):
            return False
        for found in names:
            os.unlink(found, dir_fd=inner)
        return True
    finally:
        os.close(inner)
