"""seccomp-drive serve: a server for many users, on a database and a blob store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.commands.arguments import Parser
from launcher.say import say
from launcher.usage import UsageError

if TYPE_CHECKING:
    from broker.drive.server.serving import Settings

_MOST = (1 << 62) - 1
"""As a number in a database."""
_UNITS = {"": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}


def run(words: Sequence[str]) -> int:
    """Until a signal; the exit status."""
    settings = parse(words)

    from broker.drive.server.logs import logging_to
    from broker.drive.server.serving import serve

    with logging_to():
        asyncio.run(serve(settings, lambda origin: say(f"serving at {origin}")))
    return 0


def parse(words: Sequence[str]) -> Settings:
    """UsageError."""
    from broker.drive.server.serving import Settings

    arguments = _parser().parse_args(words)
    host, port = _address(arguments.listen)
    return Settings(
        metadata=arguments.meta,
        blobs=arguments.blobs,
        host=host,
        port=port,
        origin=arguments.origin,
        certificate=arguments.tls_cert,
        private_key=arguments.tls_key,
        plain=arguments.plain_http,
        invitation=arguments.invitation_only,
        links=not arguments.no_links,
        proxies=arguments.trust_proxy,
        metrics_token=_first_line(arguments.metrics_token_file) if arguments.metrics_token_file else None,
        bytes_limit=_bytes(arguments.quota),
        nodes_limit=_number(arguments.quota_files, "--quota-files 100000"),
    )


def _parser() -> Parser:
    parser = Parser("serve", "A server for many users, on a database and a blob store.")
    add = parser.add_argument
    add("--meta", required=True, metavar="URL", help="sqlite:///FILE or postgresql://USER@HOST/DATABASE")
    add("--blobs", required=True, metavar="URL", help="file:///FOLDER, s3://BUCKET/PREFIX, gs://… or az://…")
    add("--listen", default="127.0.0.1:8000", metavar="HOST:PORT", help="default: %(default)s")
    add("--origin", metavar="URL", help="how clients reach the server, where that is not where it listens")
    add("--tls-cert", metavar="FILE", help="certificate chain, PEM")
    add("--tls-key", metavar="FILE", help="its private key, PEM")
    add("--plain-http", action="store_true", help="no TLS: a proxy in front has it")
    add("--trust-proxy", metavar="ADDRESSES", help="proxies whose X-Forwarded-For is believed, separated by commas")
    add("--invitation-only", action="store_true", help="register only who has an invitation (seccomp-drive invite)")
    add("--quota", default="0", metavar="SIZE", help="for each new user, such as 10GiB; 0 is none")
    add("--quota-files", default="0", metavar="N", help="files and folders of each new user; 0 is no limit")
    add("--no-links", action="store_true", help="downloads pass through this server, never straight from the store")
    add("--metrics-token-file", metavar="FILE", help="/metrics only for who has the token in its first line")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f'serve: "{text}" is no address: write --listen HOST:PORT')
    return host.strip("[]"), int(port)


def _bytes(text: str) -> int:
    number = text.rstrip("kKmMgGtTiIbB")
    unit = text[len(number) :].upper()
    if unit not in _UNITS:
        raise UsageError(f'serve: "{text}" is no size: write --quota 10GiB')
    return _number(number, "--quota 10GiB", _UNITS[unit])


def _number(text: str, example: str, unit: int = 1) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) * unit > _MOST:
        raise UsageError(f'serve: "{text}" is no number, or too large: write {example}')
    return int(text) * unit


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            token = file.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"serve: {path} cannot be read: {error}") from error
    if not token:
        raise UsageError(f"serve: {path} has no token in its first line")
    return token
