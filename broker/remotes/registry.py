"""Opens the remote that a URL names: one factory for each scheme."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from broker.errors import SetupError
from broker.remotes.file import FileRemote
from broker.remotes.paths import Path
from broker.remotes.protocol import Remote
from broker.settings import RemoteSettings

Factory = Callable[[RemoteSettings], Remote]

_ENCRYPTED = ("drive", "drive+http", "drive+https")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_REASONS = {
    errno.ENOENT: "does not exist: create it, or mount the share that holds it",
    errno.ENOTDIR: "is not a directory: name the directory that holds the files",
    errno.EACCES: "cannot be opened by this user: ask for read and search permission, or choose another directory",
    errno.EPERM: "cannot be opened by this user: ask for read and search permission, or choose another directory",
    errno.ELOOP: "leads through a loop of symlinks: name the directory itself",
    errno.ENAMETOOLONG: "is too long: use a shorter path",
}


def open_file(settings: RemoteSettings) -> FileRemote:
    """The directory of a URL ``file:///srv/share`` (RFC 8089, without hosts), percent-encoded where necessary."""
    directory = file_url_path(settings.url)
    if settings.options:
        names = ", ".join(sorted(settings.options))
        place = settings.place(next(iter(settings.options)))
        raise SetupError(f"{place}: a file: remote has no option {names}: remove it")
    shown = os.fsdecode(directory)

    def opened() -> int:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY)

    try:
        root = opened()
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, f"cannot be opened ({error.strerror}): check that it is mounted")
        raise SetupError(f"{shown} {reason}") from error
    if not os.access(".", os.X_OK, dir_fd=root, effective_ids=True):
        os.close(root)
        raise SetupError(f"{shown} {_REASONS[errno.EACCES]}")
    return FileRemote(root, opened, _below(directory, settings.hidden))


def _below(directory: bytes, places: Iterable[str]) -> frozenset[Path]:
    """The ways from a directory to those of the places that are in it. They need not exist."""
    root = os.path.realpath(directory).rstrip(b"/") + b"/"
    found = (os.path.realpath(os.fsencode(place)) for place in places)
    return frozenset(place.removeprefix(root) for place in found if place.startswith(root))


def open_encrypted(settings: RemoteSettings) -> Remote:
    """An encrypted drive. Its libraries are loaded only where a session has one: they take longer than all else."""
    from broker.remotes.drive.opening import open_drive

    return open_drive(settings)


def databases_of(settings: RemoteSettings) -> Sequence[str]:
    """The files of the SQLite databases that a remote keeps open. SetupError."""
    if settings.url.partition(":")[0].lower() not in _ENCRYPTED:
        return ()
    from broker.remotes.drive.locations import databases, locate

    return databases(locate(settings))


SCHEMES: Mapping[str, Factory] = MappingProxyType({"file": open_file, **dict.fromkeys(_ENCRYPTED, open_encrypted)})
"""The schemes of a released seccomp-drive. A test hands `open_remote` a mapping with more of them."""


def open_remote(settings: RemoteSettings, schemes: Mapping[str, Factory] = SCHEMES) -> Remote:
    """The remote at `settings.url`; SetupError, which says what to do, when there is none."""
    url = _URL.fullmatch(settings.url)
    if url is None:
        hint = f"write file://{settings.url}" if settings.url.startswith("/") else "write file:///path/of/directory"
        raise SetupError(f"{settings.url!r} is no URL of a remote: {hint}")
    factory = schemes.get(url[1].lower())
    if factory is None:
        known = ", ".join(f"{scheme}:" for scheme in sorted(schemes))
        raise SetupError(f"{settings.url}: there are no {url[1]}: remotes: choose one of {known}")
    return factory(settings)


def file_url_path(url: str) -> bytes:
    """The absolute path in a file URL, its escapes decoded to bytes; SetupError when there is none."""
    rest = os.fsencode(url.partition(":")[2])
    if rest.startswith(b"//"):
        host, slash, path = rest[2:].partition(b"/")
        if host:
            name = os.fsdecode(host)
            raise SetupError(f"{url}: a file: URL has no host ({name}): write file:/// and an absolute path")
        rest = slash + path
    if not rest.startswith(b"/"):
        raise SetupError(f"{url}: the path is not absolute: write file:///path/of/directory")
    if b"?" in rest or b"#" in rest:
        raise SetupError(f"{url}: a file: URL has no query or fragment: write ? as %3F and # as %23")
    path = _ESCAPE.sub(lambda escape: _escaped(url, escape[1]), rest)
    if b"\0" in path:
        raise SetupError(f"{url}: no path has a NUL (%00): remove it")
    return path


def _escaped(url: str, digits: bytes | None) -> bytes:
    if digits is None:
        raise SetupError(f"{url}: % must be followed by two hexadecimal digits: write % itself as %25")
    return bytes.fromhex(digits.decode())
