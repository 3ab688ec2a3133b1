"""What is not exactly what a writer has made for this very place does not open."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from broker.drive.errors import Damaged, Denied, Malformed, Tampered, WrongKey
from broker.drive.format.bodies import Body
from broker.drive.format.chunks import CHUNK, chunk_id, open_chunk, seal_chunk
from broker.drive.format.commits import entry_is_signed, node_is_signed, signed_part
from broker.drive.format.entries import check_entry, open_entry, seal_entry, tombstone
from broker.drive.format.identity import new_identity
from broker.drive.format.keys import NodeKeys, name_token, new_node_keys
from broker.drive.format.manifest import Content, Ref, Refs, open_leaf, seal_leaf
from broker.drive.format.nodes import open_node, seal_node
from broker.drive.format.sealing import seal
from broker.drive.records import Entry, Kind, Node, NodeId
from tests.broker.drive.format.altering import altered, flipped, shortened

NODE, OTHER, PARENT = NodeId(b"n" * 16), NodeId(b"o" * 16), NodeId(b"p" * 16)
BODY = Body(0o100644, 1, 2, 3, content=Content({1: b"k" * 32}, Refs.of({0: Ref(b"i" * 32, 1)})))
SERVER = b"s" * 16


@pytest.fixture(scope="module")
def keys() -> NodeKeys:
    return new_node_keys()


@pytest.fixture(scope="module")
def node(keys: NodeKeys) -> Node:
    return seal_node(NODE, Kind.OTHER, 3, 2, keys, BODY)


@pytest.fixture(scope="module")
def entry(keys: NodeKeys) -> Entry:
    return seal_entry(PARENT, keys, 3, 2, b"name", NODE, new_node_keys())


def test_every_change_of_a_node(node: Node, keys: NodeKeys) -> None:
    """A changed bit, length, version, epoch or kind of a node is noticed where signatures are checked."""
    for changed in altered(node):
        with pytest.raises((Tampered, WrongKey)):
            open_node(changed, keys, verify=True)
        assert not node_is_signed(changed)


def test_every_change_of_a_node_in_a_listing(node: Node, keys: NodeKeys) -> None:
    """Without a look at the signature, all that is used is still noticed: a server alone can change nothing."""
    for changed in altered(node, "signature", "commitment", "verify_key"):
        with pytest.raises(Damaged):
            open_node(changed, keys, verify=False)


def test_every_change_of_an_entry(entry: Entry, keys: NodeKeys) -> None:
    """The same for an entry, whose signature also covers the child's seed."""
    for changed in altered(entry):
        with pytest.raises(Tampered):
            open_entry(changed, keys, verify=True)


def test_every_change_of_an_entry_in_a_listing(entry: Entry, keys: NodeKeys) -> None:
    """And without a look at the signature."""
    for changed in altered(entry, "signature"):
        with pytest.raises(Damaged):
            open_entry(changed, keys, verify=False)


def test_every_change_of_a_tombstone(keys: NodeKeys) -> None:
    """Only a writer can say that a name is gone."""
    gone = tombstone(PARENT, keys, 4, 2, name_token(keys, b"name"))
    check_entry(gone, keys)
    for changed in altered(gone, "child"):
        with pytest.raises(Tampered):
            check_entry(changed, keys)
    with pytest.raises(Tampered):
        check_entry(replace(gone, child=NODE), keys)


def test_a_removal_that_nobody_made(entry: Entry, keys: NodeKeys) -> None:
    """The server cannot make a tombstone of an entry."""
    with pytest.raises(Tampered):
        check_entry(replace(entry, child=None, sealed=b"", sealed_seed=b""), keys)


