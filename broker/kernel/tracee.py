"""What procfs and the tracee's memory say of the thread that made a call. Nothing is remembered between calls."""

from __future__ import annotations

import errno
import os
import stat

from broker.kernel import native
from broker.kernel.native import Identity, Status

CAP_CHOWN, CAP_SETGID, CAP_SETUID = 0, 6, 7
AT_FDCWD = -100


class Tracee:
    """One thread, for the length of one call."""

    __slots__ = ("_root", "_status", "own", "tid")

    def __init__(self, tid: int, *, own: bool = False) -> None:
        """`own`: its ids, groups, capabilities and user namespace are known to be this process's."""
        self.tid = tid
        self.own = own
        self._status: Status | None = None
        self._root: bytes | None = None

    @property
    def status(self) -> Status:
        if self._status is None:
            self._status = native.status(self.tid)
        return self._status

    def directory(self, dirfd: int) -> bytes:
        """The real path of the working directory (AT_FDCWD) or of a descriptor's directory. EBADF if it has none."""
        if dirfd == AT_FDCWD:
            return os.readlink(b"/proc/%d/cwd" % self.tid)
        return self.descriptor(dirfd)

    def is_removed(self, dirfd: int) -> bool:
        """Whether the working directory, or a descriptor's, has no name any more. ENOTDIR if it is no folder."""
        link = b"/proc/%d/cwd" % self.tid if dirfd == AT_FDCWD else b"/proc/%d/fd/%d" % (self.tid, dirfd)
        try:
            status = os.stat(link)
        except FileNotFoundError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return status.st_nlink == 0

    def descriptor(self, number: int) -> bytes:
        """What /proc/TID/fd/N shows: a real path, or a text such as ``pipe:[7]``."""
        try:
            return os.readlink(b"/proc/%d/fd/%d" % (self.tid, number))
        except FileNotFoundError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None

    def file_status(self, number: int) -> os.stat_result:
        """fstat(2) of a descriptor."""
        try:
            return os.stat(b"/proc/%d/fd/%d" % (self.tid, number))
        except FileNotFoundError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None

    def has_descriptor(self, number: int) -> bool:
        try:
            os.readlink(b"/proc/%d/fd/%d" % (self.tid, number))
        except FileNotFoundError:
            return False
        return True

    def root(self) -> bytes:
        """What leads from our root to the tracee's: empty where they are the same."""
        if self._root is None:
            self._root = self._find_root()
        return self._root

    def _find_root(self) -> bytes:
        link = b"/proc/%d/root" % self.tid
        try:
            ours, theirs = os.stat(b"/"), os.stat(link)
            same_namespace = os.readlink(b"/proc/%d/ns/mnt" % self.tid) == os.readlink(b"/proc/self/ns/mnt")
        except PermissionError:
            return b""
        if same_namespace and (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino):
            return b""
        return link


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
        identity = _effective(tracee.status)
        if self._foreign(tracee):
            identity = identity._replace(capabilities=0)
        return None if identity == self.own else identity

    def real_of(self, tracee: Tracee) -> Identity | None:
        """The identity that access(2) judges by: real ids, and capabilities only for root."""
        if not self._privileged or (tracee.own and self.own.fsuid == 0):
            return None
        status = tracee.status
        ruid, rgid = status.ids[0], status.ids[4]
        capabilities = status.permitted if ruid == 0 and not self._foreign(tracee) else 0
        identity = Identity(ruid, rgid, status.groups, capabilities)
        return None if identity == self.own else identity

    def _foreign(self, tracee: Tracee) -> bool:
        try:
            return os.readlink(b"/proc/%d/ns/user" % tracee.tid) != self._namespace
        except PermissionError:
            return True


def _effective(status: Status) -> Identity:
    return Identity(status.ids[3], status.ids[7], status.groups, status.effective)
