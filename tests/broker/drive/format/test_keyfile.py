"""Key files and recovery codes: an identity comes back whole, and whatever is wrong with one is said."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.drive.errors import Damaged, Malformed, Tampered, WrongKey
from broker.drive.format.identity import Identity, new_identity
from broker.drive.format.keyfile import HEADER, Protection, decode_key_file, encode_key_file, lock
from broker.drive.format.recovery import parse_recovery_code, recover_identity, recovery_code

CHEAP = Protection(b"salt" * 4, memory=64, iterations=1, lanes=1)
"""Argon2id with costs that only a test can want."""


def _identity() -> Identity:
    return new_identity("alice", "https://drive.example", os.urandom(16))


def test_in_the_clear() -> None:
    """Without a passphrase the file alone is enough."""
    identity = _identity()
    assert decode_key_file(encode_key_file(lock(identity, None))).unlock() == identity


@given(st.text(min_size=1, max_size=40))
def test_under_a_passphrase(passphrase: str) -> None:
    """The passphrase opens it, another does not, and the file does not contain the secret."""
    identity = _identity()
    file = lock(identity, passphrase, CHEAP)
    assert identity.secret not in file.secret
    decoded = decode_key_file(encode_key_file(file))
    assert decoded.record == identity.record and decoded.server == identity.server
    assert decoded.unlock(passphrase) == identity
    with pytest.raises(WrongKey):
        decoded.unlock(passphrase + "x")
    with pytest.raises(WrongKey):
        decoded.unlock()


def test_a_passphrase_typed_on_another_system() -> None:
    """A letter with an accent is one letter, or a letter and an accent, depending on the keyboard: both open it."""
    identity = _identity()
    assert lock(identity, "caf\u00e9", CHEAP).unlock("cafe\u0301") == identity


@pytest.mark.parametrize("passphrase", [None, "secret"])
def test_whatever_is_damaged_is_noticed(passphrase: str | None) -> None:
    """Cut off anywhere, or with any letter changed, it is Damaged: never taken for a wrong passphrase."""
    data = encode_key_file(lock(_identity(), passphrase, CHEAP))
    for length in range(len(data) - 1):
        with pytest.raises(Damaged):
            decode_key_file(data[:length])
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        if changed[len(HEADER) :].split() != data[len(HEADER) :].split():
            with pytest.raises(Damaged):
                decode_key_file(changed)


def test_the_public_part_of_another_identity() -> None:
    """Nobody can put their own name and keys beside the owner's secret."""
    one, other = lock(_identity(), None), lock(_identity(), None)
    mixed = decode_key_file(encode_key_file(type(one)(other.record, other.server, None, one.secret)))
    with pytest.raises(Damaged):
        mixed.unlock()


def test_a_file_that_asks_for_all_memory() -> None:
    """The costs in a file are limits for us, too."""
    file = lock(_identity(), "secret", CHEAP)
    greedy = Protection(CHEAP.salt, memory=64 << 20)
    with pytest.raises(Damaged, match="1 GiB"):
        decode_key_file(encode_key_file(type(file)(file.record, file.server, greedy, file.secret)))


def test_a_record_that_another_key_has_signed() -> None:
    """The public part is checked before anything is done with it."""
    file = lock(_identity(), None)
    record = type(file.record)(
        "mallory", file.record.server_id, file.record.verify_key, file.record.receive_key, file.record.signature
    )
    with pytest.raises(Tampered):
        decode_key_file(encode_key_file(type(file)(record, file.server, None, file.secret)))


@given(st.binary(min_size=20, max_size=20))
def test_a_recovery_code_is_typed_again(secret: bytes) -> None:
    """In small letters, with spaces, and with digits for the letters that look like them."""
    code = recovery_code(secret)
    assert parse_recovery_code(code) == secret
    typed = code.lower().replace("-", " ").replace("o", "0").replace("b", "8").replace("i", "1")
    assert parse_recovery_code(typed) == secret


@given(st.binary(min_size=20, max_size=20), st.integers(0, 35), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_a_wrong_letter_in_a_recovery_code(secret: bytes, at: int, letter: str) -> None:
    """It is noticed before it could make another identity (one wrong code in a million is not)."""
    letters = recovery_code(secret).replace("-", "")
    typed = letters[:at] + letter + letters[at + 1 :]
    if typed != letters:
        with pytest.raises(Malformed, match="a letter"):
            parse_recovery_code(typed)


def test_an_identity_comes_back_from_its_recovery_code() -> None:
    """With the record that the server keeps; that of another user, or under another name, is refused."""
    identity, other = _identity(), _identity()
    secret = parse_recovery_code(recovery_code(identity.secret))
    assert recover_identity(secret, identity.server, identity.record) == identity
    for record in (other.record, replace(identity.record, name="bob")):
        with pytest.raises(WrongKey, match="recovery code"):
            recover_identity(secret, identity.server, record)


@pytest.mark.parametrize("typed", ["", "ABCD", "A" * 35, "A" * 37, "A" * 35 + "!", "é" * 36])
def test_what_is_no_recovery_code(typed: str) -> None:
    """It is said what a code looks like."""
    with pytest.raises(Malformed, match="recovery code"):
        parse_recovery_code(typed)
