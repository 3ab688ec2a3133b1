"""Where the structures of stat(2) keep what is corrected for placeholders."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from broker.kernel import native
from broker.syscalls.attributes import (
    STAT64_I386,
    STAT_I386,
    STAT_X86_64,
    STATX,
    Layout,
    _field,
    _set_field,
)

_AT_FDCWD = -100
_BASIC_STATS = 0x7FF
X86_64, I386 = native.AUDIT_ARCH_X86_64, native.AUDIT_ARCH_I386


def _stat(arch: int, number: int, layout: Layout, path: bytes) -> bytearray:
    buffer = bytearray(layout.size + 8)
    if layout is STATX:
        native.call(arch, number, (_AT_FDCWD, path, 0, _BASIC_STATS, buffer, 0))
    else:
        native.call(arch, number, (path, buffer, 0, 0, 0, 0))
    return buffer


@pytest.mark.parametrize(
    ("arch", "number", "layout"),
    [
        (X86_64, 4, STAT_X86_64),
        (X86_64, 332, STATX),
        (I386, 106, STAT_I386),
        (I386, 195, STAT64_I386),
        (I386, 383, STATX),
    ],
    ids=["stat", "statx", "i386 stat", "i386 stat64", "i386 statx"],
)
def test_layouts_are_the_kernels(tmp_path: Path, arch: int, number: int, layout: Layout) -> None:
    """Each field of a real answer says what os.stat says, and nothing is written behind the structure's end."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 10000)
    os.link(file, tmp_path / "other")
    if os.geteuid() == 0:
        os.chown(file, 1234, 2345)
    try:
        buffer = _stat(arch, number, layout, bytes(file))
    except OSError as error:
        if arch == I386 and error.errno in (errno.ENOSYS, errno.EOVERFLOW):
            pytest.skip(f"this kernel does not answer it: {error}")
        raise
    status = os.stat(file)
    found = [_field(buffer, field) for field in (layout.ino, layout.mode, layout.nlink, layout.blocks)]
    assert found == [status.st_ino, status.st_mode, 2, status.st_blocks]
    assert struct.unpack_from("<" + layout.owner[1], buffer, layout.owner[0]) == (status.st_uid, status.st_gid)
    assert not any(buffer[layout.size :])


def test_a_field_that_is_too_small_is_an_overflow() -> None:
    """The old structure of i386 has 16 bits for links (stat(2): EOVERFLOW)."""
    buffer = bytearray(STAT_I386.size)
    _set_field(buffer, STAT_I386.nlink, 65535)
    assert _field(buffer, STAT_I386.nlink) == 65535
    with pytest.raises(OSError) as refused:
        _set_field(buffer, STAT_I386.nlink, 65536)
    assert refused.value.errno == errno.EOVERFLOW
