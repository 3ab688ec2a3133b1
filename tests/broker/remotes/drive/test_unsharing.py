"""Shares that are taken back while other things happen, or not to the end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import count
from pathlib import Path

import pytest
from msgspec.structs import replace

from broker.drive.errors import Denied, DriveError, Missing, Tampered
from broker.drive.format.entries import seal_entry, tombstone
from broker.drive.format.keys import new_node_keys
from broker.drive.http import messages
from broker.drive.http.codec import encode
from broker.drive.http.routes import COMMIT_MAX
from broker.drive.metadata.protocol import Below, Commit, Listed, PutEntry
from broker.drive.records import SEALED_MAX, NodeId, OperationId, Right, StoredNode
from broker.remotes.drive import listing, rekeying
from broker.remotes.drive.places import Held
from broker.remotes.drive.rekeying import Rekeying
from broker.remotes.drive.served import open_served
from broker.remotes.protocol import CrossDevice, Entry, Forbidden

from ..helpers import NOTHING, content_of, names_in, put
from .team import Team, killed_before, of_keys, team
from .users import place_of, user


async def test_killed_at_any_commit(tmp_path: Path) -> None:
    """Either nothing has happened yet, or the server refuses at once, and what is left is finished later."""
    async with team(tmp_path) as t:
        node = (await t.alice.place(b"alice/report")).required().id
        bob = t.bob.identity.user_id
        for number in count():
            await t.share(b"alice/report", Right.WRITE)
            left = number

            def is_last(_: Commit) -> bool:
                nonlocal left
                left -= 1
                return left < 0

            with killed_before(t.alice, is_last):
                await t.alice.sharing.unshare(await t.alice.place(b"alice/report"), bob)
            if number == 0:
                assert await t.alice.sharing.resume() == 0
                assert await content_of(t.bob.remote, b"alice/report/short") == b"the text"
                continue
            with pytest.raises(Missing):
                await t.bob.core.store.list(node)
            assert await t.alice.sharing.resume() == max(5 - number, 0)
            assert await t.alice.core.store.grants(node) == []
            assert await names_in(t.alice.remote, b"alice/report") == [b"deep", b"short"]
            if left >= 0:
                return


async def test_shared_again_before_the_end(tmp_path: Path) -> None:
    """What was interrupted is finished first: the new share stays, and no keys are known that were taken back."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report", Right.WRITE)
        old = (await t.bob.place(b"alice/report/short")).required().keys
        with killed_before(t.alice, of_keys):
            await t.unshare(b"alice/report")
        await t.share(b"alice/report")
        assert await t.alice.sharing.resume() == 0
        assert await content_of(t.bob.remote, b"alice/report/short") == b"the text"
        assert (await t.alice.place(b"alice/report/short")).required().keys.read != old.read


