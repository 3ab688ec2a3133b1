"""What the server's tests stand on: a database and a blob store, small ones unless a test asks for the real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.drive.metadata.postgresql import Server as PostgreSQL
from tests.broker.drive.metadata.postgresql import running
from tests.broker.drive.seaweed import Seaweed


@pytest.fixture
def metadata_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/metadata.sqlite"


@pytest.fixture
def blobs_url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/blobs"


@pytest.fixture(scope="package")
def postgresql() -> Iterator[PostgreSQL]:
    with running() as server:
        yield server


@pytest.fixture(scope="package")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    store = Seaweed(str(tmp_path_factory.mktemp("seaweed")))
    store.start()
    yield store
    store.stop()
