"""Rules of the kernel that the broker has to apply itself: rights of search, and sticky folders."""

from __future__ import annotations

import errno
import os
import stat

from msgspec import Struct

from broker.kernel import native
from broker.kernel.native import Identity
from broker.kernel.tracee import AT_FDCWD
from broker.mirror.setid import Writer

AT_EACCESS = 0x200
_FACCESSAT2 = 439
CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID = 2, 3, 4


class Protected(Struct, frozen=True):
    """The sysctls fs.protected_* (proc_sys_fs(5)), as they were when the session began."""

    symlinks: int
    regular: int
    fifos: int
    hardlinks: int

    @classmethod
    def of_this_machine(cls) -> Protected:
        return cls(_sysctl("symlinks"), _sysctl("regular"), _sysctl("fifos"), _sysctl("hardlinks"))

    def may_follow(self, fsuid: int, folder: os.stat_result, link: os.stat_result) -> bool:
        """May_follow_link in fs/namei.c: in a sticky folder that all may write to, only one's own links and those of
        the folder's owner."""
        if not self.symlinks or link.st_uid in (fsuid, folder.st_uid):
            return True
        return folder.st_mode & (stat.S_ISVTX | stat.S_IWOTH) != stat.S_ISVTX | stat.S_IWOTH

    def may_create_over(self, fsuid: int, folder: os.stat_result, file: os.stat_result) -> bool:
        """May_create_in_sticky in fs/namei.c: whether open(2) with O_CREAT may open what another has put there."""
        if not folder.st_mode & stat.S_ISVTX or file.st_uid in (fsuid, folder.st_uid):
            return True
        level = {stat.S_IFREG: self.regular, stat.S_IFIFO: self.fifos}.get(stat.S_IFMT(file.st_mode), 0)
        if level and folder.st_mode & stat.S_IWOTH:
            return False
        return not (level >= 2 and folder.st_mode & stat.S_IWGRP)

    def may_link(self, caller: Writer, uid: int, mode: int) -> bool:
        """The part of may_linkat in fs/namei.c that a mirror without set-id bits cannot judge."""
        both = stat.S_ISGID | stat.S_IXGRP
        risky = mode & stat.S_ISUID or mode & both == both
        return not (self.hardlinks and risky) or uid == caller.uid or caller.owns_all


def require(real: bytes, mode: int, identity: Identity | None, flags: int = 0) -> None:
    """Faccessat2(2) as somebody else, by effective ids: all folders of the way are judged with it. EACCES."""
    native.call(native.AUDIT_ARCH_X86_64, _FACCESSAT2, (AT_FDCWD, real, mode, AT_EACCESS | flags, 0, 0), identity)


def searches_all(identity: Identity) -> bool:
    """Whether no folder is closed to it."""
    return bool(identity.capabilities >> CAP_DAC_READ_SEARCH & 1)


def writer(identity: Identity) -> Writer:
    """What decides on the set-id bits of the files that it changes."""
    return Writer(
        identity.fsuid,
        (identity.fsgid, *identity.groups),
        capable=bool(identity.capabilities >> CAP_FSETID & 1),
        owns_all=bool(identity.capabilities >> CAP_FOWNER & 1),
    )


def open_to_all(path: bytes) -> bool:
    """Whether everybody may search a local folder and those above it, so that nobody need be impersonated to know."""
    while True:
        if ~os.stat(path).st_mode & 0o111 or _may_have_acl(path):
            return False
        if path == b"/":
            return True
        path = os.path.dirname(path)


def forbidden() -> OSError:
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _may_have_acl(path: bytes) -> bool:
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except OSError:
        return True


def _sysctl(name: str) -> int:
    try:
        with open(f"/proc/sys/fs/protected_{name}") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0
