"""What a node says to who holds its read key, and how that is written as bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from msgspec import Struct, field

from broker.drive.errors import Damaged, Malformed
from broker.drive.format.fields import join, split
from broker.drive.format.manifest import Content, Refs

BODY_PADDING = 64

_FIXED = struct.Struct(">IqqQQqqqqBHHII")
_KEY = struct.Struct(">I32s")
_NONE = -1
_NO_CONTENT = Content()
_NO_XATTRS: Mapping[bytes, bytes] = {}


class Body(Struct, frozen=True):
    """Attributes as in stat(2): sizes in bytes, times in ns since 1970, blocks of 512 bytes."""

    mode: int
    """With the type bits."""
    mtime_ns: int
    atime_ns: int
    size: int = 0
    target: bytes | None = None
    """The text of a symlink."""
    rdev: int = 0
    uid: int | None = None
    gid: int | None = None
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)
    content: Content = _NO_CONTENT
    mtime_changes: int | None = None
    """Of a folder: the store's count of changes when `mtime_ns` was set. When it has moved on, the folder's time is
    that of its last change, by the store's clock."""
    blocks: int | None = None


def encode_body(body: Body) -> bytes:
    """Padded to a multiple of 64 bytes. Malformed if a number is out of range."""
    keys = b"".join(_KEY.pack(epoch, body.content.keys[epoch]) for epoch in sorted(body.content.keys))
    xattrs = join(*(part for name in sorted(body.xattrs) for part in (name, body.xattrs[name])))
    target = body.target or b""
    refs = body.content.refs.packed
    try:
        fixed = _FIXED.pack(
            body.mode,
            body.mtime_ns,
            body.atime_ns,
            body.size,
            body.rdev,
            _or_none(body.uid),
            _or_none(body.gid),
            _or_none(body.mtime_changes),
            _or_none(body.blocks),
            body.content.spilled,
            len(target),
            len(body.content.keys),
            len(refs),
            len(xattrs),
        )
    except struct.error as error:
        raise Malformed(f"an attribute is out of range: {error}") from error
    encoded = b"".join((fixed, target, keys, refs, xattrs))
    return encoded.ljust(-(-len(encoded) // BODY_PADDING) * BODY_PADDING, b"\0")


def decode_body(data: bytes) -> Body:
    """Damaged if it is not what `encode_body` makes."""
    try:
        fixed = _FIXED.unpack_from(data)
    except struct.error as error:
        raise Damaged("cut off") from error
    (mode, mtime_ns, atime_ns, size, rdev, uid, gid, mtime_changes, blocks, spilled, *lengths) = fixed
    target_length, key_count, refs_length, xattrs_length = lengths
    keys_at = _FIXED.size + target_length
    refs_at = keys_at + key_count * _KEY.size
    xattrs_at = refs_at + refs_length
    end = xattrs_at + xattrs_length
    if end > len(data):
        raise Damaged("cut off")
    content = _NO_CONTENT
    if key_count:
        keys = dict(_KEY.iter_unpack(data[keys_at:refs_at]))
        content = Content(keys, Refs(data[refs_at:xattrs_at]), spilled != 0)
    return Body(
        mode,
        mtime_ns,
        atime_ns,
        size,
        data[_FIXED.size : keys_at] if target_length else None,
        rdev,
        None if uid < 0 else uid,
        None if gid < 0 else gid,
        _decode_xattrs(data[xattrs_at:end]) if xattrs_length else _NO_XATTRS,
        content,
        None if mtime_changes < 0 else mtime_changes,
        None if blocks < 0 else blocks,
    )


def _or_none(number: int | None) -> int:
    return _NONE if number is None else number


def _decode_xattrs(data: bytes) -> Mapping[bytes, bytes]:
    parts = split(data)
    if len(parts) % 2:
        raise Damaged("an extended attribute has no value")
    return dict(zip(parts[::2], parts[1::2], strict=True))
