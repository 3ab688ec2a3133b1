"""Chunks: pieces of content, each under a key of its own that follows from what it is."""

from __future__ import annotations

import struct

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.drive.errors import Damaged, Tampered
from broker.drive.format.sealing import FORMAT, expand, unknown_format
from broker.drive.records import NodeId

CHUNK = 1 << 20
"""Bytes of plaintext in every chunk of a file but its last."""

CHUNK_OVERHEAD = len(FORMAT) + 16
"""Bytes by which a sealed chunk is longer than its padded plaintext: format, tag."""

PADDED_MIN = 256

_INDEX = struct.Struct(">Q")
_NONCE = bytes(12)


def padded_size(size: int) -> int:
    """Padmé: at most 12 % more, and of the size only its magnitude and a few bits show; at least 256 bytes.

    Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", 2019.
    """
    if size <= PADDED_MIN:
        return PADDED_MIN
    exponent = size.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (size + mask) & ~mask


def chunk_id(key: bytes, index: int, plaintext: bytes | bytearray | memoryview) -> bytes:
    """Keyed BLAKE3 of plaintext and index (8 bytes, big-endian, at the end), 32 bytes.

    `key` is one of the file's content keys. Releases the interpreter lock.
    """
    digest = blake3(key=expand(key, b"chunk id"))
    digest.update(plaintext)
    digest.update(_INDEX.pack(index))
    return digest.digest()


def seal_chunk(key: bytes, node: NodeId, id: bytes, plaintext: bytes | bytearray | memoryview) -> memoryview:
    """The chunk whose `chunk_id` is `id`, padded. Releases the interpreter lock.

    The nonce is fixed: the key follows from the id, so it seals this one plaintext only.
    """
    size = len(plaintext)
    padded = padded_size(size)
    if padded != size:
        plaintext = bytes(plaintext).ljust(padded, b"\0")
    sealed = memoryview(bytearray(padded + CHUNK_OVERHEAD))
    sealed[:1] = FORMAT
    _cipher(key, id).encrypt_into(_NONCE, plaintext, FORMAT + node + id, sealed[1:])
    return sealed


def open_chunk(
    key: bytes, node: NodeId, index: int, id: bytes, sealed: bytes | bytearray | memoryview, size: int
) -> memoryview:
    """The `size` bytes of plaintext of a chunk. Releases the interpreter lock.

    Damaged if it does not open: it is another chunk, or of another file or version, or cut off. Tampered if it opens
    and is not what its id says, which takes somebody who knows the content key.
    """
    padded = padded_size(size)
    if len(sealed) != padded + CHUNK_OVERHEAD:
        raise Damaged(f"{len(sealed)} bytes instead of {padded + CHUNK_OVERHEAD}")
    if sealed[0] != FORMAT[0]:
        raise Damaged(unknown_format(memoryview(sealed)))
    opened = memoryview(bytearray(padded))
    try:
        _cipher(key, id).decrypt_into(_NONCE, memoryview(sealed)[1:], FORMAT + node + id, opened)
    except InvalidTag as error:
        raise Damaged("it does not open: damaged, or another chunk") from error
    plaintext = opened[:size]
    if chunk_id(key, index, plaintext) != id:
        raise Tampered("it is not the chunk that its id names")
    return plaintext


def _cipher(key: bytes, id: bytes) -> AESGCM:
    return AESGCM(expand(key, b"chunk" + id))
