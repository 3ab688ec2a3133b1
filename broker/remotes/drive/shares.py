"""What others share with this user, as trees of their own; and the contacts whose keys are pinned."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping

from msgspec import Struct

from broker.drive.errors import DriveError, Missing, Tampered
from broker.drive.format.grants import Granted, open_grant
from broker.drive.format.identity import Identity, PublicRecord, decode_record, fingerprint_text
from broker.drive.format.keys import NodeKeys
from broker.drive.records import Grant, StoredNode, UserId
from broker.remotes.drive.contacts import contacts
from broker.remotes.drive.core import Core
from broker.remotes.drive.roots import Root
from broker.remotes.paths import valid_name

_TRUSTED = 5.0
"""Seconds for which the list of shares is not asked for again."""


class Share(Struct, frozen=True):
    """A node that another user shares with this one."""

    owner: PublicRecord
    grant: Grant
    granted: Granted


class Shares:
    """The grants that were made to one user."""

    def __init__(self, core: Core, identity: Identity, home: Root, tell: Callable[[str], None]) -> None:
        self._core = core
        self._identity = identity
        self._home = home
        self.tell = tell
        self._owners: dict[UserId, PublicRecord] = {}
        self._found: dict[bytes, dict[bytes, Share]] = {}
        self._asked = -_TRUSTED

    async def found(self) -> Mapping[bytes, Mapping[bytes, Share]]:
        """Shares by the name of their owner and their own name. A forged one is told of and left out."""
        if time.monotonic() - self._asked >= _TRUSTED:
            await self.refresh()
        return self._found

    async def refresh(self) -> None:
        """Ask the server."""
        asked = time.monotonic()
        received = await self._core.store.received()
        pinned = contacts(self._core.bodies.open(await self._home.fresh()))
        opened: list[Share] = []
        for grant, _ in sorted(received, key=lambda each: (each[0].owner, each[0].node)):
            try:
                opened.append(await self._open(grant, pinned))
            except DriveError as error:
                self.tell(f"a share is not shown: {error}")
        found: dict[bytes, dict[bytes, Share]] = {}
        for share in opened:
            below = found.setdefault(self._owners_name(share.owner), {})
            below[_unused(share, below)] = share
        self._found, self._asked = found, asked

    def root(self, share: Share) -> Root:
        """The tree of a share; its keys are asked for again when they have been changed."""

        async def keys(stored: StoredNode) -> NodeKeys:
            current = share
            if stored.node.epoch != share.grant.epoch:
                await self.refresh()
                current = await self._same(share.grant)
            return current.granted.keys

        return Root(self._core.walk, share.grant.node, keys)

    async def _same(self, grant: Grant) -> Share:
        for below in self._found.values():
            for share in below.values():
                if (share.grant.owner, share.grant.node) == (grant.owner, grant.node):
                    return share
        raise Missing("it is not shared with you any more")

    async def _open(self, grant: Grant, pinned: Mapping[str, UserId]) -> Share:
        owner = self._owners.get(grant.owner)
        if owner is None:
            user = await self._core.store.user(grant.owner)
            owner = self._owners[grant.owner] = decode_record(user.record, expected=grant.owner)
        if pinned.get(owner.name, owner.user_id) != owner.user_id:
            raise Tampered(
                f"its owner calls himself {owner.name} and has another key ({fingerprint_text(owner.user_id)}) than "
                "the one that you have pinned"
            )
        return Share(owner, grant, open_grant(grant, self._identity, owner))

    def _owners_name(self, owner: PublicRecord) -> bytes:
        """The folder of an owner. Who calls himself as somebody else does is shown with his fingerprint."""
        others = [self._identity.record, *self._owners.values()]
        same = any(other.name == owner.name and other.user_id != owner.user_id for other in others)
        return f"{owner.name}@{fingerprint_text(owner.user_id)}".encode() if same else owner.name.encode()


def _unused(share: Share, below: Mapping[bytes, Share]) -> bytes:
    """The owner's name for it, or that with a number when two have the same, or none that a file can have."""
    name = share.granted.name if valid_name(share.granted.name) else b"share"
    names = itertools.chain([name], (b"%b.%d" % (name, number) for number in itertools.count(2)))
    return next(name for name in names if name not in below)
