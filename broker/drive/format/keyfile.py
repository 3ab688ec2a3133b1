"""The key file: an identity as text, in the clear or under a passphrase."""

from __future__ import annotations

import os
import struct
import unicodedata
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from msgspec import Struct

from broker.drive.errors import Damaged, WrongKey
from broker.drive.format.fields import join, split
from broker.drive.format.identity import SECRET_SIZE, Identity, PublicRecord, decode_record
from broker.drive.format.sealing import FORMAT, seal, unseal

HEADER = b"seccomp-drive key 1\n"

_PROTECTION = struct.Struct(">III16s")
_CHECKSUM = 8
_LINE = 76


class Protection(Struct, frozen=True):
    """How a passphrase becomes a key: Argon2id (RFC 9106), with its second recommended choice of costs."""

    salt: bytes
    memory: int = 64 << 10
    """KiB."""
    iterations: int = 3
    lanes: int = 4

    def key(self, passphrase: str) -> AESGCM:
        kdf = Argon2id(
            salt=self.salt, length=32, iterations=self.iterations, lanes=self.lanes, memory_cost=self.memory
        )
        return AESGCM(kdf.derive(unicodedata.normalize("NFC", passphrase).encode()))

    def encode(self) -> bytes:
        return _PROTECTION.pack(self.memory, self.iterations, self.lanes, self.salt)


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What a key file says: everybody may know record and server; the secret may be under a passphrase."""

    record: PublicRecord
    server: str
    protection: Protection | None
    secret: bytes = field(repr=False)
    """Sealed if there is a protection."""

    def unlock(self, passphrase: str | None = None) -> Identity:
        """WrongKey if the passphrase is wrong or missing; Damaged if the secret is not that of the record."""
        secret = self.secret
        if self.protection is not None:
            try:
                secret = unseal(self.protection.key(passphrase or ""), _place(self), self.secret)
            except Damaged as error:
                raise WrongKey("the passphrase is wrong") from error
        identity = Identity(secret, self.record.name, self.server, self.record.server_id)
        if len(secret) != SECRET_SIZE or identity.record != self.record:
            raise Damaged("its secret and its public part are not of one identity")
        return identity


def lock(identity: Identity, passphrase: str | None, protection: Protection | None = None) -> KeyFile:
    """A key file for the identity; in the clear without a passphrase."""
    if passphrase is None:
        return KeyFile(identity.record, identity.server, None, identity.secret)
    protection = protection or Protection(os.urandom(16))
    file = KeyFile(identity.record, identity.server, protection, b"")
    sealed = seal(protection.key(passphrase), _place(file), identity.secret)
    return KeyFile(file.record, file.server, protection, sealed)


def encode_key_file(file: KeyFile) -> bytes:
    """A header and lines of base64: fields, and a checksum over them that tells damage from a wrong passphrase."""
    protection = file.protection.encode() if file.protection else b""
    fields = join(file.record.encode(), file.server.encode(), protection, file.secret)
    text = b64encode(fields + sha256(HEADER + fields).digest()[:_CHECKSUM])
    return HEADER + b"".join(text[at : at + _LINE] + b"\n" for at in range(0, len(text), _LINE))


def decode_key_file(data: bytes) -> KeyFile:
    """Damaged if it is no key file, or not a whole one."""
    if not data.startswith(HEADER):
        raise Damaged("it is no key file" if data else "it is empty")
    try:
        content = b64decode(b"".join(data[len(HEADER) :].split()), validate=True)
    except ValueError as error:
        raise Damaged("it is cut off or damaged") from error
    fields, checksum = content[:-_CHECKSUM], content[-_CHECKSUM:]
    if sha256(HEADER + fields).digest()[:_CHECKSUM] != checksum:
        raise Damaged("it is cut off or damaged")
    record, server, protection, secret = split(fields, 4)
    return KeyFile(decode_record(record), server.decode(errors="replace"), _protection(protection), secret)


def _protection(encoded: bytes) -> Protection | None:
    if not encoded:
        return None
    try:
        memory, iterations, lanes, salt = _PROTECTION.unpack(encoded)
    except struct.error as error:
        raise Damaged("it does not say how the passphrase is used") from error
    if not (8 * lanes <= memory <= 1 << 20 and 1 <= iterations <= 100 and 1 <= lanes <= 64):
        raise Damaged("it asks for more than 1 GiB, 100 rounds or 64 lanes to use the passphrase")
    return Protection(salt, memory, iterations, lanes)


def _place(file: KeyFile) -> bytes:
    assert file.protection
    return b"key file" + FORMAT + join(file.record.encode(), file.server.encode(), file.protection.encode())
