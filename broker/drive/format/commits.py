"""What a writer signs of a node and of an entry. All of it is in the clear, so that a store can check it, too."""

from __future__ import annotations

from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.drive.errors import Damaged
from broker.drive.format.places import entry_place, node_place
from broker.drive.format.sealing import FORMAT
from broker.drive.records import Entry, Node

_NODE = b"seccomp-drive node" + FORMAT
_ENTRY = b"seccomp-drive entry" + FORMAT
_TOMBSTONE = b"seccomp-drive tombstone" + FORMAT


def signed_part(node: Node) -> bytes:
    """What the signature of a node is over. Content is bound by its chunks' ids in the body, inline or not."""
    return b"".join((_NODE, node_place(node), node.commitment, node.verify_key, sha256(node.body).digest()))


def signed_part_of_entry(entry: Entry) -> bytes:
    """What the signature of an entry, or of a tombstone, is over."""
    label = _TOMBSTONE if entry.child is None else _ENTRY
    hashes = sha256(entry.sealed).digest() + sha256(entry.sealed_seed).digest()
    return label + entry_place(entry) + hashes


def signed_by(verify_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether Ed25519 says so; a key or signature that is none says no."""
    try:
        Ed25519PublicKey.from_public_bytes(verify_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def node_is_signed(node: Node) -> bool:
    """Whether the node's own verify key has signed it. Who asks knows which key that must be."""
    try:
        return signed_by(node.verify_key, node.signature, signed_part(node))
    except Damaged:
        return False


def entry_is_signed(entry: Entry, verify_key: bytes) -> bool:
    """Whether the parent, whose verify key is given, has signed the entry or tombstone."""
    try:
        return signed_by(verify_key, entry.signature, signed_part_of_entry(entry))
    except Damaged:
        return False
