"""Chunk lists: a long one is in leaves, and a change of one chunk changes one leaf, however long the file is."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.drive.errors import Damaged
from broker.drive.format.bodies import Body
from broker.drive.format.chunks import CHUNK, CHUNK_OVERHEAD, padded_size
from broker.drive.format.keys import new_node_keys
from broker.drive.format.manifest import (
    DIRECT,
    SPAN,
    Content,
    ContentBuilder,
    Ref,
    Refs,
    leaf_id,
    leaf_of,
    open_leaf,
    seal_leaf,
)
from broker.drive.format.nodes import open_node, seal_node
from broker.drive.records import Kind, NodeId

NODE = NodeId(b"n" * 16)
KEY = b"k" * 32
TERABYTE = (1 << 40) // CHUNK

indexes = st.integers(0, 3 * SPAN) | st.integers(TERABYTE, TERABYTE + 3 * SPAN)
refs = st.builds(Ref, st.binary(min_size=32, max_size=32), st.integers(1, 3))
lists = st.dictionaries(indexes, refs, max_size=3 * DIRECT)


class Blobs:
    """Where the leaves are, and how often one was sent or fetched."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.sent = self.fetched = 0

    def put(self, number: int, chunks: Refs) -> Ref:
        id, sealed = seal_leaf(KEY, NODE, number, chunks)
        self.kept[id] = bytes(sealed)
        self.sent += 1
        return Ref(id, 1)

    def get(self, number: int, leaf: Ref) -> Refs:
        self.fetched += 1
        return open_leaf(KEY, NODE, number, leaf.id, self.kept[leaf.id])


def _build(spans: Iterator[tuple[int, Refs]], blobs: Blobs) -> Content:
    builder = ContentBuilder({1: KEY})
    for number, chunks in spans:
        for leaf, leaf_chunks in builder.add(number, chunks):
            builder.stored(leaf, blobs.put(leaf, leaf_chunks))
    return builder.finish()


def _spans(chunks: Mapping[int, Ref]) -> Iterator[tuple[int, Refs]]:
    for number in sorted({leaf_of(index) for index in chunks}):
        yield number, Refs.of({index: ref for index, ref in chunks.items() if leaf_of(index) == number})


def _all(content: Content, blobs: Blobs) -> dict[int, Ref]:
    if not content.spilled:
        return dict(content.refs)
    return {index: ref for number, leaf in content.refs for index, ref in blobs.get(number, leaf)}


def _ref(index: int) -> Ref:
    return Ref(index.to_bytes(32, "big"), 1)


@given(lists)
def test_what_is_built_is_read(chunks: dict[int, Ref]) -> None:
    """Short and long, dense and sparse; leaves are made only when there are more than a node holds."""
    blobs = Blobs()
    content = _build(_spans(chunks), blobs)
    assert _all(content, blobs) == chunks
    assert content.spilled == (len(chunks) > DIRECT)
    assert bool(blobs.sent) == content.spilled


@given(lists, st.dictionaries(indexes, st.none() | refs, max_size=9), indexes, indexes)
def test_references(chunks: dict[int, Ref], changes: dict[int, Ref | None], start: int, stop: int) -> None:
    """Packed references answer as a dictionary would."""
    packed = Refs.of(chunks)
    assert (
        len(packed) == len(chunks) and dict(packed) == chunks and list(packed) == sorted(packed, key=lambda r: r[0])
    )
    assert all(packed.get(index) == chunks.get(index) for index in {*chunks, *changes, start, stop})
    assert dict(packed.between(start, stop)) == {i: ref for i, ref in chunks.items() if start <= i < stop}
    changed = {index: ref for index, ref in {**chunks, **changes}.items() if ref is not None}
    assert dict(packed.patched(changes)) == changed


