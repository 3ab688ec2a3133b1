"""Pinned contacts: which key is whose, kept sealed in the user's home so that all his machines know it."""

from __future__ import annotations

from collections.abc import Mapping

from broker.drive.format.bodies import Body
from broker.drive.records import UserId

_PREFIX = b"drive.contact."
"""Attributes of the home's body that no program sees."""


def contacts(home: Body) -> Mapping[str, UserId]:
    """Fingerprints by the names of users."""
    return {
        name.removeprefix(_PREFIX).decode(errors="replace"): UserId(value)
        for name, value in home.xattrs.items()
        if name.startswith(_PREFIX)
    }


def with_contact(home: Body, name: str, user: UserId) -> Mapping[bytes, bytes]:
    """The attributes of the home with one contact more, or another key for one."""
    return {**home.xattrs, _PREFIX + name.encode(): bytes(user)}
