"""Random operations on files by many processes, the same for the same numbers: `churn.py OPERATIONS LOG`.

For each line on stdin, ``ROUND WORKER...``, one process for each worker does its operations in the working directory
and writes what came of each to LOG.WORKER; when all have ended and the file system is synced, the line comes back.
"""

import ctypes
import errno
import hashlib
import mmap
import os
import random
import sys
from collections.abc import Callable, Iterable

LIBC = ctypes.CDLL(None, use_errno=True)
MODES = (0o644, 0o600, 0o755, 0o640, 0o444)
SIZES = (0, 1, 100, 4096, 70_000)
MAKING = ("f0", "f1", "f2", "d0", "d1")
Outcome = object


class Worker:
    """All names that it touches are its own: below its folder, or with its number in a folder that all share."""

    def __init__(self, number: int, turn: int) -> None:
        self.chance = random.Random(f"{number} {turn}")
        self.root = f"worker-{number}"
        self.guests = [f"common/{kind}-{number}-{count}" for kind in "ab" for count in range(3)]
        self.open: list[int] = []

    def run(self, operations: int) -> Iterable[str]:
        """Do them; a line for each with what came of it."""
        os.makedirs(self.root, exist_ok=True)
        works = [work for name, work in vars(Worker).items() if name.startswith("do_")]
        for _ in range(operations):
            work = self.chance.choice(works)
            try:
                outcome = repr(work(self))
            except OSError as error:
                outcome = errno.errorcode[error.errno or 0]
            yield f"{work.__name__[3:]} {outcome}"
        for file in self.open:
            os.close(file)

    def path(self) -> str:
        """A name that may be there or not; twenty to each of up to five folders, and a few among the others'."""
        if self.chance.random() < 0.15:
            return self.chance.choice(self.guests)
        folders = self.chance.choice(["", "", "d0/", "d1/", "d0/d1/", "d2/"])
        kind = self.chance.choice("ffffffdsl")
        return f"{self.root}/{folders}{kind}{self.chance.randrange(20 if kind == 'f' else 3)}"

    def content(self) -> bytes:
        return self.chance.randbytes(self.chance.choice(SIZES))

    def _write(self, flags: int, change: Callable[[int], Outcome] = lambda file: None) -> Outcome:
        path, mode, content = self.path(), self.chance.choice(MODES), self.content()
        file = os.open(path, flags | os.O_NOFOLLOW, mode)
        try:
            os.write(file, content)
            return path, change(file), os.fstat(file).st_size
        finally:
            os.close(file)

    def do_create(self) -> Outcome:
        return self._write(os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def do_overwrite(self) -> Outcome:
        return self._write(os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def do_append(self) -> Outcome:
        return self._write(os.O_WRONLY | os.O_APPEND)

    def do_write_and_sync(self) -> Outcome:
        return self._write(os.O_RDWR | os.O_CREAT, os.fsync)

    def do_write_and_shorten(self) -> Outcome:
        return self._write(os.O_RDWR, lambda file: os.ftruncate(file, 50))

    def do_write_through_a_copy(self) -> Outcome:
        def copied(file: int) -> None:
            copy = os.dup(file)
            os.write(copy, b"copied")
            os.close(copy)

        return self._write(os.O_WRONLY | os.O_CREAT, copied)

    def do_write_in_a_child(self) -> Outcome:
        def child(file: int) -> int:
            if (pid := os.fork()) == 0:
                os.write(file, b"child")
                os._exit(3)
            return os.waitpid(pid, 0)[1]

        return self._write(os.O_WRONLY | os.O_CREAT, child)

    def do_map(self) -> Outcome:
        path = self.path()
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            with mmap.mmap(file, 0) as mapping:
                mapping[0] ^= 1
                return path, len(mapping)
        except ValueError:
            return path, "empty"
        finally:
            os.close(file)

    def do_replace(self) -> Outcome:
        """As editors do: a new file, renamed over the old one."""
        path = self.path()
        with open(path + "~", "wb") as file:
            file.write(self.content())
        os.replace(path + "~", path)
        return path

    def do_leave_open(self) -> Outcome:
        path = self.path()
        self.open.append(os.open(path, os.O_RDWR | os.O_NOFOLLOW))
        if len(self.open) > 4:
            os.close(self.open.pop(0))
        return path

    def do_write_to_an_open_one(self) -> Outcome:
        return [os.pwrite(file, b"open", 10) for file in self.open[:1]]

    def do_unlink(self) -> Outcome:
        path = self.path()
        os.unlink(path)
        return path

    def do_mkdir(self) -> Outcome:
        path = f"{self.root}/{self.chance.choice(['d0', 'd1', 'd2', 'd0/d1', 'd1/d0'])}"
        os.mkdir(path, 0o755)
        return path

    def do_rmdir(self) -> Outcome:
        path = self.path()
        os.rmdir(path)
        return path

    def do_rename(self) -> Outcome:
        old, new = self.path(), self.path()
        os.rename(old, new)
        return old, new

    def do_rename_a_folder(self) -> Outcome:
        old, new = (f"{self.root}/{self.chance.choice(['d0', 'd1', 'd2', 'd0/d1', 'd1/d0'])}" for _ in "12")
        os.rename(old, new)
        return old, new

    def do_link(self) -> Outcome:
        old, new = self.path(), self.path()
        os.link(old, new, follow_symlinks=False)
        return old, new, os.stat(new, follow_symlinks=False).st_nlink

    def do_symlink(self) -> Outcome:
        path, target = self.path(), self.chance.choice(["f0", "d0", "../f1", "nowhere"])
        os.symlink(target, path)
        return path, os.readlink(path)

    def do_chmod(self) -> Outcome:
        path, mode = self.path(), self.chance.choice(MODES)
        if os.path.isdir(path):
            mode |= 0o700
        os.chmod(path, mode)
        return path, os.stat(path).st_mode

    def do_times(self) -> Outcome:
        path, moment = self.path(), self.chance.randrange(10**9, 15 * 10**8) * 10**9
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
        return path, os.lstat(path).st_mtime_ns

    def do_truncate(self) -> Outcome:
        path, size = self.path(), self.chance.choice(SIZES)
        os.truncate(path, size)
        return path, os.stat(path).st_size

    def do_attribute(self) -> Outcome:
        path = self.path()
        os.setxattr(path, "user.test", b"%d" % self.chance.randrange(10))
        return path, os.getxattr(path, "user.test")

    def do_stat(self) -> Outcome:
        path = self.path()
        status = os.lstat(path)
        return path, status.st_mode, status.st_size if status.st_mode & 0o100000 else None

    def do_list(self) -> Outcome:
        path = f"{self.root}/{self.chance.choice(['', 'd0', 'd1', 'd0/d1'])}"
        return path, sorted(os.listdir(path))

    def do_list_the_common(self) -> Outcome:
        mine = {guest.partition("/")[2] for guest in self.guests}
        return sorted(mine & set(os.listdir("common")))

    def do_read(self) -> Outcome:
        path = self.path()
        with open(path, "rb") as file:
            return path, hashlib.sha256(file.read()).hexdigest()[:12]

    do_read_again = do_read_once_more = do_read


def main(operations: str, log: str) -> None:
    for line in sys.stdin:
        turn, *numbers = map(int, line.split())
        children = [spawn(number, turn, int(operations), f"{log}.{number}") for number in numbers]
        statuses = [os.waitpid(child, 0)[1] for child in children]
        folder = os.open(".", os.O_RDONLY)
        LIBC.syncfs(folder)
        os.close(folder)
        print(turn, *[status for status in statuses if status], flush=True)


def spawn(number: int, turn: int, operations: int, log: str) -> int:
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.umask(0o022)
            with open(log, "w") as said:
                for line in Worker(number, turn).run(operations):
                    print(turn, line, file=said, flush=True)
            status = 0
        finally:
            os._exit(status)
    return child


if __name__ == "__main__":
    main(*sys.argv[1:])
