"""A login is signed for one challenge of one server, and counts nowhere else."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from broker.drive.errors import Malformed
from broker.drive.format.auth import login_is_signed, sign_login
from broker.drive.format.identity import new_identity
from tests.broker.drive.format.altering import flipped, shortened

ORIGIN, SERVER, NONCE, EXPIRES = "https://drive.example", b"s" * 16, b"n" * 32, 1_900_000_000


def test_a_login() -> None:
    """What an identity signs is taken by its own server; a changed bit of it is not."""
    alice = new_identity("alice", ORIGIN, SERVER)
    signature = sign_login(alice, NONCE, EXPIRES)
    challenge = {"origin": ORIGIN, "server_id": SERVER, "nonce": NONCE, "expires": EXPIRES}
    assert login_is_signed(alice.record, signature, **challenge)
    for changed in (*flipped(signature), *shortened(signature)):
        assert not login_is_signed(alice.record, changed, **challenge)


def test_every_other_challenge() -> None:
    """Another nonce, time, origin or server: replayed and relayed challenges are worth nothing."""
    alice = new_identity("alice", ORIGIN, SERVER)
    signature = sign_login(alice, NONCE, EXPIRES)
    challenge = {"origin": ORIGIN, "server_id": SERVER, "nonce": NONCE, "expires": EXPIRES}
    others = {"origin": "https://evil.example", "server_id": b"t" * 16, "nonce": b"m" * 32, "expires": EXPIRES + 1}
    for name, value in others.items():
        assert not login_is_signed(alice.record, signature, **{**challenge, name: value})


@pytest.mark.parametrize("expires", [-1, 1 << 64])
def test_a_challenge_that_ends_at_no_time(expires: int) -> None:
    """It is refused as the server's error, and nothing is signed."""
    with pytest.raises(Malformed):
        sign_login(new_identity("alice", ORIGIN, SERVER), NONCE, expires)


def test_another_user() -> None:
    """Nobody logs in with somebody else's signature, nor under another name with their own."""
    alice, bob = new_identity("alice", ORIGIN, SERVER), new_identity("bob", ORIGIN, SERVER)
    signature = sign_login(alice, NONCE, EXPIRES)
    for record in (bob.record, replace(alice.record, name="bob")):
        assert not login_is_signed(record, signature, origin=ORIGIN, server_id=SERVER, nonce=NONCE, expires=EXPIRES)


def test_a_server_that_relays_a_challenge() -> None:
    """The identity signs for the server in its key file: a challenge that came from elsewhere is answered in vain."""
    alice_here = new_identity("alice", "https://evil.example", os.urandom(16))
    signature = sign_login(alice_here, NONCE, EXPIRES)
    assert not login_is_signed(
        alice_here.record, signature, origin=ORIGIN, server_id=SERVER, nonce=NONCE, expires=EXPIRES
    )
