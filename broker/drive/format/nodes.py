"""Nodes: attributes and chunk list of a file, folder or symlink, sealed under its own keys and signed."""

from __future__ import annotations

import stat

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from broker.drive.errors import Damaged, Malformed, Tampered, WrongKey
from broker.drive.format.bodies import Body, decode_body, encode_body
from broker.drive.format.commits import node_is_signed, signed_part
from broker.drive.format.keys import NodeKeys, body_cipher, commitment
from broker.drive.format.places import node_place
from broker.drive.format.sealing import seal, unseal
from broker.drive.records import SEALED_MAX, Kind, Node, NodeId


def seal_node(
    id: NodeId, kind: Kind, version: int, epoch: int, keys: NodeKeys, body: Body, *, inline: bool = False
) -> Node:
    """A signed version of a node; `keys` must be a writer's (Denied). Malformed if the body is too long to be kept.

    `inline`: its content is chunk 0, kept beside the node and not in the blob store.
    """
    node = Node(id, kind, version, epoch, keys.commitment, keys.verify, b"", b"", inline)
    sealed = seal(keys.body_cipher, b"node" + node_place(node), encode_body(body))
    if len(sealed) > SEALED_MAX:
        raise Malformed(f"attributes and chunk list of {len(sealed)} bytes; {SEALED_MAX} can be kept")
    node = replace(node, body=sealed)
    return replace(node, signature=keys.signer.sign(signed_part(node)))


def open_node(node: Node, keys: NodeKeys, *, verify: bool) -> Body:
    """What a node says.

    WrongKey when it is under another read key: it was re-keyed, and its entry has the new one. Damaged if it does not
    open. With `verify`, Tampered unless a writer has signed it; without, as in listings, any reader can have made it.
    """
    if verify:
        check_node(node, keys)
    return _open(node, keys.read, keys.body_cipher)


def open_listed(node: Node, read: bytes) -> Body:
    """What a node says under that read key, unverified: for listings, which make no `NodeKeys` of it."""
    return _open(node, read, body_cipher(read))


def _open(node: Node, read: bytes, box: AESGCM) -> Body:
    try:
        body = decode_body(unseal(box, b"node" + node_place(node), node.body))
    except Damaged:
        _check_commitment(node, read)
        raise
    if stat.S_ISDIR(body.mode) != (node.kind is Kind.FOLDER):
        raise Tampered("a folder is said to be a file, or a file a folder")
    return body


def check_node(node: Node, keys: NodeKeys) -> None:
    """WrongKey if the node is under other keys; Tampered unless a writer of it has signed it."""
    _check_commitment(node, keys.read)
    if node.verify_key != keys.verify or not node_is_signed(node):
        raise Tampered("no writer of it has signed this version")


def _check_commitment(node: Node, read: bytes) -> None:
    if node.commitment != commitment(read):
        raise WrongKey("it is under another key: its keys have been changed")
