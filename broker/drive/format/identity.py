"""Identities: who a user is on one server, and the public record that others know them by."""

from __future__ import annotations

import hmac
import os
from base64 import b32decode, b32encode
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import Struct

from broker.drive.errors import Damaged, Malformed, Tampered
from broker.drive.format.commits import signed_by
from broker.drive.format.fields import join, split
from broker.drive.format.keys import NodeKeys, node_keys
from broker.drive.format.sealing import FORMAT, expand, unknown_format
from broker.drive.records import NodeId, UserId

SECRET_SIZE = 20
"""Random bytes from which all keys of an identity follow: 160 bits, so that the recovery code stays short."""

USER_NAME_MAX = 64


class PublicRecord(Struct, frozen=True):
    """Name, server and both public keys, signed by the first of them."""

    name: str
    server_id: bytes
    verify_key: bytes
    """Ed25519, 32 bytes."""
    receive_key: bytes
    """X25519, 32 bytes."""
    signature: bytes

    def encode(self) -> bytes:
        return FORMAT + join(self.name.encode(), self.server_id, self.verify_key, self.receive_key, self.signature)

    @property
    def user_id(self) -> UserId:
        """The fingerprint: SHA-256 of the whole record."""
        return UserId(sha256(self.encode()).digest())


@dataclass(frozen=True)
class Identity:
    """One user on one server. All keys are derived from `secret`, of which a recovery code can be made."""

    secret: bytes = field(repr=False)
    name: str
    server: str
    """The server's public origin, such as ``https://drive.example.org``; empty for an embedded drive."""
    server_id: bytes

    @cached_property
    def _root(self) -> bytes:
        """HKDF-Extract (RFC 5869, 2.2): the secret is shorter than a key."""
        return hmac.digest(b"seccomp-drive identity", self.secret, "sha256")

    @cached_property
    def signer(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(expand(self._root, b"sign"))

    @cached_property
    def receiver(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(expand(self._root, b"receive"))

    @cached_property
    def home(self) -> NodeId:
        """The root of the user's tree."""
        return NodeId(expand(self._root, b"home")[:16])

    def home_keys(self, epoch: int) -> NodeKeys:
        """Of the home when it has been re-keyed `epoch` - 1 times: keep it, it caches. Damaged if that cannot be."""
        try:
            number = epoch.to_bytes(8, "big")
        except OverflowError as error:
            raise Damaged("the epoch of the home is out of range") from error
        return node_keys(expand(self._root, b"home read" + number), expand(self._root, b"home seed" + number))

    @cached_property
    def record(self) -> PublicRecord:
        verify_key = self.signer.public_key().public_bytes_raw()
        receive_key = self.receiver.public_key().public_bytes_raw()
        signature = self.signer.sign(_signed_part(self.name, self.server_id, verify_key, receive_key))
        return PublicRecord(self.name, self.server_id, verify_key, receive_key, signature)

    @property
    def user_id(self) -> UserId:
        return self.record.user_id


def new_identity(name: str, server: str, server_id: bytes) -> Identity:
    """A new user with random keys; Malformed if nobody can be called that."""
    if not valid_user_name(name):
        raise Malformed(
            f"{name!r} cannot be a user's name: at most {USER_NAME_MAX} bytes, no spaces, none of / @ :, "
            "and no dot or dash at the beginning"
        )
    return Identity(os.urandom(SECRET_SIZE), name, server, server_id)


def decode_record(data: bytes, expected: UserId | None = None) -> PublicRecord:
    """A public record that has signed itself, and that has the fingerprint `expected` (Tampered); else Damaged."""
    if data[:1] != FORMAT:
        raise Damaged(unknown_format(data))
    name, server_id, verify_key, receive_key, signature = split(data[1:], 5)
    try:
        record = PublicRecord(name.decode(), server_id, verify_key, receive_key, signature)
    except UnicodeDecodeError as error:
        raise Damaged("the user's name is not UTF-8") from error
    if len(verify_key) != 32 or len(receive_key) != 32 or not valid_user_name(record.name):
        raise Damaged("no public record of a user")
    if not signed_by(verify_key, signature, _signed_part(record.name, server_id, verify_key, receive_key)):
        raise Tampered(f"the public record of {record.name} has not been signed by its own key")
    if expected is not None and record.user_id != expected:
        raise Tampered(
            f"the server gave another key for {record.name}: fingerprint {fingerprint_text(record.user_id)} "
            f"instead of {fingerprint_text(expected)}"
        )
    return record


def valid_user_name(name: str) -> bool:
    """Whether a user can be called that: it is a folder's name in paths, and stands before an @."""
    return (
        0 < len(name.encode(errors="replace")) <= USER_NAME_MAX
        and name.isprintable()
        and not any(letter.isspace() or letter in "/@:" for letter in name)
        and name[0] not in ".-"
    )


def fingerprint_text(user: UserId) -> str:
    """For people: base32 in groups of four."""
    text = b32encode(user).decode().rstrip("=")
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def parse_fingerprint(text: str) -> UserId:
    """What `fingerprint_text` made, in any case, with or without dashes and spaces; Malformed if it is none."""
    letters = "".join(text.replace("-", "").split()).upper()
    try:
        user = UserId(b32decode(letters + "=" * (-len(letters) % 8)))
    except ValueError as error:
        raise Malformed(
            f"{text!r} is no fingerprint: 52 letters and digits from 2 to 7, as key show prints it"
        ) from error
    if len(user) != 32:
        raise Malformed(f"{text!r} is no fingerprint: it has {len(letters)} letters and digits instead of 52")
    return user


def _signed_part(name: str, server_id: bytes, verify_key: bytes, receive_key: bytes) -> bytes:
    return b"seccomp-drive identity" + FORMAT + join(name.encode(), server_id, verify_key, receive_key)
