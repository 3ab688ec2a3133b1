"""Where a client lets a server send it for a blob."""

from __future__ import annotations

import pytest

from broker.drive.http.blobs import may_follow

THERE, HERE = "https://drive.example", "http://127.0.0.1:8000"


@pytest.mark.parametrize("link", ["https://s3.example/b?X-Amz-Signature=x", "https://10.0.0.1/b"])
@pytest.mark.parametrize("origin", [THERE, HERE])
def test_https_is_followed(link: str, origin: str) -> None:
    assert may_follow(link, origin)


@pytest.mark.parametrize("link", ["http://127.0.0.1:9000/b", "https://localhost/b", "http://[::1]/b"])
def test_this_machine_only_for_a_server_on_it(link: str) -> None:
    """A server elsewhere could make a client ask services that trust whoever is on the machine."""
    assert may_follow(link, HERE) and not may_follow(link, THERE)


@pytest.mark.parametrize(
    "link", ["http://s3.example/b", "file:///etc/passwd", "ftp://s3.example/b", "", "//s3.example/b", "https://["]
)
@pytest.mark.parametrize("origin", [THERE, HERE])
def test_anything_else_is_not(link: str, origin: str) -> None:
    assert not may_follow(link, origin)
