"""What a drive gives nobody: rights by set-id files and devices, and a way around the broker."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from .harness import Pair, Place, fill_standard
from .sides import seccomp_drive

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

AROUND = r"""
import errno, glob, json, os, socket, sys
cache, prefix, key = sys.argv[1:]
os.close(os.open(prefix + "/hello.txt", os.O_RDONLY))
os.chdir(prefix)
found = {}
def reached(what, call, *arguments):
    try:
        result = call(*arguments)
    except OSError as error:
        found[what] = errno.errorcode[error.errno]
    else:
        found[what] = "reached" if result is None or isinstance(result, int) else repr(result)
def parents(pid):
    while pid > 1:
        with open(f"/proc/{pid}/stat") as file:
            pid = int(file.read().rsplit(")")[1].split()[1])
        with open(f"/proc/{pid}/cmdline") as file:
            if "exec" not in file.read():
                return
        yield pid
mirror = f"{cache}/mirrors/{key}"
reached("mirrors", os.listdir, f"{cache}/mirrors")
reached("ledger", os.open, f"{mirror}/ledger.sqlite", os.O_RDONLY)
reached("locks", os.open, f"{mirror}/locks", os.O_RDWR)
reached("staging", os.listdir, f"{mirror}/staging")
reached("remove", os.unlink, f"{mirror}/ledger.sqlite")
reached("rename", os.rename, f"{cache}/mirrors", f"{cache}/mine")
reached("link", os.link, f"{mirror}/ledger.sqlite", f"{cache}/mine")
reached("up", os.open, f"{mirror}/tree/../ledger.sqlite", os.O_RDONLY)
reached("through proc", os.open, f"/proc/self/root{mirror}/ledger.sqlite", os.O_RDONLY)
reached("relative", os.open, os.path.relpath(f"{mirror}/ledger.sqlite", prefix), os.O_RDONLY)
os.symlink(f"{mirror}/ledger.sqlite", f"{os.environ['LOCAL']}/way")
reached("through a link", os.open, f"{os.environ['LOCAL']}/way", os.O_RDONLY)
reached("chdir", os.chdir, mirror)
found["absolute mirror path"] = sorted(os.listdir(f"{mirror}/tree"))[:2] == sorted(os.listdir(prefix))[:2]
for number, pid in enumerate(parents(os.getpid())):
    reached(f"memory {number}", os.open, f"/proc/{pid}/mem", os.O_RDWR)
    reached(f"descriptors {number}", os.listdir, f"/proc/{pid}/fd")
print(json.dumps(found))
"""


@as_root
@pytest.mark.usefixtures("drive_only")
def test_the_way_around_the_broker_is_closed(pair: Pair) -> None:
    """Ledger, locks and staging, however spelt; the broker's memory and descriptors, for its own user."""
    pair = replace(pair, user=NOBODY)
    remote = f"file://{pair.base}/drive/drive".encode()
    key = hashlib.blake2b(pair.prefix.encode() + b"\0" + remote, digest_size=12).hexdigest()
    command = ["python3", "-c", AROUND, f"{pair.base}/cache/seccomp-drive", pair.prefix, key]
    _, drive = pair.outcomes(command, setup=fill_standard, seconds=60)
    assert drive.status == 0, drive.stderr
    found = json.loads(drive.stdout)
    assert found.pop("absolute mirror path") is True
    assert found.pop("up") == "ENOENT"  # the mirror's root is the drive's, and above it is the prefix's folder
    assert set(found.values()) <= {"EACCES", "EPERM"}, found
    assert {name for name in found if name.startswith("memory")} >= {"memory 0", "memory 1", "memory 2"}


