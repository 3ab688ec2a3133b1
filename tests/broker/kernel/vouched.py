"""A mirror whose nodes and names a lane is vouched for, and a program that makes calls."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracee import Probe, probing

from broker.kernel.lane import Warm, WarmDrive
from broker.remotes.nodes import version_of


class Setting:
    """A mirror's tree with its drive in a `Warm`, the folder of its remote, and a program that makes calls."""

    def __init__(self, tree: Path, remote: Path, drive: WarmDrive, shared: mmap.mmap, probe: Probe) -> None:
        self.tree = tree
        self.remote = remote
        self.drive = drive
        self.shared = shared
        self.probe = probe

    def vouch(self, *names: str, until: float = 60) -> None:
        for name in names:
            self.drive.name(name.encode(), time.monotonic() + until)
            path = self.tree / name
            if path.is_symlink() or path.exists():
                self.drive.node(path.lstat().st_ino, None, None, 0, False)

    def complete(self, *names: str, until: float = 60) -> None:
        """Vouch for the content of files, at the version that the remote has."""
        for name in names:
            ino, version = (self.tree / name).lstat().st_ino, version_of((self.remote / name).lstat())
            self.drive.node(ino, None, None, 0, False)
            self.drive.complete(ino, version, time.monotonic() + until)

    def answered(self, name: str, *arguments: Any, **keywords: Any) -> Any:
        """The result of a call that the lane must answer."""
        result, seen = self.probe.ask(name, *arguments, **keywords)
        assert not seen
        return result

    def handed_over(self, name: str, *arguments: Any, **keywords: Any) -> bool:
        return self.probe.handed_over(name, *arguments, **keywords)


@contextmanager
def setting_of(
    folder: Path,
    more: Mapping[str, Callable[..., Any]] | None = None,
    *,
    prefix: bytes = b"/drive",
    memory: memoryview | None = None,
) -> Iterator[Setting]:
    """`more` are calls that the program can make beside those of `os`. The witness: a folder, or `memory`."""
    tree, remote = folder / "tree", folder / "remote"
    for place in (tree, remote):
        (place / "d").mkdir(parents=True)
        (place / "d" / "file").write_bytes(b"12345")
        (place / "link").symlink_to("d/file")
    shared, seen = mmap.mmap(-1, 64), bytearray(64)
    warm = Warm(2)
    root, witness = os.open(tree, os.O_PATH), os.open(remote, os.O_PATH)
    real = os.fsencode(tree)
    for drive, name in enumerate((prefix, b"sommelier:")):
        warm.drive(drive, name, real, root, shared, seen, witness if memory is None else None, memory)
    with probing(more, warm=warm, directories=[prefix], mirrors=[real], handed_out=True) as probe:
        yield Setting(tree, remote, warm.of(0), shared, probe)
    warm.close()
    os.close(root)
    os.close(witness)
