"""The traits of system calls go with the table."""

from __future__ import annotations

import pytest

from broker.kernel import traits
from broker.kernel.traits import Follows, Shows, Traits, traits_of
from broker.table import TABLE, Row, Trap

NAMED = [traits._OPENS, traits._SOCKETS, traits._RELINKS, traits._MOUNTS, traits._NEVER]
NAMED += [traits._UNLESS, traits._IF, traits._SHOWS]


@pytest.mark.parametrize("names", NAMED, ids=range(len(NAMED)))
def test_every_name_is_in_the_table(names: frozenset[str]) -> None:
    """A misspelt name would have no effect."""
    assert set(names) <= {row.name for row in TABLE}


def test_the_final_link_is_followed_unless_said_otherwise() -> None:
    """By the call itself, by a flag that forbids or one that asks."""
    rows = {row.name: row for row in TABLE}
    assert traits_of(rows["access"]) == Traits()
    assert traits_of(rows["readlink"]) == Traits(Follows.NEVER)
    assert traits_of(rows["faccessat2"]) == Traits(Follows.UNLESS_FLAGGED, 3, 0x100)
    assert traits_of(rows["linkat"]) == Traits(Follows.IF_FLAGGED, 4, 0x400, relinks=True)


def test_the_structure_goes_where_the_call_says() -> None:
    """stat(2) and its kin differ in where they put what they found."""
    rows = {row.name: row for row in TABLE}
    assert traits_of(rows["stat"]) == Traits(shows=Shows.STAT, output=1)
    assert traits_of(rows["lstat"]) == Traits(Follows.NEVER, shows=Shows.STAT, output=1)
    assert traits_of(rows["newfstatat"]) == Traits(Follows.UNLESS_FLAGGED, 3, 0x100, shows=Shows.STAT, output=2)
    assert traits_of(rows["statx"]) == Traits(Follows.UNLESS_FLAGGED, 2, 0x100, shows=Shows.STATX, output=4)


def test_changes_of_the_root_change_where_paths_lead() -> None:
    """Whatever the name of the call."""
    assert traits_of(Row("new", 1000, None, Trap.ROOT)).relinks
