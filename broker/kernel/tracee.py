"""What procfs and the tracee's memory say of the thread that made a call. Nothing is remembered between calls."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat

from broker.kernel import native
from broker.kernel.idmaps import IdMap, IdMaps, parse
from broker.kernel.native import Identity, Status

CAP_CHOWN, CAP_SETGID, CAP_SETUID = 0, 6, 7
AT_FDCWD = -100
DELETED = b" (deleted)"
"""What the kernel puts behind the path of a file that has lost the name it was opened by (d_path in fs/d_path.c)."""


class Tracee:
    """One thread, for the length of one call. Everything here raises native.Unreadable where nobody may look."""

    __slots__ = ("_held", "_root", "_status", "_user_namespace", "identity", "own", "real", "tid")

    def __init__(
        self,
        tid: int,
        *,
        own: bool = False,
        identity: Identity | None = None,
        real: Identity | None = None,
        rooted: bool = True,
    ) -> None:
        """As in `lane.Trapped`."""
        self.tid = tid
        self.own = own
        self.identity = identity
        self.real = real
        self._status: Status | None = None
        self._root: bytes | None = None if rooted else b""
        self._user_namespace: bytes | None = None
        self._held: _Held | None = None

    @property
    def status(self) -> Status:
        if self._status is None:
            self._status = native.status(self.tid)
        return self._status

    @property
    def name(self) -> bytes:
        """As ps(1) shows it; empty when the thread is gone."""
        try:
            with open(b"/proc/%d/comm" % self.tid, "rb") as file:
                return file.read().rstrip(b"\n")
        except OSError:
            return b""

    def directory(self, dirfd: int) -> bytes:
        """The real path of the working directory (AT_FDCWD) or of a descriptor's file. EBADF if there is none.

        Without the mark of a lost name: what was replaced on the drive is still at its place.
        """
        real = self._link(b"cwd") if dirfd == AT_FDCWD else self.descriptor(dirfd)
        if not real.endswith(DELETED):
            return real
        return unmarked(real, self._stat(b"cwd") if dirfd == AT_FDCWD else self.file_status(dirfd))

    def is_removed(self, dirfd: int) -> bool:
        """Whether the working directory, or a descriptor's, has no name any more. ENOTDIR if it is no folder."""
        status = self._stat(b"cwd") if dirfd == AT_FDCWD else self.file_status(dirfd)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return status.st_nlink == 0

    def above(self, dirfd: int) -> os.stat_result:
        """Of the folder that `..` leads to from the working directory, or from a descriptor's."""
        return self._stat(b"cwd/.." if dirfd == AT_FDCWD else b"fd/%d/.." % dirfd)

    def descriptor(self, number: int) -> bytes:
        """What /proc/TID/fd/N shows: a real path, or a text such as ``pipe:[7]``."""
        try:
            return self._link(b"fd/%d" % number)
        except FileNotFoundError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None

    def file_status(self, number: int) -> os.stat_result:
        """fstat(2) of a descriptor."""
        try:
            return self._stat(b"fd/%d" % number)
        except FileNotFoundError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None

    def free_number(self, first: int, last: int) -> int | None:
        """The first number from `first` to `last` that is no descriptor; None if all are."""
        return native.free_number(self.tid, first, last)

    def has_other_writer(self, number: int) -> bool:
        """Whether the file behind a descriptor is open for writing under another number. EBADF."""
        return native.other_writer(self.tid, number) is not None

    def has_free_descriptor(self) -> bool:
        """Whether a number below RLIMIT_NOFILE is free: seldom more is asked than whether the highest one is."""
        limit = self._descriptor_limit()
        if limit and self.free_number(limit - 1, limit - 1) is not None:
            return True
        return self.free_number(0, limit - 1) is not None

    def _descriptor_limit(self) -> int:
        with contextlib.suppress(PermissionError):
            return resource.prlimit(self.tid, resource.RLIMIT_NOFILE)[0]
        with open(b"/proc/%d/limits" % self.tid, "rb") as file:
            line = next(line for line in file if line.startswith(b"Max open files"))
        return int(line.split()[3])  # never unlimited: see nr_open in proc_sys_fs(5)

    def flags(self, number: int) -> int:
        """The flags that a descriptor was opened with; FileNotFoundError if there is none."""
        with _Held(native.open_proc(self.tid, b"fdinfo/%d" % number, os.O_RDONLY)) as file:
            lines = os.read(file, 4096).splitlines()
        return next((int(line.split()[1], 8) for line in lines if line.startswith(b"flags:")), 0)

    def reopened(self, number: int) -> int:
        """Another descriptor, close-on-exec, for what one of the tracee's is for, with the same access. EBADF.

        A copy where that is allowed: what is forbidden to a sandbox of this process is only pidfd_getfd(2).
        """
        try:
            return native.get_descriptor(self.tid, number)
        except native.Unreadable:
            access = self.flags(number) & (os.O_ACCMODE | os.O_PATH | os.O_APPEND)
            return native.open_proc(self.tid, b"fd/%d" % number, access | os.O_NONBLOCK | os.O_NOCTTY)

    @property
    def user_namespace(self) -> bytes:
        """What /proc shows for it; empty where nobody may look."""
        if self._user_namespace is None:
            try:
                self._user_namespace = self._link(b"ns/user")
            except native.Unreadable:
                self._user_namespace = b""
        return self._user_namespace

    def id_maps(self) -> IdMaps:
        """By which ids the tracee knows those of this process's user namespace."""
        return IdMaps(self._map(b"uid_map"), self._map(b"gid_map"))

    def root(self) -> bytes:
        """What leads from our root to the tracee's, while this object lives: empty where they are the same."""
        if self._root is None:
            self._root = self._find_root()
        return self._root

    def inside(self, real: bytes) -> bytes | None:
        """What a path in our root is in the tracee's, which links of procfs do not heed; None where it has none."""
        if not self.root():
            return real
        root = self._link(b"root").removesuffix(b"/")
        return (real[len(root) :] or b"/") if (real + b"/").startswith(root + b"/") else None

    def own_numbers(self) -> tuple[int, int]:
        """Its thread group's number and its own in its own pid namespace (proc_pid_status(5), NStgid and NSpid)."""
        with _Held(native.open_proc(self.tid, b"status", os.O_RDONLY)) as file:
            fields = dict(line.split(b":", 1) for line in os.read(file, 1 << 16).splitlines())
        return int(fields[b"NStgid"].split()[-1]), int(fields[b"NSpid"].split()[-1])

    def _find_root(self) -> bytes:
        link = b"/proc/%d/root" % self.tid
        try:
            theirs = os.stat(link)
        except PermissionError:
            self._held = _Held(native.open_proc(self.tid, b"root", os.O_PATH))
            link = b"/proc/self/fd/%d" % self._held.number
            theirs = os.stat(link)
        ours = os.stat(b"/")
        same_namespace = self._link(b"ns/mnt") == os.readlink(b"/proc/self/ns/mnt")
        if same_namespace and (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino):
            return b""
        return link

    def _map(self, name: bytes) -> IdMap:
        with _Held(native.open_proc(self.tid, name, os.O_RDONLY)) as file:
            return parse(b"".join(iter(lambda: os.read(file, 1 << 16), b"")))  # a read gives no more than a page

    def _link(self, name: bytes) -> bytes:
        return native.read_link(self.tid, b"/proc/%d/%s" % (self.tid, name))

    def _stat(self, link: bytes) -> os.stat_result:
        try:
            return os.stat(b"/proc/%d/%s" % (self.tid, link))
        except PermissionError:
            with _Held(native.open_proc(self.tid, link, os.O_PATH)) as file:
                return os.fstat(file)


