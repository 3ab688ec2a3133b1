"""`seccomp-drive serve` and `invite` as their users run them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from broker.drive.errors import Denied, Unusable
from broker.drive.http.connection import Options
from broker.drive.http.retrying import Patience
from broker.drive.server import serving
from launcher.cli import main
from launcher.commands.serve import parse
from launcher.say import FAILED
from tests.broker.drive.certificates import certificate
from tests.broker.drive.server.asking import token_of
from tests.broker.drive.server.people import HASTY, person
from tests.broker.drive.server.serving import ROOT, ServerProcess

FREE = ["--listen", "127.0.0.1:0"]
STORES = ["--meta", "sqlite:////tmp/none/m", "--blobs", "memory:"]


def test_over_tls(tmp_path: Path, metadata_url: str, blobs_url: str) -> None:
    """With its certificate given to the client; without, the client refuses it."""
    cert, key = certificate(tmp_path, "localhost")
    server = ServerProcess(str(tmp_path), metadata_url, blobs_url, "--tls-cert", cert, "--tls-key", key)
    server.start()

    async def run() -> None:
        url = f"https://localhost:{server.port}"
        alice = await person(url, options=Options(ca=cert, patience=Patience(total=5)))
        await alice.save(b"file", [b"content"])
        assert await alice.load(b"file") == [b"content"]
        assert (await alice.connection.server()).origin == f"https://127.0.0.1:{server.port}"
        await alice.close()

    try:
        asyncio.run(run())
    finally:
        assert server.stop() == 0


def test_an_invitation_by_command(tmp_path: Path, metadata_url: str, blobs_url: str) -> None:
    server = ServerProcess(str(tmp_path), metadata_url, blobs_url, "--invitation-only", "--quota", "1MiB")
    server.start()
    program = "import sys; from launcher.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "invite", "--meta", metadata_url]
    invitation = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    async def run() -> None:
        with pytest.raises(Denied):
            await person(server.url, options=HASTY)
        alice = await person(server.url, invitation=invitation)
        assert (await alice.metadata.usage()).bytes_limit == 1 << 20
        await alice.close()

    try:
        asyncio.run(run())
    finally:
        assert server.stop() == 0


def test_the_log_is_json_without_secrets(tmp_path: Path, metadata_url: str, blobs_url: str) -> None:
    """A line for each request, with its route, and no blob's name, no token, nor anything that was sent; also for
    requests that fail."""
    server = ServerProcess(str(tmp_path), metadata_url, blobs_url)
    server.start()
    planted = "planted-secret"

    async def run() -> list[str]:
        alice = await person(server.url, "alice-in-the-log")
        await alice.save(b"file", [planted.encode() * 100])
        (chunk,) = await alice.metadata.chunks(alice.files[b"file"].id, 1)
        await alice.load(b"file")
        token = await token_of(alice)
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            headers = {"authorization": f"Bearer {planted}", "x-more": planted, "cookie": planted}
            for path in (f"/{planted}", f"/nodes?{planted}", f"/blobs/{planted}"):
                await client.get(path, headers=headers)
                await client.post(path, headers=headers, content=planted)
            numbers = (await client.get("/metrics")).text
        assert planted not in numbers and 'route="/commit",status="200"' in numbers
        await alice.close()
        return [planted, token, chunk.blob, alice.identity.name, alice.identity.user_id.hex(), alice.home.hex()]

    try:
        secrets = asyncio.run(run())
    finally:
        assert server.stop() == 0
    lines = [json.loads(line) for line in server.log.splitlines() if not line.startswith("seccomp-drive: ")]
    routes = {line["route"] for line in lines if line["event"] == "request"}
    assert {"/register", "/commit", "/blobs/{name}", "/metrics", "other"} <= routes
    for secret in secrets:
        assert secret not in server.log


def test_numbers_can_be_kept_from_others(tmp_path: Path, metadata_url: str, blobs_url: str) -> None:
    (tmp_path / "token").write_text("numbers-token\n")
    server = ServerProcess(str(tmp_path), metadata_url, blobs_url, "--metrics-token-file", f"{tmp_path}/token")
    server.start()
    try:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            assert client.get("/metrics").status_code == 401
            assert client.get("/metrics", headers={"authorization": "Bearer other"}).status_code == 401
            good = client.get("/metrics", headers={"authorization": "Bearer numbers-token"})
            assert good.status_code == 200 and "seccomp_drive_requests" in good.text
            assert client.get("/health").json() == {"status": "ok"}
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "serve: the following arguments are required: --meta, --blobs"),
        ([*STORES, "--listen", "8000"], 'serve: "8000" is no address: write --listen HOST:PORT'),
        ([*STORES, "--listen", "localhost:99999"], "is no address"),
        ([*STORES, "--quota", "many"], 'serve: "many" is no number, or too large: write --quota 10GiB'),
        ([*STORES, "--quota", "5XB"], 'serve: "5XB" is no size: write --quota 10GiB'),
        ([*STORES, "--quota", "9999999999TiB"], 'serve: "9999999999" is no number, or too large'),
        ([*STORES, "--quota-files", "-3"], 'serve: "-3" is no number, or too large: write --quota-files 100000'),
        (["--meta", "postgresql://localhost:x/d", "--blobs", "memory:", *FREE], "is no URL of a database"),
        ([*STORES, "--listen", "0.0.0.0:0"], "give --tls-cert and --tls-key, or --plain-http"),
        ([*STORES, "--listen", "0.0.0.0:0", "--plain-http"], "--origin https://drive.example.org"),
        ([*STORES, "--tls-cert", "/none"], "--tls-cert and --tls-key belong together"),
        ([*STORES, "--metrics-token-file", "/none"], "/none cannot be read"),
        ([*STORES, *FREE], "/tmp/none/m"),
        (["--meta", "sqlite:////tmp/none/m", "--blobs", "ftp://x", "--listen", "127.0.0.1:0"], "no place for blobs"),
        ([*STORES, "--more"], "unrecognized arguments: --more"),
    ],
)
def test_what_cannot_be_served_is_told(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    """In one line with what to do, and status 125."""
    assert main(["serve", *words]) == FAILED
    told = capfd.readouterr().err
    assert told.startswith("seccomp-drive: ") and said in told and told.count("seccomp-drive: ") == 1


@pytest.mark.parametrize("silent", [0.01, 60])
def test_a_start_that_takes_long_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, silent: float
) -> None:
    """And one that does not is not."""

    async def slow(*_: object) -> None:
        await asyncio.sleep(0.2)
        raise Unusable("enough")

    monkeypatch.setattr(serving, "SILENT_SECONDS", silent)
    monkeypatch.setattr(serving.belonging, "require", slow)
    words = ["--meta", f"sqlite:///{tmp_path}/m", "--blobs", "memory:", "--listen", "127.0.0.1:0"]
    assert main(["serve", *words]) == FAILED
    assert ("waiting for the database" in caplog.text) is (silent < 1)


def test_blobs_of_another_database_are_not_served(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "owner").write_text("00" * 16)
    words = ["--meta", f"sqlite:///{tmp_path}/m", "--blobs", f"file://{tmp_path}", "--listen", "127.0.0.1:0"]
    assert main(["serve", *words]) == FAILED
    assert "the blobs belong to another database" in capfd.readouterr().err


def test_sizes_and_addresses() -> None:
    settings = parse([*STORES, "--listen", "[::1]:9000", "--quota", "10GiB", "--quota-files", "5"])
    assert (settings.host, settings.port) == ("::1", 9000)
    assert (settings.bytes_limit, settings.nodes_limit) == (10 << 30, 5)
