"""The way from a root to a path: names are looked up, opened, checked and remembered."""

from __future__ import annotations

from collections.abc import Sequence

from broker.drive.errors import Missing, Tampered
from broker.drive.format.entries import Opened, check_entry, open_entry
from broker.drive.format.keys import NodeKeys, name_token
from broker.drive.metadata.protocol import MetadataStore
from broker.drive.records import Entry, NodeId, StoredNode, Token
from broker.remotes import protocol
from broker.remotes.drive.guard import Guard, of_nodes, of_pairs
from broker.remotes.drive.memory import Versions, entry_key
from broker.remotes.drive.places import Held, Place
from broker.remotes.paths import Path

_REMEMBERED = 20_000
"""Names whose keys are kept: about a kilobyte each."""

_OTHER = "the store gave another name than was asked for"
_NOT_THERE = "the store has a name and not what it leads to"

Answer = Sequence[tuple[Entry, StoredNode | None] | None]
Name = tuple[NodeId, Token]


class Walk:
    """Looks up names below opened folders. Keys of known names are kept, so that a whole path costs one question."""

    def __init__(self, store: MetadataStore, guard: Guard) -> None:
        self._store = store
        self._guard = guard
        self._opened: dict[Name, tuple[Entry, Opened, bytes]] = {}

    async def node(self, id: NodeId) -> StoredNode:
        """One node as the store has it now. Missing when it has none."""
        found = await self._guard.ask(lambda: self._store.nodes([id]), lambda answer: of_nodes(answer.values()))
        if id not in found:
            raise Missing("it is not in the store")
        return found[id]

    async def place(self, path: Path, root: Held) -> Place:
        """Where `path` leads from `root`. NotFound and NotADirectory are about the folders on the way."""
        names = path.split(b"/") if path else []
        place = Place(path, b"", None, Token(b""), None, root)
        done = 0
        while done < len(names):
            folder = _folder(place)
            asked = self._predicted(folder, names[done:])
            for keys, name, token, found in await self._ask(folder, asked):
                folder = _folder(place)
                if keys != folder.keys:
                    break
                place = self._open(path, (*place.above, folder), name, token, found)
                done += 1
                if place.node is None and done < len(names):
                    raise protocol.NotFound(path)
        return place

    def learn(self, folder: Held, entry: Entry, opened: Opened) -> None:
        """Remember a name that was just made, or checked, with the keys of `folder`."""
        if len(self._opened) > _REMEMBERED:
            self._opened.clear()
        self._opened[entry.parent, entry.token] = entry, opened, folder.keys.verify

    def open(self, folder: Held, entry: Entry) -> Opened:
        """What `entry` in `folder` says; of a known one what is remembered.

        Somebody else's share can lead to the same folder with another verify key: what was checked by that one only
        is checked again. And what was opened for reading lacks the seed that a writer of the folder gets.
        """
        known = self._opened.get((entry.parent, entry.token))
        if known is not None and known[0] == entry and known[2] == folder.keys.verify:
            opened = known[1]
            if folder.keys.seed is None or opened.keys.seed is not None:
                return opened
        opened = open_entry(entry, folder.keys, verify=True)
        self.learn(folder, entry, opened)
        return opened

    def _predicted(self, folder: Held, names: Sequence[bytes]) -> list[tuple[NodeId, NodeKeys, bytes, Token]]:
        """The names to ask for: the first, and those behind it as far as its node was seen before."""
        id, keys = folder.id, folder.keys
        asked = []
        for name in names:
            token = name_token(keys, name)
            asked.append((id, keys, name, token))
            known = self._opened.get((id, token))
            if known is None or known[0].child is None:
                break
            id, keys = known[0].child, known[1].keys
        return asked

    async def _ask(
        self, folder: Held, asked: list[tuple[NodeId, NodeKeys, bytes, Token]]
    ) -> list[tuple[NodeKeys, bytes, Token, tuple[Entry, StoredNode | None] | None]]:
        try:
            answers = await self._lookup([(id, token) for id, _, _, token in asked])
        except (Missing, Tampered):
            if len(asked) == 1:
                raise
            # A folder that was seen before is gone, or has other keys, so that its names of before are not there any
            # more: only the first is known to be there.
            asked = asked[:1]
            answers = await self._lookup([(folder.id, asked[0][3])])
        return [(keys, name, token, found) for (_, keys, name, token), found in zip(asked, answers, strict=True)]

    async def _lookup(self, names: Sequence[Name]) -> Answer:
        return await guarded_lookup(self._store, self._guard, names)

    def _open(
        self,
        path: Path,
        above: tuple[Held, ...],
        name: bytes,
        token: Token,
        found: tuple[Entry, StoredNode | None] | None,
    ) -> Place:
        folder = above[-1]
        entry, stored = found or (None, None)
        if entry is not None and (entry.parent, entry.token) != (folder.id, token):
            raise protocol.BadAnswer(path, _OTHER)
        if entry is None:
            return Place(path, name, folder, token, None, None, above)
        if entry.child is None:
            check_entry(entry, folder.keys)
            return Place(path, name, folder, token, entry, None, above)
        if stored is None:
            raise protocol.BadAnswer(path, _NOT_THERE)
        opened = self.open(folder, entry)
        if opened.name != name or entry.child != stored.node.id:
            raise protocol.BadAnswer(path, _OTHER)
        return Place(path, name, folder, token, entry, Held(stored, opened.keys), above)


async def guarded_lookup(store: MetadataStore, guard: Guard, names: Sequence[Name]) -> Answer:
    """What the store says of names: nothing that is older than what was seen before."""
    return await guard.ask(lambda: store.lookup(names), lambda answer: _versions(names, answer))


def _folder(place: Place) -> Held:
    node = place.required()
    if not node.is_folder:
        raise protocol.NotADirectory(place.path)
    return node


def _versions(names: Sequence[Name], answer: Answer) -> Versions:
    for (parent, token), found in zip(names, answer, strict=True):
        if found is None:
            yield entry_key(parent, token), 0
        else:
            yield from of_pairs([found])