async def test_to_read_only_after_it_was_to_write(tmp_path: Path) -> None:
    """Who could write does not keep the key to sign with; who could read has it when that is given, in a session that
    is open as in another."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report")
        assert await content_of(t.bob.remote, b"alice/report/deep/long")
        await t.share(b"alice/report", Right.WRITE)
        for path in (b"alice/report/new", b"alice/report/deep/new"):
            await put(t.bob.remote, path, b"by bob")
        paths = (b"alice/report", b"alice/report/deep", b"alice/report/short")
        seeds = {(await t.bob.place(path)).required().keys.seed for path in paths}
        await t.share(b"alice/report")
        for path in paths:
            assert (await t.bob.place(path)).required().keys.seed is None
            assert (await t.alice.place(path)).required().keys.seed not in seeds
        assert await content_of(t.bob.remote, b"alice/report/new") == b"by bob"
        with pytest.raises(Forbidden):
            await put(t.bob.remote, b"alice/report/newer")


async def test_one_share_that_cannot_be_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The others of the same owner are there; the user is told, but not of what is only gone."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report")
        await t.share(b"alice/private")
        spoilt = (await t.alice.place(b"alice/report")).required().id
        store = t.bob.core.store
        honest = store.nodes

        async def lying(ids: Sequence[NodeId]) -> Mapping[NodeId, StoredNode]:
            found = await honest(ids)
            return {
                id: replace(stored, node=replace(stored.node, commitment=bytes(32))) if id == spoilt else stored
                for id, stored in found.items()
            }

        store.nodes = lying  # type: ignore[method-assign]
        assert await names_in(t.bob.remote, b"alice") == [b"private"]
        assert "a share is not shown: alice/report: it is under another key" in capfd.readouterr().err
        store.nodes = honest  # type: ignore[method-assign]
        await t.alice.sharing.unshare(await t.alice.place(b"alice/report"), t.bob.identity.user_id)
        assert await names_in(t.bob.remote, b"alice") == [b"private"]
        assert capfd.readouterr().err == ""


async def test_a_listing_goes_on_under_new_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name comes once, to the owner's other session as to who keeps the share; a server that never stops to say
    that there are others gets an end."""
    monkeypatch.setattr(listing, "_PAGE", 2)
    async with team(tmp_path) as t:
        carol = await user(t.server, t.folder, "carol")
        other = open_served(place_of(t.server, t.folder, "alice", "other"), {})
        names = {b"%d" % number for number in range(7)}
        await t.alice.remote.mkdir(b"alice/many", NOTHING)
        for name in names:
            await put(t.alice.remote, b"alice/many/" + name)
        await t.share(b"alice/many", to=carol)
        for client in (carol, other):
            await t.share(b"alice/many")
            pages = [page async for page in interrupted(client.remote.list(b"alice/many"), t)]
            assert sorted(entry.name for page in pages for entry in page) == sorted(names)
        folder = (await t.alice.place(b"alice/many")).required().stored.node
        honest = other.core.store.list

        async def lying(id: NodeId, *args: object) -> Listed:
            listed = await honest(id, *args)  # type: ignore[arg-type]
            stored = replace(listed.folder, node=replace(folder, epoch=folder.epoch + 1))
            return replace(listed, folder=stored)

        other.core.store.list = lying  # type: ignore[method-assign,assignment]
        assert len(await names_in(other.remote, b"alice/many")) == len(names)
        await carol.close()
        await other.close()


async def interrupted(pages: AsyncIterator[Sequence[Entry]], t: Team) -> AsyncIterator[Sequence[Entry]]:
    """`pages`, with a change of keys after the first."""
    first = True
    async for page in pages:
        yield page
        if first:
            await t.unshare(b"alice/many")
            first = False


async def test_moved_to_where_the_walk_has_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another session moves a file from a folder that has old keys into one that has new ones: the file gets some,
    too."""
    async with team(tmp_path) as t:
        folders = {}
        for name in (b"a", b"b"):
            await t.alice.remote.mkdir(b"alice/report/" + name, NOTHING)
            await put(t.alice.remote, b"alice/report/%b/of %b" % (name, name))
            folders[(await t.alice.place(b"alice/report/" + name)).required().id] = name
        other = open_served(place_of(t.server, t.folder, "alice", "other"), {})
        await t.share(b"alice/report")
        honest = Rekeying._rekey
        moved: list[bytes] = []

        async def moving(self: Rekeying, known: object, held: Held, *args: object) -> Held:
            done = await honest(self, known, held, *args)  # type: ignore[arg-type]
            if held.id in folders and not moved:
                (source,) = (name for id, name in folders.items() if id != held.id)
                moved.append(b"alice/report/%b/of %b" % (folders[held.id], source))
                await other.remote.rename(b"alice/report/%b/of %b" % (source, source), moved[0])
            return done

        monkeypatch.setattr(Rekeying, "_rekey", moving)
        assert await t.unshare(b"alice/report") == 8
        assert (await t.alice.place(moved[0])).required().stored.node.epoch == 2
        await other.close()


async def test_nothing_moves_out_before_its_keys_are_changed(tmp_path: Path) -> None:
    """Between an interruption and the end, a file is copied where it would be moved: under fresh keys. Within the
    folder it may move, also as a whole."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report")
        await t.alice.remote.mkdir(b"alice/other", NOTHING)
        with killed_before(t.alice, of_keys):
            await t.unshare(b"alice/report")
        alice = t.alice.remote
        for attempt in (
            alice.rename(b"alice/report/deep/long", b"alice/long"),
            alice.link(b"alice/report/deep/long", b"alice/long"),
            alice.exchange(b"alice/report/short", b"alice/private"),
            alice.rename(b"alice/private", b"alice/report/private"),
        ):
            with pytest.raises(CrossDevice):
                await attempt
        await alice.rename(b"alice/report/deep/long", b"alice/report/long")
        await alice.rename(b"alice/report", b"alice/other/report")
        assert await t.alice.sharing.resume() == 4
        await alice.rename(b"alice/other/report/long", b"alice/long")
        assert (await t.alice.place(b"alice/long")).required().stored.node.epoch == 2


