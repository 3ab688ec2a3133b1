"""Many names: a folder of them listed with nothing in the cache, and all below a folder found by one question.

On ext4, give a --directory on a tmpfs: where many files were removed a minute ago, making placeholders is slow.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import cast

from measure import ROOT, Bench, Sample, bench, column, median, ratio, table

sys.path.insert(0, str(ROOT))

from broker.drive.format.bodies import Body
from broker.drive.format.entries import seal_entry
from broker.drive.format.keys import new_node_keys
from broker.drive.format.nodes import seal_node
from broker.drive.metadata.protocol import Change, MetadataStore, PutEntry, PutNode
from broker.drive.records import Kind, NodeId
from broker.remotes.drive.clients import Client
from broker.remotes.drive.opening import open_client
from broker.remotes.drive.places import Held
from broker.remotes.drive.scanning import scan
from broker.remotes.protocol import Changes
from broker.settings import RemoteSettings

IN_A_FOLDER = 100
TOGETHER = 1000
SIZES = {
    "entries": (100_000, "names in the folder that `ls -f` lists"),
    "described": (10_000, "names in the folder that `ls -l` lists"),
    "below": (20_000, "files that are found"),
}


@asynccontextmanager
async def opened(setting: Bench, url: str) -> AsyncIterator[Client]:
    """The drive without a session."""
    client = await asyncio.to_thread(open_client, RemoteSettings(url), setting.environment)
    try:
        yield client
    finally:
        await client.close()


def new_file(folder: Held, name: bytes) -> tuple[Change, Change]:
    """An empty one."""
    id, keys, now = NodeId(os.urandom(16)), new_node_keys(), time.time_ns()
    node = seal_node(id, Kind.OTHER, 1, 1, keys, Body(stat.S_IFREG | 0o644, now, now))
    return PutNode(node), PutEntry(seal_entry(folder.id, folder.keys, 1, folder.stored.node.epoch, name, id, keys))


async def fill(client: Client, folder: bytes, names: Iterable[bytes]) -> None:
    """Empty files, many in a commit."""
    held = (await client.place(folder)).required()
    rest = iter(names)
    while some := list(islice(rest, TOGETHER)):
        await client.core.commits.commit(*(change for name in some for change in new_file(held, name)))


def names(count: int) -> Iterable[bytes]:
    return (b"file-%06d" % number for number in range(count))


def share(folder: Path, count: int) -> Path:
    folder.mkdir()
    for name in names(count):
        (folder / os.fsdecode(name)).touch()
    return folder


def listing(setting: Bench, each: str, count: int, *command: str, goal: str = "") -> None:
    """`command` on a folder of so many files, twice in one session: cold, and again."""
    folder = share(setting.scratch / f"share-{count}", count)
    twice = (each, "2", *command)

    async def many(url: str) -> None:
        async with opened(setting, url) as client:
            await fill(client, b"", names(count))

    def listed(remote: Path | str) -> Sample:
        return setting.numbers(setting.under_exec(*twice, "/drive", remote=remote), environment=setting.fresh_cache())

    with setting.encrypted() as (_, url):
        asyncio.run(many(url))
        samples = setting.rounds(
            {
                "plain folder": lambda: setting.numbers([*twice, str(folder)]),
                "file:": lambda: listed(folder),
                "embedded drive": lambda: listed(url),
            }
        )
    base = column(samples["plain folder"], 0)
    rows = []
    for name, measured in samples.items():
        cold = column(measured, 0)
        times = [f"{median(measured, number):.2f}" for number in range(2)]
        rows.append([name, *times, f"{ratio(cold, base):.1f}", goal if name == "embedded drive" else ""])
    table(
        f"`{' '.join(command)}` of {count} files, the start of the session not counted",
        ["", "s, cold", "s, again", "cold of plain", "goal for cold"],
        rows,
    )


class Counted:
    """A metadata store, and how often it is asked what."""

    def __init__(self, store: object) -> None:
        self._store = store
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> object:
        self.asked[name] += 1
        return getattr(self._store, name)


async def questions(setting: Bench, url: str) -> int:
    """How often the store is asked what is below the root."""
    async with opened(setting, url) as client:
        counted = Counted(client.core.store)
        client.core.store = cast(MetadataStore, counted)
        async for _ in scan(client.core, (await client.place(b"")).required()):
            pass
        return counted.asked["descendants"]


def finding(setting: Bench) -> None:
    count = setting.sizes["below"]
    folders = [b"folder-%04d" % number for number in range(-(-count // IN_A_FOLDER))]
    plain = setting.folder("found")
    for folder in folders:
        share(plain / os.fsdecode(folder), IN_A_FOLDER)

    async def many(url: str) -> None:
        async with opened(setting, url) as client:
            for folder in folders:
                await client.remote.mkdir(folder, Changes())
                await fill(client, folder, names(IN_A_FOLDER))

    with setting.encrypted() as (_, url):
        asyncio.run(many(url))
        asked = asyncio.run(questions(setting, url))

        def walked(remote: Path | str) -> Sample:
            session = setting.under_exec("find", "/drive", remote=remote)
            return setting.seconds(session, environment=setting.fresh_cache())

        command = [*setting.command, "find", "/drive", "-m", f"/drive={url}"]
        lines = len(setting.output(command).splitlines())
        assert lines == len(folders) * (IN_A_FOLDER + 1), lines
        samples = setting.rounds(
            {
                "find, plain folder": lambda: setting.seconds(["find", str(plain)]),
                "exec find, file:": lambda: walked(plain),
                "exec find, embedded drive": lambda: walked(url),
                "seccomp-drive find": lambda: setting.seconds(command),
            }
        )
    base = samples["find, plain folder"]
    rows = [[name, f"{median(taken):.2f}", f"{ratio(taken, base):.0f}", "", ""] for name, taken in samples.items()]
    rows[-1][-2:] = str(asked), "one question"
    table(
        f"All of {lines} names below a folder, nothing in the cache, with the start of what is run",
        ["", "s", "of plain", "questions to the store", "goal"],
        rows,
    )


def main() -> None:
    with bench(__doc__, runs=3, sizes=SIZES) as setting:
        entries, described = setting.sizes["entries"], setting.sizes["described"]
        if entries:
            listing(setting, setting.compile("each"), entries, "ls", "-f", goal="at most 4")
        if described:
            listing(setting, setting.compile("each"), described, "ls", "-l")
        if setting.sizes["below"]:
            finding(setting)


if __name__ == "__main__":
    main()
