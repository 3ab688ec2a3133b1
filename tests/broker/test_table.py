"""The table: every row has a handler, and no number stands for two calls."""

from __future__ import annotations

import os

from broker.remotes.registry import SCHEMES
from broker.settings import REMOTE_OPTIONS
from broker.syscalls.handlers import HANDLERS
from broker.table import RANGE_END, RANGE_MASK, RANGE_START, TABLE, Trap


def test_every_row_has_a_handler_and_every_handler_a_row() -> None:
    """A trapped call without a handler would leave its program waiting for ever."""
    assert {row.name for row in TABLE} == set(HANDLERS)


def test_numbers_are_unique() -> None:
    """Two rows with one number: the second would never be reached."""
    for numbers in ([row.x86_64 for row in TABLE], [row.i386 for row in TABLE]):
        given = [number for number in numbers if number is not None]
        assert len(given) == len(set(given))


def test_the_range_is_what_the_mask_says() -> None:
    """The filter compares under the mask; the broker chooses from the range."""
    for number in range(-5, 3000):
        assert ((number & RANGE_MASK & 0xFFFFFFFF) == RANGE_START) == (RANGE_START <= number <= RANGE_END)


def test_ranged_rows_name_their_descriptor() -> None:
    """The filter needs to know which argument to compare."""
    assert all(row.fd is not None for row in TABLE if row.trap in (Trap.RANGED, Trap.DESCRIPTOR))


def test_paths_have_distinct_arguments() -> None:
    """A slip of the pen in an index would read a path from an integer."""
    for row in TABLE:
        indexes = [index for pair in row.paths for index in pair if index is not None]
        assert len(indexes) == len(set(indexes)), row.name
        assert all(0 <= index < 6 for index in indexes), row.name


def test_the_mask_of_fanotify_mark_takes_two_arguments_in_32_bits() -> None:
    """The path stands behind it, so it is another argument there."""
    rows = {row.name: row for row in TABLE}
    assert rows["fanotify_mark"].paths == ((3, 4),) and rows["fanotify_mark"].i386 is None
    assert rows["fanotify_mark_i386"].paths == ((4, 5),) and rows["fanotify_mark_i386"].x86_64 is None


def test_the_page_size_is_the_one_the_lane_counts_with() -> None:
    """Reads from the tracee are cut at page borders of 4 KiB."""
    assert os.sysconf("SC_PAGESIZE") == 4096


def test_the_schemes_of_the_policy_are_those_of_the_registry() -> None:
    """The policy refuses an unknown scheme with its line, without loading the remotes."""
    assert set(REMOTE_OPTIONS) == set(SCHEMES)
