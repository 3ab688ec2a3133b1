"""Grants and public records that their owner has not signed are refused, and so are those that cannot be made."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from broker.drive.errors import Denied, DriveError, Malformed, Tampered
from broker.drive.format import grants
from broker.drive.format.grants import grant_is_signed, open_grant, seal_grant
from broker.drive.format.identity import PublicRecord, decode_record, new_identity, parse_fingerprint
from broker.drive.format.keys import NodeKeys, new_node_keys
from broker.drive.records import NodeId, Right
from tests.broker.drive.format.altering import altered, flipped, shortened

NODE = NodeId(b"n" * 16)
SERVER = b"s" * 16


@pytest.fixture(scope="module")
def keys() -> NodeKeys:
    return new_node_keys()


def test_every_change_of_a_grant(keys: NodeKeys) -> None:
    """Neither the right nor anything else of a grant can be changed, nor can it be given to somebody else."""
    alice, bob, carol = (new_identity(name, "", SERVER) for name in ("alice", "bob", "carol"))
    grant = seal_grant(alice, bob.record, NODE, keys, Right.READ, 1, b"report")
    assert grant_is_signed(grant, alice.record, bob.record)
    for changed in altered(grant):
        with pytest.raises(Tampered):
            open_grant(changed, bob, alice.record)
    for other in (carol, alice):
        with pytest.raises(Tampered):
            open_grant(grant, other, alice.record)
        with pytest.raises(Tampered):
            open_grant(replace(grant, grantee=other.user_id), other, alice.record)


def test_a_forged_grant(keys: NodeKeys) -> None:
    """Anybody can seal for bob; only alice's signature makes it alice's."""
    alice, bob, server = (new_identity(name, "", SERVER) for name in ("alice", "bob", "mallory"))
    forged = seal_grant(server, bob.record, NODE, keys, Right.WRITE, 1, b"report")
    for attempt in (forged, replace(forged, owner=alice.user_id)):
        with pytest.raises(Tampered):
            open_grant(attempt, bob, alice.record)
    assert open_grant(forged, bob, server.record).keys == keys


def test_a_grant_for_keys_that_the_server_has_put_in_place_of_bob_s(keys: NodeKeys) -> None:
    """The fingerprint that alice got from bob is that of another record."""
    bob, mallory = (new_identity("bob", "", SERVER) for _ in range(2))
    with pytest.raises(Tampered, match="another key for bob"):
        decode_record(mallory.record.encode(), bob.user_id)
    mixed = replace(bob.record, receive_key=mallory.record.receive_key)
    with pytest.raises(Tampered, match="not been signed"):
        decode_record(mixed.encode())


def test_every_change_of_a_public_record() -> None:
    """A record whose name or keys were changed is not that of the fingerprint, and mostly no record at all."""
    record = new_identity("alice", "", SERVER).record
    data = record.encode()
    for changed in (*flipped(data), *shortened(data), data + b"\0"):
        with pytest.raises(DriveError):
            decode_record(changed)


def test_a_grant_for_a_user_of_another_server(keys: NodeKeys) -> None:
    """Grants are of one server, and signed for it."""
    with pytest.raises(Denied):
        seal_grant(
            new_identity("alice", "", SERVER),
            new_identity("bob", "", b"t" * 16).record,
            NODE,
            keys,
            Right.READ,
            1,
            b"r",
        )


def test_a_write_grant_by_who_only_reads(keys: NodeKeys) -> None:
    """It is refused before anything is sealed."""
    alice, bob = new_identity("alice", "", SERVER), new_identity("bob", "", SERVER)
    with pytest.raises(Denied):
        seal_grant(alice, bob.record, NODE, keys.for_reading, Right.WRITE, 1, b"r")


def test_a_record_whose_key_gives_the_same_secret_for_everybody(keys: NodeKeys) -> None:
    """X25519 with a point of low order: everybody could open what is sealed for it."""
    alice, bob = new_identity("alice", "", SERVER), new_identity("bob", "", SERVER)
    weak = PublicRecord("bob", SERVER, bob.record.verify_key, bytes(32), b"")
    with pytest.raises(Tampered):
        seal_grant(alice, weak, NODE, keys, Right.READ, 1, b"r")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", "-rf", "a@b", "a:b", "x" * 65, "a\n", "\ud800"])
def test_who_cannot_be_a_user(name: str) -> None:
    """A user's name is a folder's name in paths and stands before an @."""
    with pytest.raises(Malformed):
        new_identity(name, "", SERVER)


@pytest.mark.parametrize("text", ["", "ABCD", "1" * 52, "A" * 53, "é"])
def test_what_is_no_fingerprint(text: str) -> None:
    """It is said, and not compared."""
    with pytest.raises(Malformed):
        parse_fingerprint(text)


@pytest.mark.parametrize("name", [b"", b"..", b"a/b", b"a\0b", b"x" * 256])
def test_a_share_under_a_name_that_cannot_be_one(
    keys: NodeKeys, name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be a path out of the folder in which the grantee sees it: neither made nor taken."""
    alice, bob = new_identity("alice", "", SERVER), new_identity("bob", "", SERVER)
    with pytest.raises(Malformed):
        seal_grant(alice, bob.record, NODE, keys, Right.READ, 1, name)
    with monkeypatch.context() as hostile:
        hostile.setattr(grants, "is_name", lambda name: True)
        grant = seal_grant(alice, bob.record, NODE, keys, Right.READ, 1, name)
    with pytest.raises(Tampered):
        open_grant(grant, bob, alice.record)
