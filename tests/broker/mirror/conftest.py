"""Runs coroutine tests of the mirror and gives them drives, which end with the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from remotes.conftest import as_nobody, public, pytest_pyfunc_call
from remotes.memory import Memory
from remotes.plans import Plan

from broker.mirror.tree import Tree

from .drive import Drives

__all__ = ["as_nobody", "public", "pytest_pyfunc_call"]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """An empty tree."""
    tree = Tree(str(tmp_path / "mirror"), owners=os.geteuid() == 0)
    yield tree
    tree.close()


@pytest.fixture
def memory() -> Memory:
    """The remote itself: what a test does with it, another host has done."""
    return Memory()


@pytest.fixture
def plan() -> Plan:
    """What goes wrong between the mirror and the remote."""
    return Plan()


@pytest.fixture
def drives(tmp_path: Path, memory: Memory, plan: Plan) -> Iterator[Drives]:
    """Opens sessions on one mirror of `memory`."""
    drives = Drives(str(tmp_path / "mirror"), memory, plan)
    yield drives
    assert not drives.open, "a test has left a drive open"
