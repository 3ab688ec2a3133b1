"""What was sealed once opens for ever: `vectors.json` was made with fixed keys, and must never be made again.

Bytes are in hexadecimal. A change of the format gets another format byte and vectors of its own beside these.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from broker.drive.format.auth import login_is_signed, sign_login
from broker.drive.format.bodies import Body
from broker.drive.format.chunks import chunk_id, open_chunk, seal_chunk
from broker.drive.format.entries import check_entry, open_entry, seal_entry, tombstone
from broker.drive.format.grants import open_grant
from broker.drive.format.identity import Identity, decode_record, fingerprint_text
from broker.drive.format.keyfile import Protection, decode_key_file, encode_key_file, lock
from broker.drive.format.keys import NodeKeys, name_token, node_keys
from broker.drive.format.manifest import Content, Ref, Refs, open_leaf, seal_leaf
from broker.drive.format.nodes import open_node, seal_node
from broker.drive.format.recovery import parse_recovery_code, recovery_code
from broker.drive.records import Entry, Grant, Kind, Node, NodeId, Right, Token, UserId

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_text())
NODES: dict[str, Any] = VECTORS["nodes"]


def _bytes(vector: dict[str, Any], *names: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(vector[name]) for name in names)


def _keys() -> NodeKeys:
    read, seed = _bytes(VECTORS["keys"], "read", "seed")
    return node_keys(read, seed)


def _identity(number: int) -> Identity:
    vector = VECTORS["identities"][number]
    secret, server_id = _bytes(vector, "secret", "server_id")
    return Identity(secret, vector["name"], vector["server"], server_id)


def _refs(vector: list[Any]) -> Refs:
    return Refs.of({index: Ref(bytes.fromhex(id), epoch) for index, epoch, id in vector})


def _body(vector: dict[str, Any]) -> Body:
    attributes = dict(vector)
    keys = {int(epoch): bytes.fromhex(key) for epoch, key in attributes.pop("content_keys").items()}
    attributes["content"] = Content(keys, _refs(attributes.pop("refs")), attributes.pop("spilled"))
    attributes["xattrs"] = {bytes.fromhex(name): bytes.fromhex(value) for name, value in vector["xattrs"].items()}
    attributes["target"] = None if vector["target"] is None else bytes.fromhex(vector["target"])
    return Body(**attributes)


@pytest.fixture
def nonces(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What `os.urandom` gives next: sealing is repeated with the nonces of then."""
    prepared: list[bytes] = []
    monkeypatch.setattr(os, "urandom", lambda size: prepared.pop(0))
    return prepared


def test_keys() -> None:
    """Every derived key and token is what it was."""
    vector, keys = VECTORS["keys"], _keys()
    assert (keys.verify, keys.commitment, keys.name_key) == _bytes(vector, "verify", "commitment", "name_key")
    for name, token in vector["tokens"].items():
        assert name_token(keys, bytes.fromhex(name)).hex() == token


@pytest.mark.parametrize("name", NODES)
def test_nodes(name: str, nonces: list[bytes]) -> None:
    """Every kind of node opens with the same attributes, and is sealed to the same bytes."""
    vector, keys = NODES[name], _keys()
    id, sealed, signature = _bytes(vector, "id", "body", "signature")
    kind, version, epoch, inline = Kind(vector["kind"]), vector["version"], vector["epoch"], vector["inline"]
    node = Node(NodeId(id), kind, version, epoch, keys.commitment, keys.verify, sealed, signature, inline)
    body = _body(vector["opened"])
    assert open_node(node, keys.for_reading, verify=True) == body
    nonces.append(sealed[1:13])
    assert seal_node(node.id, kind, version, epoch, keys, body, inline=inline) == node


@pytest.mark.parametrize("vector", VECTORS["entries"], ids=lambda vector: vector["name"][:18])
def test_entries(vector: dict[str, Any], nonces: list[bytes]) -> None:
    """Names and keys come out, and go in again to the same bytes."""
    keys = _keys()
    parent, token, child, sealed, sealed_seed, signature, name = _bytes(
        vector, "parent", "token", "child", "sealed", "sealed_seed", "signature", "name"
    )
    version, epoch = vector["version"], vector["epoch"]
    entry = Entry(NodeId(parent), Token(token), version, epoch, NodeId(child), sealed, sealed_seed, signature)
    opened = open_entry(entry, keys, verify=True)
    assert opened.name == name
    assert opened.keys == NodeKeys(*_bytes(vector, "child_read", "child_verify", "child_seed"))
    nonces += [sealed[1:13], sealed_seed[1:13]]
    assert seal_entry(NodeId(parent), keys, version, epoch, name, NodeId(child), opened.keys) == entry


