"""What can stand behind the prefixes of a scenario: a folder, an encrypted drive of this machine, or a server's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from broker.drive.metadata.checks import check as check_store
from broker.remotes.drive.checking import check as check_tree
from broker.remotes.drive.clients import Client
from broker.remotes.drive.locations import Served, locate
from broker.remotes.drive.opening import open_client
from broker.remotes.drive.served import join
from broker.remotes.protocol import Changes
from broker.settings import RemoteSettings

from .nodes import Tree, in_folder, in_remote
from .pouring import pour

_T = TypeVar("_T")

Limits = Sequence[tuple[re.Pattern[str], str]]
LIMITS: Limits = (
    (re.compile(r"(\bd[-rwxsStT]{9}) +\d+"), r"\1 LINKS"),
    (re.compile(r" \d+(?= 0o4\d{4}\b)"), " LINKS"),
)
"""What docs/drive.md says that drives do otherwise, as it looks in the output of programs, and what stands for it
there: a folder has one link until it is listed, which `ls -l` and `stat` show behind its mode and Python's programs
of the tests before it."""


class Backing(Protocol):
    """Where the content of a scenario's mounts is kept."""

    @property
    def owners(self) -> bool:
        """Whether it keeps owners."""
        ...

    @property
    def limits(self) -> Limits:
        """What of a program's output may differ from that in a folder."""
        ...

    @property
    def patience(self) -> float:
        """How many times as long a program may take."""
        ...

    def fill(self, home: Path, folders: Path, names: Sequence[str]) -> Mapping[str, str]:
        """Take over what the folder of each mount has; the URL of each. `home` is that of the scenario's user."""
        ...


@dataclass(frozen=True, slots=True)
class Folders:
    """``file:`` remotes: the folders as they are."""

    owners: bool = True
    limits: Limits = ()
    patience: float = 1

    def fill(self, home: Path, folders: Path, names: Sequence[str]) -> Mapping[str, str]:
        return {name: (folders / name).as_uri() for name in names}


FOLDERS = Folders()


@dataclass(frozen=True, slots=True)
class Embedded:
    """``drive:`` remotes: each takes its folder's place."""

    owners: bool = True
    limits: Limits = LIMITS
    patience: float = 2

    def fill(self, home: Path, folders: Path, names: Sequence[str]) -> Mapping[str, str]:
        urls = {name: f"drive://{folders / name}" for name in names}
        for name, url in urls.items():
            plain = (folders / name).rename(folders / f"{name}.plain")
            _with_client(url, home, lambda client, plain=plain: pour(plain, client.remote))
            shutil.rmtree(plain)
        return urls


@dataclass(frozen=True, slots=True)
class OnServer:
    """``drive+http:`` remotes: each run has a user of its own, and each folder becomes one of its home."""

    origin: str
    owners: bool = False
    limits: Limits = LIMITS
    patience: float = 5

    def fill(self, home: Path, folders: Path, names: Sequence[str]) -> Mapping[str, str]:
        user = f"user-{os.urandom(6).hex()}"
        where = locate(RemoteSettings(f"drive+{self.origin}/"), _environment(home))
        assert isinstance(where, Served)
        with _as_owner(home):
            asyncio.run(join(where, user, None, None))
        urls = {name: f"drive+{self.origin}/{user}/{name}" for name in names}
        for name, url in urls.items():
            _with_client(url, home, lambda client, name=name: _into_home(client, folders / name))
            shutil.rmtree(folders / name)
        return urls


def tree(url: str, home: Path) -> Tree:
    """What the remote of a mount has. AssertionError when a check of it finds something wrong."""
    scheme, _, path = url.partition("://")
    return in_folder(Path(path)) if scheme == "file" else _with_client(url, home, _checked)


async def _into_home(client: Client, folder: Path) -> None:
    await client.home.mkdir(os.fsencode(folder.name), Changes())
    await pour(folder, client.remote)


async def _checked(client: Client) -> Tree:
    found = [checked async for checked in check_tree(client.core, await client.root.fresh(), content=False)]
    wrong = [f"{os.fsdecode(checked.path)}: {checked.error}" for checked in found if checked.error]
    if client.store is not None:
        wrong += [finding.what for finding in await check_store(client.store.database, client.core.transfers.blobs)]
    assert not wrong, wrong
    return await in_remote(client.remote)


def _with_client(url: str, home: Path, work: Callable[[Client], Awaitable[_T]]) -> _T:
    async def run(client: Client) -> _T:
        try:
            return await work(client)
        finally:
            await client.close()

    with _as_owner(home):
        return asyncio.run(run(open_client(RemoteSettings(url), _environment(home))))


@contextlib.contextmanager
def _as_owner(home: Path) -> Iterator[None]:
    """As whose home it is: keys are refused to others, root too."""
    me, owner = (os.geteuid(), os.getegid()), home.stat()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(me[0])
        os.setegid(me[1])


def _environment(home: Path) -> Mapping[str, str]:
    """Where the programs of that home find its keys, and what they have seen of its drives."""
    return {"XDG_DATA_HOME": f"{home}/.local/share", "XDG_STATE_HOME": f"{home}/.local/state"}