def test_references_that_cannot_be() -> None:
    """Out of order, twice, or cut off."""
    one, other = Refs.of({1: _ref(1)}).packed, Refs.of({2: _ref(2)}).packed
    for packed in (other + one, one + one, one[:-1]):
        with pytest.raises(Damaged):
            Refs(packed)


def test_one_byte_in_a_gibibyte() -> None:
    """Its chunk and the leaf in which that stands are sent, and nothing else is."""
    chunks = {index: _ref(index) for index in range((1 << 30) // CHUNK)}
    blobs = Blobs()
    before = _build(_spans(chunks), blobs)
    assert blobs.sent == 1
    after = _build(_spans({**chunks, 700: _ref(9999)}), blobs)
    assert blobs.sent == 2
    assert _all(after, blobs)[700] == _ref(9999) and _all(before, blobs)[700] == _ref(700)


def test_one_chunk_of_terabytes_with_holes() -> None:
    """A patch fetches one leaf and sends one, and what is in memory does not grow with the file.

    16 TiB of which every hundredth chunk is there: 160,000 of them in 4,096 leaves.
    """
    blobs = Blobs()
    size = 16 * TERABYTE
    step = 100
    spans = (
        (number, Refs.of({i: _ref(i) for i in range(-(-number * SPAN // step) * step, (number + 1) * SPAN, step)}))
        for number in range(size // SPAN)
    )
    content = _build(spans, blobs)
    assert blobs.sent == size // SPAN
    blobs.sent = blobs.fetched = 0

    tracemalloc.start()
    number = leaf_of(8 * TERABYTE)
    leaf = content.refs.get(number)
    assert leaf is not None
    patched = blobs.get(number, leaf).patched({8 * TERABYTE + 1: _ref(1)})
    content = replace(content, refs=content.refs.patched({number: blobs.put(number, patched)}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (blobs.fetched, blobs.sent) == (1, 1)
    assert peak < 8 << 20
    keys = new_node_keys()
    node = seal_node(NODE, Kind.OTHER, 1, 1, keys, Body(0o100600, 0, 0, size * CHUNK, content=content))
    assert open_node(node, keys, verify=True).content == content


def test_a_file_of_terabytes_that_is_one_hole() -> None:
    """Nothing is stored for it."""
    blobs = Blobs()
    assert _build(iter([]), blobs) == Content({1: KEY})
    assert _build(iter([(0, Refs()), (4096, Refs.of({TERABYTE: _ref(1)}))]), blobs).spilled is False
    assert blobs.sent == 0


def test_holes_among_leaves_take_nothing() -> None:
    """A span without chunks has no leaf, before and after the list has become long."""
    blobs = Blobs()
    full = Refs.of({index: _ref(index) for index in range(DIRECT + 1)})
    last = Refs.of({3 * SPAN: _ref(3)})
    content = _build(iter([(0, full), (1, Refs()), (3, last)]), blobs)
    assert [number for number, _ in content.refs] == [0, 3]


def test_an_unchanged_leaf_is_known_without_sealing_it() -> None:
    """Its id follows from its content and number."""
    chunks = Refs.of({SPAN + 1: Ref(os.urandom(32), 1)})
    assert leaf_id(KEY, 1, chunks) == seal_leaf(KEY, NODE, 1, chunks)[0]
    assert leaf_id(KEY, 2, chunks) != leaf_id(KEY, 1, chunks)


def test_the_longest_leaf_is_a_chunk() -> None:
    """It is stored, padded and limited like every other."""
    full = Refs.of({index: _ref(index) for index in range(SPAN)})
    assert len(seal_leaf(KEY, NODE, 0, full)[1]) <= CHUNK // 4


@given(st.integers(0, CHUNK))
def test_padding(size: int) -> None:
    """At least 256 bytes, never more than an eighth more, and padding what is padded adds nothing."""
    padded = padded_size(size)
    assert size <= padded <= max(256, size + size // 8, size + 1) and padded <= CHUNK
    assert padded_size(padded) == padded
    assert CHUNK_OVERHEAD == 17