SET_ID = r"""
import errno, os, subprocess, sys
drive = sys.argv[1]
def say(what, call, *arguments):
    try:
        print(what, call(*arguments))
    except OSError as error:
        print(what, errno.errorcode[error.errno])
def as_nobody():
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
def run(*command):
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=as_nobody).stdout.split()
os.chdir(drive)
for name, mode in (("set-uid", 0o4755), ("set-gid", 0o2755), ("both", 0o6755)):
    os.chmod(name, mode)
    file = os.open(name, os.O_RDONLY)
    say(name, lambda: [oct(mode & 0o7777) for mode in (os.stat(name).st_mode, os.fstat(file).st_mode)])
    say("runs as", run, f"./{name}")
    say("runs as", run, f"{drive}/{name}")
    say("by descriptor", run, "/usr/bin/python3", "-c", f"import os; os.execve(os.open('{name}', 0), ['x'], {{}})")
    os.close(file)
say("sh", run, "./script")
os.mknod("null", 0o020666, os.makedev(1, 3))
os.mknod("mem", 0o060666, os.makedev(7, 0))
for name in ("null", "mem", "roots-null"):
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        say(name, os.open, name, flags)
    say(name, lambda: oct(os.stat(name).st_mode))
"""
SHOW_IDS = r"""
#include <stdio.h>
#include <unistd.h>
int main(void) { printf("%d %d %d %d", getuid(), geteuid(), getgid(), getegid()); return 0; }
"""


@as_root
def test_set_id_files_and_devices(pair: Pair, tmp_path: Path) -> None:
    """Compared with a `nosuid,nodev` mount: shown alike by path and descriptor, run as the caller, never opened."""
    source = tmp_path / "ids.c"
    source.write_text(SHOW_IDS)
    subprocess.run(["gcc", "-o", str(tmp_path / "ids"), str(source)], check=True)

    def setup(place: Place) -> None:
        place.drive.chmod(0o755)
        for name in ("set-uid", "set-gid", "both"):
            shutil.copy(tmp_path / "ids", place.drive / name)
        (place.drive / "script").write_text("#!/bin/sh\nid -u; id -ru\n")
        (place.drive / "script").chmod(0o4755)
        os.mknod(place.drive / "roots-null", 0o020666, os.makedev(1, 3))

    pair.run(["python3", "-c", SET_ID, pair.prefix], setup=setup)


REFUSED = r"""
import errno, os, sys
os.chdir(sys.argv[1])
for name in ("read-only", "secret", "shared", "sub/new"):
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_TRUNC, os.O_RDONLY | os.O_CREAT):
        try:
            os.close(os.open(name, flags))
            print(name, flags, "opened")
        except OSError as error:
            print(name, flags, errno.errorcode[error.errno])
    try:
        print(name, os.truncate(name, 2))
    except OSError as error:
        print(name, errno.errorcode[error.errno])
"""


@as_root
def test_what_the_remote_forbids_is_refused_at_open(pair: Pair) -> None:
    """An ordinary user's local copies are his own, the remote's files are not. Compared with a plain directory."""
    remote, cache = pair.base / "remote", pair.base / "nobodys"
    (remote / "sub").mkdir(parents=True)
    for name, mode in (("read-only", 0o644), ("secret", 0o600), ("shared", 0o666)):
        (remote / name).write_text("content")
        (remote / name).chmod(mode)
    remote.chmod(0o777)  # where a push could put another file in the place of what may not be written
    cache.mkdir()
    os.chown(cache, NOBODY, NOBODY)
    nobody = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--"]
    program = ["/usr/bin/python3", "-c", REFUSED]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "HOME": str(cache)}
    served = seccomp_drive("exec", "-m", f"{pair.prefix}=file://{remote}", "--")
    drive = subprocess.run([*nobody, *served, *program, pair.prefix], env=environment, capture_output=True, text=True)
    (remote / "shared").write_text("content")
    plain = subprocess.run([*nobody, *program, str(remote)], capture_output=True, text=True)
    assert (drive.stdout, drive.stderr) == (plain.stdout, "")
    assert "read-only 1 EACCES" in plain.stdout and "shared 1 opened" in plain.stdout
    assert (remote / "read-only").read_text() == "content"
