"""Where the URL and the options of a drive say that it is, and where its parts are on this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote_to_bytes, urlsplit

from msgspec import Struct

from broker.errors import SetupError
from broker.remotes.paths import Path, valid_path
from broker.settings import REMOTE_OPTIONS, RemoteSettings

_SQLITE = "sqlite:///"


class Embedded(Struct, frozen=True):
    """A drive of this machine: a database of metadata, a store of blobs, both given by URLs, and a key file."""

    folder: str
    metadata: str
    blobs: str
    key: str
    passphrase_file: str | None
    memory: str | None
    """The database of the rollback memory. None where the drive lies beside the key: who can put it back can all."""


class Served(Struct, frozen=True):
    """A drive behind a server at `origin`; `below` is the folder of it that is meant."""

    origin: str
    below: Path
    key: str
    passphrase_file: str | None
    memory: str
    insecure: bool
    ca: str | None


def locate(settings: RemoteSettings, environ: Mapping[str, str] = os.environ) -> Embedded | Served:
    """What `settings` mean. SetupError, which says what to write."""
    scheme, _, rest = settings.url.partition(":")
    options = _options(settings, scheme.lower())
    if scheme.lower() == "drive":
        return _embedded(settings, rest, options, environ)
    return _served(settings, options, environ)


def databases(where: Embedded | Served) -> Sequence[str]:
    """The files of the SQLite databases that are open while the drive is, with what SQLite makes beside them."""
    own = [where.memory] if where.memory else []
    if isinstance(where, Embedded) and where.metadata.startswith(_SQLITE):
        own.append(where.metadata.removeprefix(_SQLITE))
    return [path + beside for path in own for beside in ("", "-wal", "-shm")]


def data_directory(environ: Mapping[str, str] = os.environ) -> str:
    return _base(environ, "XDG_DATA_HOME", "~/.local/share")


def state_directory(environ: Mapping[str, str] = os.environ) -> str:
    return _base(environ, "XDG_STATE_HOME", "~/.local/state")


def key_of_server(origin: str, environ: Mapping[str, str] = os.environ) -> str:
    """Where the key file for a server is when nothing else is said."""
    return f"{data_directory(environ)}/keys/{origin.partition('://')[2].replace(':', '_')}.key"


def _base(environ: Mapping[str, str], variable: str, otherwise: str) -> str:
    base = environ.get(variable, "")
    return f"{base if base.startswith('/') else os.path.expanduser(otherwise)}/seccomp-drive"


def _options(settings: RemoteSettings, scheme: str) -> dict[str, str | bool]:
    known = REMOTE_OPTIONS[scheme]
    for name, value in settings.options.items():
        if name not in known:
            raise SetupError(f"{settings.place(name)}: unknown option {name}: choose one of {', '.join(known)}")
        if not isinstance(value, bool if name == "insecure" else str):
            raise SetupError(f"{settings.place(name)}: {name} has the wrong type: write {name} = {_EXAMPLES[name]}")
    return {name: value for name, value in settings.options.items() if isinstance(value, str | bool)}


_EXAMPLES = {
    "key": '"~/.local/share/seccomp-drive/keys/drive.key"',
    "passphrase_file": '"/run/secrets/passphrase"',
    "metadata": '"sqlite:///srv/drive/metadata.sqlite"',
    "blobs": '"s3://bucket"',
    "insecure": "true",
    "ca": '"/etc/ssl/team.pem"',
}


def _embedded(
    settings: RemoteSettings, rest: str, options: dict[str, str | bool], environ: Mapping[str, str]
) -> Embedded:
    url = settings.url
    if rest in ("", "/", "//"):
        folder, own = f"{data_directory(environ)}/drive", True
    else:
        folder, own = _folder(url, rest), False
    key = _file(settings, options, "key", f"{folder}/identity.key") or ""
    elsewhere = not own or "metadata" in options or "blobs" in options
    return Embedded(
        folder=folder,
        metadata=str(options.get("metadata", f"{_SQLITE}{folder}/metadata.sqlite")),
        blobs=str(options.get("blobs", f"file://{quote(folder)}/blobs")),
        key=key,
        passphrase_file=_file(settings, options, "passphrase_file", None),
        memory=_memory(url, environ) if elsewhere else None,
    )


def _served(settings: RemoteSettings, options: dict[str, str | bool], environ: Mapping[str, str]) -> Served:
    url = settings.url
    parts = urlsplit(url.partition("+")[2])
    if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        raise SetupError(f"{url}: not the URL of a server: write one such as drive+https://drive.example/")
    origin = f"{parts.scheme}://{parts.netloc.lower()}"
    below = unquote_to_bytes(parts.path.strip("/"))
    if not valid_path(below):
        raise SetupError(f"{url}: no drive has such a folder: write one such as {origin}/alice/folder")
    return Served(
        origin=origin,
        below=below,
        key=_file(settings, options, "key", key_of_server(origin, environ)) or "",
        passphrase_file=_file(settings, options, "passphrase_file", None),
        memory=_memory(origin, environ),
        insecure=bool(options.get("insecure", False)),
        ca=_file(settings, options, "ca", None),
    )


def _folder(url: str, rest: str) -> str:
    path = os.fsdecode(unquote_to_bytes(rest.removeprefix("//")))
    if not path.startswith("/") or "\0" in path or "?" in rest or "#" in rest:
        raise SetupError(f"{url}: the folder is not an absolute path: write drive:///path/of/folder")
    return os.path.normpath(path)


def _file(settings: RemoteSettings, options: dict[str, str | bool], name: str, otherwise: str | None) -> str | None:
    if name not in options:
        return otherwise
    path = os.path.expanduser(os.path.expandvars(str(options[name])))
    if not path.startswith("/") or "\0" in path:
        raise SetupError(f"{settings.place(name)}: {name} is no absolute path: write {name} = {_EXAMPLES[name]}")
    return path


def _memory(what: str, environ: Mapping[str, str]) -> str:
    """One memory for each drive, whoever uses it: the names of nodes are unique, not their owners'."""
    return f"{state_directory(environ)}/seen/{hashlib.blake2b(what.encode(), digest_size=12).hexdigest()}.sqlite"
