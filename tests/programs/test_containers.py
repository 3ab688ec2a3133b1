"""seccomp-drive as a container's entrypoint: with the capabilities and system calls that Docker gives root.

Both runs of each pair are confined. Programs that drop to another user are what services in images do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from .harness import Pair, Place, bash
from .sides import REPOSITORY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as a container's runtime is")

USER = 65534
CONFINE = [sys.executable, str(REPOSITORY / "containers/confine")]
DROPPED = f"setpriv --reuid {USER} --regid {USER} --clear-groups --"

FIRST_ID = 100_000
WITH_MANY_IDS = f"""
import ctypes, os, sys
made, mapped = os.pipe(), os.pipe()
if (child := os.fork()) == 0:
    assert ctypes.CDLL(None).unshare(0x10000000) == 0  # CLONE_NEWUSER
    os.close(made[1]), os.close(mapped[1])
    os.read(mapped[0], 1)
    os.setgroups([]), os.setresgid(0, 0, 0), os.setresuid(0, 0, 0)
    os.execvp(sys.argv[1], sys.argv[1:])
os.close(made[1])
os.read(made[0], 1)
for kind in ("uid", "gid"):
    with open(f"/proc/{{child}}/{{kind}}_map", "w") as file:
        file.write("0 {FIRST_ID} 65536")
os.close(mapped[1])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

WORK = r"""
id -u; stat -c '%n %A %u %g' "$DRIVE"/*; cat "$DRIVE/f"
! cat "$DRIVE/secret"; ! ls "$DRIVE/closed"; ! cat "$DRIVE/closed/f"; ! touch "$DRIVE/new"; ! rm "$DRIVE/f"
cd "$DRIVE/own"; pwd; echo one > new; echo two >> "$DRIVE/own/new"; cat new ../f
./run.sh a b; "$DRIVE/own/run.sh" c; ./copy-of-true
mkdir folder; mv new folder/newer; ln -s folder/newer link; cat link; readlink link
stat -c '%s %u %a' link folder/newer
exec 5<>folder/newer; echo three >&5; exec 6>&5; echo four >&6; exec 5>&- 6>&-; cat folder/newer
chmod 640 folder/newer; truncate -s 3 folder/newer; cp -p folder/newer "$LOCAL/copy"; stat -c %a "$LOCAL/copy"
find . | sort; rm -r folder link
"""

CALLS = r"""
import mmap, os
os.chdir(os.environ["DRIVE"] + "/own")
with open("m", "w+b") as file:
    file.write(b"a" * 4096)
    file.flush()
    with mmap.mmap(file.fileno(), 4096) as memory:
        memory[:3] = b"xyz"
with open("m", "r+b", 0) as file:
    os.fchmod(file.fileno(), 0o640)
    os.utime(file.fileno(), (1, 2))
    os.fsync(file.fileno())
    copy = os.dup(file.fileno())
os.setxattr(copy, "user.a", b"1")
print(oct(os.fstat(copy).st_mode), os.fstat(copy).st_mtime, os.listxattr("m"), os.pread(copy, 4, 0))
os.close(copy)
print([os.access("../" + name, mode) for name in ("f", "secret", "own") for mode in (os.R_OK, os.W_OK)])
folder = os.open(".", os.O_PATH)
print([name == os.environ["DRIVE"] + "/own" for name in (os.readlink(f"/proc/self/fd/{folder}"), os.getcwd())])
print(sorted(os.listdir(os.open(".", os.O_RDONLY))), os.stat("m", dir_fd=folder).st_uid)
with open(f"/proc/self/fd/{folder}/m", "rb") as file:
    print(file.read(4))
os.rename("m", "../own/n", src_dir_fd=folder)
os.unlink("n", dir_fd=folder)
"""

WITHOUT_EXEC = r"""
import ctypes, os, sys
def tried(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return error.strerror
how, drive = sys.argv[1], os.environ["DRIVE"] + "/f"
early = os.open(drive, os.O_RDONLY)
if how == "ids":
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
elif how == "effective":
    os.setresuid(-1, 65534, -1)
else:
    assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0
print(tried(open, "/etc/hosts"), tried(os.stat, "/usr"), tried(os.listdir, "/usr"), tried(os.chdir, "/usr"))
print(tried(open, "/etc/none"), tried(os.mkdir, "/usr"), tried(os.fsync, 1), os.getcwd(), os.read(early, 3))
print("on a drive:", tried(open, drive), flush=True)
os.execlp("sh", "sh", "-c", 'cat "$DRIVE/f"')
"""

