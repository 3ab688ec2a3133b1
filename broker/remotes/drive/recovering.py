"""A key file made anew from the recovery code, once the drive has shown that it is the right one."""

from __future__ import annotations

from broker.drive.errors import DriveError, Missing, Unauthenticated, WrongKey
from broker.drive.format.identity import Identity
from broker.drive.keyring import create_key_file
from broker.drive.metadata.protocol import MetadataStore
from broker.drive.passphrases import Passphrases
from broker.remotes.drive.locations import Embedded, Served


async def recover(where: Embedded | Served, name: str, secret: bytes, passphrases: Passphrases | None) -> Identity:
    """The identity of `name` with that secret; its key file is new. WrongKey when the drive has no such user."""
    identity = await (_of_server(where, name, secret) if isinstance(where, Served) else _of_file(where, name, secret))
    create_key_file(where.key, identity, passphrases.for_new() if passphrases else None)
    return identity


async def _of_server(where: Served, name: str, secret: bytes) -> Identity:
    from broker.drive.http.connection import Connection, Options
    from broker.drive.http.metadata import HttpMetadata

    options = Options(ca=where.ca, insecure=where.insecure)
    stranger = Connection(where.origin, None, options)
    try:
        about = await stranger.server()
    finally:
        await stranger.close()
    identity = Identity(secret, name, about.origin, about.server_id)
    connection = Connection(where.origin, identity, options)
    try:
        return await _known(HttpMetadata(connection), identity)
    finally:
        await connection.close()


async def _of_file(where: Embedded, name: str, secret: bytes) -> Identity:
    from broker.drive.metadata.store import open_store

    store = await open_store(where.metadata)
    try:
        identity = Identity(secret, name, "", await store.accounts.server_id())
        return await _known(store.for_user(identity.user_id), identity)
    finally:
        await store.close()


async def _known(store: MetadataStore, identity: Identity) -> Identity:
    """The identity, if its home is there."""
    try:
        found: DriveError | None = None if await store.nodes([identity.home]) else Missing("no such user")
    except (Missing, Unauthenticated) as error:
        found = error
    if found is not None:
        raise WrongKey(f"the recovery code is not that of {identity.name} on this drive: check both") from found
    return identity
