"""What the server does for each route: one call of the user's store, or of the accounts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from broker.drive.blobs.protocol import LinkedBlobs
from broker.drive.errors import Malformed
from broker.drive.http import messages as m
from broker.drive.http import routes
from broker.drive.metadata.protocol import Below, Change, Commit, Listed, Usage
from broker.drive.metadata.reading import PAGE_BYTES
from broker.drive.metadata.serving import Accounts, Challenge, Session, UserStore
from broker.drive.records import NodeId, StoredNode, User, UserId

LINK_SECONDS = 300

_PART = 16
"""Nodes that are asked for at once, where the answer ends after PAGE_BYTES: each may have a mebibyte."""

_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")


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
        async def nodes(ids: Sequence[NodeId]) -> Collection[StoredNode]:
            return (await store.nodes(ids)).values()

        return m.Nodes(*await fitting(asked.ids, nodes, _length))

    async def _lookup(self, store: UserStore, asked: m.Lookup) -> m.Names:
        return m.Names(*await fitting(asked.names, store.lookup, lambda named: _length(named[1]) if named else 0))

    async def _list(self, store: UserStore, asked: m.ListFolder) -> Listed:
        return await store.list(asked.folder, asked.after, asked.limit)

    async def _descendants(self, store: UserStore, asked: m.Descend) -> Below:
        return await store.descendants(asked.folder, asked.after, asked.limit)

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


def _length(stored: StoredNode | None) -> int:
    return len(stored.node.body) if stored else 0


async def fitting(
    asked: Sequence[_Asked],
    ask: Callable[[Sequence[_Asked]], Awaitable[Collection[_Found]]],
    length: Callable[[_Found], int],
) -> tuple[list[_Found], int]:
    """What is found of the first that are asked for, as much as makes a page; how many are left."""
    found: list[_Found] = []
    done, room = 0, PAGE_BYTES
    while done < len(asked) and room > 0:
        some = await ask(asked[done : done + _PART])
        room -= sum(map(length, some))
        found += some
        done += _PART
    return found, max(len(asked) - done, 0)
