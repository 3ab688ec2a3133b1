"""A PostgreSQL of our own: on a free port of the loopback, in a temporary directory, not as root."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from tests.broker.drive.seaweed import free_ports


@dataclass
class Server:
    """A running server; `stop` and `start` are those of its administrator."""

    programs: str
    directory: str
    port: int
    process: subprocess.Popen[bytes]

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self, options: str = "") -> str:
        """The URL of an empty one, made with the options of CREATE DATABASE."""
        name = f"drive_{os.urandom(6).hex()}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} {options}")  # type: ignore[arg-type]  # wants a literal
        return self.url(name)

    def stop(self) -> None:
        """At once, as in a crash: clients are thrown out, what was committed durably stays."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def start(self) -> None:
        self.process = _start(self.programs, self.directory, self.port)


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server for the length of the block; the test is skipped where it is not installed."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    programs = os.path.dirname(found[-1]) if found else os.path.dirname(shutil.which("initdb") or "")
    if not programs:
        pytest.skip("PostgreSQL is not installed")
    directory = tempfile.mkdtemp(prefix="seccomp-drive-postgresql-")
    try:
        if os.getuid() == 0:
            user = pwd.getpwnam(_user() or "")
            os.chown(directory, user.pw_uid, user.pw_gid)
        initdb = [
            f"{programs}/initdb",
            "-D",
            f"{directory}/data",
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "-E",
            "UTF8",
        ]
        subprocess.run(initdb, check=True, user=_user(), cwd=directory, stdout=subprocess.DEVNULL)
        (port,) = free_ports(1)
        server = Server(programs, directory, port, _start(programs, directory, port))
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _start(programs: str, directory: str, port: int) -> subprocess.Popen[bytes]:
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": directory, "fsync": "off"}
    settings |= {"max_connections": 200, "shared_buffers": "32MB"}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with open(f"{directory}/log", "ab") as log:
        process = subprocess.Popen(
            [f"{programs}/postgres", "-D", f"{directory}/data", *options], user=_user(), cwd=directory, stderr=log
        )
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres").close()
            return process
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _user() -> str | None:
    """PostgreSQL refuses root."""
    if os.getuid() != 0:
        return None
    return "postgres" if any(user.pw_name == "postgres" for user in pwd.getpwall()) else "nobody"
