"""The mounts of a session, and the places that paths lead to: on a drive, or on the local disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct


class Mount(Struct, frozen=True):
    """One prefix: `prefix` is a normalised absolute folder (``/drive``) or a scheme (``sommelier:``).

    `remote` is the URL for messages, `ttl` the seconds for which attributes and listings are trusted.
    """

    number: int
    prefix: bytes
    remote: str
    read_only: bool
    ttl: float

    @property
    def is_scheme(self) -> bool:
        return not self.prefix.startswith(b"/")

    @property
    def folder(self) -> bytes:
        """The local folder that ``..`` at the root of the drive leads to."""
        return _split(self.prefix)[0] if self.prefix.startswith(b"/") else b"/"

    def virtual(self, path: bytes) -> bytes:
        """The absolute path that programs are shown for `path`, which is relative to the root of the drive.

        A scheme gets a slash in front, because a path of getcwd(2) begins with one.
        """
        root = b"/" + self.prefix if self.is_scheme else self.prefix
        return root + b"/" + path if path else root


class Place(Struct, frozen=True):
    """Where a file is: relative to the root of `mount` (``b""``), or, without one, an absolute local path.

    Normalised: no ``.``, ``..``, doubled or trailing slash. Made by appending names only, so purely textual.
    """

    mount: Mount | None
    path: bytes

    @property
    def is_root(self) -> bool:
        """Whether this is the root of its drive, or the local root."""
        return self.path == (b"/" if self.mount is None else b"")

    @property
    def name(self) -> bytes:
        """The last component; empty for a root."""
        return self.path.rpartition(b"/")[2]

    @property
    def virtual(self) -> bytes:
        """The absolute path that programs are shown."""
        return self.path if self.mount is None else self.mount.virtual(self.path)

    def child(self, name: bytes) -> Place:
        if self.path == b"/" or not self.path:
            return Place(self.mount, name if self.mount is not None else b"/" + name)
        return Place(self.mount, self.path + b"/" + name)

    def parent(self) -> Place:
        """The folder that ``..`` leads to: from the root of a drive a local one, from ``/`` itself."""
        if self.mount is None:
            return Place(None, _split(self.path)[0])
        if not self.path:
            return Place(None, self.mount.folder)
        return Place(self.mount, self.path.rpartition(b"/")[0])


ROOT = Place(None, b"/")


class Mounts:
    """All mounts of a session; prefixes do not overlap. Directory prefixes match on the text of an absolute
    place, schemes on one component in any local folder.

    `mirrors` maps each mount's number to the absolute real path of its mirror tree: a path into that tree,
    however spelt, is a drive path. `private` is the absolute real path of the folder that they are in with all that
    is ours alone.
    """

    def __init__(self, mounts: Iterable[Mount], mirrors: Mapping[int, bytes], private: bytes | None = None) -> None:
        self._mounts = tuple(mounts)
        self.private = private
        self._mirrors = tuple((mirrors[mount.number], mount) for mount in self._mounts)
        self._schemes = {mount.prefix: mount for mount in self._mounts if mount.is_scheme}
        prefixes = {mount.prefix: mount for mount in self._mounts if not mount.is_scheme}
        self._roots = prefixes | dict(self._mirrors)
        self._below: dict[bytes, list[tuple[list[bytes], Mount]]] = {}
        for root, mount in self._roots.items():
            names = root[1:].split(b"/")
            for depth in range(len(names)):
                tail = (names[depth:][::-1], mount)
                self._below.setdefault(b"/" + b"/".join(names[:depth]), []).append(tail)
        self._parents = tuple(dict.fromkeys(_split(prefix)[0] for prefix in prefixes))

    def __iter__(self) -> Iterator[Mount]:
        return iter(self._mounts)

    def __len__(self) -> int:
        return len(self._mounts)

    def at(self, path: bytes) -> Mount | None:
        """The mount whose root the absolute local `path` is: prefix, mirror tree, or scheme in a folder."""
        return self._roots.get(path) or self._schemes.get(path.rpartition(b"/")[2])

    def enter(self, folder: bytes, names: list[bytes]) -> Mount | None:
        """The mount that `names`, walked from the local `folder`, lead to; its names are taken off.

        The next name is the last of the list. Several at once, because a prefix may stand in folders that do
        not exist, or behind a symlink.
        """
        mount = self._schemes.get(names[-1])
        if mount is not None:
            names.pop()
            return mount
        for tail, inside in self._below.get(folder, ()):
            if names[-len(tail) :] == tail:
                del names[-len(tail) :]
                return inside
        return None

    def begins_with_scheme(self, text: bytes) -> bool:
        """Whether `text` is of the form ``sommelier:/a``, which means the same in every working directory."""
        return text.partition(b"/")[0] in self._schemes

    def is_above(self, path: bytes) -> bool:
        """Whether a directory prefix or mirror lies below the local `path`, which makes it a folder."""
        return path in self._below

    def is_private(self, place: Place) -> bool:
        """Whether no program has any business there."""
        if self.private is None or place.mount is not None:
            return False
        return (place.path + b"/").startswith(self.private + b"/")

    def parents(self) -> tuple[bytes, ...]:
        """The local folders directly above directory prefixes, whose listings show a prefix."""
        return self._parents

    def place_of(self, real: bytes) -> Place:
        """The place behind an absolute real path, without the mark of a file that has lost its name."""
        for root, mount in self._mirrors:
            if real == root or real.startswith(root + b"/"):
                return Place(mount, real[len(root) + 1 :])
        return Place(None, real)


def _split(path: bytes) -> tuple[bytes, bytes]:
    """(folder, name) of an absolute path; the folder of ``/`` is ``/``."""
    folder, _, name = path.rpartition(b"/")
    return folder or b"/", name
