"""The file: remote: all that every remote does, and what only a real folder can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.remotes.file import FileRemote
from broker.remotes.protocol import Remote
from broker.remotes.registry import open_file
from broker.settings import RemoteSettings

from .conformance import Conformance
from .faults import Faulty
from .plans import Plan


@pytest.fixture
def file_remote(tmp_path: Path) -> Iterator[FileRemote]:
    share = tmp_path / "share"
    share.mkdir()
    remote = open_file(RemoteSettings(share.as_uri()))
    yield remote
    asyncio.run(remote.close())


class TestFile(Conformance):
    @pytest.fixture
    def remote(self, file_remote: FileRemote) -> Remote:
        return file_remote


class TestFaultyFile(Conformance):
    @pytest.fixture
    def remote(self, file_remote: FileRemote) -> Remote:
        return Faulty(file_remote, Plan())
