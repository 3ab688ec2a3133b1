"""What the broker learns of a program's folders and files from procfs, where that is easily mistaken."""

from __future__ import annotations

import os

import pytest

from .harness import Pair, bash, fill_standard

MARKED = {
    "folders": """
        cd "$DRIVE"; mkdir p "p (deleted)"; echo in p > p/f; echo in the other > "p (deleted)/f"
        cd "p (deleted)"; pwd -P; cat f; chmod 600 f; rm f; echo new > new; mkdir "$DRIVE/alone (deleted)"
        cd "$DRIVE/alone (deleted)"; echo z > z; cat z /proc/self/cwd/z; readlink /proc/self/cwd
        exec 5< "$DRIVE/p (deleted)"; ls /dev/fd/5/; cat ../p/f; rmdir "$DRIVE/alone (deleted)" || : """,
    "files": """
        cd "$DRIVE"; printf one > "n (deleted)"; echo other > n; exec 5< "n (deleted)"
        cat /proc/self/fd/5; readlink /proc/self/fd/5; stat -L -c %s /dev/fd/5; chmod 600 /dev/fd/5
        python3 -c '
import os
file = os.open("n (deleted)", os.O_RDWR)
os.fchmod(file, 0o640), os.setxattr(file, "user.a", b"v"), os.write(file, b"two"), os.fsync(file), os.close(file)
folder = os.open("sub", os.O_RDONLY)
os.rename("sub", "sub (deleted)"), os.mkdir("sub")
os.close(os.open("made", os.O_CREAT | os.O_WRONLY, dir_fd=folder)), os.mkdir("folder", dir_fd=folder)
print(sorted(os.listdir("sub (deleted)")), os.listdir("sub"))' """,
    "removed": """
        cd "$DRIVE"; mkdir "r (deleted)" r; cd "r (deleted)"; rmdir "../r (deleted)"; ls; readlink /proc/self/cwd
        echo x > x || :; ls "$DRIVE/r" """,
}


@pytest.mark.parametrize("what", MARKED)
def test_a_name_that_ends_like_the_mark_of_a_lost_one(pair: Pair, what: str) -> None:
    """`NAME (deleted)` is a name like any other, also beside `NAME`."""
    pair.run(bash(MARKED[what]))


ROOTS = {
    "chroot": """
        mkdir -p jail/a jail/tmp "jail/b (deleted)" jail/b jail/proc jail/drive; echo x > jail/x; echo t > jail/tmp/t
        cat "$DRIVE/hello.txt"; cd "$DRIVE"; cd "$LOCAL"; ln -s ../x jail/a/rl
        unshare --mount python3 -c '
import errno, os, subprocess
subprocess.run(["mount", "-t", "proc", "proc", "jail/proc"], check=True)
outside = os.open("/etc", os.O_RDONLY)
drive = os.open(os.environ["DRIVE"], os.O_RDONLY)
os.chroot("jail")
def say(path, dir_fd=None):
    try:
        file = os.open(path, os.O_RDONLY, dir_fd=dir_fd)
        print(path, os.read(file, 10) if not os.path.isdir(path) else sorted(os.listdir(path)))
        os.close(file)
    except OSError as error:
        print(path, errno.errorcode[error.errno])
for folder in ("/a", "/", "/tmp", "/b (deleted)"):
    os.chdir(folder)
    print(os.getcwd())
    for path in ("../x", "x", "../tmp/t", "a/../x", "./../x", "..", "../a/rl", "/a/rl", "../none", "../x/y"):
        say(path)
    for path in ("cwd/../x", "cwd/../tmp/t", "root/x", "root/../tmp/t", "cwd/../none"):
        say("/proc/self/" + path)
say("hostname", dir_fd=outside)
say("../etc/hostname", dir_fd=outside)
say(f"/proc/self/fd/{outside}/hostname")
say("hello.txt", dir_fd=drive)
say(f"/proc/self/fd/{drive}/sub/../hello.txt")
made = os.open("/made", os.O_CREAT | os.O_RDWR)
os.write(made, b"made")
say(f"/proc/self/fd/{made}")' """,
    "pid namespace": """
        cd "$DRIVE"; cat hello.txt; unshare --pid --fork --mount-proc bash -ec '
            cat /dev/stdin < hello.txt; cat <(echo from a pipe); cat /dev/fd/3 3< hello.txt
            cat /proc/self/cwd/sub/one
            cat /proc/thread-self/cwd/sub/one /proc/$$/cwd/sub/two; readlink /proc/self/cwd /proc/self /proc/$$/exe
            cd sub; cat /proc/self/cwd/../hello.txt; echo local > "$LOCAL/l"; cat /dev/stdin < "$LOCAL/l"'
        unshare --pid --fork bash -ec 'cat /dev/stdin < hello.txt; cat /proc/self/cwd/sub/one' """,
    "another procfs": """
        mkdir p; unshare --mount bash -ec 'mount -t proc proc p; cd "$DRIVE/sub"; p=$LOCAL/p
            cat $p/self/cwd/one; echo made > $p/self/cwd/made; cat made; readlink $p/self/cwd; ls $p/self/cwd/..
            exec 5> written; echo more > $p/self/fd/5; cat < $p/thread-self/cwd/two; cd $p; cat self/cwd/self/status | head -n 1
            ls -d mounts net self/root; cat $p/self/root$DRIVE/hello.txt' """,  # noqa: E501
}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("what", ROOTS)
def test_another_root_or_namespace(pair: Pair, what: str) -> None:
    """Links of procfs are read as the program would read them: in its root, with its numbers, in any procfs."""
    pair.run(bash(ROOTS[what]))


