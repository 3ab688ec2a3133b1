"""The message that is signed to log in."""

from __future__ import annotations

from broker.drive.errors import Malformed
from broker.drive.format.commits import signed_by
from broker.drive.format.fields import join
from broker.drive.format.identity import Identity, PublicRecord
from broker.drive.format.sealing import FORMAT
from broker.drive.records import UserId


def login_message(origin: str, server_id: bytes, user: UserId, nonce: bytes, expires: int) -> bytes:
    """`origin` and `server_id` are the server's own, so that a challenge cannot be relayed to another; `expires` is
    in seconds since 1970 by the server's clock; Malformed if it is none."""
    try:
        until = expires.to_bytes(8, "big")
    except OverflowError as error:
        raise Malformed("a login that ends at no time") from error
    return b"seccomp-drive login" + FORMAT + join(origin.encode(), server_id, user, nonce, until)


def sign_login(identity: Identity, nonce: bytes, expires: int) -> bytes:
    """Log in to the identity's own server, and to no other, whoever asks."""
    return identity.signer.sign(login_message(identity.server, identity.server_id, identity.user_id, nonce, expires))


def login_is_signed(
    record: PublicRecord, signature: bytes, *, origin: str, server_id: bytes, nonce: bytes, expires: int
) -> bool:
    """Whether the user has signed this very challenge of this very server. Who asks looks at the clock."""
    message = login_message(origin, server_id, record.user_id, nonce, expires)
    return signed_by(record.verify_key, signature, message)
