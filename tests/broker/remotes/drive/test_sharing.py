"""Two users of one server: what each sees before a share, with it, and after it was taken back."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from broker.drive.blobs.opening import open_blobs
from broker.drive.errors import Denied, DriveError, Missing, Tampered
from broker.drive.format.chunks import CHUNK
from broker.drive.format.entries import open_entry
from broker.drive.format.grants import seal_grant
from broker.drive.format.identity import fingerprint_text, new_identity, parse_fingerprint
from broker.drive.format.keys import NodeKeys, new_node_keys
from broker.drive.format.nodes import open_node
from broker.drive.metadata.collection import collect
from broker.drive.metadata.database import Database
from broker.drive.records import NodeId, Right, User, UserId
from broker.remotes.drive.rekeying import Rekeying
from broker.remotes.drive.served import open_served
from broker.remotes.protocol import BadAnswer, Changes, CrossDevice, Forbidden, NotFound, RemoteError, VersionChanged

from ..helpers import NOTHING, content_of, names_in, put, replaced
from .team import team
from .users import address, place_of, user


async def test_nothing_is_visible_before_a_share(tmp_path: Path) -> None:
    """Neither by name, nor by ids that were guessed right: reads, links, moves and commits get nothing."""
    async with team(tmp_path) as t:
        assert await names_in(t.bob.remote, b"") == [b"bob"]
        with pytest.raises(NotFound):
            await t.bob.remote.stat(b"alice/report")
        place = await t.alice.place(b"alice/report/short")
        node = place.required()
        store = t.bob.core.store
        assert await store.nodes([node.id]) == {}
        assert await store.inline([node.id]) == {}
        for attempt in (
            store.lookup([(place.parent().id, place.token)]),
            store.list(place.parent().id),
            store.chunks(node.id, node.stored.node.version),
            store.descendants(place.parent().id),
            store.grants(node.id),
        ):
            with pytest.raises((Missing, Denied)):
                await attempt  # type: ignore[misc]
        mine = await t.bob.place(b"bob/link")
        with pytest.raises((Missing, Denied)):
            await t.bob.core.names.link(place, mine)


async def test_reading_but_not_writing(tmp_path: Path) -> None:
    """A read share shows all that is below it, and refuses every change; what is beside it stays unseen."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report")
        bob = t.bob.remote
        assert await names_in(bob, b"") == [b"alice", b"bob"]
        assert await names_in(bob, b"alice") == [b"report"]
        assert await names_in(bob, b"alice/report") == [b"deep", b"short"]
        assert await content_of(bob, b"alice/report/short") == b"the text"
        long = await content_of(t.alice.remote, b"alice/report/deep/long")
        assert await content_of(bob, b"alice/report/deep/long") == long
        at = await bob.stat(b"alice/report/short")
        for attempt in (
            put(bob, b"alice/report/new"),
            replaced(bob, b"alice/report/short", b"mine", at),
            bob.remove(b"alice/report/short"),
            bob.rename(b"alice/report/short", b"alice/report/x"),
            bob.link(b"alice/report/short", b"alice/report/x"),
            bob.set_attributes(b"alice/report/short", Changes(mode=0o777)),
            bob.mkdir(b"alice/report/d", NOTHING),
        ):
            with pytest.raises(Forbidden):
                await attempt
        with pytest.raises(NotFound):
            await bob.stat(b"alice/private")


