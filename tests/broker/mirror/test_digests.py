"""Digests of contents."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from broker.mirror.digests import CHUNK, EMPTY_DIGEST, Digest, digest_of


@pytest.mark.parametrize("size", [1, 64 << 10, (64 << 10) + 1, CHUNK + 7])
async def test_a_digest_is_of_the_whole_content(tmp_path: Path, size: int) -> None:
    """Whatever the position, which stays; holes count as zeros, and the last byte as every other."""
    content = os.urandom(size)
    for name, each in (("same", content), ("other", content[:-1] + bytes([content[-1] ^ 1]))):
        (tmp_path / name).write_bytes(each + bytes(CHUNK))
    (tmp_path / "hole").write_bytes(content)
    os.truncate(tmp_path / "hole", size + CHUNK)
    files = {name: (tmp_path / name).open("rb") for name in ("same", "other", "hole")}
    files["same"].seek(7)
    digests = {name: await digest_of(file.fileno()) for name, file in files.items()}
    assert digests["same"] == digests["hole"] != digests["other"]
    assert files["same"].tell() == 7
    for file in files.values():
        file.close()


MIB = 1 << 20
SPARSE = [
    [(0, 3 * MIB)],
    [(5, 100), (2 * MIB + 7, MIB), (9 * MIB, 5)],
    [(MIB - 4096, 4096), (4 * MIB, 4096), (12 * MIB - 1, 1)],
    [],
]


@pytest.mark.parametrize("data", SPARSE)
async def test_holes_are_zeros(tmp_path: Path, data: list[tuple[int, int]]) -> None:
    """However the content comes: with holes or without, or in parts of any length, as a remote sends it."""
    content = bytearray(12 * MIB + 5)
    with (tmp_path / "sparse").open("w+b") as sparse, (tmp_path / "full").open("w+b") as full:
        os.truncate(sparse.fileno(), len(content))
        for offset, length in data:
            content[offset : offset + length] = os.urandom(length)
            os.pwrite(sparse.fileno(), content[offset : offset + length], offset)
        full.write(content)
        full.flush()
        found = {await digest_of(file.fileno()) for file in (sparse, full)}
        position = sparse.tell()
    assert position == 0
    for part in (CHUNK, 300_007):
        digest = Digest()
        for start in range(0, len(content), part):
            digest.update(bytes(content[start : start + part]))
        found.add(digest.digest())
    assert len(found) == 1
    digest = Digest()
    digest.update(bytes(content) + bytes(MIB))
    assert digest.digest() not in found


async def test_a_content_without_zeros_has_its_plain_digest(tmp_path: Path) -> None:
    """As those on record were made before."""
    content = os.urandom(2 * MIB + 3)
    (tmp_path / "f").write_bytes(content)
    with (tmp_path / "f").open("rb") as file:
        assert await digest_of(file.fileno()) == blake3(content).digest()


async def test_a_hole_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terabyte of nothing takes no time."""
    read: list[int] = []
    real = os.pread

    def pread(file: int, count: int, offset: int) -> bytes:
        read.append(len(data := real(file, count, offset)))
        return data

    monkeypatch.setattr(os, "pread", pread)
    with (tmp_path / "f").open("w+b") as file:
        os.truncate(file.fileno(), 1 << 40)
        os.pwrite(file.fileno(), b"x", 1 << 39)
        await digest_of(file.fileno())
    assert sum(read) <= 1 << 20


async def test_the_digest_of_nothing(tmp_path: Path) -> None:
    """It is known without reading."""
    with (tmp_path / "empty").open("w+b") as empty:
        assert await digest_of(empty.fileno()) == EMPTY_DIGEST
