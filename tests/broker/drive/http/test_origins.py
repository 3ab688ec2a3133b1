"""Which addresses a client speaks to."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.drive.errors import Malformed
from broker.drive.http.origins import on_loopback, origin_of, trusting


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://drive.example.org", "https://drive.example.org"),
        ("https://Drive.Example.org:443/", "https://drive.example.org"),
        ("https://drive.example.org:8443", "https://drive.example.org:8443"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://127.9.9.9:8000", "http://127.9.9.9:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_origin_has_one_spelling(url: str, origin: str) -> None:
    """Logins are signed for it, so that two spellings of one server must not differ."""
    assert origin_of(url) == origin == origin_of(origin)


@pytest.mark.parametrize("url", ["http://drive.example.org", "http://10.0.0.1:8000", "http://localhost.example.org"])
def test_plain_http_leaves_the_machine_only_when_told(url: str) -> None:
    with pytest.raises(Malformed, match="use https, or allow it"):
        origin_of(url)
    assert origin_of(url, insecure=True) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "drive",
        "ftp://host",
        "https://",
        "https://host/path",
        "https://host?x",
        "https://a:b@host",
        "https://host:x",
    ],
)
def test_what_is_no_server_is_refused(url: str) -> None:
    with pytest.raises(Malformed):
        origin_of(url)


@pytest.mark.parametrize("host", ["localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "128.0.0.1", "[::]"])
def test_what_only_looks_like_the_loopback_is_none(host: str) -> None:
    assert not on_loopback(f"http://{host}:8000")


def test_a_file_without_certificates_is_told(tmp_path: Path) -> None:
    """Also one that is not there."""
    (tmp_path / "empty.pem").write_bytes(b"")
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(Malformed, match=name):
            trusting(f"{tmp_path}/{name}")