async def test_writing(tmp_path: Path) -> None:
    """A write share lets both change it; each sees what the other did."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report", Right.WRITE)
        bob, alice = t.bob.remote, t.alice.remote
        await put(bob, b"alice/report/from bob", os.urandom(CHUNK + 1))
        await replaced(bob, b"alice/report/short", b"changed", await bob.stat(b"alice/report/short"))
        await bob.rename(b"alice/report/deep", b"alice/report/moved")
        assert await names_in(alice, b"alice/report") == [b"from bob", b"moved", b"short"]
        assert await content_of(alice, b"alice/report/short") == b"changed"
        assert len(await content_of(alice, b"alice/report/from bob")) == CHUNK + 1
        await alice.remove(b"alice/report/short")
        assert await names_in(bob, b"alice/report") == [b"from bob", b"moved"]


async def test_nothing_moves_between_trees(tmp_path: Path) -> None:
    """Between users, and where other users could read it then or could before, it has to be copied."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report", Right.WRITE)
        await put(t.bob.remote, b"bob/own", b"x")
        for client, old, new in (
            (t.bob, b"bob/own", b"alice/report/own"),
            (t.bob, b"alice/report/short", b"bob/short"),
            (t.alice, b"alice/private", b"alice/report/private"),
            (t.alice, b"alice/report/short", b"alice/short"),
        ):
            with pytest.raises(CrossDevice):
                await client.remote.rename(old, new)
            with pytest.raises(CrossDevice):
                await client.remote.link(old, new)
        await t.alice.remote.rename(b"alice/report/short", b"alice/report/deep/short")


async def test_after_it_was_taken_back(tmp_path: Path) -> None:
    """The server refuses at once; and with the old keys nothing that is made from then on opens, whoever gives the
    sealed bytes away: neither new names nor new content, also in folders below and through an old link."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report", Right.WRITE)
        await t.bob.remote.link(b"alice/report/short", b"alice/report/deep/linked")
        old: dict[bytes, NodeKeys] = {}
        for path in (b"report", b"report/deep", b"report/short", b"report/deep/long"):
            old[path] = (await t.bob.place(b"alice/" + path)).required().keys
        long_before = await content_of(t.alice.remote, b"alice/report/deep/long")
        assert await t.unshare(b"alice/report") == 4
        with pytest.raises((NotFound, Forbidden)):
            await t.bob.remote.stat(b"alice/report/short")
        with pytest.raises(Missing):
            await t.bob.core.store.list((await t.alice.place(b"alice/report")).required().id)

        alice = t.alice.remote
        assert await content_of(alice, b"alice/report/short") == b"the text"
        assert await content_of(alice, b"alice/report/deep/linked") == b"the text"
        assert await content_of(alice, b"alice/report/deep/long") == long_before
        await put(alice, b"alice/report/deep/new", b"secret")
        await replaced(alice, b"alice/report/short", b"new text", await alice.stat(b"alice/report/short"))
        for path, keys in old.items():
            held = (await t.alice.place(b"alice/" + path)).required()
            assert held.keys.read != keys.read and held.keys.verify != keys.verify
            with pytest.raises(DriveError):
                open_node(held.stored.node, keys, verify=False)
            if held.is_folder:
                for entry, _ in (await t.alice.core.store.list(held.id)).entries:
                    with pytest.raises(DriveError):
                        open_entry(entry, keys, verify=False)
        body = t.alice.core.bodies.open((await t.alice.place(b"alice/report/short")).required())
        assert all(ref.epoch == 2 for _, ref in body.content.refs)


async def test_those_who_keep_it(tmp_path: Path) -> None:
    """Another user's share of the same folder, and of one below, work on under the new keys without a new share."""
    async with team(tmp_path) as t:
        carol = await user(t.server, t.folder, "carol")
        await t.share(b"alice/report")
        await t.share(b"alice/report", Right.WRITE, carol)
        await t.share(b"alice/report/deep", to=carol)
        assert await content_of(carol.remote, b"alice/report/short") == b"the text"
        await t.unshare(b"alice/report")
        await put(t.alice.remote, b"alice/report/deep/new", b"after")
        for path in (b"alice/report/deep/new", b"alice/deep/new"):
            assert await content_of(carol.remote, path) == b"after"
        await put(carol.remote, b"alice/report/by carol", b"still a writer")
        assert await content_of(t.alice.remote, b"alice/report/by carol") == b"still a writer"
        await carol.close()


