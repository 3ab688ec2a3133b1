"""renameat2(2): the forms of rename that Python has no words for."""

from __future__ import annotations

import errno
import os
import stat

from broker.kernel import native

_RENAMEAT2 = 316
_NOREPLACE = 1
_EXCHANGE = 2
_NO_FLAGS = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def exchange(folder: int, name: bytes, other_folder: int, other: bytes) -> None:
    """Swap two names in one step; EINVAL or ENOSYS where the file system cannot."""
    _renameat2(folder, name, other_folder, other, _EXCHANGE)


def move_to_free_name(folder: int, name: bytes, new_folder: int, new: bytes) -> None:
    """Rename, or EEXIST when there is something at `new`.

    NFS and others lack RENAME_NOREPLACE. There a second link does the same; for what cannot have one (folders), a
    look before leaves a moment in which somebody else's empty folder of that name can be replaced.
    """
    try:
        return _renameat2(folder, name, new_folder, new, _NOREPLACE)
    except OSError as error:
        if error.errno not in _NO_FLAGS:
            raise
    if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        try:
            os.link(name, new, src_dir_fd=folder, dst_dir_fd=new_folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return os.unlink(name, dir_fd=folder)
    try:
        os.stat(new, dir_fd=new_folder, follow_symlinks=False)
    except FileNotFoundError:
        return os.rename(name, new, src_dir_fd=folder, dst_dir_fd=new_folder)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _renameat2(folder: int, name: bytes, new_folder: int, new: bytes, flags: int) -> None:
    native.call(native.AUDIT_ARCH_X86_64, _RENAMEAT2, (folder, name, new_folder, new, flags))
