"""What is on record of one node, and how that stands in a row of the ledger."""

from __future__ import annotations

import operator
import os
import stat
from collections.abc import Sequence

from msgspec import Struct

from broker.mirror.database import COLUMNS
from broker.mirror.nodes import SET_ID
from broker.mirror.vouching import Shown
from broker.remotes.protocol import Version


class Record(Struct, frozen=True, gc=False):
    """One node as last agreed with the remote. Without a record, nothing is known of an inode."""

    ino: int
    version: Version
    hydrated: bool
    """Whether the content in the mirror is complete."""
    dirty: bool
    """Whether the content in the mirror may be newer than the remote's."""
    size: int
    mtime_ns: int
    mode: int
    nlink: int
    blocks: int
    """Of 512 bytes, as the remote has it: what `du` should see of a placeholder."""
    digest: bytes | None = None
    """Of the content at `version`, where it has been read."""
    identity: str | None = None

    def is_bent(self, status: os.stat_result) -> bool:
        """Whether a file without content has not the size and time that are on record."""
        if self.hydrated or self.dirty or not stat.S_ISREG(self.mode):
            return False
        return (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns)

    @property
    def shown(self) -> Shown:
        """What the remote knows better than the mirror's node."""
        if stat.S_ISDIR(self.mode):
            return Shown(nlink=self.nlink)
        set_id = self.mode & SET_ID if stat.S_ISREG(self.mode) else 0
        return Shown(self.nlink, None if self.hydrated or self.dirty else self.blocks, set_id)


def record_of_row(row: Sequence[object]) -> Record:
    """`row` has the columns in the order of COLUMNS."""
    ino, version, hydrated, dirty, *rest = row
    return Record(ino, version, bool(hydrated), bool(dirty), *rest)  # type: ignore[arg-type]  # as COLUMNS declares


row_of = operator.attrgetter(*COLUMNS.split(", "))
"""The row of a record, in the same order."""
