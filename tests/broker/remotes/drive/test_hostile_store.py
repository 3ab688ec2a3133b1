"""A store that has everything and lies, or is damaged: the path is refused with EIO, and the rest is not affected."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence

import pytest
from msgspec.structs import replace

from broker.drive.errors import Tampered
from broker.drive.format.bodies import Body
from broker.drive.format.chunks import CHUNK
from broker.drive.format.entries import seal_entry, tombstone
from broker.drive.format.identity import new_identity
from broker.drive.format.keys import NodeKeys, name_token, new_node_keys
from broker.drive.format.nodes import open_node, seal_node
from broker.drive.records import Entry, Kind, NodeId, Token
from broker.errors import errno_of
from broker.remotes.drive.places import Held
from broker.remotes.protocol import BadAnswer, Changes, VersionChanged

from ..helpers import NOTHING, content_of, names_in, put, replaced
from .drives import Drive, drive


async def filled() -> Drive:
    """Two files in a folder, one long and one short, and one file beside it."""
    own = drive()
    await own.remote.mkdir(b"d", NOTHING)
    await put(own.remote, b"d/long", os.urandom(2 * CHUNK + 100))
    await put(own.remote, b"d/short", b"some text")
    await put(own.remote, b"other", b"unaffected")
    return own


def another(own: Drive) -> Drive:
    """A client that has seen nothing before."""
    return drive(own.identity, own.store, own.blobs)


def keys_of(own: Drive, path: bytes) -> NodeKeys:
    """As the honest client has opened them."""
    keys = own.identity.home_keys(1)
    folder = own.identity.home
    for name in path.split(b"/"):
        entry, opened, _ = own.core.walk._opened[folder, name_token(keys, name)]
        assert entry.child
        folder, keys = entry.child, opened.keys
    return keys


def entry_key(own: Drive, path: bytes) -> tuple[NodeId, Token]:
    head, _, name = path.rpartition(b"/")
    parent = own.identity.home if not head else own.core.walk._opened[entry_key(own, head)][0].child
    assert parent
    return parent, name_token(keys_of(own, head) if head else own.identity.home_keys(1), name)


def id_of(own: Drive, path: bytes) -> NodeId:
    child = own.store.entries[entry_key(own, path)].child
    assert child
    return child


async def refused(own: Drive, path: bytes, attempt: Callable[[Drive], Awaitable[object]] | None = None) -> None:
    """A fresh client is told that `path` is wrong, as EIO, and reads what is beside it."""
    client = another(own)
    with pytest.raises(BadAnswer) as caught:
        await (attempt(client) if attempt else content_of(client.remote, path))
    assert caught.value.path == path
    assert os.strerror(errno_of(caught.value)) == os.strerror(5)
    assert await content_of(client.remote, b"other") == b"unaffected"


async def test_a_damaged_chunk() -> None:
    """One flipped bit in one blob, a blob cut off, an empty one, and one that is another's."""
    own = await filled()
    first, second = list(own.blobs.blobs)[:2]
    good = own.blobs.blobs[first]
    for bad in (
        bytes([good[0] ^ 1]) + good[1:],
        good[:-1] + bytes([good[-1] ^ 1]),
        good[:-1],
        b"",
        own.blobs.blobs[second],
    ):
        own.blobs.blobs[first] = bad
        await refused(own, b"d/long")
    own.blobs.blobs[first] = good
    assert len(await content_of(another(own).remote, b"d/long")) == 2 * CHUNK + 100


async def test_a_missing_chunk() -> None:
    """The blob is gone, or the store does not know of it."""
    own = await filled()
    row = own.store.rows[id_of(own, b"d/long")]
    chunks, row.chunks = row.chunks, row.chunks[1:]
    await refused(own, b"d/long")
    row.chunks = chunks
    del own.blobs.blobs[chunks[0].blob]
    await refused(own, b"d/long")


