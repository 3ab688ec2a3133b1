"""What the server does for each route: one call of the user's store, or of the accounts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from broker.drive.blobs.protocol import LinkedBlobs
from broker.drive.errors import Malformed
from broker.drive.http import messages as m
from broker.drive.http import routes
from broker.drive.metadata.protocol import Below, Change, Commit, Listed, Usage
from broker.drive.metadata.serving import Accounts, Challenge, Session, UserStore
from broker.drive.records import Entry, StoredNode, User, UserId

LINK_SECONDS = 300

PAGE_BYTES = 16 << 20
"""Sealed bytes after which a page ends early: bodies can be long."""

_Named = TypeVar("_Named", StoredNode, StoredNode | None)


class ForStrangers:
    """What is done for those without a token."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def table(self) -> Mapping[str, Callable[[Any], Awaitable[object]]]:
        return {
            routes.REGISTER.path: self._register,
            routes.CHALLENGE.path: self._challenge,
            routes.LOGIN.path: self._login,
        }

    async def _register(self, asked: m.Register) -> User:
        return await self._accounts.register(asked.record, asked.home, asked.invitation)

    async def _challenge(self, _: m.Empty) -> Challenge:
        return await self._accounts.challenge()

    async def _login(self, asked: m.Login) -> Session:
        return await self._accounts.login(asked.user, asked.nonce, asked.signature)


class ForUsers:
    """What is done for a user, in the name of `store`."""

    def __init__(self, links: LinkedBlobs | None) -> None:
        self._links = links

    def table(self) -> Mapping[str, Callable[[UserStore, Any], Awaitable[object]]]:
        return {
            routes.NODES.path: self._nodes,
            routes.LOOKUP.path: self._lookup,
            routes.LIST.path: self._list,
            routes.DESCENDANTS.path: self._descendants,
            routes.INLINE.path: self._inline,
            routes.CHUNKS.path: self._chunks,
            routes.RESERVE.path: self._reserve,
            routes.COMMIT.path: self._commit,
            routes.GRANTS.path: self._grants,
            routes.RECEIVED.path: self._received,
            routes.USER.path: self._user,
            routes.USAGE.path: self._usage,
            routes.LINKS.path: self._blob_links,
        }

    async def _nodes(self, store: UserStore, asked: m.Ids) -> m.Nodes:
        return m.Nodes([*(await store.nodes(asked.ids)).values()])

    async def _lookup(self, store: UserStore, asked: m.Lookup) -> m.Names:
        return m.Names([*await store.lookup(asked.names)])

    async def _list(self, store: UserStore, asked: m.ListFolder) -> Listed:
        page = await store.list(asked.folder, asked.after, asked.limit)
        count = fitting(page.entries)
        if count == len(page.entries):
            return page
        return Listed(page.folder, page.entries[:count], page.entries[count - 1][0].token)

    async def _descendants(self, store: UserStore, asked: m.Descend) -> Below:
        page = await store.descendants(asked.folder, asked.after, asked.limit)
        count = fitting(page.entries)
        if count == len(page.entries):
            return page
        last, _ = page.entries[count - 1]
        return Below(page.entries[:count], (last.parent, last.token))

    async def _inline(self, store: UserStore, asked: m.Ids) -> m.Inline:
        found = await store.inline(asked.ids)
        return m.Inline([(id, version, content) for id, (version, content) in found.items()])

    async def _chunks(self, store: UserStore, asked: m.ChunksOf) -> m.Chunks:
        return m.Chunks([*await store.chunks(asked.id, asked.version)])

    async def _reserve(self, store: UserStore, asked: m.Reserve) -> m.Empty:
        await store.reserve(asked.operation, asked.chunks, asked.home)
        return m.Empty()

    async def _commit(self, store: UserStore, asked: m.Changes) -> m.Nodes:
        changes: tuple[Change, ...] = (*asked.nodes, *asked.entries, *asked.grants, *asked.drops)
        committed = await store.commit(Commit(asked.operation, changes, asked.durable))
        return m.Nodes([*committed.nodes.values()])

    async def _grants(self, store: UserStore, asked: m.OneNode) -> m.Grants:
        return m.Grants([*await store.grants(asked.node)])

    async def _received(self, store: UserStore, _: m.Empty) -> m.Received:
        return m.Received([*await store.received()])

    async def _user(self, store: UserStore, asked: m.Find) -> User:
        wanted: UserId | str | None = asked.id if asked.name is None else asked.name
        if wanted is None or (asked.id is not None and asked.name is not None):
            raise Malformed("a user is asked for by fingerprint or by name")
        return await store.user(wanted)

    async def _usage(self, store: UserStore, _: m.Empty) -> Usage:
        return await store.usage()

    async def _blob_links(self, store: UserStore, asked: m.Blobs) -> m.Links:
        if self._links is None:
            raise Malformed("this server gives no links")
        readable = [*await store.readable(asked.names)]
        links = dict(zip(readable, await self._links.links(readable, LINK_SECONDS), strict=True))
        return m.Links([links.get(name) for name in asked.names])


def fitting(entries: Sequence[tuple[Entry, _Named]]) -> int:
    """How many of the first entries make a page; at least one, if there is one."""
    left = PAGE_BYTES
    for count, (entry, stored) in enumerate(entries):
        left -= len(entry.sealed) + len(entry.sealed_seed) + (len(stored.node.body) if stored else 0)
        if left < 0 and count:
            return count
    return len(entries)
