"""The blob stores that the tests run on."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.drive.blobs.objects import ObjectBlobs
from broker.drive.blobs.opening import open_blobs
from broker.drive.records import BlobName
from tests.broker.drive.seaweed import Seaweed


def new_name() -> BlobName:
    return BlobName(secrets.token_hex(16))


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    store = Seaweed(str(tmp_path_factory.mktemp("seaweed")))
    store.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        yield store
    store.stop()


@pytest.fixture(params=["folder", "memory", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectBlobs:
    """One store of every sort, empty."""
    if request.param == "memory":
        return open_blobs("memory:")
    if request.param == "folder":
        return open_blobs(f"file://{tmp_path}/blobs")
    request.getfixturevalue("seaweed")
    return open_blobs(f"s3://blobs/{os.urandom(8).hex()}")
