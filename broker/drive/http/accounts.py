"""Becoming a user of a server."""

from __future__ import annotations

from broker.drive.errors import Tampered
from broker.drive.http import routes
from broker.drive.http.connection import Connection
from broker.drive.http.messages import Register
from broker.drive.metadata.protocol import PutNode
from broker.drive.records import User


async def register(connection: Connection, record: bytes, home: PutNode, invitation: str | None = None) -> User:
    """The user as the server has it now. NameTaken; Denied when the server wants an invitation and this is none."""
    user = await connection.ask(routes.REGISTER, Register(record, home, invitation))
    if user.record != record or user.home != home.node.id:
        raise Tampered(f"{connection.origin} has registered something else than was asked for")
    return user
