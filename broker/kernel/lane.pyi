"""The lane: native threads that answer what does not concern a drive, and queue what may."""

from collections.abc import Sequence
from typing import NamedTuple

from broker.table import Row

class Trapped(NamedTuple):
    """One notification that the lane did not answer."""

    cookie: int
    tid: int
    arch: int
    number: int
    arguments: tuple[int, int, int, int, int, int]
    paths: tuple[bytes | None, ...]
    """The strings behind the row's path arguments as the lane read them; None where it could not."""

class Lane:
    def __init__(
        self,
        listener: int,
        rows: Sequence[Row],
        directories: Sequence[bytes],
        schemes: Sequence[bytes],
        mirrors: Sequence[bytes],
        parents: Sequence[bytes],
        threads: int = 2,
    ) -> None:
        """`directories` are absolute prefixes, `schemes` end with a colon, `mirrors` are absolute real paths of
        mirror trees, `parents` are folders whose opening is handed over because a listing shows a prefix."""

    def start(self) -> None: ...
    def stop(self) -> None:
        """End the threads and join them; queued notifications stay to be taken."""

    @property
    def event(self) -> int:
        """An eventfd, readable while notifications are queued or the listener has hung up."""

    def take(self) -> list[Trapped]:
        """All queued notifications; clears the event."""

    @property
    def ended(self) -> bool:
        """Whether the last process under the filter is gone."""

    def handed_out(self) -> None:
        """From now on a working directory or descriptor may lie in a mirror: look at relative paths and fds."""

    def forget_links(self) -> None:
        """Local symlinks may have changed: drop what was learned of them."""

    def counters(self) -> dict[str, int]:
        """`received`, `continued`, `handed_over`, `cancelled`."""
