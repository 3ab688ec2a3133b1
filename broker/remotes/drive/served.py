"""A user's drive behind a server: opened with a key file, or made there by registering."""

from __future__ import annotations

import os
from collections.abc import Mapping

from broker.drive.errors import Denied, NameTaken, Unusable
from broker.drive.format.identity import Identity, new_identity
from broker.drive.http.accounts import register
from broker.drive.http.blobs import HttpBlobs
from broker.drive.http.connection import Connection, Options
from broker.drive.http.metadata import HttpMetadata
from broker.drive.http.origins import on_loopback
from broker.drive.keyring import KeyringError, create_key_file, load_identity
from broker.drive.metadata.protocol import Usage
from broker.drive.passphrases import Passphrases
from broker.remotes.drive.clients import Client, Owning
from broker.remotes.drive.core import Core
from broker.remotes.drive.home import new_home
from broker.remotes.drive.locations import Served
from broker.remotes.drive.memory import Memory
from broker.remotes.drive.remote import DriveRemote
from broker.remotes.drive.roots import Root, home_of
from broker.remotes.drive.shares import Shares
from broker.remotes.drive.view import ViewRemote
from broker.remotes.protocol import Capabilities, Space
from broker.telling import Once, tell

CAPABILITIES = Capabilities(hard_links=True, extended_attributes=True, holes=True)
"""Owners are numbers of one machine, and a device of another one is nothing here."""

_VAST = 1 << 50
"""Bytes, and nodes, that are said to be there where nothing limits them."""


def open_served(where: Served, environ: Mapping[str, str]) -> Client:
    """Nothing is sent yet. DriveError and OSError."""
    identity = load_identity(where.key, Passphrases(environ, where.passphrase_file).existing)
    connection = Connection(where.origin, identity, Options(ca=where.ca, insecure=where.insecure, tell=tell))
    if identity.server != connection.origin:
        raise KeyringError(
            f"the key {where.key} is for the server {identity.server}, not {connection.origin}: give another with key"
        )
    core = Core(HttpMetadata(connection), HttpBlobs(connection), Memory(where.memory), home=identity.home)
    root = home_of(core.walk, identity)

    async def room() -> Space:
        return _share(await core.store.usage())

    def tree(root: Root) -> DriveRemote:
        return DriveRemote(core, root, CAPABILITIES, room)

    home = tree(root)
    shares = Shares(core, identity, root, Once())
    view = ViewRemote(identity.name.encode(), home, shares, tree, where.below)
    return Client(identity, core, root, home, Owning(view, core, connection.close), view=view)


async def join(where: Served, name: str, invitation: str | None, passphrases: Passphrases | None) -> Identity:
    """Register `name` with the server. The key file is on disk before the server knows of it; one that an earlier
    attempt has left is used. It is protected by what `passphrases` asks for."""
    connection = Connection(where.origin, None, Options(ca=where.ca, insecure=where.insecure, tell=tell))
    try:
        about = await connection.server()
        if on_loopback(about.origin) and not on_loopback(where.origin):
            raise Unusable(
                f"the server takes itself for one at {about.origin}, where only its own machine can reach it: "
                f"whoever runs it must give serve --origin {where.origin} before anybody registers"
            )
        if os.path.lexists(where.key):
            identity = load_identity(where.key, Passphrases(file=where.passphrase_file).existing)
            made = False
        else:
            identity = new_identity(name, about.origin, about.server_id)
            create_key_file(where.key, identity, passphrases.for_new() if passphrases else None)
            made = True
        if (identity.name, identity.server_id, identity.server) != (name, about.server_id, about.origin):
            raise KeyringError(
                f"{where.key} is the key of {identity.name} on {identity.server}: choose another place with --key"
            )
        try:
            await register(connection, identity.record.encode(), new_home(identity), invitation)
        except (NameTaken, Denied):
            if made:
                os.unlink(where.key)
            raise
        return identity
    finally:
        await connection.close()


def _share(usage: Usage) -> Space:
    """What a user may have of a server."""
    bytes_limit, nodes_limit = usage.bytes_limit or _VAST, usage.nodes_limit or _VAST
    free = max(bytes_limit - usage.bytes, 0)
    return Space(bytes_limit, free, free, nodes_limit, max(nodes_limit - usage.nodes, 0))
