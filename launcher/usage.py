"""A command line that is wrong."""

from __future__ import annotations


class UsageError(Exception):
    """The command line is not understood."""
