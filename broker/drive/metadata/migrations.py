"""Steps from one version of the schema to the next, taken by a command of their own and never on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection, select, update

from broker.drive.errors import Unusable
from broker.drive.metadata.database import Database
from broker.drive.metadata.schema import VERSION, found_version, store

Step = Callable[[Connection], None]

STEPS: Mapping[int, Step] = {}
"""By the version that they lead from, to the one after it."""


async def migrate(url: str, steps: Mapping[int, Step] = STEPS, target: int = VERSION) -> Sequence[int]:
    """Bring a database to `target` in one transaction; the versions that it has had on the way, the old one first.

    Unusable when there is no store, or one that is newer than this program. Make a backup before.
    """
    database = Database(url)
    try:
        return await database.write_durably(_migrate, steps, target)
    finally:
        await database.close()


def _migrate(connection: Connection, steps: Mapping[int, Step], target: int) -> Sequence[int]:
    if found_version(connection) is None:
        raise Unusable("the database is empty: there is nothing to migrate")
    version = connection.execute(select(store.c.version).with_for_update()).scalar_one()
    if version > target:
        raise Unusable(f"the database has schema {version}, this program knows {target}: use a newer program")
    passed = list(range(version, target))
    for number in passed:
        steps[number](connection)
    connection.execute(update(store).values(version=target))
    return passed
