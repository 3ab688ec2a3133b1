"""Looking names up: what the mirror shows is made to agree with the remote when it is no longer trusted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from broker.mirror.agreeing import Agreeing
from broker.mirror.holding import Holding
from broker.mirror.ledger import Ledger
from broker.mirror.listing import Listing
from broker.mirror.placing import Placing, record_of
from broker.mirror.shared import Generation, Locks
from broker.mirror.tree import Tree
from broker.mirror.trust import Trust
from broker.mirror.twins import Twins
from broker.remotes.paths import Path, folders_above, parent_of
from broker.remotes.protocol import Attributes, Remote


class Lookup:
    """Placeholders for what the remote has, validated by time.

    A name is trusted when it, or the listing of its folder, was validated at or after the moment that the
    caller asks for.
    """

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        ledger: Ledger,
        locks: Locks,
        generation: Generation,
        trust: Trust,
        placing: Placing,
        twins: Twins,
    ) -> None:
        self._tree = tree
        self._ledger = ledger
        self._locks = locks
        self._generation = generation
        self._trust = trust
        self._witness = remote.witness
        self._running: dict[tuple[str, Path], asyncio.Future[bool]] = {}
        self._holding = Holding(tree, ledger, locks)
        self._agreeing = Agreeing(remote, tree, ledger, locks, generation, trust, placing, twins, self._holding)
        self._listing = Listing(remote, tree, ledger, locks, generation, trust, placing, self._agreeing)

    async def look(self, path: Path, since: float | None = None) -> os.stat_result | None:
        """lstat(2) of the mirror's node at `path`, validated since then (default: within the ttl)."""
        if since is None:
            if not self._trust.trusts(path):
                if path:
                    await self.look(b"")  # no name of a path is the root's, but all ways lead through its mode
                if path and self._listing.is_worth_it(parent_of(path)):
                    await self.listing(parent_of(path))
                else:
                    await self._once("look", path, self._validate)
        else:
            # What others have asked for before may be answered by what the remote had then.
            while self._trust.validated(path) < since:
                await self._once("look", path, self._validate)
        return self._tree.lstat(path)

    async def listing(self, path: Path, since: float | None = None) -> None:
        """Make the names in the mirror's folder those of the remote's, each with its placeholder."""
        if not self._trust.trusts_listing(path, since):
            await self._once("list", path, self._listing.list)

    def is_listed(self, path: Path) -> bool:
        """Whether the folder's entries are all in the mirror, so that its link count is right."""
        return self._trust.is_listed(path)

    def known_directory(self, path: Path) -> bool:
        """Whether `path` was seen as a folder within the ttl, so that a walk need not look again."""
        if not self._trust.trusts(path):
            return False
        status = self._tree.lstat(path)
        return status is not None and stat.S_ISDIR(status.st_mode)

    async def learn(
        self, path: Path, attributes: Attributes, *, dirty: bool = False, digest: bytes | None = None
    ) -> None:
        """Put on record that the complete node which the mirror has at `path` is this one of the remote."""
        status = self._tree.lstat(path)
        if status is not None:
            record = record_of(status.st_ino, attributes, hydrated=True, dirty=dirty, digest=digest)
            await self._ledger.put(record)
            self._trust.name(path, time.monotonic())

    async def rebase(self, path: Path, ino: int, attributes: Attributes, *, times: bool = False) -> bool:
        """The remote's version of a node moved because of a change of ours that left its content alone; whether the
        mirror agrees with it now.

        Hold the node's lock. If the content moved nevertheless, because somebody else had changed it before, the
        record stays as it is, and with it the mirror's node out of date. `times`: the change was one of times.
        """
        record = await self._ledger.get(ino)
        if record is None:
            return True
        same = attributes.size == record.size and (times or attributes.mtime_ns == record.mtime_ns)
        if same or not attributes.is_regular:
            fresh = record_of(ino, attributes, hydrated=record.hydrated, dirty=record.dirty, digest=record.digest)
            with contextlib.suppress(OSError):  # the change has happened, also if the ledger cannot be written
                await self._ledger.put(fresh)
                self.agreed(path)
                return True
        self.distrust(path)
        return False

    def agreed(self, path: Path) -> None:
        """What is on record of the node at `path` has just come from the remote: older answers count no more."""
        self._generation.touch_folder(parent_of(path))
        self._trust.name(path, time.monotonic())

    def changed(self, path: Path, *, empty: bool = False) -> None:
        """A name was made or removed here: its own validation counts from now; `empty` for a new folder."""
        self.agreed(path)
        self._listing.forgive(parent_of(path))
        self._trust.drop_listing(path)
        if empty:
            self._trust.listing(path, time.monotonic())

    def forget(self, path: Path) -> None:
        """Trust nothing at or below `path`, a folder, any more."""
        self._trust.forget(path)

    def distrust(self, path: Path) -> None:
        """The remote and the mirror may differ about this name and its folder's listing."""
        self._trust.drop_name(path)
        self._trust.drop_listing(parent_of(path))
        self._generation.touch_folder(parent_of(path))

    def locked(self, *paths: Path, below: bool = False) -> AbstractAsyncContextManager[None]:
        """As `Holding.locked`."""
        return self._holding.locked(*paths, below=below)

    def changing(self, *paths: Path, below: bool = False) -> AbstractAsyncContextManager[None]:
        """As `Holding.changing`."""
        return self._holding.changing(*paths, below=below)

    async def _once(self, what: str, path: Path, work: Callable[[Path], Awaitable[None]]) -> None:
        """Run `work` once for all who ask for it at the same time.

        Its error is everybody's. If the caller who runs it goes away, the next one runs it anew.
        """
        key = what, path
        while (running := self._running.get(key)) is not None:
            if await asyncio.shield(running):
                return
        running = self._running[key] = asyncio.get_running_loop().create_future()
        try:
            await work(path)
        except asyncio.CancelledError:
            running.set_result(False)
            raise
        except Exception as error:
            running.set_exception(error)
            running.exception()
            raise
        else:
            running.set_result(True)
        finally:
            del self._running[key]

    def moved(self, *nodes: os.stat_result | None) -> None:
        """Nodes get other paths, or have got them. If one is a folder, who has set out from there begins anew."""
        if any(node is not None and stat.S_ISDIR(node.st_mode) for node in nodes):
            self._generation.touch_moves()

    async def arrival(self, path: Path) -> None:
        """Wait while folders on the way to `path` are made or moved, by any session: the remote has them where the
        mirror has them only when that is through."""
        await self._locks.let_pass(*folders_above(path))

    def is_arriving(self, path: Path) -> bool:
        """Whether a folder on the way to `path` is being made or moved."""
        return self._locks.are_held(*folders_above(path))

    async def _validate(self, path: Path) -> None:
        state = self._witness.state if self._witness else b""
        started = time.monotonic()
        attributes, token = await self._agreeing.ask(path)
        if attributes is None and self._tree.lstat(path) is not None:
            await self.arrival(path)
            attributes, token = await self._agreeing.ask(path)
        await self._agreeing.agree(path, attributes, token)
        self._trust.name(path, started)
        if state:
            status = self._tree.lstat(path)
            version = attributes.version if attributes else None
            self._trust.witnessed(path, status.st_ino if status else 0, version, state)