ABOVE = r"""
import glob, os
pid = os.getppid()
while pid > 1:
    with open(f"/proc/{pid}/cmdline") as file:
        if os.environ["DRIVE"] + "=file:" not in file.read():
            break
    for name in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(name) as file:
            lines = file.read().splitlines()
        told = ("Uid", "Gid", "Groups", "CapPrm", "CapEff")
        print(*(line for line in lines if line.split(":")[0] in told), sep="\n")
    pid = next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))
"""


def services(place: Place) -> None:
    """Files of root and of the user, some that the user may not read, and programs."""
    drive = place.drive
    (drive / "own").mkdir()
    (drive / "closed").mkdir(mode=0o700)
    for name, mode in (("f", 0o644), ("secret", 0o600), ("closed/f", 0o644)):
        (drive / name).write_text(name + "\n")
        (drive / name).chmod(mode)
    (drive / "own/run.sh").write_text('#!/bin/sh\necho "ran with $*"\n')
    (drive / "own/copy-of-true").write_bytes(Path("/bin/true").read_bytes())
    for path in (drive / "own", *(drive / "own").iterdir()):
        path.chmod(0o755)
        os.chown(path, USER, USER)
    place.work.chmod(0o777)


def subordinate(place: Place) -> None:
    """The same, of the users that those are in a user namespace as `WITH_MANY_IDS` makes it."""
    services(place)
    for top in (place.folders, place.work, place.base / "cache", place.base / "home"):
        for path in (top, *top.rglob("*")):
            status = path.lstat()
            os.chown(path, FIRST_ID + status.st_uid, FIRST_ID + status.st_gid, follow_symlinks=False)


@pytest.fixture
def confined(pair: Pair) -> Pair:
    return replace(pair, confined=CONFINE)


def test_a_user_that_root_drops_to(confined: Pair) -> None:
    """An entrypoint's work as root, then a service's as a user: files, folders, scripts and programs. What is root's
    own stays closed to it."""
    script = f'cat "$DRIVE/secret"; cd "$DRIVE/closed"; cat f; cd /; exec {DROPPED} bash -e -c "$0"'
    confined.run(["bash", "-e", "-c", script, WORK], setup=services)


def test_calls_on_descriptors_of_a_user_that_root_drops_to(confined: Pair) -> None:
    """What needs a copy of the program's descriptor, a link of /proc or ptrace, and access(2)."""
    confined.run([*DROPPED.split(), "python3", "-c", CALLS], setup=services)


def test_as_the_first_process_of_a_container(confined: Pair) -> None:
    """As PID 1 of a pid namespace: the program that it runs drops its ids, and orphans are reaped."""
    service = 'cd "$DRIVE/own"; ./run.sh; (sleep 0.2; echo late >late) & echo now'
    script = f"""{DROPPED} sh -e -c '{service}'
        until test -s "$DRIVE/own/late"; do sleep 0.1; done; cat "$DRIVE/own/late"
        ! grep -l '^State:.Z' /proc/[0-9]*/status"""
    confined.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "drive-exec", *bash(script)], setup=services, outside=True
    )


def test_capabilities_that_a_dropped_program_keeps(confined: Pair) -> None:
    """Ambient ones: its reader needs the same, and they count for what it may do."""
    kept = "--inh-caps +dac_override,+net_bind_service --ambient-caps +dac_override,+net_bind_service"
    dropped = DROPPED.replace("--clear-groups", f"--clear-groups {kept}")
    confined.run(bash(f"{dropped} sh -c 'cd \"$DRIVE/closed\"; cat ../secret; echo x >new'"), setup=services)


@pytest.mark.parametrize("how", ["ids", "effective", "undumpable"])
def test_a_program_that_nobody_may_look_into(confined: Pair, how: str, drive_only: None) -> None:
    """Changed ids without an exec, or PR_SET_DUMPABLE: its calls on local files are as without us, a drive is not
    there for it, which the user is told once, and after an exec all is well."""
    natively, brokered = confined.outcomes(["python3", "-c", WITHOUT_EXEC, how], setup=services, seconds=60)
    assert natively.status == brokered.status == 0, brokered.stderr
    first, second = natively.stdout.splitlines(), brokered.stdout.splitlines()
    assert [first[2], second[2]] == ["on a drive: None", "on a drive: No such file or directory"]
    assert first[:2] + first[3:] == second[:2] + second[3:]
    assert first[-1] == "f"
    told = [line for line in brokered.stderr.splitlines() if line.startswith("seccomp-drive: ")]
    assert len(told) == 1
    assert told[0].startswith("seccomp-drive: no drive for python3:")
    assert "--cap-add SYS_PTRACE" in told[0]


