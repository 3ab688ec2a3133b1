"""The lane: native threads that answer what does not concern a drive, and queue what may."""

from collections.abc import Sequence
from mmap import mmap
from typing import NamedTuple

from broker.kernel.native import Identity
from broker.table import Row

class Trapped(NamedTuple):
    """One notification that the lane did not answer."""

    cookie: int
    tid: int
    arch: int
    number: int
    arguments: tuple[int, int, int, int, int, int]
    paths: tuple[bytes | None, ...]
    """The strings behind the row's path arguments as the lane read them; None where it could not. For bind(2) and
    connect(2) one, the name in the sockaddr_un."""
    own: bool = False
    """The caller's ids, capabilities, groups and user namespace are this process's own; False says nothing."""
    identity: Identity | None = None
    """Otherwise as whom it acts, in our user namespace; None says nothing."""
    real: Identity | None = None
    """As whom access(2) takes it then."""
    rooted: bool = True
    """Some caller may have another root than this process; False says that none has."""

class Warm:
    """What the lane may answer by itself, of all mounts: whatever is not in here is handed over."""

    def __init__(self, count: int) -> None:
        """For mounts 0 to `count` - 1."""

    def drive(
        self,
        number: int,
        prefix: bytes,
        root: bytes,
        root_fd: int,
        shared: mmap,
        seen: bytearray,
        folder: int | None = None,
        memory: memoryview | None = None,
    ) -> None:
        """What a mount is: its prefix, and the real path and a descriptor of its mirror's tree.

        Nodes count only while `shared` begins with what is in `seen`. `folder` and `memory` are those of its
        remote's witness.
        """

    def of(self, number: int) -> WarmDrive: ...
    def close(self) -> None:
        """Let go of the buffers: nothing counts from now on."""

class WarmDrive:
    """The part of a `Warm` for one mount, with the methods of `broker.mirror.vouching.Vouch`."""

    def name(self, path: bytes, until: float) -> None: ...
    def listing(self, path: bytes, until: float) -> None: ...
    def forget_names(self) -> None: ...
    def node(self, ino: int, nlink: int | None, blocks: int | None, set_id: int, dirty: bool) -> None: ...
    def forget_node(self, ino: int) -> None: ...
    def forget_nodes(self) -> None: ...
    def witnessed(self, path: bytes, ino: int, version: str | None, state: bytes) -> None: ...
    def complete(self, ino: int, version: str, until: float) -> None: ...

class Lane:
    def __init__(
        self,
        listener: int,
        rows: Sequence[Row],
        directories: Sequence[bytes],
        schemes: Sequence[bytes],
        mirrors: Sequence[bytes],
        parents: Sequence[bytes],
        threads: int = 4,
        warm: Warm | None = None,
    ) -> None:
        """`directories` are absolute prefixes, `schemes` end with a colon, `mirrors` are absolute real paths of
        mirror trees, `parents` are folders whose opening is handed over because a listing shows a prefix.

        One thread receives; the others sleep until notifications queue up or it is held up, and cost nothing.
        """

    def start(self) -> None: ...
    def stop(self) -> None:
        """End the threads and join them; queued notifications stay to be taken."""

    @property
    def event(self) -> int:
        """An eventfd, readable while notifications are queued or the listener has hung up."""

    def take(self) -> list[Trapped]:
        """All queued notifications, oldest first; clears the event unless the listener has hung up."""

    @property
    def ended(self) -> bool:
        """Whether the last process under the filter is gone."""

    def handed_out(self) -> None:
        """From now on a working directory or descriptor may lie in a mirror: look at relative paths and fds."""

    def forget_links(self) -> None:
        """Drop what was learned: local symlinks or working directories may have changed unseen.

        By a redirected chdir, say, or a link that the broker made. What the programs themselves change is seen;
        what others change counts after a second.
        """

    def counters(self) -> dict[str, int]:
        """`received`, `continued`, `answered`, `handed_over`, `cancelled` (before the lane's answer), and `foreign`:
        calls from outside our pid namespace, which get ENOSYS."""
