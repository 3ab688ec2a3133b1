"""Programs on a drive whose remote lies: a clear error for each lie, nothing outside the drive, no endless wait."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.broker.remotes.hostile import ENDLESS, LISTINGS

from .faulty_drive import COMMAND, FaultyDrive, ended, faulty_drive
from .nodes import in_folder
from .trees import snapshot

pytestmark = pytest.mark.usefixtures("drive_only")
drive = faulty_drive

ASK = """
import errno, json, os, sys
os.chdir(os.environ["DRIVE"])
def tried(act, *arguments):
    try:
        return act(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
def content(name):
    with open(name, "rb") as file:
        return file.read().decode("latin-1")
"""


def _run(drive: FaultyDrive, script: str, timeout: float = 60.0) -> tuple[Any, str]:
    """What the lines of Python leave in `said`, and what was told on stderr."""
    policy = drive.base / "policy.toml"
    policy.write_text(
        f'[[mount]]\nprefix = "{drive.prefix}"\nremote = "hostile+{drive.share.as_uri()}"\ntimeout = {timeout}\n'
    )
    program = f"{ASK}\n{script}\nprint(json.dumps(said))"
    process = subprocess.Popen(
        [*COMMAND, "exec", "-p", str(policy), "--", "python3", "-c", program],
        env=drive.environment,
        cwd=drive.base,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = ended(process, 0)
    return json.loads(out), err


def _mirror(drive: FaultyDrive) -> Path:
    (mirror,) = (drive.base / "cache/seccomp-drive/mirrors").iterdir()
    return mirror


def test_lying_listings(drive: FaultyDrive) -> None:
    """Each is EIO and told once with the folder's path, however often it is asked for; nothing of it is made,
    neither here nor in /tmp; and other folders are as they were."""
    names = [os.fsdecode(name) for name in (*LISTINGS, *ENDLESS)]
    for name in names:
        (drive.share / name).mkdir()
    (drive.share / "honest").mkdir()
    (drive.share / "honest/file").write_text("honest\n")
    said, err = _run(
        drive,
        f"said = [[tried(os.listdir, name) for _ in range(2)] for name in {names}]"
        "\nsaid += [os.listdir('honest'), content('honest/file')]",
    )
    assert said == [["EIO", "EIO"]] * len(names) + [["file"], "honest\n"]
    for name in names:
        told = [line for line in err.splitlines() if re.search(f"{drive.prefix}/{name}[ /]", line)]
        assert len(told) == 1 and "is refused: the remote" in told[0], name
    assert not os.path.lexists("/tmp/escaped")
    for name in LISTINGS:
        assert os.listdir(_mirror(drive) / "tree" / os.fsdecode(name)) == []


def test_odd_names(drive: FaultyDrive) -> None:
    """What Linux allows is served: bytes that are no UTF-8, control characters, 255 bytes, a leading dash."""
    names = [b"\xff\xfe", b"a\nb", b"\x1b[2J", b"-rf", b"n" * 255, b"...", b" "]
    for name in names:
        with open(os.path.join(os.fsencode(drive.share), name), "wb") as file:
            file.write(name)
    said, err = _run(drive, "said = sorted((name, content(name)) for name in os.listdir('.'))")
    assert sorted(name for _, name in said) == sorted(name.decode("latin-1") for name in names)
    assert err == ""


def test_lying_files(drive: FaultyDrive) -> None:
    """A content that is shorter or longer than its size, or more than was asked for, is EIO and told, and never read
    in part; a version that changes with every look comes to an end; one that goes backwards is just another one."""
    for name in ("shrinking", "growing", "generous", "restless", "backwards"):
        (drive.share / name).write_text("twenty bytes of text")
    said, err = _run(
        drive,
        "said = [tried(content, name) for name in ('shrinking', 'growing', 'generous', 'restless')]"
        "\nsaid += [tried(content, 'backwards') for _ in range(4)]",
    )
    whole = "twenty bytes of text"
    assert said == ["EIO", "EIO", "EIO", whole, whole, whole, whole, whole]
    for name in ("shrinking", "growing", "generous"):
        assert len([line for line in err.splitlines() if f"{drive.prefix}/{name} is refused" in line]) == 1


def test_slow_is_not_dead(drive: FaultyDrive) -> None:
    """Little more than a kilobyte a second, three times as long as the remote may be silent: the content is whole."""
    (drive.share / "slow").write_text("x" * 64 * 60)
    said, err = _run(drive, "said = len(content('slow'))", timeout=1.0)
    assert said == 64 * 60 and err == ""


def test_a_node_of_many_kinds(drive: FaultyDrive) -> None:
    """A file, then a folder, then a symlink, as fast as it is looked at: every call ends, writing too, and what the
    symlink leads to is read with the program's rights and never written."""
    (drive.share / "turncoat").write_text("turncoat")
    before = os.stat("/etc/shadow")
    said, _ = _run(
        drive,
        """
calls = [
    lambda: content("turncoat"), lambda: os.listdir("turncoat"), lambda: os.stat("turncoat").st_mode,
    lambda: os.readlink("turncoat"), lambda: os.mkdir("turncoat/new"), lambda: os.rename("turncoat", "other"),
    lambda: os.rename("other", "turncoat"), lambda: os.lchown("turncoat", -1, -1),
    lambda: os.link("turncoat", "link"), lambda: os.truncate("turncoat/x", 3), lambda: os.unlink("turncoat/x"),
]
said = len([tried(call) for _ in range(5) for call in calls])""",
    )
    assert said == 55
    after = os.stat("/etc/shadow")
    assert (before.st_mode, before.st_mtime_ns, before.st_ino) == (after.st_mode, after.st_mtime_ns, after.st_ino)


def test_symlinks_to_everywhere(drive: FaultyDrive, tmp_path: Path) -> None:
    """A remote's symlink leads where the program could go itself: /proc/self is the program's, loops are ELOOP, and
    the cache shows no more than the drive does."""
    (drive.share / "file").write_text("file\n")
    _run(drive, "said = content('file')")
    mirror = _mirror(drive)
    links = {
        "status": "/proc/self/status",
        "comm": "/proc/self/comm",
        "thread": "/proc/thread-self/comm",
        "root": f"/proc/self/root{drive.prefix}/file",
        "cwd": "/proc/self/cwd/file",
        "tree": f"{mirror}/tree/file",
        "loop": "loop",
        "one": "two",
        "two": "one",
        "far": "far/far/far",
        "up": "../" * 50 + "etc/hostname",
        "drive": f"{drive.prefix}/file",
    }
    for name, target in links.items():
        (drive.share / name).symlink_to(target)
    said, _ = _run(
        drive,
        f"said = {{name: tried(content, name) for name in {list(links)}}}"
        "\nsaid['pid'] = str(os.getpid()); said['written'] = tried(lambda: open('tree', 'w').write('x'))",
    )
    assert isinstance(said, dict)
    assert f"\nPid:\t{said['pid']}\n" in said["status"]
    assert said["comm"] == said["thread"] == "python3\n"
    assert {said[name] for name in ("root", "cwd", "tree", "drive")} == {"file\n"}
    assert {said[name] for name in ("loop", "one", "two", "far")} == {"ELOOP"}
    assert said["up"] == Path("/etc/hostname").read_text()
    assert said["written"] == 1 and (drive.share / "file").read_text() == "x"


def test_the_share_is_as_it_was(drive: FaultyDrive) -> None:
    """Looking at all of this changes nothing on the remote."""
    for name in LISTINGS:
        (drive.share / os.fsdecode(name)).mkdir()
    for name in ("shrinking", "growing", "generous", "restless", "backwards", "turncoat"):
        (drive.share / name).write_text("twenty bytes of text")
    before = snapshot(in_folder(drive.share), 0, 0, opaque=(), links=False)
    _run(drive, "said = [tried(os.listdir, name) and tried(content, name) for name in os.listdir('.')]")
    assert snapshot(in_folder(drive.share), 0, 0, opaque=(), links=False) == before
