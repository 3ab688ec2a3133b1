"""From a URL to a blob store."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store

from broker.drive.blobs.folders import Folder
from broker.drive.blobs.objects import LinkingObjectBlobs, ObjectBlobs
from broker.drive.errors import DriveError, Malformed, StoreFull, Unreachable

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

PATIENCE = 30.0
"""Seconds in which a request to a store is tried again, when nothing else is said."""

_BUCKETS: Mapping[str, type[S3Store | GCSStore | AzureStore]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}

FORMS = "file:///folder, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or memory:"


def open_blobs(url: str, *, patience: float = PATIENCE) -> ObjectBlobs:
    """The store that `url` names; a folder is made if there is none. DriveError, which says what is wrong with it.

    Credentials and endpoints come from the environment, as the stores' own tools take them: AWS_ACCESS_KEY_ID,
    AWS_ENDPOINT_URL and so on. `patience` is in seconds.
    """
    scheme, _, _ = url.partition(":")
    try:
        if scheme == "memory":
            return ObjectBlobs(MemoryStore())
        if scheme == "file":
            return _open_folder(url)
        if scheme in _BUCKETS:
            store = _BUCKETS[scheme].from_url(url, client_options=_client(), retry_config=_retry(patience))
            return LinkingObjectBlobs(store)
    except (BaseError, ValueError) as error:
        raise Malformed(f"{url}: {str(error).partition(chr(10))[0]}") from error
    raise Malformed(f"{url}: no place for blobs: write {FORMS}")


def _open_folder(url: str) -> ObjectBlobs:
    parts = urlsplit(url)
    folder = unquote(parts.path)
    if parts.netloc or not folder.startswith("/") or "\0" in folder or parts.query or parts.fragment:
        raise Malformed(f"{url}: write file:///folder")
    folder = os.path.normpath(folder)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return ObjectBlobs(LocalStore(folder), folder=Folder(folder))
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(folder: str, error: OSError) -> DriveError:
    kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else Unreachable
    return kind(f"{folder}: {error.strerror}")


def _client() -> ClientConfig:
    """Without TLS where the endpoint is written so: blobs are sealed, and secrets sign without being sent."""
    return {"allow_http": True, "connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=60)}


def _retry(patience: float) -> RetryConfig:
    """Every request of ours can be sent again: a blob's name has one content only."""
    return {
        "max_retries": 100,
        "retry_timeout": timedelta(seconds=patience),
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
    }
