"""Whatever bytes a hostile writer seals, or a store hands out, the parsers say Damaged and nothing else."""

from __future__ import annotations

import contextlib
from base64 import b64encode
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from broker.drive.errors import Damaged, DriveError
from broker.drive.format import fields
from broker.drive.format.bodies import Body, decode_body, encode_body
from broker.drive.format.chunks import chunk_id, seal_chunk
from broker.drive.format.identity import decode_record
from broker.drive.format.keyfile import HEADER, decode_key_file
from broker.drive.format.manifest import Content, Ref, Refs, open_leaf
from broker.drive.records import NodeId

NODE, KEY = NodeId(bytes(16)), bytes(32)
BODY = encode_body(
    Body(0o100600, 1, 2, 3, b"target", xattrs={b"a": b"b"}, content=Content({1: KEY}, Refs.of({0: Ref(KEY, 1)})))
)
edits = st.lists(st.tuples(st.integers(0, len(BODY) - 1), st.integers(0, 255)), min_size=1, max_size=4)


@given(st.binary(max_size=300) | st.binary(min_size=81, max_size=400))
def test_bodies_of_any_bytes(data: bytes) -> None:
    """Read, or Damaged."""
    with contextlib.suppress(Damaged):
        decode_body(data)


@given(edits, st.integers(0, len(BODY)))
def test_bodies_that_are_almost_right(edits: list[tuple[int, int]], length: int) -> None:
    """Lengths that lead elsewhere, lists that are cut: what is read can be written again as the same."""
    data = bytearray(BODY)
    for at, value in edits:
        data[at] = value
    for changed in (bytes(data), bytes(data[:length])):
        try:
            body = decode_body(changed)
        except Damaged:
            continue
        assert decode_body(encode_body(body)) == body


@given(st.lists(st.binary(max_size=20), max_size=5), st.binary(max_size=30))
def test_fields(parts: list[bytes], data: bytes) -> None:
    """A row of fields comes back; any other bytes are read in one way only, or are Damaged."""
    assert fields.split(fields.join(*parts)) == parts
    with contextlib.suppress(Damaged):
        assert fields.join(*fields.split(data)) == data


@given(st.binary(max_size=300))
def test_leaves_of_any_bytes(plaintext: bytes) -> None:
    """A leaf made by who has the content key, with anything in it."""
    padded = plaintext.ljust(320, b"\0")
    id = chunk_id(KEY, 1 << 63, padded)
    with contextlib.suppress(Damaged):
        open_leaf(KEY, NODE, 0, id, seal_chunk(KEY, NODE, id, padded))


@given(st.binary(max_size=200), st.lists(st.binary(max_size=40), min_size=5, max_size=5))
def test_records_of_any_bytes(data: bytes, parts: list[bytes]) -> None:
    """Nothing that is not signed is a record."""
    for record in (data, b"\x01" + data, b"\x01" + fields.join(*parts)):
        with contextlib.suppress(DriveError):
            raise AssertionError(decode_record(record))


@given(st.lists(st.binary(max_size=40), min_size=3, max_size=5))
def test_key_files_of_any_fields(parts: list[bytes]) -> None:
    """Also with a right checksum."""
    content = fields.join(*parts)
    text = b64encode(content + sha256(HEADER + content).digest()[:8])
    with contextlib.suppress(DriveError):
        raise AssertionError(decode_key_file(HEADER + text))
