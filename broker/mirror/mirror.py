"""The mirror of one mount, as the handlers of system calls use it."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat

from broker.mirror.changing import Changing
from broker.mirror.content import Content, Endless, Progress, Room, Tell
from broker.mirror.database import renew
from broker.mirror.evicting import Store
from broker.mirror.ledger import Ledger
from broker.mirror.lookup import Lookup
from broker.mirror.marks import Marks
from broker.mirror.names import Act, ActTwice, Names
from broker.mirror.opening import OpenAct, Opening
from broker.mirror.others import Others
from broker.mirror.placing import Placing
from broker.mirror.pushing import Pushing
from broker.mirror.recovery import Recovery
from broker.mirror.setid import NOBODY, Rule, Writer
from broker.mirror.shared import Generation, Locks
from broker.mirror.tree import Tree
from broker.mirror.trust import Trust
from broker.mirror.twins import Twins
from broker.mirror.usage import Usage
from broker.mirror.vouching import NoVouch, Shown, Vouch
from broker.mirror.writeback import WriteBack
from broker.remotes.paths import Path
from broker.remotes.protocol import NotADirectory, NotFound, Remote


class Mirror:
    """Every method makes real in the mirror what its call needs, lets the call act there, and tells the remote."""

    def __init__(
        self,
        directory: str,
        remote: Remote,
        *,
        ttl: float,
        read_only: bool,
        owners: bool,
        progress: Progress,
        tell: Tell,
        vouch: Vouch | None = None,
        room: Room | None = None,
    ) -> None:
        """Call it inside the running loop. `directory` is private to the user and to this mount."""
        vouch, room = vouch or NoVouch(), room or Endless()
        self.tree = Tree(directory, owners=owners)
        self.remote = remote
        self._read_only = read_only
        self._generation = Generation(os.path.join(directory, "generation"))
        if self._generation.alone():
            self.tree.clear_staging()
        self._locks = Locks(os.path.join(directory, "locks"))
        ledger = os.path.join(directory, "ledger.sqlite")
        salvaged = renew(ledger, self._generation.alone) if self.tree.names(b"") else None
        self._marks = Marks(directory)
        self._ledger = Ledger(ledger, self._generation, vouch, self._marks, room.spend_reserve)
        twins = Twins(self.tree, self._ledger, self._locks)
        placing = Placing(self.tree, self._ledger, twins)
        trust = Trust(ttl, vouch)
        self._lookup = Lookup(remote, self.tree, self._ledger, self._locks, self._generation, trust, placing, twins)
        self._content = Content(remote, self._ledger, self._locks, progress, tell, room, vouch)
        self._usage = Usage(ledger)
        self._names = Names(remote, self.tree, self._ledger, self._lookup, twins)
        self._others = Others(remote, self._lookup, twins)
        pushing = Pushing(remote, self.tree, self._ledger, self._lookup, progress, tell)
        self.writeback = WriteBack(pushing, self.tree, self._ledger, self._locks, tell)
        parts = self.tree, self._ledger, self._locks, self._generation, self._marks
        self.recovery = Recovery(remote, *parts, self.writeback, tell, salvaged)
        self._changing = Changing(remote, self.tree, self._ledger, self._lookup, self.writeback)
        ways = self._lookup, self._names, self._content, self.writeback
        self._opening = Opening(remote, self.tree, *ways, self._usage, self.require_writable)

    @property
    def store(self) -> Store:
        """What eviction works with."""
        return Store(self.tree, self._ledger, self._locks, self._usage)

    @property
    def counters(self) -> tuple[mmap.mmap, bytearray]:
        """What other sessions write when they change the ledger, and what was there when ours was last current."""
        return self._generation.counters

    @property
    def moves(self) -> bytes:
        """A token that differs once a folder was moved, or is about to be: paths may lead elsewhere since."""
        return self._generation.moves

    async def look(self, path: Path) -> os.stat_result | None:
        """lstat(2) of a node, trusted for the ttl; None if there is none."""
        status = await self._lookup.look(path)
        if status is not None:
            await self._ledger.get(status.st_ino)
        return status

    def known_directory(self, path: Path) -> bool:
        return self._lookup.known_directory(path)

    async def listing(self, path: Path) -> None:
        """Have all entries of a folder in the mirror."""
        await self._lookup.listing(path)

    def shown(self, path: Path, ino: int) -> Shown:
        """What the remote knows better than the mirror's node, which `look` has returned."""
        record = self._ledger.last(ino)
        if record is None or (stat.S_ISDIR(record.mode) and self._lookup.is_listed(path)):
            return Shown()
        return record.shown

    async def open(
        self, path: Path, flags: int, act: OpenAct, writer: Writer = NOBODY, since: float | None = None
    ) -> int:
        """open(2): a descriptor of the broker's whose content is complete.

        Close-to-open: the node is validated once more although it is within the ttl, unless that was done since the
        call was made, by time.monotonic() (default: now). O_TRUNC takes effect when the node is dirty on record.
        `writer` says which set-id bits its writes will leave.
        """
        return await self._opening.open(path, flags, act, writer, since)

    async def require(self, path: Path) -> int:
        """Have a file's content in the mirror, for a call that reads it by its name (execve). It stays there as long
        as the descriptor that is returned is open."""
        return await self.open(path, os.O_RDONLY, lambda real, flags: self.tree.open(path, flags))

    async def mkdir(self, path: Path, act: Act) -> int:
        self.require_writable()
        return await self._names.mkdir(path, act)

    async def mknod(self, path: Path, act: Act) -> int:
        self.require_writable()
        return await self._names.mknod(path, act)

    async def symlink(self, path: Path, target: bytes, act: Act) -> int:
        self.require_writable()
        return await self._names.symlink(path, target, act)

    async def link(self, existing: Path, path: Path, act: ActTwice) -> int:
        self.require_writable()
        return await self._names.link(existing, path, act)

    async def unlink(self, path: Path, act: Act) -> int:
        self.require_writable()
        await self._save_for_other_names(path)
        return await self._names.unlink(path, act)

    async def rmdir(self, path: Path, act: Act) -> int:
        self.require_writable()
        status = await self._lookup.look(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            await self._lookup.listing(path)
        return await self._names.rmdir(path, act)

    async def rename(self, old: Path, new: Path, act: ActTwice, *, replace: bool, exchange: bool) -> int:
        self.require_writable()
        target = await self._lookup.look(new)
        if target is not None and stat.S_ISDIR(target.st_mode):
            await self._lookup.listing(new)
        elif target is not None and replace and not exchange:
            await self._save_for_other_names(new)
        return await self._names.rename(old, new, act, replace=replace, exchange=exchange)

    async def change(
        self, path: Path, act: Act, *, file: int | None = None, writing: bool = False, rule: Rule | None = None
    ) -> int:
        """chmod(2), chown(2), utimensat(2): what the call changed of the node goes to the remote.

        `file`: the descriptor that it came through, wherever its file is by then. `writing`: the close of that will
        push the attributes with the content. `rule`: the set-id bits that the call leaves; None for all.
        """
        self.require_writable()
        if file is not None and writing:
            return await self._changing.change_written(path, act, file, rule)
        return await self._changing.change(path, act, file=file, rule=rule)

    async def set_xattr(
        self, path: Path, name: bytes, value: bytes | None, act: Act, *, file: int | None = None
    ) -> int:
        """setxattr(2), or removexattr(2) when `value` is None; `file` as for `change`."""
        self.require_writable()
        return await self._changing.set_xattr(path, name, value, act, file)

    async def load_xattrs(self, path: Path, *, file: int | None = None) -> None:
        """Have the node's extended attributes in the mirror. EOPNOTSUPP where the remote keeps none."""
        await self._changing.load_xattrs(path, file)

    async def truncate(self, path: Path, act: Act, writer: Writer = NOBODY) -> int:
        """truncate(2): the file is opened for writing for the length of the call, and pushed after it."""
        self.require_writable()
        await self.remote.authorize(path)
        return await self._opening.truncate(path, act, writer)

    async def written(self, path: Path, ino: int, *, durable: bool) -> None:
        """close(2), or with `durable` fsync(2), of a descriptor that may have been written through, also one that
        another session has opened. The remote makes durable what was pushed before, and the names in a folder."""
        await self.writeback.adopt(path, ino)
        pushed = await self.writeback.push(ino, durable=durable)
        if durable and not pushed and not self._read_only:
            with contextlib.suppress(NotFound, NotADirectory):  # somebody has removed it
                await self.remote.sync(path)

    async def sync(self) -> None:
        """syncfs(2): all is pushed, and durable; EIO when something could not be."""
        await self.writeback.sync()
        await self.remote.sync(b"")

    async def close(self) -> None:
        self.writeback.close()
        self._marks.close()
        self._ledger.close()
        self._locks.close()
        self._generation.close()
        self.tree.close()
        await self.remote.close()

    async def _save_for_other_names(self, path: Path) -> None:
        """Push a dirty file that is about to lose a name: it may have others on the remote that the mirror lacks, to
        which belongs what is written from now on."""
        status = self.tree.lstat(path)
        record = await self._ledger.get(status.st_ino) if status else None
        if status and record and record.dirty and record.nlink > 1 and stat.S_ISREG(record.mode):
            await self.written(path, record.ino, durable=False)
            record = await self._ledger.get(record.ino)
            if status.st_nlink == 1 and record and record.nlink > 1 and record.identity:
                await self._others.bring(path, record.identity)

    def require_writable(self) -> None:
        """EROFS on a read-only mount."""
        if self._read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
