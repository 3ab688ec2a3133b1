"""Entries: a name in a folder, with the keys of the node it leads to, sealed under the folder's keys."""

from __future__ import annotations

import struct

from msgspec import Struct
from msgspec.structs import replace

from broker.drive.errors import Damaged, Malformed, Tampered
from broker.drive.format.commits import entry_is_signed, signed_part_of_entry
from broker.drive.format.keys import NodeKeys, name_token
from broker.drive.format.places import entry_place
from broker.drive.format.sealing import KEY_SIZE, seal, unseal
from broker.drive.records import Entry, NodeId, Token

NAME_MAX = 255
NAME_PADDING = 32

_KEYS = struct.Struct(">32s32sB")


class Opened(Struct, frozen=True):
    """What an entry says to who holds the folder's keys; with its seed also the child's."""

    name: bytes
    keys: NodeKeys


def seal_entry(
    parent: NodeId, parent_keys: NodeKeys, version: int, epoch: int, name: bytes, child: NodeId, child_keys: NodeKeys
) -> Entry:
    """A signed entry. `epoch` is that of the parent's keys; both keys must be a writer's (Denied)."""
    if not is_name(name):
        raise Malformed("a name has 1 to 255 bytes, no slash and no zero, and is neither . nor ..")
    entry = Entry(parent, name_token(parent_keys, name), version, epoch, child)
    place = entry_place(entry)
    content = _KEYS.pack(child_keys.read, child_keys.verify, len(name)) + name
    padded = content.ljust(_KEYS.size + -(-len(name) // NAME_PADDING) * NAME_PADDING, b"\0")
    entry = replace(
        entry,
        sealed=seal(parent_keys.entry_cipher, b"entry" + place, padded),
        sealed_seed=seal(parent_keys.seed_cipher, b"seed" + place, child_keys.writing_seed),
    )
    return _signed(entry, parent_keys)


def tombstone(parent: NodeId, parent_keys: NodeKeys, version: int, epoch: int, token: Token) -> Entry:
    """A signed mark that a name is gone; `epoch` is that of the keys under which `token` was made."""
    return _signed(Entry(parent, token, version, epoch, None), parent_keys)


def open_entry(entry: Entry, parent_keys: NodeKeys, *, verify: bool) -> Opened:
    """Name and keys of an entry that is no tombstone.

    Damaged if it does not open: bits, keys or place are others (compare epochs to tell). With `verify`, Tampered
    unless a writer of the folder has signed it; without, as in listings, it can have been made by any reader.
    """
    if verify:
        check_entry(entry, parent_keys)
    name, read, verify_key = open_name(entry, parent_keys)
    seed = None
    if parent_keys.seed is not None:
        seed = unseal(parent_keys.seed_cipher, b"seed" + entry_place(entry), entry.sealed_seed)
        if len(seed) != KEY_SIZE:
            raise Damaged("cut off")
    return Opened(name, NodeKeys(read, verify_key, seed))


def open_name(entry: Entry, parent_keys: NodeKeys) -> tuple[bytes, bytes, bytes]:
    """The name, and the child's keys for reading and to verify, as `open_entry` finds them without looking at the
    signature: of 100,000 names a listing needs no more."""
    if entry.child is None:
        raise Damaged("a removed name has nothing to open")
    content = unseal(parent_keys.entry_cipher, b"entry" + entry_place(entry), entry.sealed)
    try:
        read, verify_key, length = _KEYS.unpack_from(content)
    except struct.error as error:
        raise Damaged("cut off") from error
    name = content[_KEYS.size : _KEYS.size + length]
    if len(name) != length or not is_name(name):
        raise Tampered("the name in it cannot be one")
    return name, read, verify_key


def check_entry(entry: Entry, parent_keys: NodeKeys) -> None:
    """Tampered unless a writer of the folder has signed the entry or tombstone."""
    if not entry_is_signed(entry, parent_keys.verify):
        raise Tampered("no writer of the folder has signed this name")


def is_name(name: bytes) -> bool:
    """Whether it can be one component of a path."""
    return 0 < len(name) <= NAME_MAX and name not in (b".", b"..") and b"/" not in name and b"\0" not in name


def _signed(entry: Entry, parent_keys: NodeKeys) -> Entry:
    return replace(entry, signature=parent_keys.signer.sign(signed_part_of_entry(entry)))
