"""The table of what runs on encrypted drives names what there is."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping

import pytest

from .chosen import BACKINGS, EMBEDDED, FILE, LEFT_OUT, ON_EMBEDDED, ON_SERVER, SERVED, runs


def found_by(name: str) -> Mapping[str, object]:
    """The tests that a name of the table means."""
    module, _, only = name.partition(".")
    found = vars(importlib.import_module(f".{module}", __package__))
    return {test: act for test, act in found.items() if test.startswith("test_") and only in ("", test)}


@pytest.mark.parametrize("name", sorted(ON_EMBEDDED | ON_SERVER.keys()))
def test_a_name_means_tests_with_a_drive(name: str) -> None:
    """A test that was renamed would run on folders only, and nobody would miss it."""
    assert any({"pair", "git_pair"} & inspect.signature(act).parameters.keys() for act in found_by(name).values())


def test_what_is_left_out_is_of_a_chosen_test() -> None:
    """With a reason that is said."""
    assert LEFT_OUT.keys() <= {test for name in ON_EMBEDDED for test in found_by(name)}
    assert all(reason for reasons in LEFT_OUT.values() for reason in reasons.values())


def test_where_a_test_runs() -> None:
    """All run on folders, others by their module or by their own name, and all their parameters or some."""
    assert [runs("programs.test_terminal", "test_nano", "served--IB", backing) for backing in BACKINGS] == [True] * 3
    assert not runs("programs.test_git", "test_git", "served-commit", SERVED)
    assert runs("programs.test_terminal", "test_vim", "embedded-default", EMBEDDED)
    assert not runs("programs.test_terminal", "test_interrupt", "embedded-Ctrl-C", EMBEDDED)
    assert runs("programs.test_prefixes", "test_names", "embedded-odd", EMBEDDED)
    assert not runs("programs.test_prefixes", "test_names", "embedded-in hundreds", EMBEDDED)
    assert runs("programs.test_prefixes", "test_names", "file-in hundreds", FILE)
