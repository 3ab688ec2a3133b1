"""Key files on disk: made once, for the owner alone, and replaced as a whole."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable

from broker.drive.errors import Damaged, DriveError, Tampered, WrongKey
from broker.drive.format.identity import Identity
from broker.drive.format.keyfile import KeyFile, Protection, decode_key_file, encode_key_file, lock

_SIZE_MAX = 64 << 10


class KeyringError(DriveError):
    """A key file cannot be used. The message names it and says what to do."""

    code = "keyring"


def create_key_file(
    path: str, identity: Identity, passphrase: str | None, protection: Protection | None = None
) -> None:
    """A new file, mode 0600, on disk when this returns. KeyringError if there is one: it is never overwritten."""
    data = encode_key_file(lock(identity, passphrase, protection))
    try:
        os.makedirs(os.path.dirname(path) or ".", 0o700, exist_ok=True)
        _write_new(path, data)
    except FileExistsError as error:
        raise KeyringError(
            f"{path} is there already: use it, or choose another place for the new key file"
        ) from error
    except OSError as error:
        raise KeyringError(f"the key file {path} cannot be written: {error.strerror}") from error


def read_key_file(path: str) -> KeyFile:
    """Its public part can be used without the passphrase. KeyringError if others can read it, or it is damaged."""
    try:
        data = _read_private(path)
    except FileNotFoundError as error:
        raise KeyringError(
            f"there is no key file {path}: make one with seccomp-drive register, or restore it with "
            "seccomp-drive key recover and the recovery code"
        ) from error
    except OSError as error:
        raise KeyringError(f"the key file {path} cannot be read: {error.strerror}") from error
    try:
        return decode_key_file(data)
    except (Damaged, Tampered) as error:
        raise _damaged(path, error) from error


def load_identity(path: str, passphrase: Callable[[str], str]) -> Identity:
    """The identity in a key file; `passphrase` is called with the path when one is needed."""
    file = read_key_file(path)
    try:
        return file.unlock(passphrase(path) if file.protection else None)
    except WrongKey as error:
        raise KeyringError(f"the passphrase of {path} is wrong: try again; nothing was changed") from error
    except Damaged as error:
        raise _damaged(path, error) from error


def change_passphrase(
    path: str, identity: Identity, passphrase: str | None, protection: Protection | None = None
) -> None:
    """Put the file under another passphrase, or none. After a crash it is the old or the new one, whole."""
    path = os.path.realpath(path)
    if read_key_file(path).record != identity.record:
        raise KeyringError(f"{path} is the key file of somebody else by now; nothing was changed")
    fresh = f"{path}.new-{os.urandom(4).hex()}"
    try:
        _write_new(fresh, encode_key_file(lock(identity, passphrase, protection)))
        try:
            os.rename(fresh, path)
        except OSError:
            os.unlink(fresh)
            raise
        _sync_folder(path)
    except OSError as error:
        raise KeyringError(f"the key file {path} cannot be replaced: {error.strerror}; it is as it was") from error


def _damaged(path: str, error: DriveError) -> KeyringError:
    return KeyringError(
        f"the key file {path} cannot be used: {error}. Put a copy of it in its place, or move it away and restore "
        "it with seccomp-drive key recover and the recovery code"
    )


def _write_new(path: str, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(file, "wb") as writer:
            writer.write(data)
            writer.flush()
            os.fsync(file)
        _sync_folder(path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _sync_folder(path: str) -> None:
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_private(path: str) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > _SIZE_MAX:
            raise KeyringError(f"{path} is no key file: give the path of the one that seccomp-drive register wrote")
        if status.st_uid != os.geteuid():
            raise KeyringError(
                f"the key file {path} belongs to user {status.st_uid}, and this is user {os.geteuid()}: "
                "use a copy that belongs to this user, with mode 0600"
            )
        if status.st_mode & 0o077:
            raise KeyringError(
                f"others can read the key file {path} (mode {stat.S_IMODE(status.st_mode):04o}): chmod 600 {path}, "
                "and register anew if somebody may have copied it"
            )
        return file.read(_SIZE_MAX)