def test_every_change_of_a_chunk() -> None:
    """Any bit, any length; also of the id, of the place and of the size."""
    key, plaintext = os.urandom(32), os.urandom(300)
    id = chunk_id(key, 5, plaintext)
    sealed = bytes(seal_chunk(key, NODE, id, plaintext))
    for changed in (*flipped(sealed), *shortened(sealed), sealed + b"\0"):
        with pytest.raises(Damaged):
            open_chunk(key, NODE, 5, id, changed, 300)
    for changed in flipped(id):
        with pytest.raises(Damaged):
            open_chunk(key, NODE, 5, changed, sealed, 300)
    for size in (0, 299, 301, CHUNK):
        with pytest.raises((Damaged, Tampered)):
            open_chunk(key, NODE, 5, id, sealed, size)


def test_a_chunk_of_another_version_file_or_index() -> None:
    """What was sealed under the same content key opens as nothing else."""
    key, old, new = os.urandom(32), b"old" * 100, b"new" * 100
    old_id, new_id = chunk_id(key, 5, old), chunk_id(key, 5, new)
    sealed = seal_chunk(key, NODE, old_id, old)
    for place, index, id in ((NODE, 5, new_id), (OTHER, 5, old_id), (NODE, 4, chunk_id(key, 4, old))):
        with pytest.raises(Damaged):
            open_chunk(key, place, index, id, sealed, 300)
    with pytest.raises(Tampered):
        open_chunk(key, NODE, 4, old_id, sealed, 300)
    with pytest.raises(Damaged):
        open_chunk(os.urandom(32), NODE, 5, old_id, sealed, 300)


def test_a_chunk_that_is_not_what_its_id_says() -> None:
    """Who has the content key cannot put another plaintext under an id that is signed."""
    key = os.urandom(32)
    id = chunk_id(key, 0, b"signed")
    with pytest.raises(Tampered):
        open_chunk(key, NODE, 0, id, seal_chunk(key, NODE, id, b"forged"), 6)


def test_a_leaf_in_another_place() -> None:
    """A leaf of the chunk list is no chunk, and no other leaf."""
    key, refs = os.urandom(32), Refs.of({4096: Ref(b"i" * 32, 1)})
    id, sealed = seal_leaf(key, NODE, 1, refs)
    assert open_leaf(key, NODE, 1, id, sealed) == refs
    with pytest.raises(Tampered):
        open_leaf(key, NODE, 2, id, sealed)
    with pytest.raises(Tampered):
        open_chunk(key, NODE, 1, id, sealed, len(sealed) - 17)
    wrong_id, wrong = seal_leaf(key, NODE, 0, refs)
    with pytest.raises(Damaged):
        open_leaf(key, NODE, 0, wrong_id, wrong)
    with pytest.raises(Damaged):
        open_leaf(key, NODE, 0, wrong_id, b"")


def test_an_old_node_under_a_new_version(keys: NodeKeys) -> None:
    """A server that answers with what was there before has to say so; the client remembers versions."""
    old = seal_node(NODE, Kind.OTHER, 3, 2, keys, BODY)
    new = seal_node(NODE, Kind.OTHER, 4, 2, keys, BODY)
    for forged in (replace(old, version=4), replace(new, body=old.body), replace(old, version=4, body=new.body)):
        with pytest.raises(Tampered):
            open_node(forged, keys, verify=True)
        with pytest.raises(Damaged):
            open_node(replace(old, version=4), keys, verify=False)


def test_an_old_entry_and_a_re_created_name(keys: NodeKeys) -> None:
    """After a name was removed and made again, the first entry is not taken for the second."""
    first = seal_entry(PARENT, keys, 1, 1, b"name", NODE, new_node_keys())
    second = seal_entry(PARENT, keys, 3, 1, b"name", OTHER, new_node_keys())
    assert first.token == second.token
    for forged in (replace(first, version=3), replace(second, child=NODE), replace(second, sealed=first.sealed)):
        with pytest.raises(Tampered):
            open_entry(forged, keys, verify=True)
        with pytest.raises(Damaged):
            open_entry(forged, keys, verify=False)


def test_a_node_whose_keys_have_been_changed(node: Node) -> None:
    """The old keys are told from damage, checked or not, so that the client knows to fetch the new ones."""
    for verify in (True, False):
        with pytest.raises(WrongKey):
            open_node(node, new_node_keys(), verify=verify)


