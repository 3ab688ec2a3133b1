"""A second reader of the test vectors, written from docs/drive-format.md on the bare ciphers: the page is enough."""

from __future__ import annotations

import base64
import hmac
import json
import math
import unicodedata
from hashlib import sha256, shake_128
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_text())
RK, S, V = (bytes.fromhex(VECTORS["keys"][name]) for name in ("read", "seed", "verify"))


def derive(key: bytes, label: bytes) -> bytes:
    return HKDFExpand(SHA256(), 32, label).derive(key)


def unbox(key: bytes, place: bytes, sealed: bytes) -> bytes:
    assert sealed[0] == 1
    return AESGCM(key).decrypt(sealed[1:13], sealed[13:], b"\x01" + place)


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def fields(*parts: bytes) -> bytes:
    return b"".join(number(len(part), 4) + part for part in parts)


def parts(data: bytes) -> list[bytes]:
    found = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        found.append(data[4:end])
        data = data[end:]
    return found


def hashed(vector: dict[str, Any], *names: str) -> bytes:
    return b"".join(sha256(bytes.fromhex(vector[name])).digest() for name in names)


def signed(public: bytes, vector: dict[str, Any], message: bytes) -> None:
    Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(vector["signature"]), message)


class Cursor:
    """Reads a body from its start to its end."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def bytes(self, size: int) -> bytes:
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def unsigned(self, size: int) -> int:
        return int.from_bytes(self.bytes(size), "big")

    def signed(self) -> int:
        return int.from_bytes(self.bytes(8), "big", signed=True)

    def kept(self) -> int | None:
        value = self.signed()
        return None if value == -1 else value


def references(data: bytes) -> list[list[Any]]:
    cursor = Cursor(data)
    return [[cursor.unsigned(8), cursor.unsigned(4), cursor.bytes(32).hex()] for _ in range(len(data) // 44)]


def body(data: bytes) -> dict[str, Any]:
    assert len(data) % 64 == 0
    cursor = Cursor(data)
    opened: dict[str, Any] = {"mode": cursor.unsigned(4), "mtime_ns": cursor.signed(), "atime_ns": cursor.signed()}
    opened |= {"size": cursor.unsigned(8), "rdev": cursor.unsigned(8), "uid": cursor.kept(), "gid": cursor.kept()}
    opened |= {"mtime_changes": cursor.kept(), "blocks": cursor.kept(), "spilled": cursor.unsigned(1) == 1}
    target, keys, refs, xattrs = (cursor.unsigned(size) for size in (2, 2, 4, 4))
    opened["target"] = cursor.bytes(target).hex() or None
    opened["content_keys"] = {str(cursor.unsigned(4)): cursor.bytes(32).hex() for _ in range(keys)}
    opened["refs"] = references(cursor.bytes(refs))
    pairs = [part.hex() for part in parts(cursor.bytes(xattrs))]
    return opened | {"xattrs": dict(zip(pairs[::2], pairs[1::2], strict=True))}


def padded(length: int) -> int:
    if length <= 256:
        return 256
    exponent = math.floor(math.log2(length))
    step = 2 ** (exponent - math.floor(math.log2(exponent)) - 1)
    return math.ceil(length / step) * step


def opened_chunk(vector: dict[str, Any], index: int, sealed: bytes, size: int) -> bytes:
    key, node, id = (bytes.fromhex(vector[name]) for name in ("key", "node", "id"))
    assert sealed[0] == 1 and len(sealed) == 1 + padded(size) + 16
    plain = AESGCM(derive(key, b"chunk" + id)).decrypt(bytes(12), sealed[1:], b"\x01" + node + id)
    assert blake3(plain[:size] + number(index, 8), key=derive(key, b"chunk id")).digest() == id
    assert not any(plain[size:])
    return plain[:size]


@pytest.mark.parametrize("name", VECTORS["nodes"])
def test_nodes(name: str) -> None:
    """Attributes, chunk list and signature."""
    vector = VECTORS["nodes"][name]
    sealed = bytes.fromhex(vector["body"])
    place = bytes.fromhex(vector["id"]) + number(vector["kind"], 1)
    place += number(vector["version"], 8) + number(vector["epoch"], 8) + number(vector["inline"], 1)
    assert body(unbox(derive(RK, b"body"), b"node" + place, sealed)) == vector["opened"]
    signed(V, vector, b"seccomp-drive node\x01" + place + derive(RK, b"commitment") + V + sha256(sealed).digest())


def test_entries() -> None:
    """Token, name, keys and signature."""
    for vector in VECTORS["entries"]:
        parent, token, child, sealed, seed, name = (
            bytes.fromhex(vector[field]) for field in ("parent", "token", "child", "sealed", "sealed_seed", "name")
        )
        assert hmac.digest(derive(RK, b"name"), name, "sha256") == token
        place = parent + token + child + number(vector["version"], 8) + number(vector["epoch"], 8)
        opened = unbox(derive(RK, b"entry"), b"entry" + place, sealed)
        assert [opened[:32].hex(), opened[32:64].hex()] == [vector["child_read"], vector["child_verify"]]
        assert opened[64] == len(name) and opened[65:].rstrip(b"\0") == name and len(opened[65:]) % 32 == 0
        assert unbox(derive(S, b"write"), b"seed" + place, seed).hex() == vector["child_seed"]
        signed(V, vector, b"seccomp-drive entry\x01" + place + hashed(vector, "sealed", "sealed_seed"))


def test_a_tombstone() -> None:
    """Its signature."""
    vector = VECTORS["tombstone"]
    place = bytes.fromhex(vector["parent"] + vector["token"]) + bytes(16)
    place += number(vector["version"], 8) + number(vector["epoch"], 8)
    signed(V, vector, b"seccomp-drive tombstone\x01" + place + sha256().digest() * 2)


def test_chunks_and_a_leaf() -> None:
    """Those of which the vectors have the sealed bytes."""
    for vector in VECTORS["chunks"]:
        if vector["sealed"]:
            plain = opened_chunk(vector, vector["index"], bytes.fromhex(vector["sealed"]), vector["size"])
            assert plain == shake_128(f"plaintext {vector['size']}".encode()).digest(vector["size"])
    leaf = VECTORS["leaf"]
    sealed = bytes.fromhex(leaf["sealed"])
    plain = opened_chunk(leaf, 2**63 + leaf["number"], sealed, len(sealed) - 17)
    assert references(plain[4 : 4 + 44 * int.from_bytes(plain[:4], "big")]) == leaf["refs"]


def test_identities() -> None:
    """Keys, home, record, fingerprint and recovery code."""
    for vector in VECTORS["identities"]:
        secret, record = bytes.fromhex(vector["secret"]), bytes.fromhex(vector["record"])
        root = hmac.digest(b"seccomp-drive identity", secret, "sha256")
        name, server, verify, receive, signature = parts(record[1:])
        assert name.decode() == vector["name"] and server.hex() == vector["server_id"]
        assert Ed25519PrivateKey.from_private_bytes(derive(root, b"sign")).public_key().public_bytes_raw() == verify
        received = X25519PrivateKey.from_private_bytes(derive(root, b"receive")).public_key()
        assert received.public_bytes_raw() == receive
        message = b"seccomp-drive identity\x01" + fields(name, server, verify, receive)
        Ed25519PublicKey.from_public_bytes(verify).verify(signature, message)
        letters = base64.b32encode(sha256(record).digest()).decode().rstrip("=")
        assert letters == vector["fingerprint"].replace("-", "")
        assert derive(root, b"home")[:16].hex() == vector["home"]
        for epoch, keys in vector["home_keys"].items():
            derived = [derive(root, label + number(int(epoch), 8)).hex() for label in (b"home read", b"home seed")]
            assert derived == keys
        check = base64.b32encode(sha256(b"seccomp-drive recovery code" + secret).digest())[:4]
        assert (base64.b32encode(secret) + check).decode() == vector["recovery_code"].replace("-", "")


def test_grants() -> None:
    """Keys, name and signature."""
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    for vector in VECTORS["grants"]:
        owner, grantee = (VECTORS["identities"][vector[role]] for role in ("owner", "grantee"))
        users = [sha256(bytes.fromhex(user["record"])).digest() for user in (owner, grantee)]
        server, node = bytes.fromhex(owner["server_id"]), bytes.fromhex(vector["node"])
        place = fields(server, node, *users, number(vector["right"], 1), number(vector["epoch"], 8))
        root = hmac.digest(b"seccomp-drive identity", bytes.fromhex(grantee["secret"]), "sha256")
        key = X25519PrivateKey.from_private_bytes(derive(root, b"receive"))
        sealed, label = bytes.fromhex(vector["sealed"]), bytes.fromhex(vector["label"])
        keys = suite.decrypt(sealed[1:], key, info=b"\x01keys" + place)
        assert keys.hex() == vector["read"] + vector["verify"] + (vector["seed"] or "")
        shown = suite.decrypt(label[1:], key, info=b"\x01name" + place)
        assert len(shown) == 256 and shown.rstrip(b"\0").hex() == vector["name"]
        own = [bytes.fromhex(grantee[name]) for name in ("verify_key", "receive_key")]
        hashes = [sha256(part).digest() for part in (sealed, label)]
        message = b"seccomp-drive grant\x01" + fields(place, *own, *hashes)
        signed(bytes.fromhex(owner["verify_key"]), vector, message)


def test_a_login() -> None:
    """The message."""
    vector = VECTORS["login"]
    user = VECTORS["identities"][vector["identity"]]
    fingerprint = sha256(bytes.fromhex(user["record"])).digest()
    server, nonce = bytes.fromhex(user["server_id"]), bytes.fromhex(vector["nonce"])
    message = fields(user["server"].encode(), server, fingerprint, nonce, number(vector["expires"], 8))
    signed(bytes.fromhex(user["verify_key"]), vector, b"seccomp-drive login\x01" + message)


def test_key_files() -> None:
    """Checksum, passphrase and secret."""
    for vector in VECTORS["key_files"]:
        user, (header, _, lines) = VECTORS["identities"][vector["identity"]], vector["text"].partition("\n")
        assert header == "seccomp-drive key 1"
        content = base64.b64decode(lines.replace("\n", ""))
        assert sha256(header.encode() + b"\n" + content[:-8]).digest()[:8] == content[-8:]
        record, server, protection, secret = parts(content[:-8])
        assert [record.hex(), server.decode()] == [user["record"], user["server"]]
        if protection:
            memory, iterations, lanes = (int.from_bytes(protection[at : at + 4], "big") for at in (0, 4, 8))
            kdf = Argon2id(salt=protection[12:], length=32, iterations=iterations, lanes=lanes, memory_cost=memory)
            key = kdf.derive(unicodedata.normalize("NFC", vector["passphrase"]).encode())
            secret = unbox(key, b"key file\x01" + fields(record, server, protection), secret)
        assert secret.hex() == user["secret"]
