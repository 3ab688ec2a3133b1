"""Shares given to other users: made, listed, and taken back so that old keys open nothing new."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec.structs import replace

from broker.drive.errors import Denied, Missing, NodeChanged
from broker.drive.format.bodies import Body
from broker.drive.format.grants import seal_grant
from broker.drive.format.identity import Identity, PublicRecord, decode_record, fingerprint_text
from broker.drive.metadata.protocol import Change, DropGrant, PutGrant
from broker.drive.records import NodeId, Right, UserId
from broker.remotes.drive.committing import retried
from broker.remotes.drive.contacts import contacts, with_contact
from broker.remotes.drive.core import Core
from broker.remotes.drive.editing import Editing
from broker.remotes.drive.pending import pending, with_revoked, without
from broker.remotes.drive.places import Held, Place
from broker.remotes.drive.rekeying import Rekeying
from broker.remotes.drive.roots import Root


class Sharing:
    """What the owner of a tree does about others."""

    def __init__(self, core: Core, identity: Identity, home: Root) -> None:
        self._core = core
        self._identity = identity
        self._home = home
        self._editing = Editing(core)

    async def pin(self, name: str, user: UserId) -> None:
        """Remember whose key that is. Denied when another one is remembered: it is never replaced silently."""
        known = (await self._contacts()).get(name)
        if known == user:
            return
        if known is not None:
            raise Denied(
                f"{name} is pinned with the fingerprint {fingerprint_text(known)}, and this is "
                f"{fingerprint_text(user)}: ask {name}; if it is right, seccomp-drive key pin --replace"
            )
        await self._note(lambda body: with_contact(body, name, user))

    async def replace_pin(self, name: str, user: UserId) -> None:
        await self._note(lambda body: with_contact(body, name, user))

    async def record_of(self, name: str, user: UserId | None) -> PublicRecord:
        """The public record of the user with that fingerprint, or of a pinned contact; it is pinned from now on.

        What the server says is checked against the fingerprint: it cannot put its own key for somebody.
        """
        wanted = user or (await self._contacts()).get(name)
        if wanted is None:
            raise Missing(
                f"{name} is not known here: write {name}@FINGERPRINT, with the fingerprint that {name} sees in "
                "seccomp-drive key show"
            )
        try:
            user_there = await self._core.store.user(wanted)
        except Missing as error:
            unknown = f"the server has no user with that fingerprint: ask {name} for the one that key show prints"
            raise Missing(unknown) from error
        record = decode_record(user_there.record, expected=wanted)
        if record.name != name:
            raise Denied(f"the key with that fingerprint is {record.name}'s, not {name}'s")
        await self.pin(name, wanted)
        return record

    async def share(self, find: Callable[[], Awaitable[Place]], grantee: PublicRecord, right: Right) -> None:
        """Let `grantee` read, or write, what `find` finds and all below it.

        What was taken back of him before is finished first: he would lose the new share, too. And whoever could write
        until now, and shall only read, has the seed: he gets the share anew, with other keys.
        """
        place = await find()
        node = place.writable()
        if place.folder is None:
            raise Denied("a home is shared folder by folder: share what is in it")
        await self.resume(node.id)
        known = await self._core.store.grants(node.id)
        if any(grant.grantee == grantee.user_id and grant.right > right for grant in known):
            await self.unshare(place, grantee.user_id)

        async def attempt() -> None:
            place = await find()
            node = place.writable()
            epoch = node.stored.node.epoch
            grant = seal_grant(self._identity, grantee, node.id, node.keys, right, epoch, place.name)
            await self._core.commits.commit(PutGrant(grant), durable=True)

        await retried(attempt)

    async def shared(self, node: Held) -> Sequence[tuple[PublicRecord, Right]]:
        """With whom the node itself is shared."""
        found = []
        for grant in await self._core.store.grants(node.id):
            user = await self._core.store.user(grant.grantee)
            found.append((decode_record(user.record, expected=grant.grantee), grant.right))
        return found

    async def grantee(self, node: Held, name: str, user: UserId | None) -> UserId:
        """The user of that name with whom the node is shared. Missing when there is none."""
        for record, _ in await self.shared(node):
            if record.name == name and user in (None, record.user_id):
                return record.user_id
        raise Missing(f"it is not shared with {name}: see seccomp-drive share PATH")

    async def unshare(self, place: Place, grantee: UserId) -> int:
        """Take a share back. From the moment on in which it is on record that keys are to be changed, the server
        refuses the grantee; then all keys below are changed, so that nothing that is made from now on opens with the
        old ones. How many nodes got new keys."""
        node = place.required().id
        await self._note(lambda home: with_revoked(home, node, grantee), DropGrant(node, grantee))
        return await self.resume()

    async def resume(self, only: NodeId | None = None) -> int:
        """Finish what an interrupted `unshare` has left, of all shares or of `only` one; how many nodes got new
        keys."""
        home = await self._home.fresh()
        notes = pending(self._core.bodies.open(home))
        revoked = {node: note.revoked for node, note in notes.items()}
        count = 0
        for node, note in notes.items():
            if only not in (None, node):
                continue
            count += await Rekeying(self._core, self._identity, home, note.mark, revoked).run(node)
            await self._note(functools.partial(without, node=node, done=note))
        return count

    async def _contacts(self) -> Mapping[str, UserId]:
        return contacts(self._core.bodies.open(await self._home.fresh()))

    async def _note(self, xattrs: Callable[[Body], Mapping[bytes, bytes]], *also: Change) -> None:
        """Change what the home's body keeps for its owner, and what belongs to it, together."""

        async def attempt() -> None:
            held: Held = await self._home.fresh()
            await self._editing.change(held, lambda body: replace(body, xattrs=xattrs(body)), *also)

        await retried(attempt, NodeChanged)