async def test_a_session_that_is_open_meanwhile(tmp_path: Path) -> None:
    """Alice's other session, with old keys in memory, goes on with the new ones by itself."""
    async with team(tmp_path) as t:
        other = open_served(place_of(t.server, t.folder, "alice", "other"), {})
        at = await other.remote.stat(b"alice/report/short")
        await names_in(other.remote, b"alice/report/deep")
        await t.share(b"alice/report")
        await t.unshare(b"alice/report")
        await put(other.remote, b"alice/report/deep/new", b"x")
        with pytest.raises(VersionChanged):
            await replaced(other.remote, b"alice/report/short", b"y", at)
        assert await names_in(other.remote, b"alice/report/deep") == [b"long", b"new"]
        assert await names_in(t.alice.remote, b"alice/report/deep") == [b"long", b"new"]
        await other.close()


async def test_files_made_while_keys_are_changed(tmp_path: Path) -> None:
    """Whatever is created, renamed and removed during the walk is there afterwards, and opens."""
    async with team(tmp_path) as t:
        for number in range(12):
            await t.alice.remote.mkdir(b"alice/report/%d" % number, NOTHING)
            await put(t.alice.remote, b"alice/report/%d/f" % number, b"x")
        other = open_served(place_of(t.server, t.folder, "alice", "other"), {})

        async def work() -> None:
            for number in range(12):
                await put(other.remote, b"alice/report/%d/new" % number, b"%d" % number)
                await other.remote.rename(b"alice/report/%d/f" % number, b"alice/report/%d/g" % number)

        await t.share(b"alice/report")
        await asyncio.gather(t.unshare(b"alice/report"), work())
        for number in range(12):
            for client in (t.alice, other):
                folder = b"alice/report/%d" % number
                assert await names_in(client.remote, folder) == [b"g", b"new"]
                assert await content_of(client.remote, folder + b"/new") == b"%d" % number
                assert await content_of(client.remote, folder + b"/g") == b"x"
        await other.close()


