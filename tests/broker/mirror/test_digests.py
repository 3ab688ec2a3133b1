"""Digests of contents."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.mirror.digests import CHUNK, EMPTY_DIGEST, digest_of


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


async def test_the_digest_of_nothing(tmp_path: Path) -> None:
    """It is known without reading."""
    with (tmp_path / "empty").open("w+b") as empty:
        assert await digest_of(empty.fileno()) == EMPTY_DIGEST
