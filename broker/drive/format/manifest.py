"""The chunk list of a file: in its node when short; when long, in leaves that are chunks themselves."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from msgspec import Struct

from broker.drive.errors import Damaged
from broker.drive.format.chunks import CHUNK_OVERHEAD, chunk_id, open_chunk, padded_size, seal_chunk
from broker.drive.records import NodeId

DIRECT = 32
"""Chunks whose references stand in the node itself; with more, all stand in leaves."""

SPAN = 4096
"""Chunks that one leaf is for: leaf n has those from n * SPAN on (4 GiB of content, a leaf of at most 180 KiB)."""

_REF = struct.Struct(">QI32s")
_COUNT = struct.Struct(">I")
_LEAF_INDEX = 1 << 63


class Ref(Struct, frozen=True):
    """One chunk: its id, and the epoch of the content key that it is under."""

    id: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class Refs:
    """References by index, ascending, as packed bytes: of chunks, or of leaves. What has none is a hole."""

    packed: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if len(self.packed) % _REF.size:
            raise Damaged("the chunk list is cut off")
        if len(self.packed) > _REF.size:
            indexes = [index for index, _, _ in _REF.iter_unpack(self.packed)]
            if any(one >= other for one, other in pairwise(indexes)):
                raise Damaged("the chunk list is out of order")

    @classmethod
    def of(cls, refs: Mapping[int, Ref]) -> Refs:
        return cls(b"".join(_REF.pack(index, refs[index].epoch, refs[index].id) for index in sorted(refs)))

    def __len__(self) -> int:
        return len(self.packed) // _REF.size

    def __iter__(self) -> Iterator[tuple[int, Ref]]:
        """(index, reference) of what is no hole, ascending."""
        for index, epoch, id in _REF.iter_unpack(self.packed):
            yield index, Ref(id, epoch)

    def get(self, index: int) -> Ref | None:
        """None for a hole."""
        at = self._position(index) * _REF.size
        if at < len(self.packed):
            found, epoch, id = _REF.unpack_from(self.packed, at)
            if found == index:
                return Ref(id, epoch)
        return None

    def between(self, start: int, stop: int) -> Refs:
        """Those from index `start` to before `stop`."""
        return Refs(self.packed[self._position(start) * _REF.size : self._position(stop) * _REF.size])

    def patched(self, changes: Mapping[int, Ref | None]) -> Refs:
        """With some replaced or added, or made holes."""
        merged = {**dict(self), **changes}
        return Refs.of({index: ref for index, ref in merged.items() if ref is not None})

    def _position(self, index: int) -> int:
        return bisect_left(range(len(self)), index, key=self._index)

    def _index(self, position: int) -> int:
        index: int = _REF.unpack_from(self.packed, position * _REF.size)[0]
        return index


@dataclass(frozen=True, slots=True)
class Content:
    """Where the content of a file is.

    Without `spilled`, `refs` are of its chunks. With it, they are of the leaves: chunk i is in leaf `leaf_of(i)`,
    which `open_leaf` turns into the references of its chunks; a leaf that is not there is all holes.
    """

    keys: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    """Content keys by epoch, 32 bytes each; new chunks are under the highest."""
    refs: Refs = Refs()
    spilled: bool = False

    @property
    def epoch(self) -> int:
        """That new chunks are under; 0 when there is no key yet."""
        return max(self.keys, default=0)


def leaf_of(index: int) -> int:
    """The number of the leaf in which the chunk stands."""
    return index // SPAN


def seal_leaf(key: bytes, node: NodeId, number: int, refs: Refs) -> tuple[bytes, memoryview]:
    """(id, sealed) of a leaf, to be stored like a chunk."""
    plaintext = _leaf(refs)
    id = leaf_id(key, number, refs)
    return id, seal_chunk(key, node, id, plaintext)


def leaf_id(key: bytes, number: int, refs: Refs) -> bytes:
    """What `seal_leaf` would say: an unchanged leaf is known by it without sealing."""
    return chunk_id(key, _LEAF_INDEX | number, _leaf(refs))


def open_leaf(key: bytes, node: NodeId, number: int, id: bytes, sealed: bytes | memoryview) -> Refs:
    """The references of the chunks in leaf `number`; Damaged and Tampered as for chunks."""
    size = len(sealed) - CHUNK_OVERHEAD
    if size < _COUNT.size:
        raise Damaged("cut off")
    plaintext = open_chunk(key, node, _LEAF_INDEX | number, id, sealed, size)
    count = _COUNT.unpack_from(plaintext)[0]
    refs = Refs(bytes(plaintext[_COUNT.size : _COUNT.size + count * _REF.size]))
    if len(refs) != count or refs.between(number * SPAN, (number + 1) * SPAN) != refs:
        raise Damaged("the chunk list is of another place")
    return refs


def _leaf(refs: Refs) -> bytes:
    plaintext = _COUNT.pack(len(refs)) + refs.packed
    return plaintext.ljust(padded_size(len(plaintext)), b"\0")


class ContentBuilder:
    """The chunk list of a new version, made span by span in ascending order; at most one leaf is in memory.

    `add` says which leaves are now to be stored (as `seal_leaf` makes them, or found unchanged by `leaf_id`);
    `stored` is told where each is; `finish` gives the whole.
    """

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._keys = dict(keys)
        self._direct = Refs()
        self._leaves: dict[int, Ref] | None = None

    def add(self, number: int, refs: Refs) -> list[tuple[int, Refs]]:
        """The chunks of span `number`, and (number, chunks) of each leaf to be stored because of them."""
        if self._leaves is None:
            if len(self._direct) + len(refs) <= DIRECT:
                self._direct = Refs(self._direct.packed + refs.packed)
                return []
            self._leaves = {}
            before = sorted({leaf_of(index) for index, _ in self._direct})
            return [(earlier, self._direct.between(earlier * SPAN, (earlier + 1) * SPAN)) for earlier in before] + [
                (number, refs)
            ]
        return [(number, refs)] if len(refs) else []

    def stored(self, number: int, leaf: Ref) -> None:
        """The leaf is where `leaf` says."""
        if self._leaves is None:
            raise ValueError("no leaf was to be stored")
        self._leaves[number] = leaf

    def finish(self) -> Content:
        if self._leaves is None:
            return Content(self._keys, self._direct)
        return Content(self._keys, Refs.of(self._leaves), spilled=True)