def test_equal_names_in_two_folders_look_different() -> None:
    """Tokens say nothing about names across folders."""
    assert name_token(new_node_keys(), b"name") != name_token(new_node_keys(), b"name")


def test_a_commit_by_a_reader(node: Node, entry: Entry, keys: NodeKeys) -> None:
    """A reader cannot sign; with a signing key of its own, and the server's help, it still is no writer."""
    reader = keys.for_reading
    with pytest.raises(Denied):
        seal_node(NODE, Kind.OTHER, 4, 2, reader, BODY)
    with pytest.raises(Denied):
        seal_entry(PARENT, reader, 4, 2, b"name", NODE, new_node_keys())
    with pytest.raises(Denied):
        tombstone(PARENT, reader, 4, 2, entry.token)
    forger = new_node_keys()
    own = NodeKeys(reader.read, forger.verify, forger.seed)
    forged = seal_node(NODE, Kind.OTHER, 4, 2, own, replace(BODY, size=666))
    for attempt in (forged, replace(forged, verify_key=keys.verify)):
        with pytest.raises(Tampered):
            open_node(attempt, keys, verify=True)
    with pytest.raises(Tampered):
        open_entry(seal_entry(PARENT, own, 4, 2, b"name", NODE, forger), keys, verify=True)


def test_the_seed_needs_the_folder_s_seed(entry: Entry, keys: NodeKeys) -> None:
    """A child's signing key is no further than its folder's: a reader's key does not open it."""
    forger = new_node_keys()
    with pytest.raises(Damaged):
        open_entry(entry, NodeKeys(keys.read, keys.verify, forger.seed), verify=True)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0", b"x" * 256])
def test_a_name_that_cannot_be_one(keys: NodeKeys, name: bytes) -> None:
    """A hostile writer cannot make a client leave its folder, and a client does not make such a name."""
    with pytest.raises(Malformed):
        seal_entry(PARENT, keys, 1, 1, name, NODE, keys)
    honest = seal_entry(PARENT, keys, 1, 1, b"name", NODE, keys)
    place = b"entry" + PARENT + honest.token + NODE + (1).to_bytes(8, "big") * 2
    content = keys.read + keys.verify + bytes([len(name) & 255]) + name
    with pytest.raises((Tampered, Damaged)):
        open_entry(replace(honest, sealed=seal(keys.entry_cipher, place, content)), keys, verify=False)


def test_a_file_that_is_said_to_be_a_folder(keys: NodeKeys) -> None:
    """The kind that the server goes by is that of the mode."""
    with pytest.raises(Tampered):
        open_node(seal_node(NODE, Kind.FOLDER, 1, 1, keys, BODY), keys, verify=True)


def test_what_cannot_be_kept(keys: NodeKeys) -> None:
    """Numbers out of range, and attributes longer than a store takes, are said before anything is sent."""
    with pytest.raises(Malformed):
        seal_node(NODE, Kind.OTHER, 1, 1, keys, replace(BODY, mtime_ns=2**63))
    with pytest.raises(Malformed):
        seal_node(NODE, Kind.OTHER, 1, 1, keys, replace(BODY, xattrs={b"user.long": bytes(1 << 20)}))


def test_nothing_secret_in_what_is_shown(keys: NodeKeys) -> None:
    """Keys do not get into a log or a traceback by way of repr."""
    identity = new_identity("alice", "", SERVER)
    shown = repr((keys, BODY, identity))
    for secret in (keys.read, keys.seed, b"k" * 32, identity.secret):
        assert secret is not None and repr(secret)[2:-1] not in shown


def test_a_node_signed_for_another_use(node: Node, keys: NodeKeys) -> None:
    """Every signed thing has its own label: a signature of one is none of another."""
    gone = tombstone(PARENT, keys, 4, 2, name_token(keys, b"name"))
    assert not entry_is_signed(replace(gone, signature=keys.signer.sign(signed_part(node))), keys.verify)
