"""Keys for every use from one key, and small sealed boxes that open only in the place they were made for."""

from __future__ import annotations

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.drive.errors import Damaged

FORMAT = b"\x01"
"""The first byte of everything sealed; part of its associated data, too."""

KEY_SIZE = 32
NONCE_SIZE = 12
OVERHEAD = len(FORMAT) + NONCE_SIZE + 16
"""Bytes by which a box is longer than its content: format, nonce, tag."""


def expand(key: bytes, label: bytes) -> bytes:
    """32 bytes for one use of a uniformly random key: HKDF-Expand with SHA-256, one block (RFC 5869, 2.3 and 3.3)."""
    return hmac.digest(key, label + b"\x01", "sha256")


def cipher(key: bytes, label: bytes) -> AESGCM:
    """The AES-256-GCM of one use of a key."""
    return AESGCM(expand(key, label))


def seal(box: AESGCM, place: bytes, content: bytes) -> bytes:
    """`content` under a random nonce. `place` says where it belongs: it opens with the same only."""
    nonce = os.urandom(NONCE_SIZE)
    return FORMAT + nonce + box.encrypt(nonce, content, FORMAT + place)


def unseal(box: AESGCM, place: bytes, sealed: bytes) -> bytes:
    """What `seal` was given; Damaged if a bit, the key or the place is another."""
    if sealed[:1] != FORMAT:
        raise Damaged(unknown_format(sealed))
    try:
        return box.decrypt(sealed[1:13], sealed[13:], FORMAT + place)
    except (InvalidTag, ValueError) as error:
        raise Damaged("it does not open: damaged, or moved from another place") from error


def unknown_format(sealed: bytes | memoryview) -> str:
    """What is wrong with something that does not start with the format byte."""
    return f"format {sealed[0]} is not known here: damaged, or made by a newer seccomp-drive" if sealed else "empty"
