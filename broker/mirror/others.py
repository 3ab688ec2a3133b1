"""Names that a file has on the remote and the mirror lacks: one of them is brought before the last known one goes.

Who has the file open would write to a node without a name otherwise, which is pushed nowhere.
"""

from __future__ import annotations

import contextlib
import time

from broker.mirror.lookup import Lookup
from broker.mirror.twins import Twins
from broker.remotes.paths import Path, folders_above, join
from broker.remotes.protocol import Remote, RemoteError


class Others:
    """The further names of one mirror's files. What the remote refuses to show has none."""

    def __init__(self, remote: Remote, lookup: Lookup, twins: Twins) -> None:
        self._remote = remote
        self._lookup = lookup
        self._twins = twins

    async def bring(self, path: Path, identity: str) -> None:
        """Make another name of the file at `path`, which is dirty, a hard link in the mirror, if there is one."""
        known = await self._twins.elsewhere(self._remote, path, identity)
        other = known or await self._search(path, identity)
        if other is not None:
            await self._twins.note(identity, path)
            with contextlib.suppress(RemoteError):
                for folder in folders_above(other):
                    await self._lookup.look(folder)
                await self._lookup.look(other, since=time.monotonic())

    async def _search(self, path: Path, identity: str) -> Path | None:
        """No remote can be asked for the names of a file: all of its folders are looked through."""
        folders = [b""]
        while folders:
            folder = folders.pop()
            with contextlib.suppress(RemoteError):
                async for page in self._remote.list(folder):
                    for entry in page:
                        name = join(folder, entry.name)
                        if entry.attributes.identity == identity and name != path:
                            return name
                        if entry.attributes.is_directory:
                            folders.append(name)
        return None
