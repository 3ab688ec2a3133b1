"""The maps of a user namespace: what stands for what, there and here."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.kernel.idmaps import IdMap, parse
from broker.kernel.tracee import Tracee

IDS = st.integers(0, (1 << 32) - 2)


@st.composite
def maps(draw: st.DrawFn) -> IdMap:
    """Extents that overlap neither inside nor outside, as the kernel requires."""
    count = draw(st.integers(1, 8))
    lengths = draw(st.lists(st.integers(1, 1000), min_size=count, max_size=count))
    inner = draw(st.permutations(range(count)))
    return IdMap(tuple((2000 * inner[n], 5000 * n + 100, lengths[n]) for n in range(count)))


@given(maps(), IDS | st.integers(0, 60_000))
def test_there_and_back(ids: IdMap, id: int) -> None:
    inside, outside = ids.inside(id), ids.outside(id)
    assert inside is None or ids.outside(inside) == id
    assert outside is None or ids.inside(outside) == id


@given(maps())
def test_the_ends_of_extents(ids: IdMap) -> None:
    for inner, outer, count in ids.extents:
        assert [ids.inside(outer + at) for at in (0, count - 1)] == [inner, inner + count - 1]
        assert ids.inside(outer + count) is None and ids.inside(outer - 1) is None


def test_our_own_map_is_the_kernels() -> None:
    """Of the initial namespace, or of the container that the tests run in: our own ids stand for themselves."""
    with open("/proc/self/uid_map", "rb") as file:
        ids = parse(file.read())
    assert ids.outside(os.getuid()) == os.getuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can map many ids")
def test_a_map_of_many_extents_is_read_whole() -> None:
    """The kernel takes a page at once at most, and gives a page: fewer extents."""
    written = [(2 * at, 1000 + 3 * at, 1) for at in range(340)]
    with subprocess.Popen(["unshare", "--user", "sleep", "60"]) as child:
        try:
            own = os.readlink("/proc/self/ns/user")
            while os.readlink(f"/proc/{child.pid}/ns/user") == own:
                time.sleep(0.01)
            for kind in ("uid", "gid"):
                with open(f"/proc/{child.pid}/{kind}_map", "w") as file:
                    file.write("".join(f"{inner} {outer} {count}\n" for inner, outer, count in written))
            maps = Tracee(child.pid).id_maps()
        finally:
            child.kill()
    assert maps.uids.extents == maps.gids.extents == tuple(written)