async def test_an_interrupted_walk_is_finished_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything stays readable in between; the next command goes on where it stopped, and does nothing twice."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report")
        left = 2
        honest = Rekeying._rekey

        async def dying(self: Rekeying, *args: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return await honest(self, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(Rekeying, "_rekey", dying)
        with pytest.raises(KeyboardInterrupt):
            await t.alice.sharing.unshare(await t.alice.place(b"alice/report"), t.bob.identity.user_id)
        monkeypatch.undo()
        assert await content_of(t.alice.remote, b"alice/report/short") == b"the text"
        assert await names_in(t.alice.remote, b"alice/report/deep") == [b"long"]
        assert await t.alice.sharing.resume() == 2
        assert await t.alice.sharing.resume() == 0
        for path in (b"report", b"report/deep", b"report/short", b"report/deep/long"):
            assert (await t.alice.place(b"alice/" + path)).required().stored.node.epoch == 2


async def test_a_server_that_hands_out_its_own_key(tmp_path: Path) -> None:
    """For another user, by name or under his fingerprint: refused, and nothing is shared."""
    async with team(tmp_path) as t:
        name, fingerprint = address(t.bob)
        impostor = new_identity("bob", t.server.url, t.alice.identity.server_id)
        store = t.alice.core.store

        async def lying(wanted: UserId | str) -> User:
            return User(impostor.user_id, "bob", impostor.record.encode(), impostor.home)

        t.alice.core.store.user = lying  # type: ignore[method-assign]
        with pytest.raises(Tampered, match="another key for bob"):
            await t.alice.sharing.record_of(name, parse_fingerprint(fingerprint))
        with pytest.raises(Missing, match="write bob@FINGERPRINT"):
            await t.alice.sharing.record_of("bob", None)
        await t.alice.sharing.pin("bob", t.bob.identity.user_id)
        with pytest.raises(Tampered):
            await t.alice.sharing.record_of("bob", None)
        with pytest.raises(Denied, match="pinned with the fingerprint"):
            await t.alice.sharing.record_of("bob", impostor.user_id)
        del store.user  # type: ignore[attr-defined]
        assert (await t.alice.sharing.record_of("bob", None)).user_id == t.bob.identity.user_id


async def test_a_forged_share_is_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A share that its owner has not signed is told of and left out; the others are there."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report")
        await t.share(b"alice/private")
        received = await t.bob.core.store.received()

        async def lying() -> object:
            (first, stored), second = received
            return [(replace(first, right=Right.WRITE), stored), second]

        t.bob.core.store.received = lying  # type: ignore[method-assign,assignment]
        await t.refresh(t.bob)
        assert len(await names_in(t.bob.remote, b"alice")) == 1
        assert "a share is not shown: alice has not signed this share for bob" in capfd.readouterr().err


async def test_names_that_two_owners_or_shares_have(tmp_path: Path) -> None:
    """Shares of one name get a number; nobody can pass for another user by his name."""
    async with team(tmp_path) as t:
        await t.alice.remote.mkdir(b"alice/report/report", NOTHING)
        await t.share(b"alice/report")
        await t.share(b"alice/report/report")
        assert await names_in(t.bob.remote, b"alice") == [b"report", b"report.2"]


async def test_one_node_that_two_owners_share(tmp_path: Path) -> None:
    """Mallory, who reads alice's folder, and the server make a share of it by him with keys of his own: what bob sees
    under alice's name is opened with hers all the same, whichever he has looked at before."""
    async with team(tmp_path) as t:
        mallory = await user(t.server, t.folder, "mallory")
        await t.share(b"alice/report")
        place = await t.alice.place(b"alice/report")
        node, keys, mine = place.required(), place.required().keys, new_node_keys()
        record = t.bob.identity.record
        forger = NodeKeys(keys.read, mine.verify, mine.seed)
        grant = seal_grant(mallory.identity, record, node.id, forger, Right.READ, 1, b"report")
        received = await t.bob.core.store.received()

        async def both() -> object:
            return [*received, (grant, received[0][1])]

        t.bob.core.store.received = both  # type: ignore[method-assign,assignment]
        await t.refresh(t.bob)
        with pytest.raises(BadAnswer):
            await t.bob.remote.stat(b"mallory/report")
        assert await content_of(t.bob.remote, b"alice/report/short") == b"the text"
        view = t.bob.view
        assert view
        (theirs, _), (hers, _) = await view.find(b"mallory/report"), await view.find(b"alice/report")
        assert theirs is not hers
        await mallory.close()


async def test_a_store_that_lists_shares_which_are_none(tmp_path: Path) -> None:
    """New keys are sealed neither for who has just lost the share nor for who never was given one, though the store
    lists them among those who keep it."""
    async with team(tmp_path) as t:
        mallory = await user(t.server, t.folder, "mallory")
        await t.share(b"alice/report")
        store = t.alice.core.store
        honest = store.grants
        node = (await t.alice.place(b"alice/report")).required().id
        (old,) = await honest(node)
        listed = [old]

        async def lying(id: NodeId) -> object:
            return listed if id == node else await honest(id)

        store.grants = lying  # type: ignore[method-assign,assignment]
        await t.unshare(b"alice/report")
        assert await t.bob.core.store.received() == []
        listed[:] = [replace(old, grantee=mallory.identity.user_id, epoch=2)]
        with pytest.raises(Tampered, match="a share with mallory that you have not made"):
            await t.unshare(b"alice/report")
        assert await mallory.core.store.received() == []
        store.grants = honest  # type: ignore[method-assign]
        assert await t.alice.sharing.resume() > 0
        await mallory.close()


async def test_two_owners_of_one_name(tmp_path: Path) -> None:
    """A server that lets two users have a name cannot have one of them pass for the other: neither is shown without
    the fingerprint, whose share ever comes first."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report")
        ((grant, stored),) = await t.bob.core.store.received()
        place = await t.alice.place(b"alice/report")
        second = new_identity("alice", t.alice.identity.server, t.alice.identity.server_id)
        keys = place.required().keys
        another = seal_grant(second, t.bob.identity.record, grant.node, keys, Right.READ, 1, b"report")
        other = open_served(place_of(t.server, t.folder, "bob", "other"), {})  # who has seen neither
        store = other.core.store
        honest = store.user

        async def both() -> object:
            return [(grant, stored), (another, stored)]

        async def of(wanted: UserId | str) -> User:
            if wanted == second.user_id:
                return User(second.user_id, "alice", second.record.encode(), second.home)
            return await honest(wanted)

        store.received, store.user = both, of  # type: ignore[method-assign,assignment]
        owners = (t.alice.identity, second)
        shown = {f"alice@{fingerprint_text(owner.user_id)}".encode() for owner in owners}
        assert {*await names_in(other.remote, b"")} == {b"bob", *shown}
        await other.close()


async def test_a_share_with_an_epoch_that_cannot_be(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is told of and left out, like any other that its owner has not made."""
    async with team(tmp_path) as t:
        await t.share(b"alice/report")
        ((grant, stored),) = await t.bob.core.store.received()

        async def lying() -> object:
            return [(replace(grant, epoch=-1), stored)]

        t.bob.core.store.received = lying  # type: ignore[method-assign,assignment]
        await t.refresh(t.bob)
        assert await names_in(t.bob.remote, b"") == [b"bob"]
        assert "a share is not shown: its epoch is out of range" in capfd.readouterr().err


async def test_sessions_that_are_open_while_old_names_are_collected(tmp_path: Path) -> None:
    """The collection forgets the names under old keys: who has seen them finds the new ones, and takes it for no
    attack."""
    async with team(tmp_path) as t:
        carol = await user(t.server, t.folder, "carol")
        other = open_served(place_of(t.server, t.folder, "alice", "other"), {})
        await t.share(b"alice/report")
        await t.share(b"alice/report", to=carol)
        for client in (carol, other):
            assert await content_of(client.remote, b"alice/report/short") == b"the text"
            assert len(await content_of(client.remote, b"alice/report/deep/long")) == 2 * CHUNK
        await t.unshare(b"alice/report")
        await t.share(b"alice/report")
        await t.unshare(b"alice/report")  # what is gone under keys before the last ones is forgotten
        database = Database(f"sqlite:///{tmp_path}/metadata.sqlite")
        blobs = open_blobs(f"file://{tmp_path}/blobs")
        await collect(database, blobs, 3600)
        await database.close()
        await blobs.close()
        for client in (carol, other):
            assert await content_of(client.remote, b"alice/report/short") == b"the text"
            assert len(await content_of(client.remote, b"alice/report/deep/long")) == 2 * CHUNK
            await client.close()


async def test_a_home_is_not_shared_as_a_whole(tmp_path: Path) -> None:
    """Its keys stand in the key file."""
    async with team(tmp_path) as t:
        with pytest.raises(Denied, match="share what is in it"):
            await t.share(b"alice")
        with pytest.raises(RemoteError):
            await t.alice.place(b"")


async def test_a_name_that_is_made_between_a_look_and_its_commit(tmp_path: Path) -> None:
    """A folder's new keys are refused while a name in it, or another name of it, is still under the old ones."""
    async with team(tmp_path) as t:
        other = open_served(place_of(t.server, t.folder, "alice", "other"), {})
        deep = (await t.alice.place(b"alice/report/deep")).required().id
        store, made = t.alice.core.store, 0
        honest = store.list

        async def slow(folder: NodeId, *args: object) -> object:
            nonlocal made
            listed = await honest(folder, *args)  # type: ignore[arg-type]
            if folder == deep and made < 2:
                made += 1
                await put(other.remote, b"alice/report/deep/new%d" % made, b"x")
                await other.remote.link(b"alice/report/short", b"alice/report/link%d" % made)
            return listed

        store.list = slow  # type: ignore[method-assign,assignment]
        await t.share(b"alice/report")
        await t.unshare(b"alice/report")
        assert made == 2
        for client in (t.alice, other):
            assert await names_in(client.remote, b"alice/report/deep") == [b"long", b"new1", b"new2"]
            for path in (b"alice/report/deep/new1", b"alice/report/deep/new2"):
                assert await content_of(client.remote, path) == b"x"
            for path in (b"alice/report/link1", b"alice/report/link2", b"alice/report/short"):
                assert await content_of(client.remote, path) == b"the text"
        await other.close()
