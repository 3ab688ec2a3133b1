"""What shows at any moment, without a call that may wait, whether a remote has changed."""

from __future__ import annotations

from msgspec import Struct


class Witness(Struct, frozen=True):
    """One of the two."""

    folder: int | None = None
    """A descriptor of a folder that shows what the remote has: what is at a path there is at the version
    `nodes.version_of`."""
    memory: memoryview | None = None
    """Bytes that are others after every change of the remote, and stay as they are while nothing has changed."""

    @property
    def state(self) -> bytes:
        """The bytes as they are now."""
        return b"" if self.memory is None else bytes(self.memory)
