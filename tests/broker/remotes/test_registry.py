"""URLs become remotes, or a message that says what to do."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import SetupError
from broker.remotes.registry import SCHEMES, file_url_path, open_remote
from broker.settings import RemoteSettings

from .helpers import names_in
from .memory import Memory

PATHS = st.binary().map(lambda path: b"/" + path.replace(b"\0", b"").lstrip(b"/"))


@given(PATHS)
def test_paths_are_bytes_in_escapes(path: bytes) -> None:
    """Any path can be written as a URL, with one slash before it, or three, and comes back as it was."""
    assert file_url_path("file://" + quote_from_bytes(path)) == path
    assert file_url_path("file:" + quote_from_bytes(path)) == path


@given(st.text())
def test_no_url_surprises(rest: str) -> None:
    """A URL has an absolute path without NUL, or is refused: nothing else happens, whatever is in it."""
    try:
        path = file_url_path("file:" + rest)
    except SetupError:
        return
    assert path.startswith(b"/") and b"\0" not in path


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("", "write file:///path/of/directory"),
        ("share", "write file:///path/of/directory"),
        ("/srv/share", "write file:///srv/share"),
        ("gopher://host/x", "there are no gopher: remotes: choose one of drive:"),
        ("file:share", "write file:///path/of/directory"),
        ("file:", "write file:///path/of/directory"),
        ("file://", "write file:///path/of/directory"),
        ("file://host/share", "write file:/// and an absolute path"),
        ("file:///a?b", "%3F"),
        ("file:///a#b", "%23"),
        ("file:///a%zz", "%25"),
        ("file:///a%0", "%25"),
        ("file:///a%00b", "remove it"),
        ("file:///does/not/exist", "create it"),
        ("file:///etc/passwd", "name the directory"),
        ("file:///etc/passwd/x", "name the directory"),
        ("file:///" + "x" * 5000, "shorter"),
    ],
)
def test_a_bad_url_is_refused_with_advice(url: str, advice: str) -> None:
    """The message names the URL or path, and the way out."""
    with pytest.raises(SetupError, match=re.escape(advice)):
        open_remote(RemoteSettings(url))


def test_unknown_options_are_refused(tmp_path: Path) -> None:
    """An option that a file: remote does not have is an error, not ignored."""
    with pytest.raises(SetupError, match="cache"):
        open_remote(RemoteSettings(tmp_path.as_uri(), {"cache": True}))


async def test_a_folder_is_opened(tmp_path: Path) -> None:
    """The folder may have any name, its URL a scheme in capitals, and a symlink may lead to it."""
    folder = os.fsencode(tmp_path) + b"/50% \xff?#"
    os.makedirs(folder + b"/inside")
    os.symlink(folder, os.fsencode(tmp_path) + b"/link")
    for url in ("FILE://" + quote_from_bytes(folder), (tmp_path / "link").as_uri()):
        remote = open_remote(RemoteSettings(url))
        assert await names_in(remote, b"") == [b"inside"]
        await remote.close()


def test_schemes_are_given(tmp_path: Path) -> None:
    """More schemes come with the call: nothing is registered for anybody else."""
    model = Memory()
    assert open_remote(RemoteSettings("memory:"), {**SCHEMES, "memory": lambda _: model}) is model
    with pytest.raises(SetupError):
        open_remote(RemoteSettings("memory:"))


OPEN = """
import sys
from broker.errors import SetupError
from broker.remotes.registry import open_remote
from broker.settings import RemoteSettings
try:
    open_remote(RemoteSettings("file://" + sys.argv[1]))
except SetupError as error:
    print(error)
"""


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_an_unreadable_folder_is_refused(public: Path, as_nobody: Callable[..., str], mode: int) -> None:
    """Both the right to list and the right to look names up are needed, and the message asks for them."""
    (public / "d").mkdir()
    os.chmod(public / "d", mode)
    assert "ask for read and search permission" in as_nobody(OPEN, public / "d")


def test_a_refusal_leaves_no_descriptor(tmp_path: Path) -> None:
    """Opening and dropping remotes gives their descriptors back."""
    before = os.listdir("/proc/self/fd")
    remote = open_remote(RemoteSettings(tmp_path.as_uri()))
    asyncio.run(remote.close())
    del remote
    with pytest.raises(SetupError):
        open_remote(RemoteSettings((tmp_path / "no").as_uri()))
    assert os.listdir("/proc/self/fd") == before
