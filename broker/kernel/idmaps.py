"""User namespaces: the ids by which a caller in one of its own knows users and groups (user_namespaces(7))."""

from __future__ import annotations

from msgspec import Struct


class IdMap(Struct, frozen=True):
    """The extents of one map: the first id inside, the first outside, how many there are."""

    extents: tuple[tuple[int, int, int], ...]

    def inside(self, outside: int) -> int | None:
        """What the caller calls one of our ids; None where it has no name for it."""
        for inner, outer, count in self.extents:
            if outer <= outside < outer + count:
                return inner + outside - outer
        return None

    def outside(self, inside: int) -> int | None:
        """What we call one of the caller's ids; None where there is no such id."""
        for inner, outer, count in self.extents:
            if inner <= inside < inner + count:
                return outer + inside - inner
        return None


class IdMaps(Struct, frozen=True):
    """Those of users and of groups."""

    uids: IdMap
    gids: IdMap


def parse(text: bytes) -> IdMap:
    """/proc/TID/uid_map or gid_map, read by us: ids outside are then those of our namespace."""
    lines = [line.split() for line in text.splitlines()]
    return IdMap(tuple((int(inner), int(outer), int(count)) for inner, outer, count in lines))