def test_a_tombstone() -> None:
    """It is signed as it was."""
    vector, keys = VECTORS["tombstone"], _keys()
    parent, token, signature = _bytes(vector, "parent", "token", "signature")
    gone = tombstone(NodeId(parent), keys, vector["version"], vector["epoch"], Token(token))
    assert gone.signature == signature
    check_entry(gone, keys)


@pytest.mark.parametrize("vector", VECTORS["chunks"], ids=lambda vector: str(vector["size"]))
def test_chunks(vector: dict[str, Any]) -> None:
    """Nothing is random here: the same bytes come out, whatever the length."""
    key, node, id = _bytes(vector, "key", "node", "id")
    index, size = vector["index"], vector["size"]
    plaintext = hashlib.shake_128(f"plaintext {size}".encode()).digest(size)
    assert chunk_id(key, index, plaintext) == id
    sealed = seal_chunk(key, NodeId(node), id, plaintext)
    assert len(sealed) == vector["sealed_size"]
    assert hashlib.sha256(sealed).hexdigest() == vector["sealed_sha256"]
    assert vector["sealed"] in (None, sealed.hex())
    assert open_chunk(key, NodeId(node), index, id, sealed, size) == plaintext


def test_a_leaf() -> None:
    """A part of a long chunk list."""
    vector = VECTORS["leaf"]
    key, node, id, sealed = _bytes(vector, "key", "node", "id", "sealed")
    refs = _refs(vector["refs"])
    assert open_leaf(key, NodeId(node), vector["number"], id, sealed) == refs
    assert seal_leaf(key, NodeId(node), vector["number"], refs) == (id, sealed)


@pytest.mark.parametrize("number", range(len(VECTORS["identities"])))
def test_identities(number: int) -> None:
    """All that follows from the secret, which the recovery code brings back."""
    vector, identity = VECTORS["identities"][number], _identity(number)
    record = identity.record
    assert (record.encode(), record.verify_key, record.receive_key, identity.home) == _bytes(
        vector, "record", "verify_key", "receive_key", "home"
    )
    assert decode_record(record.encode(), identity.user_id) == record
    assert fingerprint_text(identity.user_id) == vector["fingerprint"]
    for epoch, (read, seed) in vector["home_keys"].items():
        assert identity.home_keys(int(epoch)) == node_keys(bytes.fromhex(read), bytes.fromhex(seed))
    assert recovery_code(identity.secret) == vector["recovery_code"]
    assert parse_recovery_code(vector["recovery_code"]) == identity.secret


@pytest.mark.parametrize("vector", VECTORS["grants"], ids=lambda vector: Right(vector["right"]).name)
def test_grants(vector: dict[str, Any]) -> None:
    """What one user sealed for another (HPKE takes its randomness itself: there is no sealing it again)."""
    owner, grantee = _identity(vector["owner"]), _identity(vector["grantee"])
    node, sealed, label, signature, name = _bytes(vector, "node", "sealed", "label", "signature", "name")
    right = Right(vector["right"])
    users: tuple[UserId, UserId] = (grantee.user_id, owner.user_id)
    grant = Grant(NodeId(node), *users, right, vector["epoch"], sealed, signature, label)
    granted = open_grant(grant, grantee, owner.record)
    assert granted.name == name
    assert granted.keys == (_keys() if right is Right.WRITE else _keys().for_reading)


def test_a_login() -> None:
    """The message that is signed is the same."""
    vector = VECTORS["login"]
    identity, expires = _identity(vector["identity"]), vector["expires"]
    nonce, signature = _bytes(vector, "nonce", "signature")
    assert sign_login(identity, nonce, expires) == signature
    assert login_is_signed(
        identity.record,
        signature,
        origin=identity.server,
        server_id=identity.server_id,
        nonce=nonce,
        expires=expires,
    )


@pytest.mark.parametrize("vector", VECTORS["key_files"], ids=["clear", "passphrase"])
def test_key_files(vector: dict[str, Any], nonces: list[bytes]) -> None:
    """With the costs of Argon2id that people's files have."""
    identity, passphrase = _identity(vector["identity"]), vector["passphrase"]
    file = decode_key_file(vector["text"].encode())
    assert file.unlock(passphrase) == identity
    assert file.protection is None or file.protection == Protection(file.protection.salt)
    nonces.append(file.secret[1:13])
    assert encode_key_file(lock(identity, passphrase, file.protection)).decode() == vector["text"]
