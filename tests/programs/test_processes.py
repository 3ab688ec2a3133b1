"""Processes in every condition: many, in the background, as PID 1, dropped to another user, with few descriptors."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from .conftest import SOURCES
from .harness import Pair, bash

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

OUTSIDE = {
    "a pipeline of two": """
        drive-exec cat "$DRIVE/lines.txt" | drive-exec sort -r -o "$DRIVE/sorted"
        drive-exec head -n 1 "$DRIVE/sorted"
        drive-exec tee "$DRIVE/a" < /etc/passwd | drive-exec tee "$DRIVE/b" | drive-exec cmp - /etc/passwd
        drive-exec tar cf - -C "$DRIVE" --sort=name sub | drive-exec tar xf - -C "$DRIVE/sub/none" """,
    "one after the other": """
        drive-exec sh -c 'echo one > "$DRIVE/new"'
        drive-exec sh -c 'cat "$DRIVE/new"; echo two >> "$DRIVE/new"'; drive-exec cat "$DRIVE/new"
        drive-exec rm "$DRIVE/new"; drive-exec ls "$DRIVE"; drive-exec sh -c 'cd "$DRIVE"; mv sub moved'
        drive-exec cat "$DRIVE/moved/one" """,
    # cat takes copy_file_range(2) from file to file, which loses output where eight share one file position.
    "eight at once": """
        for n in 1 2 3 4 5 6 7 8
        do drive-exec sh -c "echo $n > '$DRIVE/n-$n'; cat '$DRIVE/hello.txt' | cat; cp '$DRIVE/big.bin' '$DRIVE/b-$n'" & done; wait """,  # noqa: E501
    "the background outlives its parent": """
        drive-exec sh -c '(while test ! -e "$LOCAL/go"; do sleep 0.05; done; cd "$DRIVE"; cat hello.txt > late; mkdir made; mv empty made; sh -c "echo x >> late") & '
        echo returned $?; : > go """,  # noqa: E501
    "a daemon": """
        drive-exec sh -c 'cd "$DRIVE"; setsid sh -c "trap : HUP; while test ! -e $LOCAL/go; do sleep 0.05; done; echo late > late; cat sub/one >> late" > out 2>&1 < /dev/null &'
        echo returned $?; : > go """,  # noqa: E501
    "signals are handed on": """
        for s in TERM HUP USR1
        do drive-exec sh -c "trap 'echo got $s > \\"\\$DRIVE/$s\\"; exit 7' $s; : > ready-$s; while :; do sleep 0.05; done" & p=$!
        while test ! -e ready-$s; do sleep 0.05; done; kill -$s $p; wait $p || echo $?; done """,  # noqa: E501
    "closed descriptors": """
        drive-exec cat "$DRIVE/hello.txt" <&-
        drive-exec sh -c 'cat < "$DRIVE/hello.txt"; echo x > "$DRIVE/new"; cat "$DRIVE/new"' <&-
        drive-exec sh -c 'ls /proc/self/fd' <&-; drive-exec cat "$DRIVE/hello.txt" >&- 2> err || echo $?
        grep -o 'Bad.*' err; rm err
        drive-exec cp "$DRIVE/hello.txt" "$DRIVE/copied" <&- >&- 2>&-
        drive-exec sh -c 'echo y > "$DRIVE/other"' <&- >&- 2>&- """,
    "inherited descriptors": """
        echo five > five; drive-exec sh -c 'cat <&5; echo six >&6; ls /proc/self/fd' 5< five 6> six; cat six
        drive-exec cat < five; drive-exec sh -c 'cat "$DRIVE/hello.txt" >&9' 9>> six; cat six; (cd /
        drive-exec pwd) """,
    "two at once change one file": """
        drive-exec sh -c 'exec 3>> "$DRIVE/hello.txt"; echo a >&3; : > one; while test ! -e two; do sleep 0.05; done; echo c >&3' &
        while test ! -e one; do sleep 0.05; done; drive-exec sh -c 'echo b >> "$DRIVE/hello.txt"; : > two'
        wait; drive-exec cat "$DRIVE/hello.txt" """,  # noqa: E501
}

INSIDE = {
    "64 at once": """
        cd "$DRIVE"; for n in $(seq 64); do (mkdir p-$n; echo $n > p-$n/f; cat hello.txt >> p-$n/f
        cp p-$n/f p-$n/g; mv p-$n/g "$DRIVE/g-$n"
        test -e p-$n/f && test ! -e p-$n/g || echo wrong; ls p-$n; rm p-$n/f
        rmdir p-$n) > "$LOCAL/out-$n" & done; wait; cat "$LOCAL"/out-* """,
    "what a process inherits": """
        umask 027; sh -c umask; ulimit -n; ulimit -c; nice; env | grep -v ^_= | sort
        grep -E '^(Sig(Ign|Blk|Cgt)|ShdPnd|Cap|NoNewPrivs|Groups)' /proc/self/status; ls /proc/self/fd
        cat /proc/self/comm """,
    "few descriptors": """
        ulimit -n 24; cd "$DRIVE"; echo x > f; cat f; exec 3> g 4< f; echo y >&3; cat <&4; exec 3>&-; cat g
        sh -c 'cp big.bin c'; cmp big.bin c """,
    "zombies": """
        cd "$DRIVE"; for n in $(seq 20); do sh -c 'sh -c "cat hello.txt > /dev/null" & '; done; sleep 0.3
        cat /proc/[0-9]*/stat 2> /dev/null | awk -v me=$PPID '$3 == "Z" && $4 == me' | wc -l
        sh -c 'exit 3' || echo $? """,
    "killed while writing": """
        cd "$DRIVE"; (echo start; exec sleep 100) > log & sleep 0.3
        { kill -9 $!; wait $!; } 2> /dev/null || echo $?; cat log
        { timeout -s KILL 0.3 sh -c 'while :; do cat hello.txt; done' > /dev/null || echo $?; } 2> /dev/null
        cat hello.txt """,
    "one of two that wait at a FIFO is killed": """
        cd "$DRIVE"; mkfifo pipe; cat pipe > got & a=$!; cat pipe & b=$!; sleep 0.5
        { kill -9 $b; wait $b; } 2> /dev/null || echo $?; sleep 0.5; echo through > pipe; wait $a; cat got """,
    "a working directory that is moved": """
        mkdir "$DRIVE/one"; echo content > "$DRIVE/one/f"; cd "$DRIVE/one"
        python3 - <<'END' &
