"""The entries that a listing of the folder above a prefix gets."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.kernel import native
from broker.namespace.mounts import Mount, Mounts, Place
from broker.syscalls.descriptors import _dirent, hidden_prefixes

_GETDENTS64 = 217
_HEAD = struct.Struct("<QqHB")


def _records(listing: bytes) -> dict[bytes, bytes]:
    """Each record of a getdents64(2) buffer by its name."""
    found, at = {}, 0
    while at < len(listing):
        _, _, size, _ = _HEAD.unpack_from(listing, at)
        found[listing[at + _HEAD.size : at + size].split(b"\0")[0]] = listing[at : at + size]
        at += size
    return found


@pytest.mark.parametrize("length", [1, 4, 5, 12, 13, 255])
def test_an_entry_is_packed_as_the_kernel_packs_it(tmp_path: Path, length: int) -> None:
    """Same size, kind and place of the name as in the kernel's own record; inode and position are another's."""
    name = b"n" * length
    os.mkdir(bytes(tmp_path) + b"/" + name)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        buffer = bytearray(4096)
        size = native.call(native.AUDIT_ARCH_X86_64, _GETDENTS64, (folder, buffer, len(buffer), 0, 0, 0))
    finally:
        os.close(folder)
    real, ours = _records(bytes(buffer[:size]))[name], _dirent(name, 7)
    assert len(ours) == len(real)
    assert ours[16:19] == real[16:19]
    assert ours[19:].split(b"\0")[0] == name
    assert _HEAD.unpack_from(ours)[:2] == (1, 7)


@given(st.lists(st.binary(min_size=1, max_size=255).filter(lambda name: not {0, 47} & set(name)), unique=True))
def test_entries_can_be_put_in_a_row(names: list[bytes]) -> None:
    """Whatever the lengths, each is found behind the one before, and aligned."""
    listing = b"".join(map(_dirent, names))
    assert list(_records(listing)) == names
    assert len(listing) % ctypes.sizeof(ctypes.c_uint64) == 0


def test_only_prefixes_that_do_not_exist_are_hidden(tmp_path: Path) -> None:
    """One directly in the folder, not of another folder, not a scheme, and not within a drive."""
    folder = bytes(tmp_path)
    (tmp_path / "there").mkdir()
    prefixes = [folder + b"/gone", folder + b"/there", folder + b"/deep/er", b"scheme:"]
    mounts = [Mount(number, prefix, "file:///", False, 1.0) for number, prefix in enumerate(prefixes)]
    table = Mounts(mounts, {number: b"/mirrors/%d" % number for number in range(4)})
    assert hidden_prefixes(table, Place(None, folder)) == [b"gone"]
    assert hidden_prefixes(table, Place(None, folder + b"/deep")) == [b"er"]
    assert hidden_prefixes(table, Place(mounts[0], folder)) == []