def test_a_container_of_a_user_without_capabilities(confined: Pair) -> None:
    """As Kubernetes' restricted profile has it: not root, no capability, no_new_privs."""
    pair = replace(confined, user=USER, confined=[*CONFINE, "setpriv", "--no-new-privs", "--"])
    pair.run(bash('cat "$DRIVE/hello.txt"; cd "$DRIVE/sub"; pwd; echo x >new; mv new other; cat other; bash -c ls'))


def test_nothing_is_said_of_a_program_that_execs_soon(confined: Pair) -> None:
    """Between the change of its ids and the exec nobody can look into it, no matter. su(1) opens files."""
    script = f"""{DROPPED} sh -c 'cd "$DRIVE"; pwd'; su -s /bin/sh nobody -c 'cat "$DRIVE/f"'"""
    assert confined.run(bash(script), setup=services).stderr == ""


def test_the_threads_of_the_broker_keep_their_ids(confined: Pair, drive_only: None) -> None:
    """After many calls of a dropped program, every thread above it is root again, with the same capabilities."""
    busy = 'for n in 1 2 3 4 5 6 7 8 9; do (cd "$DRIVE/own"; ./run.sh $n; ls >x; rm x) >/dev/null & done; wait'
    _, brokered = confined.outcomes(
        [*DROPPED.split(), "sh", "-c", f'{busy}; exec python3 -c "$0"', ABOVE], setup=services, seconds=60
    )
    assert brokered.status == 0, brokered.stderr
    lines = {" ".join(line.split()) for line in brokered.stdout.splitlines()}
    assert {"Uid: 0 0 0 0", "Gid: 0 0 0 0"} <= lines
    assert sorted(line.split()[0] for line in lines) == ["CapEff:", "CapPrm:", "Gid:", "Groups:", "Uid:"]


def test_inotify_is_refused_where_descriptors_cannot_be_copied(confined: Pair, drive_only: None) -> None:
    """Docker's profile keeps pidfd_getfd(2) for CAP_SYS_PTRACE: programs that watch look from time to time then."""
    script = """tail -n +1 -f "$DRIVE/own/log" & watcher=$!
        until grep -q one "$LOCAL/seen"; do echo one >> "$DRIVE/own/log"; sleep 0.1; done; kill $watcher"""
    _, brokered = confined.outcomes(
        ["sh", "-c", f': > "$DRIVE/own/log"; ({script}) > "$LOCAL/seen"; cat "$LOCAL/seen"'],
        setup=services,
        seconds=60,
    )
    assert "one" in brokered.stdout, brokered
    assert "reverting to polling" in brokered.stderr


def test_as_root_of_a_user_namespace(confined: Pair) -> None:
    """Rootless: no other id exists there, and the capabilities count for that namespace only."""
    pair = replace(confined, confined=["unshare", "--user", "--map-root-user", "--", *CONFINE])
    pair.run(
        bash('id -u; cat "$DRIVE/hello.txt"; cd "$DRIVE/sub"; pwd; echo x >new; mv new other; cat other; bash -c ls')
    )


def test_dropping_ids_in_a_user_namespace(confined: Pair) -> None:
    """Rootless with subordinate ids: another root, another service's user, the same rules between the two."""
    pair = replace(confined, confined=[sys.executable, "-c", WITH_MANY_IDS, *CONFINE])
    pair.run(["bash", "-e", "-c", f'cat "$DRIVE/secret"; exec {DROPPED} bash -e -c "$0"', WORK], setup=subordinate)


def test_the_image_as_docker_would_run_it(pair: Pair, drive_only: None) -> None:
    """The rehearsal of containers/: as PID 1, Docker's entrypoint serves root and a service, and hands on the status.

    The image's policy, entrypoint and environment are those of the Dockerfile.
    """
    remote, image = pair.base / "remote", pair.base / "image"
    (remote / "own").mkdir(parents=True)
    (remote / "secret").touch(0o600)
    os.chown(remote / "own", USER, USER)
    (remote / "own/serve").write_text('#!/bin/sh\necho "$0: $PPID"; echo written >"$1"\n')
    (remote / "own/serve").chmod(0o755)
    rehearse = [sys.executable, str(REPOSITORY / "containers/rehearse")]
    subprocess.run([*rehearse, "host", str(image)], check=True)
    service = 'cd /drive/own; cat ../secret; sh -c "./serve new"; exit 7'
    script = f"tr '\\0' ' ' </proc/1/cmdline; cat /drive/secret; exec {DROPPED} sh -c '{service}'"
    command = [*rehearse, "run", "-v", f"{remote}:/remote", str(image), "sh", "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 7, ran.stderr
    assert "exec -- sh -c" in ran.stdout
    assert "./serve: " in ran.stdout
    assert ran.stderr == "cat: ../secret: Permission denied\n"
    assert (remote / "own/new").read_text() == "written\n"
    assert (remote / "own/new").stat().st_uid == USER
