"""The mirror's tree on disk: placeholders, attributes and removal, without a thought for the remote."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from broker.mirror import making
from broker.mirror.nodes import (
    SET_ID,
    dress,
    get_xattrs,
    is_unplaceable,
    lending,
    make,
    make_hole,
    remove_known,
    reopen,
    set_xattrs,
)
from broker.remotes.paths import Path, join, parent_of
from broker.remotes.protocol import Attributes
from broker.remotes.renaming import exchange

GONE = FileNotFoundError, NotADirectoryError
"""What a path of the tree gives when a folder on its way is no longer there, or no folder any more."""
_TOGETHER, _TURN = 256, 1e-3
"""Placeholders, and seconds, before a program's call has its turn."""


class Tree:
    """A private folder whose content has the names, kinds, sizes, modes and times of a remote's.

    Paths are relative to the tree. `real` gives one that the kernel can use under any identity: it leads through
    our own descriptor of the root, so that no permission above the tree is asked for.
    """

    def __init__(self, directory: str, *, owners: bool) -> None:
        for name in ("tree", "staging"):
            os.makedirs(os.path.join(directory, name), mode=0o700, exist_ok=True)
        self._modes = os.path.join(directory, "modes")
        self.root = os.fsencode(os.path.realpath(os.path.join(directory, "tree")))
        self.staging = os.fsencode(os.path.realpath(os.path.join(directory, "staging")))
        self.root_fd = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._prefix = _by(self.root_fd)
        self._owners = owners
        self._mutex = threading.Lock()

    def real(self, path: Path) -> bytes:
        """A path to `path` that the broker's threads can use, whatever identity they have taken."""
        return self._prefix + b"/" + path if path else self._prefix + b"/."

    def run(self, act: Callable[..., int], *paths: Path) -> int:
        """Let a program's call act on nodes whose folders are in the tree.

        FileNotFoundError when a symlink of the remote's has taken the place of a folder on the way: what it leads
        to is none of ours.
        """
        with self._mutex:
            for path in paths:
                with self._beneath(path):
                    pass
            return act(*map(self.real, paths))

    def lstat(self, path: Path) -> os.stat_result | None:
        try:
            return os.lstat(self.real(path))
        except GONE:
            return None

    def look(self, path: Path) -> os.stat_result | None:
        """lstat of what may be at `path`, if folders of the tree lead there, and no symlinks."""
        try:
            with self._beneath(path) as real:
                return os.lstat(real)
        except OSError:
            return None

    def names(self, path: Path) -> dict[bytes, int]:
        """The names in a folder with their inode numbers."""
        with self._folder(path) as file, os.scandir(_by(file)) as entries:
            return {entry.name: entry.inode() for entry in entries}

    def open(self, path: Path, flags: int) -> int:
        """A descriptor of ours, of a node whose mode may deny its owner what `flags` ask for."""
        with self._beneath(path) as real:
            node = os.open(real, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return reopen(node, flags)
        finally:
            os.close(node)

    def create(self, path: Path, attributes: Attributes) -> int:
        """Make a placeholder for a node that the mirror lacks; its inode number. FileExistsError if it is there."""
        with self._beneath(path) as real:
            return make(real, attributes, owners=self._owners)

    def fill(self, folder: Path, nodes: Sequence[tuple[bytes, Attributes]]) -> dict[bytes, int]:
        """Make placeholders for names of one folder, which keeps its times; their inode numbers. What is there
        already, or cannot be, is left out."""
        made: dict[bytes, int] = {}
        tried = 0
        while tried < len(nodes):
            some = nodes[tried : tried + _TOGETHER]
            with self.keeping_times(folder) as file:
                inos = making.place(file, some, self._owners, _TURN)
            for (name, attributes), ino in zip(some, inos, strict=False):  # those that there was time for
                if ino > 0:
                    made[name] = ino
                elif ino != -errno.EEXIST and not is_unplaceable(ino, attributes):
                    raise OSError(-ino, os.strerror(-ino), join(folder, name))
            tried += len(inos)
        return made

    def replace(self, path: Path, attributes: Attributes, twin: Path | None = None) -> int:
        """Put a new placeholder, with a new inode, where another node is; who has the old one open keeps it.

        `twin` is another name of the same file: it becomes a hard link.
        """
        staged = os.path.join(self.staging, b"new-" + os.urandom(8).hex().encode())
        try:
            if twin is None:
                make(staged, attributes, owners=self._owners)
            else:
                self._link(twin, staged)
            with self._beneath(path) as real:
                os.rename(staged, real)
                return os.lstat(real).st_ino
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged)

    def link(self, twin: Path, path: Path) -> int:
        """A second name for a node that is not a folder; its inode number."""
        with self._beneath(path) as real:
            self._link(twin, real)
            return os.lstat(real).st_ino

    def set_attributes(self, path: Path, attributes: Attributes) -> None:
        """Give a node the remote's mode, owner and times. Set-id bits of files stay out: a mirror is nosuid."""
        with self._beneath(path) as real:
            dress(real, attributes, owners=self._owners)

    def set_attributes_again(self, path: Path, ino: int, attributes: Attributes) -> None:
        """As `set_attributes` of that node, if it is still there, and not while a folder is lent; hold its lock."""
        with self._mutex, self._alone_with_modes(), contextlib.suppress(*GONE), self._beneath(path) as real:
            if os.lstat(real).st_ino == ino:
                dress(real, attributes, owners=self._owners)

    def has_owner(self, status: os.stat_result, attributes: Attributes) -> bool:
        """Whether the mirror's node belongs to whom the remote's belongs to, where a mirror shows that."""
        if not self._owners or attributes.uid is None or attributes.gid is None:
            return True
        return (status.st_uid, status.st_gid) == (attributes.uid, attributes.gid)

    def restore(self, path: Path, before: os.stat_result) -> None:
        """Take back a change of attributes."""
        with self._beneath(path) as real:
            if self._owners:
                os.chown(real, before.st_uid, before.st_gid, follow_symlinks=False)
            if not stat.S_ISLNK(before.st_mode):
                os.chmod(real, stat.S_IMODE(before.st_mode))
            os.utime(real, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)

    def mend(self, path: Path, ino: int, size: int, mtime_ns: int) -> None:
        """Make a file without content the hole that it should be; hold the node's lock."""
        with contextlib.suppress(*GONE):
            file = self.open(path, os.O_WRONLY)
            try:
                if os.fstat(file).st_ino == ino:
                    make_hole(file, size, mtime_ns)
            finally:
                os.close(file)

    def drop_set_id(self, path: Path) -> int:
        """Take the set-id bits from a regular file; those that it had."""
        with self._beneath(path) as real:
            status = os.lstat(real)
            found = status.st_mode & SET_ID if stat.S_ISREG(status.st_mode) else 0
            if found:
                os.chmod(real, stat.S_IMODE(status.st_mode) & ~SET_ID)
            return found

    def xattrs(self, path: Path) -> dict[bytes, bytes]:
        """The extended attributes of the ``user.`` namespace."""
        with self._beneath(path) as real:
            return get_xattrs(real)

    def set_xattrs(self, path: Path, wanted: Mapping[bytes, bytes]) -> None:
        """Make those of the ``user.`` namespace the wanted ones; hold the node's lock."""
        with self._beneath(path) as real, lending(real):
            set_xattrs(real, wanted)

    @contextlib.contextmanager
    def pinned(self, path: Path) -> Iterator[None]:
        """Keep a node's inode number from being used again, until what is on record of it has been dropped."""
        try:
            with self._beneath(path) as real:
                pin = os.open(real, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except GONE:
            yield
            return
        try:
            yield
        finally:
            os.close(pin)

    @contextlib.contextmanager
    def keeping_times(self, folder: Path) -> Iterator[int]:
        """For changes of a folder's names that are ours alone: they do not show in its times. The open folder.

        Placeholders are made on threads; the mutex keeps a program's own change from falling in between. A folder
        that denies them to its owner allows them meanwhile, to one session at a time. Never wait in this context.
        """
        with self._mutex, self._folder(folder) as file, contextlib.ExitStack() as stack:
            real = _by(file)
            if not os.access(real, os.W_OK | os.X_OK, effective_ids=True):
                stack.enter_context(self._alone_with_modes())
                mode = stat.S_IMODE(os.stat(real).st_mode)
                os.chmod(real, mode | stat.S_IWUSR | stat.S_IXUSR)
                stack.callback(os.chmod, real, mode)
            before = os.stat(real)
            yield file
            os.utime(real, ns=(before.st_atime_ns, before.st_mtime_ns))

    def prune(self, path: Path, inos: Collection[int]) -> None:
        """Remove a node, a folder with all that is below it, except for what is none of `inos`."""
        with contextlib.suppress(*GONE):
            if stat.S_ISDIR(os.lstat(self.real(path)).st_mode):
                self._prune_below(path, inos)
            with self.keeping_times(parent_of(path)), self._beneath(path) as real:
                remove_known(real, inos)

    def _prune_below(self, path: Path, inos: Collection[int]) -> None:
        with self._folder(path) as file:
            real = _by(file)
            mode = stat.S_IMODE(os.stat(real).st_mode)
            os.chmod(real, mode | stat.S_IRWXU)
            try:
                with os.scandir(real) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            self._prune_below(path + b"/" + entry.name, inos)
                        with contextlib.suppress(FileNotFoundError):
                            remove_known(real + b"/" + entry.name, inos)
            finally:
                os.chmod(real, mode)

    def remove(self, path: Path) -> None:
        """Remove a node that is not a folder with names in it."""
        with contextlib.suppress(*GONE), self._beneath(path) as real:
            os.rmdir(real) if stat.S_ISDIR(os.lstat(real).st_mode) else os.unlink(real)

    def clear_staging(self) -> None:
        """Remove placeholders that killed sessions have left outside the tree."""
        for name in os.listdir(self.staging):
            if name.startswith(b"new-"):
                os.unlink(os.path.join(self.staging, name))

    def link_out(self, path: Path, real: bytes) -> None:
        """A second name for a node, outside the tree."""
        self._link(path, real)

    def move_in(self, real: bytes, path: Path) -> None:
        with self._beneath(path) as inside:
            os.rename(real, inside)

    def remake_folder(self, path: Path, before: os.stat_result) -> None:
        with self._beneath(path) as real:
            os.mkdir(real, stat.S_IRWXU)
        self.restore(path, before)

    def move(self, old: Path, new: Path) -> None:
        """Rename within the mirror alone, over what is there."""
        with self._beneath(old) as real_old, self._beneath(new) as real_new:
            os.rename(real_old, real_new)

    def exchange(self, one: Path, other: Path) -> None:
        """Swap two names within the mirror alone."""
        with self._beneath(one) as real, self._beneath(other) as real_other:
            exchange(self.root_fd, real, self.root_fd, real_other)

    def relative(self, real: bytes) -> Path | None:
        """The path in this tree of an absolute real path; None if it is elsewhere or was deleted."""
        if real == self.root:
            return b""
        if not real.startswith(self.root + b"/"):
            return None
        return real[len(self.root) + 1 :]

    def name_of(self, file: int) -> Path | None:
        """Where an open file is by now; None if the name that it was opened by is gone, or another's."""
        path = self.relative(os.readlink(_by(file)))
        status = self.lstat(path) if path is not None else None
        return path if status is not None and status.st_ino == os.fstat(file).st_ino else None

    def walk(self, path: Path = b"", closed: list[Path] | None = None) -> Iterator[tuple[Path, os.stat_result]]:
        """All nodes below a folder, each with its lstat; `closed` gets those that deny their owner a listing."""
        try:
            names = self.names(path)
        except GONE:
            return
        except PermissionError:
            if closed is not None:
                closed.append(path)
            return
        for name in names:
            child = join(path, name)
            status = self.lstat(child)
            if status is None:
                continue
            yield child, status
            if stat.S_ISDIR(status.st_mode):
                yield from self.walk(child, closed)

    def find(self, ino: int) -> Path | None:
        """A name of the inode, by looking through the whole tree."""
        return next((path for path, status in self.walk() if status.st_ino == ino), None)

    @property
    def is_removed(self) -> bool:
        """Whether somebody has removed the mirror under us: what was written in it cannot be pushed any more."""
        return os.fstat(self.root_fd).st_nlink == 0

    def require_present(self) -> None:
        """EIO when it `is_removed`."""
        if self.is_removed:
            raise OSError(errno.EIO, "the cache directory was removed; what was written since the last push is lost")

    def close(self) -> None:
        os.close(self.root_fd)

    @contextlib.contextmanager
    def _beneath(self, path: Path) -> Iterator[bytes]:
        """A path to a node that leads through the descriptor of its folder, and of no other."""
        folder, _, name = path.rpartition(b"/")
        if not folder:
            yield self.real(path)
            return
        with self._folder(folder) as file:
            yield _by(file) + b"/" + name

    @contextlib.contextmanager
    def _folder(self, path: Path) -> Iterator[int]:
        """A descriptor of a folder, which no symlink has led to."""
        file = os.open(self.real(path), os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if self.relative(os.readlink(_by(file))) != path:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            yield file
        finally:
            os.close(file)

    def _link(self, path: Path, real: bytes) -> None:
        with self._beneath(path) as existing:
            os.link(existing, real, follow_symlinks=False)

    @contextlib.contextmanager
    def _alone_with_modes(self) -> Iterator[None]:
        """Held while a folder has another mode than its own."""
        file = os.open(self._modes, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)


def _by(file: int) -> bytes:
    """A path to what is open."""
    return b"/proc/self/fd/%d" % file
