"""Grants: the keys of a node, sealed for another user and signed by the owner."""

from __future__ import annotations

from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from msgspec import Struct
from msgspec.structs import replace

from broker.drive.errors import Damaged, Denied, Malformed, Tampered
from broker.drive.format.commits import signed_by
from broker.drive.format.entries import is_name
from broker.drive.format.fields import join
from broker.drive.format.identity import Identity, PublicRecord
from broker.drive.format.keys import NodeKeys
from broker.drive.format.sealing import FORMAT, unknown_format
from broker.drive.records import Grant, NodeId, Right

_NAME_PADDED = 256


class Granted(Struct, frozen=True):
    """What a grant says to the grantee: the name under which the owner shared the node, and its keys."""

    name: bytes
    keys: NodeKeys


def seal_grant(
    owner: Identity, grantee: PublicRecord, node: NodeId, keys: NodeKeys, right: Right, epoch: int, name: bytes
) -> Grant:
    """The keys of `node`, and its seed with WRITE only (Denied if it is not there), for the grantee alone.

    HPKE in base mode (RFC 9180, 5.1.1) proves no sender; so the owner signs.
    """
    if owner.server_id != grantee.server_id:
        raise Denied(f"{grantee.name} is a user of another server")
    if not is_name(name):
        raise Malformed("a share has a name of 1 to 255 bytes, without a slash or a zero, and neither . nor ..")
    seed = keys.writing_seed if right is Right.WRITE else b""
    grant = Grant(node, grantee.user_id, owner.user_id, right, epoch, b"", b"")
    place = _place(grant, owner.server_id)
    grant = replace(
        grant,
        sealed=_seal(grantee, b"keys" + place, keys.read + keys.verify + seed),
        label=_seal(grantee, b"name" + place, name.ljust(_NAME_PADDED, b"\0")),
    )
    return replace(grant, signature=owner.signer.sign(_signed_part(grant, grantee)))


def open_grant(grant: Grant, grantee: Identity, owner: PublicRecord) -> Granted:
    """Tampered unless `owner` has made it for this grantee; Damaged if it does not open."""
    if grant.grantee != grantee.user_id or not grant_is_signed(grant, owner, grantee.record):
        raise Tampered(f"{owner.name} has not signed this share for {grantee.name}")
    place = _place(grant, grantee.server_id)
    keys = _open(grantee, b"keys" + place, grant.sealed)
    name = _open(grantee, b"name" + place, grant.label).rstrip(b"\0")
    if len(keys) != (96 if grant.right is Right.WRITE else 64):
        raise Damaged("cut off")
    if not is_name(name):
        raise Tampered(f"{owner.name} has shared something under a name that cannot be one")
    return Granted(name, NodeKeys(keys[:32], keys[32:64], keys[64:] or None))


def grant_is_signed(grant: Grant, owner: PublicRecord, grantee: PublicRecord) -> bool:
    """Whether the owner has made this grant for both keys of this grantee, on the server of both."""
    return (
        grant.owner == owner.user_id
        and grant.grantee == grantee.user_id
        and owner.server_id == grantee.server_id
        and signed_by(owner.verify_key, grant.signature, _signed_part(grant, grantee))
    )


def _place(grant: Grant, server_id: bytes) -> bytes:
    try:
        epoch = grant.epoch.to_bytes(8, "big")
    except OverflowError as error:
        raise Damaged("its epoch is out of range") from error
    return join(server_id, grant.node, grant.owner, grant.grantee, bytes([grant.right]), epoch)


def _signed_part(grant: Grant, grantee: PublicRecord) -> bytes:
    place = _place(grant, grantee.server_id)
    hashes = sha256(grant.sealed).digest(), sha256(grant.label).digest()
    return b"seccomp-drive grant" + FORMAT + join(place, grantee.verify_key, grantee.receive_key, *hashes)


def _suite() -> Suite:
    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _seal(grantee: PublicRecord, info: bytes, content: bytes) -> bytes:
    try:
        key = X25519PublicKey.from_public_bytes(grantee.receive_key)
        return FORMAT + _suite().encrypt(content, key, info=FORMAT + info)
    except ValueError as error:
        raise Tampered(f"the key of {grantee.name} is none that anything can be sealed for") from error


def _open(grantee: Identity, info: bytes, sealed: bytes) -> bytes:
    if sealed[:1] != FORMAT:
        raise Damaged(unknown_format(sealed))
    try:
        return _suite().decrypt(sealed[1:], grantee.receiver, info=FORMAT + info)
    except (InvalidTag, ValueError) as error:
        raise Damaged("the share does not open with this identity's key") from error
