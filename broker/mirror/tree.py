"""The mirror's tree on disk: placeholders, attributes and removal, without a thought for the remote."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import threading
from collections.abc import Iterator

from broker.remotes.protocol import Attributes, Changes, Path

SET_ID = stat.S_ISUID | stat.S_ISGID


class Tree:
    """A private folder whose content has the names, kinds, sizes, modes and times of a remote's.

    Paths are relative to the tree. `real` gives one that the kernel can use under any identity: it leads through
    our own descriptor of the root, so that no permission above the tree is asked for.
    """

    def __init__(self, directory: str, *, owners: bool) -> None:
        for name in ("tree", "staging"):
            os.makedirs(os.path.join(directory, name), mode=0o700, exist_ok=True)
        self.root = os.fsencode(os.path.realpath(os.path.join(directory, "tree")))
        self.staging = os.fsencode(os.path.realpath(os.path.join(directory, "staging")))
        self.root_fd = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._prefix = b"/proc/self/fd/%d" % self.root_fd
        self._owners = owners
        self._serial = itertools.count()
        self.mutex = threading.Lock()

    def real(self, path: Path) -> bytes:
        """A path to `path` that the broker's threads can use, whatever identity they have taken."""
        return self._prefix + b"/" + path if path else self._prefix + b"/."

    def lstat(self, path: Path) -> os.stat_result | None:
        try:
            return os.lstat(self.real(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, path: Path) -> dict[bytes, int]:
        """The names in a folder with their inode numbers."""
        with os.scandir(self.real(path)) as entries:
            return {entry.name: entry.inode() for entry in entries}

    def create(self, path: Path, attributes: Attributes) -> int:
        """Make a placeholder for a node that the mirror lacks; its inode number. FileExistsError if it is there."""
        real = self.real(path)
        _make(real, attributes)
        self._dress(real, attributes)
        return os.lstat(real).st_ino

    def replace(self, path: Path, attributes: Attributes) -> int:
        """Put a new placeholder, with a new inode, where another node is; who has the old one open keeps it."""
        staged = os.path.join(self.staging, b"new-%d-%d" % (os.getpid(), next(self._serial)))
        try:
            _make(staged, attributes)
            self._dress(staged, attributes)
            os.rename(staged, self.real(path))
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged)
            raise
        return os.lstat(self.real(path)).st_ino

    def set_attributes(self, path: Path, attributes: Attributes) -> None:
        """Give a node the remote's mode, owner and times. Set-id bits of files stay out: a mirror is nosuid."""
        self._dress(self.real(path), attributes)

    def restore(self, path: Path, before: os.stat_result) -> None:
        """Take back a change of attributes."""
        real = self.real(path)
        if self._owners:
            os.chown(real, before.st_uid, before.st_gid, follow_symlinks=False)
        if not stat.S_ISLNK(before.st_mode):
            os.chmod(real, stat.S_IMODE(before.st_mode))
        os.utime(real, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)

    @contextlib.contextmanager
    def pinned(self, path: Path) -> Iterator[None]:
        """Keep a node's inode number from being used again, until what is on record of it has been dropped."""
        try:
            pin = os.open(self.real(path), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            yield
            return
        try:
            yield
        finally:
            os.close(pin)

    @contextlib.contextmanager
    def keeping_times(self, folder: Path) -> Iterator[None]:
        """For changes of a folder's names that are ours alone: they do not show in its times.

        Placeholders are made on threads; the mutex keeps a program's own change from falling in between.
        """
        with self.mutex:
            before = os.stat(self.real(folder))
            yield
            os.utime(self.real(folder), ns=(before.st_atime_ns, before.st_mtime_ns))

    def remove(self, path: Path) -> None:
        """Remove a node, a folder with all that is below it."""
        real = self.real(path)
        try:
            os.unlink(real)
        except (IsADirectoryError, PermissionError):
            for name in self.names(path):
                self.remove(path + b"/" + name if path else name)
            os.rmdir(real)
        except FileNotFoundError:
            pass

    def stash(self, path: Path, ino: int) -> bytes:
        """A second name, outside the tree, that keeps a node's content alive; to `unstash` or remove."""
        kept = os.path.join(self.staging, b"kept-%d" % ino)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(kept)
        os.link(self.real(path), kept, follow_symlinks=False)
        return kept

    def unstash(self, kept: bytes, path: Path) -> None:
        os.rename(kept, self.real(path))

    def relative(self, real: bytes) -> Path | None:
        """The path in this tree of an absolute real path; None if it is elsewhere or was deleted."""
        if real == self.root:
            return b""
        if not real.startswith(self.root + b"/"):
            return None
        return real[len(self.root) + 1 :]

    def walk(self, path: Path = b"") -> Iterator[tuple[Path, os.stat_result]]:
        """All nodes below a folder, each with its lstat."""
        for name in self.names(path):
            child = path + b"/" + name if path else name
            status = self.lstat(child)
            if status is None:
                continue
            yield child, status
            if stat.S_ISDIR(status.st_mode):
                yield from self.walk(child)

    def find(self, ino: int) -> Path | None:
        """A name of the inode, by looking through the whole tree."""
        return next((path for path, status in self.walk() if status.st_ino == ino), None)

    @staticmethod
    def drop_set_id(file: int) -> None:
        """Take the set-id bits off a file of the mirror: they are the remote's to keep, and give nobody anything."""
        status = os.fstat(file)
        if stat.S_ISREG(status.st_mode) and status.st_mode & SET_ID:
            os.fchmod(file, stat.S_IMODE(status.st_mode) & ~SET_ID)

    def close(self) -> None:
        os.close(self.root_fd)

    def _dress(self, real: bytes, attributes: Attributes) -> None:
        if self._owners and attributes.uid is not None and attributes.gid is not None:
            os.chown(real, attributes.uid, attributes.gid, follow_symlinks=False)
        if not attributes.is_symlink:
            dropped = 0 if attributes.is_directory else SET_ID
            os.chmod(real, stat.S_IMODE(attributes.mode) & ~dropped)
        os.utime(real, ns=(attributes.atime_ns, attributes.mtime_ns), follow_symlinks=False)


def _make(real: bytes, attributes: Attributes) -> None:
    kind = stat.S_IFMT(attributes.mode)
    if kind == stat.S_IFDIR:
        os.mkdir(real, 0o700)
    elif kind == stat.S_IFLNK:
        os.symlink(attributes.target or b"", real)
    elif kind == stat.S_IFREG:
        file = os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, attributes.size)
        finally:
            os.close(file)
    else:
        os.mknod(real, kind | 0o600, attributes.rdev)


def changes_between(before: os.stat_result, after: os.stat_result) -> Changes:
    """What a call has changed of a node's attributes, as a remote would be told."""
    mode_changed = stat.S_IMODE(before.st_mode) != stat.S_IMODE(after.st_mode)
    times_changed = (before.st_mtime_ns, before.st_atime_ns) != (after.st_mtime_ns, after.st_atime_ns)
    return Changes(
        mode=stat.S_IMODE(after.st_mode) if mode_changed else None,
        uid=after.st_uid if before.st_uid != after.st_uid else None,
        gid=after.st_gid if before.st_gid != after.st_gid else None,
        mtime_ns=after.st_mtime_ns if times_changed else None,
        atime_ns=after.st_atime_ns if times_changed else None,
    )


def changes_of(status: os.stat_result, *, owners: bool) -> Changes:
    """The attributes of a node in the mirror, all of them, for a node that the remote is to have."""
    return Changes(
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid if owners else None,
        gid=status.st_gid if owners else None,
        mtime_ns=status.st_mtime_ns,
        atime_ns=status.st_atime_ns,
    )
