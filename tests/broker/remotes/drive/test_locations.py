"""What the URL and the options of a drive mean."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker.errors import SetupError
from broker.remotes.drive.locations import Embedded, Served, locate
from broker.settings import RemoteSettings

HOMES = {"XDG_DATA_HOME": "/data", "XDG_STATE_HOME": "/state"}


def embedded(url: str, **options: object) -> Embedded:
    found = locate(RemoteSettings(url, options), HOMES)
    assert isinstance(found, Embedded)
    return found


def served(url: str, **options: object) -> Served:
    found = locate(RemoteSettings(url, options), HOMES)
    assert isinstance(found, Served)
    return found


def test_the_users_own_drive() -> None:
    """Everything is in the data directory; no memory guards it against who could put that back as a whole."""
    for url in ("drive:", "drive:/", "drive://"):
        assert embedded(url) == Embedded(
            folder="/data/seccomp-drive/drive",
            metadata="sqlite:////data/seccomp-drive/drive/metadata.sqlite",
            blobs="file:///data/seccomp-drive/drive/blobs",
            key="/data/seccomp-drive/drive/identity.key",
            passphrase_file=None,
            memory=None,
        )


def test_homes_without_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The places are those of the XDG directories; a relative variable counts as none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    found = locate(RemoteSettings("drive:"), {"XDG_DATA_HOME": "data"})
    assert found.key == f"{tmp_path}/.local/share/seccomp-drive/drive/identity.key"


def test_a_drive_in_a_folder() -> None:
    """Its folder holds all of it; a key elsewhere and a memory guard it against who can write to the folder."""
    found = embedded("drive:///srv/my%20drive", key="/keys/k", passphrase_file="/keys/p")
    assert (found.folder, found.blobs) == ("/srv/my drive", "file:///srv/my%20drive/blobs")
    assert (found.key, found.passphrase_file) == ("/keys/k", "/keys/p")
    assert found.memory and found.memory.startswith("/state/seccomp-drive/seen/")
    assert embedded("drive:///srv/other").memory != found.memory


def test_parts_of_an_embedded_drive_can_be_elsewhere() -> None:
    """Metadata in PostgreSQL and blobs on S3, without a server: then a memory guards it."""
    found = embedded("drive:", blobs="s3://bucket", metadata="postgresql://db")
    assert (found.blobs, found.metadata) == ("s3://bucket", "postgresql://db")
    assert found.memory


def test_a_served_drive() -> None:
    """Origin, folder, and a key file by the server's name unless another is given."""
    found = served("drive+https://Drive.Example:8443/alice/a%20b/")
    assert (found.origin, found.below) == ("https://drive.example:8443", b"alice/a b")
    assert found.key == "/data/seccomp-drive/keys/drive.example_8443.key"
    assert served("drive+http://localhost/", insecure=True, key="/k") == Served(
        "http://localhost", b"", "/k", None, served("drive+http://localhost/x").memory, True, None
    )


@pytest.mark.parametrize(
    ("url", "options", "advice"),
    [
        ("drive:x", {}, "write drive:///path/of/folder"),
        ("drive://host/x", {}, "write drive:///path/of/folder"),
        ("drive:///a%00", {}, "write drive:///path/of/folder"),
        ("drive:", {"keys": "/x"}, "unknown option keys: choose one of blobs, key, metadata, passphrase_file"),
        ("drive:", {"key": 3}, "write key = "),
        ("drive:", {"key": "relative"}, "write key = "),
        ("drive+http://", {}, "write one such as drive+https://"),
        ("drive+http://h/a//b", {}, "write one such as http://h/alice/folder"),
        ("drive+http://u:p@h/", {}, "write one such as drive+https://"),
        ("drive+http://h/?x", {}, "write one such as drive+https://"),
        ("drive+http://h/", {"insecure": "yes"}, "write insecure = true"),
        ("drive+https://h/", {"insecure": True}, "unknown option insecure"),
    ],
)
def test_what_is_refused(url: str, options: dict[str, object], advice: str) -> None:
    """The message names the URL, and of an option its line in the policy, and says what to write."""
    with pytest.raises(SetupError, match=re.escape(advice)) as caught:
        locate(RemoteSettings(url, options), HOMES)
    assert str(caught.value).startswith(url)
    for option in options:
        with pytest.raises(SetupError, match=re.escape(advice)) as caught:
            locate(RemoteSettings(url, options, {option: "policy.toml:7"}), HOMES)
        assert str(caught.value).startswith(f"policy.toml:7: {url}")
