"""Where a server is: which URLs are spoken to, and how."""

from __future__ import annotations

import ipaddress
import ssl
from urllib.parse import urlsplit

from broker.drive.errors import Malformed


def origin_of(url: str, *, insecure: bool = False) -> str:
    """``scheme://host[:port]`` of a server. Malformed, with what to do, if it is no such URL, or one without TLS that
    leaves this machine, unless `insecure` says that this is meant."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Malformed(f"{url}: {error}") from error
    rest = (parts.path.strip("/"), parts.query, parts.fragment, parts.username, parts.password)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(rest):
        raise Malformed(f"{url}: not the address of a server: write https://host or https://host:port")
    if parts.scheme == "http" and not insecure and not on_loopback(url):
        raise Malformed(
            f"{url}: without TLS, others could read and change what is sent: use https, or allow it "
            "(--insecure for register, insecure = true in a policy)"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" if port in (None, usual) else f"{parts.scheme}://{host}:{port}"


def on_loopback(url: str) -> bool:
    """Whether the URL's host is this machine, by its very name: what a name server says does not count."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def trusting(ca: str | None) -> ssl.SSLContext | bool:
    """Who is believed to be a server: those that the system trusts, or only those signed by the PEM file `ca`."""
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise Malformed(f"{ca}: no certificates can be read from it: {error}") from error
