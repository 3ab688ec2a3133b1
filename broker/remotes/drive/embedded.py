"""The drive of one user on this machine: a database, a blob store and a key file, made at the first use."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import getpass
import os
from collections.abc import Iterator, Mapping

from broker.drive.blobs.opening import open_blobs
from broker.drive.format.identity import Identity, new_identity, valid_user_name
from broker.drive.keyring import KeyringError, create_key_file, load_identity
from broker.drive.metadata import belonging
from broker.drive.metadata.store import SqlStore, open_store
from broker.drive.passphrases import Passphrases
from broker.drive.reserve import Reserve
from broker.private import make_private
from broker.remotes.drive.clients import Client, Owning
from broker.remotes.drive.core import Core
from broker.remotes.drive.home import new_home
from broker.remotes.drive.locations import Embedded
from broker.remotes.drive.memory import Memory
from broker.remotes.drive.remote import DriveRemote
from broker.remotes.drive.roots import home_of
from broker.remotes.protocol import Capabilities, Space
from broker.remotes.witness import Witness
from broker.telling import tell

CAPABILITIES = Capabilities(owners=True, hard_links=True, extended_attributes=True, special_files=True, holes=True)


def open_embedded(where: Embedded, environ: Mapping[str, str]) -> Client:
    """Blocks. DriveError and OSError."""
    if not os.path.lexists(where.key):
        with _alone(where):
            if not os.path.lexists(where.key):
                asyncio.run(_create(where))
    identity = load_identity(where.key, Passphrases(environ, where.passphrase_file).existing)
    store = asyncio.run(_open(where, identity))
    reserve = Reserve(where.folder)
    reserve.fill()
    blobs = open_blobs(where.blobs)
    core = Core(store.for_user(identity.user_id), blobs, Memory(where.memory), spend=reserve.spend)
    root = home_of(core.walk, identity)

    async def room() -> Space:
        return _room(where.folder)

    home = DriveRemote(core, root, CAPABILITIES, room)
    changes = store.database.changes()
    witness = None if changes is None else Witness(memory=changes)
    return Client(identity, core, root, home, Owning(home, core, store.close, witness), store=store)


@contextlib.contextmanager
def _alone(where: Embedded) -> Iterator[None]:
    """While no other session makes the same drive."""
    for folder in (where.folder, os.path.dirname(where.key)):
        make_private(folder)
    lock = os.open(where.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


async def _create(where: Embedded) -> None:
    """A key file, and then its user: in this order, since a user without a key could never be reached."""
    store = await open_store(where.metadata, create=True)
    blobs = open_blobs(where.blobs)
    try:
        await belonging.require(store.database, blobs)
        if await store.accounts.any():
            raise KeyringError(
                f"there is a drive in {where.folder}, but its key {where.key} is gone: put a copy of it there, "
                "restore it with seccomp-drive key recover, or move the folder away for a new drive"
            )
        identity = new_identity(_name(), "", await store.accounts.server_id())
        create_key_file(where.key, identity, None)
        await _register(store, identity)
    finally:
        await blobs.close()
        await store.close()
    tell(f"made an encrypted drive in {where.folder}; keep a copy of its key, {where.key}: without it all is lost")


async def _open(where: Embedded, identity: Identity) -> SqlStore:
    """The store, in which the user is registered if that was interrupted."""
    store = await open_store(where.metadata, signed=None, at_once=True)
    try:
        if not await store.for_user(identity.user_id).nodes([identity.home]):
            await _register(store, identity)
    except BaseException:
        await store.close()
        raise
    return store


async def _register(store: SqlStore, identity: Identity) -> None:
    await store.accounts.register(identity.record.encode(), new_home(identity, os.getuid(), os.getgid()))


def _name() -> str:
    """Of the user who makes it."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = ""
    return name if valid_user_name(name) else "me"


def _room(folder: str) -> Space:
    room = os.statvfs(folder)
    unit = room.f_frsize
    return Space(room.f_blocks * unit, room.f_bfree * unit, room.f_bavail * unit, room.f_files, room.f_ffree)
