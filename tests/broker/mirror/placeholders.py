"""Attributes that placeholders are made of."""

from __future__ import annotations

import os
import stat

from msgspec.structs import replace

from broker.remotes.protocol import Attributes, Version

TIME = 1_600_000_000_123_456_789


def attributes(kind: int, mode: int = 0o640, **others: object) -> Attributes:
    plain = Attributes(Version("1"), kind | mode, 0, TIME, TIME + 1, uid=os.getuid(), gid=os.getgid())
    return replace(plain, **others)  # type: ignore[arg-type]  # the fields of Attributes


def file(mode: int = 0o640, **others: object) -> Attributes:
    return attributes(stat.S_IFREG, mode, **others)


def folder(mode: int = 0o750, **others: object) -> Attributes:
    return attributes(stat.S_IFDIR, mode, **others)