async def test_damaged_rows() -> None:
    """Each sealed field of a node and of an entry, with one bit flipped: the path is named, the rest is read."""
    own = await filled()
    row = own.store.rows[id_of(own, b"d/short")]
    good = row.node
    for field in ("body", "signature", "commitment", "verify_key"):
        value = bytearray(getattr(good, field))
        value[len(value) // 2] ^= 4
        row.node = replace(good, **{field: bytes(value)})
        await refused(own, b"d/short")
    row.node = good
    content, row.content = row.content, row.content[:-1] + bytes([row.content[-1] ^ 1])
    await refused(own, b"d/short")
    row.content = content
    key = entry_key(own, b"d/short")
    entry = own.store.entries[key]
    for field in ("sealed", "sealed_seed", "signature"):
        value = bytearray(getattr(entry, field))
        value[len(value) // 2] ^= 4
        own.store.entries[key] = replace(entry, **{field: bytes(value)})
        await refused(own, b"d/short")
    own.store.entries[key] = entry
    assert await content_of(another(own).remote, b"d/short") == b"some text"


async def test_a_listing_with_a_damaged_row_is_an_error() -> None:
    """Not a listing without that name: `rm -r` and `cp -r` would take it for complete."""
    own = await filled()
    row = own.store.rows[id_of(own, b"d/short")]
    row.node = replace(row.node, body=row.node.body[:-1])
    await refused(own, b"d", lambda client: names_in(client.remote, b"d"))


async def test_swapped_nodes_and_entries() -> None:
    """A name may not lead to another file's node, nor a node be another's, nor an entry stand in another folder."""
    own = await filled()
    short, other = entry_key(own, b"d/short"), entry_key(own, b"other")
    honest = own.store.entries[short]
    swaps: list[Entry] = [
        replace(honest, child=id_of(own, b"other")),
        own.store.entries[other],
        replace(own.store.entries[other], parent=honest.parent, token=honest.token),
        replace(honest, version=honest.version + 1),
        replace(honest, epoch=2),
    ]
    for swap in swaps:
        own.store.entries[short] = swap
        await refused(own, b"d/short")
    own.store.entries[short] = honest
    rows = own.store.rows
    mine, theirs = rows[id_of(own, b"d/short")], rows[id_of(own, b"other")]
    honest_node = mine.node
    for node in (
        replace(theirs.node, id=mine.node.id),
        replace(mine.node, version=9),
        replace(mine.node, inline=False),
    ):
        mine.node = node
        await refused(own, b"d/short")
    mine.node = honest_node


async def test_an_old_version_in_a_new_row() -> None:
    """Body, content or chunks of a version before, under the present version number."""
    own = await filled()
    row = own.store.rows[id_of(own, b"d/short")]
    old = replace(row)
    await replaced(own.remote, b"d/short", b"new text!", await own.remote.stat(b"d/short"))
    for change in ({"node": replace(old.node, version=row.node.version)}, {"content": old.content}):
        good = replace(row)
        for field, value in change.items():
            setattr(row, field, value)
        await refused(own, b"d/short")
        for field in change:
            setattr(row, field, getattr(good, field))
    assert await content_of(another(own).remote, b"d/short") == b"new text!"


async def test_a_reader_and_the_server_together_forge_nothing() -> None:
    """With the read keys of folder and file, but without a seed: neither content nor a name is taken."""
    own = await filled()
    keys, folder = keys_of(own, b"d/short"), keys_of(own, b"d")
    row = own.store.rows[id_of(own, b"d/short")]
    honest = row.node
    body = open_node(honest, keys, verify=True)
    mine = new_node_keys()
    pretended = NodeKeys(keys.read, mine.verify, mine.seed)
    forged = seal_node(honest.id, honest.kind, honest.version + 1, 1, pretended, replace(body, size=4), inline=True)
    for node in (forged, replace(forged, verify_key=keys.verify)):
        row.node = node
        await refused(own, b"d/short")
    row.node = honest
    made = seal_node(NodeId(os.urandom(16)), honest.kind, 1, 1, mine, Body(0o100644, 1, 1))
    own.store.rows[made.id] = replace(row, node=made)
    key = entry_key(own, b"d/short")
    writer = new_node_keys()
    entry = seal_entry(key[0], NodeKeys(folder.read, writer.verify, writer.seed), 2, 1, b"short", made.id, mine)
    own.store.entries[key] = entry
    await refused(own, b"d/short")


async def test_a_removal_that_no_writer_has_signed() -> None:
    """A tombstone of the store's own, or of a reader's, is refused, and not taken for a name that is gone; so is a
    name without what it leads to."""
    own = await filled()
    key = entry_key(own, b"d/short")
    honest, folder, mine = own.store.entries[key], keys_of(own, b"d"), new_node_keys()
    pretended = NodeKeys(folder.read, mine.verify, mine.seed)
    for forged in (
        Entry(*key, honest.version + 1, 1, None),
        tombstone(key[0], pretended, honest.version + 1, 1, key[1]),
    ):
        own.store.entries[key] = forged
        await refused(own, b"d/short")
        await refused(own, b"d/short", lambda client: client.remote.mkdir(b"d/short", NOTHING))
    own.store.entries[key] = honest
    lookup = own.store.lookup

    async def cut(names: Sequence[tuple[NodeId, Token]]) -> object:
        return [(found[0], None) if found and found[0] == honest else found for found in await lookup(names)]

    own.store.lookup = cut  # type: ignore[method-assign,assignment]
    await refused(own, b"d/short")


async def test_a_home_said_to_have_other_keys() -> None:
    """Under the keys of an epoch that never was, all names would seem to be gone: it is refused, as is an impossible
    one."""
    own = await filled()
    row = own.store.rows[own.identity.home]
    for epoch in (2, -1, 1 << 64):
        row.node = replace(row.node, epoch=epoch)
        for attempt in (
            lambda client: client.remote.stat(b"other"),
            lambda client: names_in(client.remote, b""),
            lambda client: client.remote.mkdir(b"new", NOTHING),
        ):
            with pytest.raises(BadAnswer):
                await attempt(another(own))


async def test_what_one_tree_has_checked_is_checked_again_in_another() -> None:
    """A reader who says that the folder is his, with his own verify key, cannot have a name or a node taken that its
    owner has not signed, though it was opened under that key before."""
    own = await filled()
    folder = (await own.remote.places.place(b"d")).required()
    short = (await own.remote.places.place(b"d/short")).required()
    mine = new_node_keys()
    forger = NodeKeys(folder.keys.read, mine.verify, mine.seed)
    entry = seal_entry(folder.id, forger, 2, 1, b"short", short.id, NodeKeys(short.keys.read, mine.verify, mine.seed))
    own.core.walk.open(Held(folder.stored, forger), entry)
    with pytest.raises(Tampered):
        own.core.walk.open(folder, entry)
    body = own.core.bodies.open(short)
    keys = NodeKeys(short.keys.read, mine.verify, mine.seed)
    forged = Held(replace(short.stored, node=seal_node(short.id, Kind.OTHER, 2, 1, keys, body, inline=True)), keys)
    own.core.bodies.open(forged)
    with pytest.raises(Tampered):
        own.core.bodies.open(Held(forged.stored, short.keys))


async def test_a_wrong_key() -> None:
    """The key file of another drive: nothing opens, and nothing is written."""
    own = await filled()
    stranger = new_identity("mallory", "", b"server")
    own.store.rows[stranger.home] = own.store.rows[own.identity.home]
    client = drive(stranger, own.store, own.blobs)
    for attempt in (
        client.remote.stat(b""),
        names_in(client.remote, b""),
        client.remote.set_attributes(b"", Changes(mode=0o777)),
        client.remote.stat(b"other"),
        client.remote.mkdir(b"new", NOTHING),
    ):
        with pytest.raises(BadAnswer):
            await attempt
    assert await content_of(another(own).remote, b"other") == b"unaffected"


async def test_a_folder_that_is_said_to_be_a_file() -> None:
    """The store knows kinds in the clear; the body says them, too."""
    own = await filled()
    row = own.store.rows[id_of(own, b"d")]
    row.node = replace(row.node, kind=row.node.kind.__class__(0))
    await refused(own, b"d", lambda client: client.remote.stat(b"d"))


async def test_content_is_not_read_after_it_was_found_damaged() -> None:
    """The version asked for is the one that is checked: a swap between two reads is VersionChanged, not a mixture."""
    own = await filled()
    at = await own.remote.stat(b"d/long")
    await replaced(another(own).remote, b"d/long", os.urandom(3 * CHUNK), at)
    with pytest.raises(VersionChanged):
        await own.remote.read(b"d/long", at.version, 0, 10)
