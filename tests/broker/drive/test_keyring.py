"""Key files on disk: private, never overwritten, replaced whole, and clear about what is wrong with them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from broker.drive.format.identity import Identity, new_identity
from broker.drive.format.keyfile import Protection
from broker.drive.keyring import KeyringError, change_passphrase, create_key_file, load_identity, read_key_file

CHEAP = Protection(b"salt" * 4, memory=64, iterations=1, lanes=1)


@pytest.fixture
def identity() -> Identity:
    return new_identity("alice", "https://drive.example", os.urandom(16))


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "key")


def _nobody_asks(path: str) -> str:
    raise AssertionError(f"the passphrase of {path} was asked for")


def test_only_the_owner_can_read_a_new_file(path: str, identity: Identity) -> None:
    """Mode 0600 whatever the umask, and what was written is read."""
    before = os.umask(0)
    try:
        create_key_file(path, identity, None)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert load_identity(path, _nobody_asks) == identity


def test_a_file_is_never_overwritten(path: str, identity: Identity) -> None:
    """Neither a key file nor anything else, nor what a symlink points to."""
    Path(path).write_text("precious")
    link = path + ".link"
    os.symlink(path + ".elsewhere", link)
    for taken in (path, link):
        with pytest.raises(KeyringError, match="is there already"):
            create_key_file(taken, identity, None)
    assert Path(path).read_text() == "precious"
    assert not os.path.exists(path + ".elsewhere")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_can_use_is_refused(path: str, identity: Identity, mode: int) -> None:
    """And the message has the command that mends it."""
    create_key_file(path, identity, None)
    os.chmod(path, mode)
    with pytest.raises(KeyringError, match=f"chmod 600 {path}"):
        read_key_file(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_refused(path: str, identity: Identity) -> None:
    """Also by root, who could read it."""
    create_key_file(path, identity, None)
    os.chown(path, 12345, -1)
    with pytest.raises(KeyringError, match="belongs to user 12345"):
        read_key_file(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    """A FIFO does not hang it, a folder and a missing file are said as what they are."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name, message in {"fifo": "no key file", ".": "no key file|cannot be read", "missing": "register"}.items():
        with pytest.raises(KeyringError, match=message):
            read_key_file(str(tmp_path / name))


@pytest.mark.parametrize("kept", [0, 10, 100, -1])
def test_a_truncated_file(path: str, identity: Identity, kept: int) -> None:
    """It says so, and how to get it back; no passphrase is asked for."""
    create_key_file(path, identity, "secret", CHEAP)
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[:kept].rstrip(b"\n="))
    with pytest.raises(KeyringError, match="key recover and the recovery code"):
        load_identity(path, _nobody_asks)


def test_a_wrong_passphrase(path: str, identity: Identity) -> None:
    """It is told from damage."""
    create_key_file(path, identity, "secret", CHEAP)
    with pytest.raises(KeyringError, match=r"passphrase of .* is wrong"):
        load_identity(path, lambda path: "Secret")
    assert load_identity(path, lambda path: "secret") == identity


def test_changing_the_passphrase(path: str, identity: Identity) -> None:
    """From one to another and to none; a symlink to the file stays one; nothing is left beside it."""
    create_key_file(path, identity, "old", CHEAP)
    link = path + ".link"
    os.symlink(path, link)
    change_passphrase(link, identity, "new", CHEAP)
    assert load_identity(link, lambda path: "new") == identity
    with pytest.raises(KeyringError):
        load_identity(path, lambda path: "old")
    change_passphrase(path, identity, None)
    assert load_identity(path, _nobody_asks) == identity
    assert os.path.islink(link)
    assert sorted(os.listdir(os.path.dirname(path))) == ["key", "key.link"]


def test_a_change_that_fails_leaves_the_old_file(
    path: str, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk while the new file is written costs nothing."""
    create_key_file(path, identity, None)

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyringError, match="No space left on device; it is as it was"):
        change_passphrase(path, identity, "new", CHEAP)
    assert load_identity(path, _nobody_asks) == identity
    assert os.listdir(os.path.dirname(path)) == ["key"]


def test_the_file_of_another_identity_is_not_replaced(path: str, identity: Identity) -> None:
    """The path may have been given away while the passphrase was typed."""
    create_key_file(path, new_identity("bob", "", b""), None)
    with pytest.raises(KeyringError, match="somebody else"):
        change_passphrase(path, identity, None)