def unmarked(real: bytes, status: os.stat_result) -> bytes:
    """What procfs shows as the path of the file with this status, less the mark of a lost name: a name may end so."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.lstat(real), status):
            return real
    return real.removesuffix(DELETED)


class _Held:
    """A descriptor of ours that is closed with this object, or at the end of its block."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> int:
        return self.number

    def __exit__(self, *_: object) -> None:
        self._close()

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        if self.number >= 0:
            os.close(self.number)
            self.number = -1


class Credentials:
    """As whom calls are made: compares a caller's identity with the broker's own."""

    def __init__(self) -> None:
        own = native.status(os.getpid())
        self.own = _effective(own)
        self._namespace = os.readlink(b"/proc/self/ns/user")
        self._privileged = bool(own.effective >> CAP_SETUID & 1 and own.effective >> CAP_SETGID & 1)

    def of(self, tracee: Tracee) -> Identity | None:
        """The file-system identity that a call acts with; None where it is the broker's own.

        An unprivileged broker can take no other identity, and has its callers' already. A caller in another user
        namespace has no capabilities over our files, whatever its status says (user_namespaces(7)).
        """
        if not self._privileged or tracee.own:
            return None
        identity = tracee.identity or self._asked(tracee)
        return None if identity == self.own else identity

    def _asked(self, tracee: Tracee) -> Identity:
        identity = _effective(tracee.status)
        return identity._replace(capabilities=0) if self._foreign(tracee) else identity

    def real_of(self, tracee: Tracee) -> Identity | None:
        """The identity that access(2) judges by: real ids, and capabilities only for root."""
        if not self._privileged or (tracee.own and self.own.fsuid == 0):
            return None
        identity = tracee.real or self._asked_for_real(tracee)
        return None if identity == self.own else identity

    def maps(self, tracee: Tracee) -> IdMaps | None:
        """The caller's ids, where they are not ours as well."""
        if tracee.own or tracee.identity or tracee.user_namespace in (b"", self._namespace):
            return None
        return tracee.id_maps()

    def _asked_for_real(self, tracee: Tracee) -> Identity:
        status = tracee.status
        ruid, rgid = status.ids[0], status.ids[4]
        capabilities = status.permitted if ruid == 0 and not self._foreign(tracee) else 0
        return Identity(ruid, rgid, status.groups, capabilities)

    def _foreign(self, tracee: Tracee) -> bool:
        return tracee.identity is None and tracee.user_namespace != self._namespace


def _effective(status: Status) -> Identity:
    return Identity(status.ids[3], status.ids[7], status.groups, status.effective)
