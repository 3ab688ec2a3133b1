"""What is sealed opens again, with all that was put in."""

from __future__ import annotations

import os
import stat

from hypothesis import given
from hypothesis import strategies as st

from broker.drive.format.bodies import Body
from broker.drive.format.chunks import CHUNK, CHUNK_OVERHEAD, chunk_id, open_chunk, padded_size, seal_chunk
from broker.drive.format.entries import check_entry, open_entry, seal_entry, tombstone
from broker.drive.format.grants import open_grant, seal_grant
from broker.drive.format.identity import decode_record, fingerprint_text, new_identity, parse_fingerprint
from broker.drive.format.keys import name_token, new_node_keys
from broker.drive.format.manifest import Content, Ref, Refs
from broker.drive.format.nodes import open_node, seal_node
from broker.drive.records import Kind, NodeId, Right

NODE, PARENT = NodeId(b"n" * 16), NodeId(b"p" * 16)

ids = st.binary(min_size=32, max_size=32)
times = st.integers(-(2**63), 2**63 - 1)
ids32 = st.none() | st.integers(0, 2**32 - 1)
refs = st.dictionaries(st.integers(0, 2**43), st.builds(Ref, ids, st.integers(1, 2**32 - 1)), max_size=40)
contents = st.builds(
    Content, st.dictionaries(st.integers(1, 2**32 - 1), ids, min_size=1, max_size=3), refs.map(Refs.of), st.booleans()
)
bodies = st.builds(
    Body,
    mode=st.integers(0, 0o177777).filter(lambda mode: not stat.S_ISDIR(mode)),
    mtime_ns=times,
    atime_ns=times,
    size=st.integers(0, 2**63),
    target=st.none() | st.binary(min_size=1, max_size=4095),
    rdev=st.integers(0, 2**64 - 1),
    uid=ids32,
    gid=ids32,
    xattrs=st.dictionaries(st.binary(max_size=255), st.binary(max_size=200), max_size=3),
    content=st.just(Content()) | contents,
    mtime_changes=st.none() | st.integers(0, 2**63 - 1),
    blocks=st.none() | st.integers(0, 2**63 - 1),
)
names = st.binary(min_size=1, max_size=255).filter(
    lambda name: name not in (b".", b"..") and not set(name) & set(b"/\0")
)


@given(bodies, st.integers(1, 2**63), st.integers(1, 2**63), st.booleans())
def test_nodes(body: Body, version: int, epoch: int, inline: bool) -> None:
    """A reader gets every attribute back, and sees that a writer has signed them."""
    keys = new_node_keys()
    node = seal_node(NODE, Kind.OTHER, version, epoch, keys, body, inline=inline)
    assert open_node(node, keys.for_reading, verify=True) == body
    assert open_node(node, keys.for_reading, verify=False) == body


@given(names)
def test_entries(name: bytes) -> None:
    """A reader of the folder gets name and read key, a writer also the seed."""
    parent, child = new_node_keys(), new_node_keys()
    entry = seal_entry(PARENT, parent, 3, 2, name, NODE, child)
    assert entry.token == name_token(parent, name)
    assert open_entry(entry, parent, verify=True).name == name
    assert open_entry(entry, parent, verify=False).keys == child
    assert open_entry(entry, parent.for_reading, verify=True).keys == child.for_reading
    check_entry(tombstone(PARENT, parent, 4, 2, entry.token), parent.for_reading)


@given(st.integers(0, 5000) | st.integers(CHUNK - 3, CHUNK), st.integers(0, 2**43))
def test_chunks(size: int, index: int) -> None:
    """Any length up to a whole chunk comes back, and only its padded size shows."""
    key, plaintext = os.urandom(32), os.urandom(size)
    id = chunk_id(key, index, plaintext)
    sealed = seal_chunk(key, NODE, id, plaintext)
    assert len(sealed) == padded_size(size) + CHUNK_OVERHEAD <= CHUNK + CHUNK_OVERHEAD
    assert open_chunk(key, NODE, index, id, sealed, size) == plaintext


@given(names, st.sampled_from(Right))
def test_grants(name: bytes, right: Right) -> None:
    """The grantee gets the keys, and the seed only with the right to write."""
    server_id = os.urandom(16)
    alice, bob = new_identity("alice", "", server_id), new_identity("bob", "", server_id)
    keys = new_node_keys()
    granted = open_grant(seal_grant(alice, bob.record, NODE, keys, right, 7, name), bob, alice.record)
    assert granted.name == name
    assert granted.keys == (keys if right is Right.WRITE else keys.for_reading)


def test_identities() -> None:
    """A record says who it is; its fingerprint can be written down and typed."""
    identity = new_identity("älice", "https://drive.example", os.urandom(16))
    record = decode_record(identity.record.encode(), identity.user_id)
    assert record == identity.record and record.name == "älice"
    text = fingerprint_text(identity.user_id)
    assert parse_fingerprint(text.lower().replace("-", " ")) == identity.user_id
