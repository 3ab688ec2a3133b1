"""A server from its settings: stores, TLS, signals, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import uvicorn

from broker.drive.blobs.objects import LinkingObjectBlobs, ObjectBlobs
from broker.drive.blobs.opening import open_blobs
from broker.drive.blobs.protocol import LinkedBlobs
from broker.drive.errors import Malformed
from broker.drive.http.origins import on_loopback, origin_of
from broker.drive.metadata import belonging
from broker.drive.metadata.accounts import Terms
from broker.drive.metadata.store import open_store
from broker.drive.records import BlobName
from broker.drive.server.app import Serving, application
from broker.drive.server.limits import Limits
from broker.drive.server.logs import LOG
from broker.drive.server.observing import Application


@dataclass(frozen=True, slots=True)
class Settings:
    """What `seccomp-drive serve` was told."""

    metadata: str
    blobs: str
    host: str
    port: int
    """0 for any that is free."""
    origin: str | None = None
    """How clients reach the server, when that is not where it listens."""
    certificate: str | None = None
    private_key: str | None = None
    plain: bool = False
    """Listen without TLS beyond the loopback: a proxy in front has it."""
    invitation: bool = False
    links: bool = True
    proxies: str | None = None
    """Addresses of proxies whose X-Forwarded-For is believed, separated by commas."""
    metrics_token: str | None = field(default=None, repr=False)
    bytes_limit: int = 0
    nodes_limit: int = 0
    limits: Limits = field(default_factory=Limits)


SILENT_SECONDS = 3
"""How long a start may take without a word."""
STOP_SECONDS = 60
"""After a signal: how long requests under way may take."""


def public_origin(settings: Settings, port: int) -> str:
    """What clients have in their URL, and logins are signed for. Malformed, with what to do."""
    if settings.origin is not None:
        return origin_of(settings.origin, insecure=True)
    url = f"{'https' if settings.certificate else 'http'}://{_bracketed(settings.host)}:{port}"
    if settings.host in ("0.0.0.0", "::", ""):
        raise Malformed("say how clients reach the server, such as --origin https://drive.example.org")
    return origin_of(url, insecure=True)


def check_exposure(settings: Settings) -> None:
    """Malformed if passwords' worth of tokens would cross a network in the clear without that being meant."""
    if settings.certificate is None and not settings.plain and not on_loopback(f"http://{_bracketed(settings.host)}"):
        raise Malformed(
            f"{settings.host} can be reached from elsewhere, and there is no TLS: give --tls-cert and --tls-key, "
            "or --plain-http when a proxy in front has TLS"
        )
    if (settings.certificate is None) != (settings.private_key is None):
        raise Malformed("--tls-cert and --tls-key belong together")


async def serve(settings: Settings, listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, and then until all that is under way has been answered. `listening` is told the
    public origin once connections are accepted. DriveError when the server cannot start."""
    check_exposure(settings)
    with _listener(settings) as listener:
        origin = public_origin(settings, listener.getsockname()[1])
        blobs = open_blobs(settings.blobs)
        terms = Terms(origin, settings.invitation, settings.bytes_limit, settings.nodes_limit)
        with _saying_that_it_waits():
            metadata = await open_store(settings.metadata, create=True, terms=terms)
            await belonging.require(metadata.database, blobs)
        links = await _links(blobs, origin) if settings.links else None
        serving = Serving(origin, settings.invitation, links, settings.limits, settings.metrics_token)
        server = _Server(_config(settings, application(metadata, blobs, serving)), lambda: listening(origin))
        with _ending_quietly():
            await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()


def _config(settings: Settings, app: Application) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        access_log=False,
        backlog=1024,
        forwarded_allow_ips=settings.proxies,
        http="h11",
        lifespan="on",
        log_config=None,
        proxy_headers=settings.proxies is not None,
        server_header=False,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.private_key,
        timeout_graceful_shutdown=STOP_SECONDS,
        timeout_keep_alive=75,
        ws="none",
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise Malformed(
            f"{settings.certificate}, {settings.private_key}: no certificate with its key: {error}"
        ) from error
    return config


def _listener(settings: Settings) -> socket.socket:
    """Bound, and not listening yet: no connection waits for a server that cannot start."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise Malformed(f"{settings.host}:{settings.port}: cannot listen there: {error.strerror}") from error
    return listener


async def _links(blobs: ObjectBlobs, origin: str) -> LinkedBlobs | None:
    """The store, if clients can be sent there: over https, or where all of it is on one machine."""
    if not isinstance(blobs, LinkingObjectBlobs):
        return None
    (link,) = await blobs.links([BlobName("0" * 32)], 1)
    if link.startswith("https://") or (on_loopback(link) and on_loopback(origin)):
        return blobs
    LOG.info("blobs pass through this server: links to the store would be without TLS")
    return None


@contextlib.contextmanager
def _saying_that_it_waits() -> Iterator[None]:
    """Stores that do not answer are tried for half a minute. Which one it is, the error says at the end."""
    saying = asyncio.get_running_loop().call_later(SILENT_SECONDS, LOG.info, "waiting for the database and the blobs")
    try:
        yield
    finally:
        saying.cancel()


@contextlib.contextmanager
def _ending_quietly() -> Iterator[None]:
    """uvicorn raises the signal again that has ended it: by then, all is done."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
