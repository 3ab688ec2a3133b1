"""The faulty remote does exactly what its plan says, told by events."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from broker.errors import SetupError
from broker.remotes import protocol
from broker.remotes.registry import open_remote
from broker.settings import RemoteSettings

from .control import Control
from .faults import SCHEMES, Faulty
from .helpers import NOTHING, content_of, names_in, put
from .memory import Memory
from .plans import Moment, Plan


@pytest.fixture
def plan() -> Plan:
    return Plan()


@pytest.fixture
def remote(plan: Plan) -> Faulty:
    return Faulty(Memory(page=2), plan)


async def test_fail_before(remote: Faulty, plan: Plan) -> None:
    """As often as planned, at that path and operation only, and nothing is done."""
    plan.fail("mkdir", protocol.NoSpace, path=b"a", times=2)
    await remote.mkdir(b"b", NOTHING)
    for _ in range(2):
        with pytest.raises(protocol.NoSpace):
            await remote.mkdir(b"a", NOTHING)
    assert await names_in(remote, b"") == [b"b"]
    await remote.mkdir(b"a", NOTHING)
    assert (plan.count("mkdir"), plan.count("mkdir", b"a")) == (4, 3)


async def test_fail_after(remote: Faulty, plan: Plan) -> None:
    """The change is made, its answer lost."""
    plan.fail("write", moment=Moment.AFTER)
    with pytest.raises(protocol.Unavailable):
        await put(remote, b"f", b"1")
    assert await content_of(remote, b"f") == b"1"


async def test_hold(remote: Faulty, plan: Plan) -> None:
    """A held call waits for its gate, before or after its work; others pass."""
    before = plan.hold("mkdir", path=b"a")
    after = plan.hold("mkdir", path=b"b", moment=Moment.AFTER)
    making = [asyncio.ensure_future(remote.mkdir(path, NOTHING)) for path in (b"a", b"b")]
    await before.reached
    await after.reached
    assert await names_in(remote, b"") == [b"b"]
    assert not any(call.done() for call in making)
    before.open()
    after.open()
    await asyncio.gather(*making)
    assert await names_in(remote, b"") == [b"a", b"b"]


async def test_a_cancelled_call_leaves_its_gate(remote: Faulty, plan: Plan) -> None:
    """The gate of a call that was cancelled can still be opened, and the call has not been done."""
    gate = plan.hold("mkdir")
    making = asyncio.ensure_future(remote.mkdir(b"a", NOTHING))
    await gate.reached
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    gate.open()
    assert plan.calls[0].finished.is_set
    assert await names_in(remote, b"") == []


async def test_disconnect(remote: Faulty, plan: Plan) -> None:
    """Whatever is on its way is lost too, in the middle of a listing as well, until the connection is back."""
    for name in (b"a", b"b", b"c"):
        await remote.mkdir(name, NOTHING)
    seen = 0
    with pytest.raises(protocol.Unavailable):
        async for page in remote.list(b""):
            seen += len(page)
            plan.disconnect()
    assert seen == 2
    with pytest.raises(protocol.Unavailable):
        await remote.stat(b"a")
    plan.connect()
    assert await names_in(remote, b"") == [b"a", b"b", b"c"]


async def test_reverse(remote: Faulty, plan: Plan) -> None:
    """Calls that came in one order are done in the other, one at a time."""
    plan.reverse("mkdir", 3)
    done: list[bytes] = []

    async def make(path: bytes) -> None:
        await remote.mkdir(path, NOTHING)
        done.append(path)

    await asyncio.gather(make(b"a"), make(b"b"), make(b"c"))
    assert done == [b"c", b"b", b"a"]
    assert [entry.name async for page in remote.list(b"") for entry in page] == [b"c", b"b", b"a"]


async def test_a_plan_in_another_thread(remote: Faulty, plan: Plan) -> None:
    """A thread without a loop can hold and release the calls of one that has it."""
    gate = plan.hold("mkdir")

    def release() -> None:
        gate.reached.wait()
        gate.open()

    thread = threading.Thread(target=release)
    thread.start()
    await remote.mkdir(b"a", NOTHING)
    thread.join()


async def test_a_plan_over_a_socket(tmp_path: Path, plan: Plan) -> None:
    """The URL of a faulty remote names a socket; the plan behind it rules the remote as one at hand would."""
    share = tmp_path / "share"
    share.mkdir()
    socket = tmp_path / "control"
    remote = open_remote(RemoteSettings(f"faulty+{share.as_uri()}?control={socket}"), SCHEMES)
    try:
        await put(remote, b"free", b"")
        with Control(socket, plan):
            plan.fail("write", protocol.OverQuota)
            with pytest.raises(protocol.OverQuota):
                await put(remote, b"\xff", b"1")
            plan.fail("write", moment=Moment.AFTER)
            with pytest.raises(protocol.Unavailable):
                await put(remote, b"\xff", b"1")
            gate = plan.hold("stat")
            asking = asyncio.ensure_future(remote.stat(b"\xff"))
            await gate.reached
            assert not asking.done()
            gate.open()
            assert (await asking).size == 1
            assert plan.count("write", b"\xff") == 2
        await put(remote, b"after", b"")
        assert await names_in(remote, b"") == [b"after", b"free", b"\xff"]
    finally:
        await remote.close()


def test_a_faulty_url_needs_its_socket(tmp_path: Path) -> None:
    """Without one, or with a bad folder, the remote is refused as any other."""
    for url in (f"faulty+{tmp_path.as_uri()}", f"faulty+{tmp_path.as_uri()}/no?control=/x"):
        with pytest.raises(SetupError):
            open_remote(RemoteSettings(url), SCHEMES)
