"""What the kernel says of a call's other arguments before it looks at the path."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from broker.kernel import native
from broker.kernel.tracee import AT_FDCWD
from broker.syscalls.call import Call
from broker.syscalls.reply import Fail, Reply, Return

NOWHERE = b".seccomp-drive-nowhere/nothing"
"""A path that does not exist, so that a call on it does nothing but check its arguments."""

CHECKED: Mapping[str, Mapping[int, int]] = {
    "open": {},
    "openat": {},
    "openat2": {2: 24},
    "statx": {},
    "faccessat2": {},
    "truncate": {},
    "mknod": {},
    "mknodat": {},
    "unlinkat": {},
    "renameat2": {},
    "linkat": {},
    "fchmodat2": {},
    "fchownat": {},
    "utimensat": {2: 32},
}
"""The calls with flags or modes that can be wrong, and the sizes of what their pointers to values lead to."""


def verdict(call: Call) -> Reply | None:
    """The answer that a failed call gets on account of its other arguments alone: None if they are in order.

    Flags that do not exist are EINVAL however wrong the path is; times that are both UTIME_OMIT are a success.
    """
    pointers = CHECKED.get(call.row.name)
    if pointers is None:
        return None
    if call.trapped.arch == native.AUDIT_ARCH_I386 and call.row.name == "utimensat":
        pointers = {2: 16}  # struct old_timespec32
    try:
        buffers = {index: call.memory(index, size) for index, size in pointers.items() if call.unsigned(index)}
        paths = {path: NOWHERE for _, path in call.row.paths}
        folders = {dirfd: AT_FDCWD for dirfd, _ in call.row.paths if dirfd is not None}
        if call.row.name == "openat2":
            folders[3] = pointers[2]  # the kernel reads as much as this says
        value = call.act(paths, buffers=buffers, integers=folders, identity=call.identity())
    except OSError as error:
        return None if error.errno in (errno.ENOENT, errno.EACCES) else Fail(error.errno or errno.EIO)
    return Return(value)
