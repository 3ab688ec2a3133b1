"""What a transaction promises."""

from __future__ import annotations

from enum import Enum


class Mode(Enum):
    READ = "read"
    """One snapshot for all queries of the transaction."""
    WRITE = "write"
    """It survives the end of any process once committed."""
    DURABLE = "durable"
    """As WRITE, and it survives a power loss once committed."""