import os
drive = os.environ["DRIVE"]
for _ in range(200):
    os.rename(f"{drive}/one", f"{drive}/two"); os.rename(f"{drive}/two", f"{drive}/one")
END
        for n in $(seq 60); do cat f || echo lost; echo $n > new-$n || echo refused; done | sort | uniq -c
        wait; ls | wc -l; cat new-* | sort -n | tail -n 1 """,
    "a root for its owner alone": """
        chmod 700 "$DRIVE"; cd "$DRIVE/.."; setpriv --reuid 33 --regid 33 --clear-groups sh -c '
        stat -c "%a %F" "$DRIVE"; test -d "$DRIVE" && echo folder; ls -d "${DRIVE##*/}"; ls "$DRIVE"
        cat "$DRIVE/hello.txt"; cd "$DRIVE"; mkdir "$DRIVE/new"' || :; chmod 711 "$DRIVE"
        setpriv --reuid 33 --regid 33 --clear-groups sh -c 'cat "$DRIVE/hello.txt"; ls "$DRIVE"' || : """,
    "namespaces": """
        unshare -m cat "$DRIVE/hello.txt"; cd "$DRIVE"; unshare -m sh -c 'cat sub/one; echo x > "$DRIVE/new"'
        unshare -n cat new; unshare -u ls sub """,
}

DROPPED = """
    cd "$DRIVE"; chmod 600 hello.txt; chmod 777 sub; mkdir -m 1777 sticky; : > sticky/roots
        mkdir -m 2777 shared; chgrp 7 shared
    chmod 755 "$DRIVE"; chown 65534 empty; as() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
    as cat hello.txt || echo refused; as test -r hello.txt || echo unreadable; as cat lines.txt | wc -l
        as sh -c 'echo x > new' || echo refused
    as sh -c 'echo mine > sub/mine; cat sub/mine; mkdir sub/folder; ln -s a sub/soft'
        as rm sticky/roots || echo sticky
    as sh -c '(umask 0; : > shared/file; mkdir shared/folder)'; as touch empty
        as touch big.bin || echo refused; as chmod 600 lines.txt || echo refused
    as chown 0 empty || echo refused; as ls -la sub | wc -l; as cat "$DRIVE/hello.txt" || echo refused
        as mv big.bin sub || echo refused
    setpriv --reuid 65534 --regid 65534 --groups 7 sh -c 'echo g > shared/g; cat shared/g'
        setpriv --inh-caps -all --bounding-set -all cat hello.txt || echo capless
    chmod 000 lines.txt; cat lines.txt | wc -l
        setpriv --ruid 65534 --clear-groups test -r hello.txt || echo real
        setpriv --euid 65534 cat hello.txt || echo effective
    stat -c '%n %u %g %a' sub/* shared/* sticky/* empty """

UNPRIVILEGED = """
    cd "$DRIVE"; id -u; echo mine > new; mkdir folder; cp -a sub copy; chmod 000 hello.txt
        cat hello.txt || echo refused; echo x >> hello.txt || echo refused
    chmod 500 sub; : > sub/no || echo refused; rm sub/one || echo refused; mv sub/two . || echo refused
        chmod 700 sub; chmod 644 hello.txt; cat hello.txt
    chown 0 new || echo refused; chgrp 0 new || echo refused; ln -s "$DRIVE/new" soft; cat soft
        tar cf a.tar sub; tar tf a.tar; git init -q repo; cd repo
    cp /usr/bin/env .; ./env true; printf '#!/bin/sh\\necho "$0"\\n' > s; chmod +x s; ./s; "$DRIVE/repo/s"
        rm -rf .git; cat /etc/shadow || echo refused """


@pytest.mark.parametrize("name", OUTSIDE)
def test_outside(pair: Pair, name: str) -> None:
    """What several `exec` do beside each other, and one with the shell that started it."""
    pair.run(bash(OUTSIDE[name]), outside=True)


@pytest.mark.parametrize("name", INSIDE)
def test_inside(pair: Pair, name: str) -> None:
    """Processes under one `exec`."""
    if name in ("namespaces", "a root for its owner alone") and os.geteuid() != 0:
        pytest.skip("needs root")
    pair.run(bash(INSIDE[name]))


@as_root
def test_dropped_identity(pair: Pair) -> None:
    """A call acts as its caller: a process that has left root behind has no more of the drive than it should."""
    pair.run(bash(DROPPED))


@as_root
def test_unprivileged_user(pair: Pair) -> None:
    """The whole of it as a user without any privilege, with a cache folder of its own."""
    pair = replace(pair, user=NOBODY)
    pair.run(bash(UNPRIVILEGED), opaque=("*a.tar",))


@as_root
def test_pid_1(pair: Pair) -> None:
    """As PID 1 of a container: the status is handed on, orphans are reaped, SIGTERM reaches the program."""
    start = "unshare --pid --fork --mount-proc drive-exec"
    pair.run(
        bash(f"""
            {start} sh -c 'cat "$DRIVE/hello.txt"; echo x > "$DRIVE/new"; exit 5' || echo $?
            {start} bash -c 'for n in 1 2 3; do sh -c "sleep 0.1 & "; done; sleep 0.4; cat /proc/[0-9]*/stat | grep -c ") Z"' || :
            {start} sh -c 'trap "echo end > \\"$DRIVE/end\\"; exit 9" TERM; : > ready; while :; do sleep 0.05; done' & p=$!
            while test ! -e ready; do sleep 0.05; done; kill -TERM $(cat /proc/$p/task/$p/children)
            wait $p || echo $?"""),  # noqa: E501
        outside=True,
    )


CLONE = """
import ctypes, os
CLONE_NEWNS, SIGCHLD, MS_REC, MS_PRIVATE = 0x20000, 17, 0x4000, 0x40000
libc = ctypes.CDLL(None)
os.mkdir("own")
if (pid := libc.syscall(56, CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0)) == 0:
    print(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), libc.mount(b"tmpfs", b"own", b"tmpfs", 0, None))
    os.symlink(os.environ["DRIVE"], "own/link")
    open("own/local", "w").write("local\\n")
    os.execlp("sh", "sh", "-c", "cat own/local own/link/hello.txt; cd own; cat link/sub/one ../own/local")
print(os.waitpid(pid, 0)[1], os.listdir("own"))
"""


@as_root
def test_a_mount_namespace_from_clone(pair: Pair) -> None:
    """Nobody has called unshare(2): what is mounted there, and the links into the drive in it, are found."""
    pair.run(["python3", "-c", CLONE])


@pytest.mark.parametrize("count", [10, 300, 900])
def test_many_files_open_for_writing(pair: Pair, count: int) -> None:
    """More files open for writing than there are descriptors in the range; each gets its own content."""
    pair.run(bash(f'ulimit -n 2048; mkdir "$DRIVE/many"; python3 {SOURCES}/many_open.py "$DRIVE/many" {count}'))


def test_descriptors_are_sent(pair: Pair) -> None:
    """A drive file's descriptor that was sent over a socket, dup'd or inherited by exec is the same open file."""
    pair.run(bash(f'cd "$DRIVE"; python3 {SOURCES}/descriptors.py'))