SYMLINK = """
import errno, os
os.chdir(os.environ["DRIVE"])
for name in ("sub/link", "absolute", "into", "dangling"):
    link = os.open(name, os.O_PATH | os.O_NOFOLLOW)
    path = f"/proc/self/fd/{link}"
    print(name, os.readlink(path), oct(os.stat(path).st_mode), os.path.exists(path))
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_PATH, os.O_DIRECTORY):
        for below in ("", "/", "/one"):
            try:
                print(flags, below, os.readlink(f"/proc/self/fd/{os.open(path + below, flags)}"))
            except OSError as error:
                print(flags, below, errno.errorcode[error.errno])
"""


def test_a_symlink_behind_a_descriptor_is_not_followed(pair: Pair) -> None:
    """Where a link of procfs leads is where it ends (nd_jump_link in fs/namei.c)."""
    pair.run(["python3", "-c", SYMLINK])


REMOVED = """
    cd "$DRIVE"; mkdir d; cd d; rmdir ../d; mkdir ../d ../d/s; echo new > ../d/f
    touch s/../made || :; cat s/../f || :; cat f || :; cat ./../hello.txt; ls ../d; cat ../d/s/../f; ls .. | head -n 3
    mkdir -p "$DRIVE/outer/inner"; cd "$DRIVE/outer/inner"; rm -r "$DRIVE/outer"; mkdir "$DRIVE/outer"
    echo x > "$DRIVE/outer/f"; cat ../f || :; echo y > ../made || :; ls "$DRIVE/outer" """


BEHIND = """
    cd "$DRIVE"; mkdir d; cd d; rmdir ../d; cat /proc/self/cwd/../sub/one || :; echo x > /proc/self/cwd/../made || :
    ls "$DRIVE"; exec 5< hello.txt || exec 5< "$DRIVE/hello.txt"; rm "$DRIVE/hello.txt"; cat /dev/fd/5/x || : """


@pytest.mark.usefixtures("drive_only")
def test_from_a_removed_folder_through_procfs(pair: Pair) -> None:
    """The kernel is not let into the bare mirror, where nothing is fetched and nothing is pushed from."""
    _, drive = pair.outcomes(["bash", "-c", BEHIND], setup=fill_standard, seconds=30)
    assert drive.stderr.count("Not a directory") == 3, drive.stderr
    assert "made" not in drive.stdout


def test_in_a_folder_that_was_removed(pair: Pair) -> None:
    """Nothing is found in it, also where another has its path by now; `..` leads to the folder that it was in."""
    pair.run(bash(REMOVED))