async def test_a_server_that_leaves_out_what_was_shared(tmp_path: Path) -> None:
    """It is told of, and the change of keys stays on record until the server shows the folder again."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report")
        top = (await t.alice.place(b"alice/report")).required().id
        store = t.alice.core.store
        honest = store.descendants

        async def lying(folder: NodeId, *args: object) -> Below:
            below = await honest(folder, *args)  # type: ignore[arg-type]
            return replace(below, entries=[pair for pair in below.entries if pair[0].child != top])

        store.descendants = lying  # type: ignore[method-assign,assignment]
        with pytest.raises(Tampered, match="leaves out what was shared"):
            await t.unshare(b"alice/report")
        store.descendants = honest  # type: ignore[method-assign]
        assert await t.alice.sharing.resume() == 4


@pytest.mark.parametrize("name", [b"alice/report", b"alice/report/deep", b"alice/report/deep/long"])
async def test_a_name_that_does_not_open(tmp_path: Path, name: bytes) -> None:
    """Wherever it is met, it is told of by its path, and the change of keys stays on record."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report")
        spoilt = (await t.alice.place(name)).required().id
        store = t.alice.core.store
        honest = store.descendants

        async def lying(folder: NodeId, *args: object) -> Below:
            below = await honest(folder, *args)  # type: ignore[arg-type]
            entries = [
                (replace(entry, sealed=bytes(len(entry.sealed))) if entry.child == spoilt else entry, stored)
                for entry, stored in below.entries
            ]
            return replace(below, entries=entries)

        store.descendants = lying  # type: ignore[method-assign,assignment]
        with pytest.raises(DriveError, match=r"^[a-z/]*[0-9a-f]{64}: "):
            await t.unshare(b"alice/report")
        store.descendants = honest  # type: ignore[method-assign]
        await t.alice.sharing.resume()
        for path in (b"report", b"report/deep", b"report/short", b"report/deep/long"):
            assert (await t.alice.place(b"alice/" + path)).required().stored.node.epoch == 2


async def test_a_folder_with_more_names_than_a_commit_can_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said what to do, which then helps."""
    async with team(tmp_path) as t:
        for number in range(3):
            await put(t.alice.remote, b"alice/report/%d" % number)
        await t.share(b"alice/report")
        monkeypatch.setattr(rekeying, "_COMMIT_MAX", 4 * 620)
        with pytest.raises(Denied, match="report has 5 names"):
            await t.unshare(b"alice/report")
        await t.alice.remote.rename(b"alice/report/0", b"alice/report/deep/0")
        assert await t.alice.sharing.resume() == 7


@pytest.mark.parametrize("length", [1, 255])
def test_the_size_of_a_commit_is_not_underestimated(length: int) -> None:
    """It has to be refused before the server does, and not much before."""
    keys = new_node_keys()
    name = b"x" * length
    children, changes = [], []
    for _ in range(100):
        entry = seal_entry(NodeId(os.urandom(16)), keys, 1 << 20, 1 << 20, name, NodeId(os.urandom(16)), keys)
        children.append((name, entry, keys))
        changes += [PutEntry(entry), PutEntry(tombstone(entry.parent, keys, 1 << 20, 1 << 20, entry.token))]
    sent = len(encode(messages.Changes(OperationId(os.urandom(16)), True, entries=changes)))
    assert sent <= rekeying.commit_size(children) < 1.1 * sent
    assert rekeying._COMMIT_MAX + SEALED_MAX < COMMIT_MAX
