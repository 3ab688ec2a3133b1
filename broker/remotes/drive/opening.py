"""From a URL to a drive: identity, stores and memory are put together. Imported only where a session has a drive."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import getpass
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from broker.drive.blobs.opening import open_blobs
from broker.drive.errors import DriveError
from broker.drive.format.identity import Identity, new_identity, valid_user_name
from broker.drive.keyring import create_key_file, load_identity
from broker.drive.metadata.store import open_store
from broker.errors import SetupError
from broker.remotes.around import Around
from broker.remotes.drive.core import Core
from broker.remotes.drive.home import new_home
from broker.remotes.drive.locations import Embedded, locate
from broker.remotes.drive.memory import Memory
from broker.remotes.drive.passphrases import passphrase_from
from broker.remotes.drive.remote import DriveRemote
from broker.remotes.drive.roots import Root, home_of
from broker.remotes.protocol import Capabilities, Remote, Space
from broker.settings import RemoteSettings
from broker.telling import tell

EMBEDDED = Capabilities(owners=True, hard_links=True, extended_attributes=True, special_files=True, holes=True)


class Owning(Around):
    """A remote that closes what it stands on: the core, and what else `close` does."""

    def __init__(self, remote: Remote, core: Core, close: Callable[[], Awaitable[None]]) -> None:
        super().__init__(remote)
        self._core = core
        self._close = close

    async def close(self) -> None:
        await self._core.close()
        await self._close()


@dataclass(frozen=True, slots=True)
class Client:
    """One user's drive, open. `remote` is what a mount shows of it."""

    identity: Identity
    core: Core
    home: Root
    tree: DriveRemote
    remote: Remote


def open_drive(settings: RemoteSettings) -> Remote:
    """The remote of a mount. SetupError, which says what to do, when it cannot be opened."""
    return open_client(settings).remote


def open_client(settings: RemoteSettings, environ: Mapping[str, str] = os.environ) -> Client:
    """The same with its parts, for the commands. An embedded drive is made when there is none."""
    where = locate(settings, environ)
    try:
        if isinstance(where, Embedded):
            return _open_embedded(where, environ)
        raise SetupError(f"{settings.url}: there are no served drives yet")
    except DriveError as error:
        raise SetupError(str(error)) from error
    except OSError as error:
        raise SetupError(f"{error.filename or settings.url}: {error.strerror}") from error


def _open_embedded(where: Embedded, environ: Mapping[str, str]) -> Client:
    if not os.path.lexists(where.key):
        with _alone(where):
            if not os.path.lexists(where.key):
                asyncio.run(_create(where))
    identity = load_identity(where.key, passphrase_from(where.passphrase_file, environ))
    metadata = asyncio.run(open_store(where.metadata, signed=None))
    core = Core(metadata.for_user(identity.user_id), open_blobs(where.blobs), Memory(where.memory))
    home = home_of(core.walk, identity)

    async def room() -> Space:
        return _room(where.folder)

    tree = DriveRemote(core, home, EMBEDDED, room)
    return Client(identity, core, home, tree, Owning(tree, core, metadata.close))


@contextlib.contextmanager
def _alone(where: Embedded) -> Iterator[None]:
    """While no other session makes the same drive."""
    for folder in (where.folder, os.path.dirname(where.key)):
        _make_private(folder)
    lock = os.open(where.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


async def _create(where: Embedded) -> None:
    """A drive, and the key to it. What a crash in between leaves in the database is a user without a key."""
    metadata = await open_store(where.metadata, create=True)
    try:
        server_id = await metadata.accounts.server_id()
        identity = new_identity(_name(), "", server_id)
        await metadata.accounts.register(identity.record.encode(), new_home(identity, os.getuid(), os.getgid()))
    finally:
        await metadata.close()
    create_key_file(where.key, identity, None)
    tell(f"made an encrypted drive in {where.folder}; keep a copy of its key, {where.key}: without it all is lost")


def _make_private(folder: str) -> None:
    umask = os.umask(0o077)
    try:
        os.makedirs(folder, exist_ok=True)
    finally:
        os.umask(umask)


def _name() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = ""
    return name if valid_user_name(name) else "me"


def _room(folder: str) -> Space:
    room = os.statvfs(folder)
    unit = room.f_frsize
    return Space(room.f_blocks * unit, room.f_bfree * unit, room.f_bavail * unit, room.f_files, room.f_ffree)
