"""`#!` lines as fs/binfmt_script.c reads them."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.syscalls.redirects import shebang


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (b"#!/bin/sh\n", (b"/bin/sh", b"")),
        (b"#! /bin/sh -e \n", (b"/bin/sh", b"-e")),
        (b"#!\t/usr/bin/env\tpython3 -u\n", (b"/usr/bin/env", b"python3 -u")),
        (b"#!/bin/sh", (b"/bin/sh", b"")),
        (b"#!\n", None),
        (b"#!  \n", None),
        (b"\x7fELF", None),
        (b"", None),
    ],
)
def test_examples(head: bytes, wanted: tuple[bytes, bytes] | None) -> None:
    """Interpreter, and all that follows as one argument."""
    assert shebang(head) == wanted


@settings(max_examples=40, deadline=None)
@given(
    before=st.sampled_from(["", " ", "\t", "  \t "]),
    between=st.sampled_from([" ", "\t", " \t"]),
    argument=st.text(alphabet="ab- \t=", max_size=12),
)
def test_the_kernel_reads_it_the_same_way(
    tmp_path_factory: pytest.TempPathFactory, before: str, between: str, argument: str
) -> None:
    """The argument that a real interpreter gets is the one that we would give it."""
    folder = tmp_path_factory.mktemp("shebang")
    real = _compiled(folder)
    script = folder / "script"
    script.write_text(f"#!{before}{real}{between}{argument}\n")
    script.chmod(0o755)
    out = subprocess.run([script], capture_output=True, check=True).stdout
    told = out.split(b"\0")[1:-2]
    found = shebang(script.read_bytes()[:256])
    assert found is not None
    assert found[0] == os.fsencode(real)
    assert told == ([found[1]] if found[1] else [])


@pytest.mark.parametrize("length", range(252, 259))
@pytest.mark.parametrize("end", ["", "\n", "\t\n", " b\n"])
@pytest.mark.parametrize("between", ["/", " "])
def test_the_kernel_cuts_it_at_the_same_place(tmp_path: Path, length: int, end: str, between: str) -> None:
    """A long interpreter has to be whole, a long argument need not be."""
    real = _compiled(tmp_path)
    script = tmp_path / "script"
    padding = length - len(f"#!{real}")
    line = f"#!{'/' * padding}{real}" if between == "/" else f"#!{real} {'a' * (padding - 1)}"
    script.write_text(line + end)
    script.chmod(0o755)
    found = shebang(script.read_bytes()[:256])
    try:
        out = subprocess.run([script], capture_output=True, check=True).stdout
    except OSError as error:
        assert (error.errno, found) == (errno.ENOEXEC, None)
    else:
        assert found is not None
        assert out.split(b"\0")[1:-2] == ([found[1]] if found[1] else [])


_SOURCE = """
#include <string.h>
#include <unistd.h>
int main(int count, char **words) { for (int i = 0; i < count; i++) write(1, words[i], strlen(words[i]) + 1); }
"""


def _compiled(folder: Path) -> Path:
    """A binary that prints its arguments, NUL-terminated."""
    target = folder.parent / "print-arguments"
    if not target.exists():
        subprocess.run(["gcc", "-x", "c", "-o", target, "-w", "-"], input=_SOURCE.encode(), check=True)
    return target
