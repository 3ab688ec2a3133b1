"""The keys of one node, and what is derived from them for every use."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.drive.errors import Denied
from broker.drive.format.sealing import KEY_SIZE, cipher, expand
from broker.drive.records import Token


@dataclass(frozen=True)
class NodeKeys:
    """What a reader of a node holds, and with `seed` what a writer holds. 32 bytes each.

    What is derived is made at first use and kept as long as the object: keep the one of a folder.
    """

    read: bytes = field(repr=False)
    verify: bytes
    """The Ed25519 public key of `seed`."""
    seed: bytes | None = field(default=None, repr=False)

    @cached_property
    def commitment(self) -> bytes:
        """Stands beside the node in the clear and tells a wrong read key from damage."""
        return commitment(self.read)

    @cached_property
    def body_cipher(self) -> AESGCM:
        return body_cipher(self.read)

    @cached_property
    def entry_cipher(self) -> AESGCM:
        return cipher(self.read, b"entry")

    @cached_property
    def name_key(self) -> bytes:
        return expand(self.read, b"name")

    @cached_property
    def seed_cipher(self) -> AESGCM:
        return cipher(self.writing_seed, b"write")

    @cached_property
    def signer(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.writing_seed)

    @property
    def for_reading(self) -> NodeKeys:
        """The same without the seed."""
        return NodeKeys(self.read, self.verify)

    @property
    def writing_seed(self) -> bytes:
        """The seed; Denied if there is none."""
        if self.seed is None:
            raise Denied("only the keys for reading are there")
        return self.seed


def commitment(read: bytes) -> bytes:
    """Of a read key: see `NodeKeys.commitment`."""
    return expand(read, b"commitment")


def body_cipher(read: bytes) -> AESGCM:
    """What a node's body is sealed with."""
    return cipher(read, b"body")


def node_keys(read: bytes, seed: bytes) -> NodeKeys:
    """The keys of a writer, with the verify key computed from the seed."""
    signer = Ed25519PrivateKey.from_private_bytes(seed)
    keys = NodeKeys(read, signer.public_key().public_bytes_raw(), seed)
    # Making the signer again at first use would double the time it takes to make a node.
    keys.__dict__["signer"] = signer
    return keys


def new_node_keys() -> NodeKeys:
    """Random keys for a new node, or for an old one that is re-keyed."""
    return node_keys(os.urandom(KEY_SIZE), os.urandom(KEY_SIZE))


def name_token(keys: NodeKeys, name: bytes) -> Token:
    """What stands for a name in the folder with these keys: unique there, and without the keys unknown."""
    return Token(hmac.digest(keys.name_key, name, "sha256"))
