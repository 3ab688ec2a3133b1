"""What a session is told to do, checked: the value that the policy file becomes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct, field

REMOTE_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "file": (),
        "drive": ("blobs", "key", "metadata", "passphrase_file"),
        "drive+http": ("insecure", "key", "passphrase_file"),
        "drive+https": ("ca", "key", "passphrase_file"),
    }
)
"""The kinds of remotes there are, by the scheme of their URL, and the options that each has."""

DRIVE_PREFIX, DRIVE_URL = b"drive:", "drive:"
"""Where an encrypted drive of the user's own is when nothing else is said."""


class RemoteSettings(Struct, frozen=True):
    """Where the files are: a URL such as ``file:///srv/share``, and options that its scheme knows."""

    url: str
    options: Mapping[str, object] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    """Where the policy has each option, as FILE:LINE."""
    hidden: tuple[str, ...] = ()
    """Files and folders of this machine that no remote shows: what the session itself works with."""

    def place(self, option: str) -> str:
        """What to name in a message about an option."""
        return f"{self.places[option]}: {self.url}" if option in self.places else self.url


class MountSettings(Struct, frozen=True):
    """One prefix. `prefix` is an absolute folder (``/drive``) or a scheme with its colon (``sommelier:``)."""

    prefix: bytes
    remote: RemoteSettings
    read_only: bool = False
    ttl: float = 1.0
    """Seconds for which attributes and listings are trusted."""
    timeout: float = 60.0
    """Seconds that the remote may take without a sign of progress."""


class Settings(Struct, frozen=True):
    mounts: tuple[MountSettings, ...]
    cache_directory: str
    cache_limit: int
    """Bytes of clean content that the cache may hold."""
    keep_free: int | None = None
    """Bytes of the cache's file system that clean content leaves free; None is 1 GiB, or a twentieth of it if that is
    less."""
