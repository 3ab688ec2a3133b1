"""The recovery code: an identity's secret as letters and digits that can be written down and typed again."""

from __future__ import annotations

from base64 import b32decode, b32encode
from hashlib import sha256

from broker.drive.errors import Malformed, WrongKey
from broker.drive.format.identity import SECRET_SIZE, Identity, PublicRecord

_LETTERS = SECRET_SIZE * 8 // 5
_CHECK = 4
_LOOK_ALIKES = str.maketrans("018", "OIB")
"""Base32 has no such digits; the letters are what was meant."""


def recovery_code(secret: bytes) -> str:
    """36 letters and digits in groups of four; the last group checks the others."""
    letters = b32encode(secret).decode() + _check(secret)
    return "-".join(letters[at : at + 4] for at in range(0, len(letters), 4))


def parse_recovery_code(text: str) -> bytes:
    """The secret. Case, dashes and spaces do not matter; Malformed says what is wrong with the code."""
    letters = "".join(text.replace("-", "").split()).upper().translate(_LOOK_ALIKES)
    if len(letters) != _LETTERS + _CHECK:
        raise Malformed(
            f"the recovery code has {_LETTERS + _CHECK} letters and digits; what was typed has {len(letters)}"
        )
    try:
        secret = b32decode(letters[:_LETTERS])
    except ValueError as error:
        raise Malformed("the recovery code has the letters A to Z and the digits 2 to 7 only") from error
    if _check(secret) != letters[_LETTERS:]:
        raise Malformed("a letter of the recovery code is wrong: compare it with what was written down")
    return secret


def recover_identity(secret: bytes, server: str, record: PublicRecord) -> Identity:
    """The identity whose public record the server at `server` keeps; WrongKey if the code was that of another."""
    identity = Identity(secret, record.name, server, record.server_id)
    if identity.record != record:
        raise WrongKey(f"the recovery code is not that of {record.name} on this server")
    return identity


def _check(secret: bytes) -> str:
    return b32encode(sha256(b"seccomp-drive recovery code" + secret).digest()).decode()[:_CHECK]
