"""The way to a file, judged for its caller: of a path that the broker resolves the kernel sees only the end."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from broker.kernel.native import Identity
from broker.kernel.tracee import Tracee
from broker.mirror.mirror import Mirror
from broker.namespace.mounts import Place
from broker.syscalls import permission
from broker.syscalls.permission import Protected


class Way:
    """The folders of one call's paths. `identity` is None for the broker's own, whose fsuid `own` is."""

    __slots__ = ("_folders", "_identity", "_mirrors", "_own", "_protected", "_tracee")

    def __init__(
        self,
        mirrors: Mapping[int, Mirror],
        tracee: Tracee,
        identity: Identity | None,
        own: Identity,
        protected: Protected,
    ) -> None:
        self._mirrors = mirrors
        self._tracee = tracee
        self._identity = identity
        self._own = own
        self._protected = protected
        self._folders: list[Place] = []

    def ends_in(self, folder: Place) -> None:
        """The kernel will judge `folder` when the call is made; unless it never is, because the broker refuses it."""
        self._folders.append(folder)

    def leaves(self, folder: Place, link: bytes) -> None:
        """Judge what no later call is going to judge: `folder`, and the following of a final `link` in it. EACCES."""
        self._require_search(folder)
        if link and self._protected.symlinks:
            fsuid = (self._identity or self._own).fsuid
            status, found = os.stat(self.real(folder)), os.lstat(self.real(folder.child(link)))
            if not self._protected.may_follow(fsuid, status, found):
                raise permission.forbidden()

    def judged(self, error: OSError) -> OSError:
        """What the caller is told instead of an error that the broker has found at the end of a way.

        The kernel looks at the search rights of a folder before it looks at the names in it.
        """
        if error.errno == errno.EACCES:
            return error
        try:
            for folder in self._folders:
                self._require_search(folder)
        except OSError as refused:
            return refused
        return error

    def real(self, place: Place) -> bytes:
        """What the broker calls it."""
        if place.mount is None:
            return self._tracee.root() + place.path
        return self._mirrors[place.mount.number].tree.real(place.path)

    def _require_search(self, folder: Place) -> None:
        """EACCES where the caller may not search `folder` or one on the way to it.

        Of /proc the kernel lets a process search what is its own, whatever the modes say.
        """
        if self._identity is None and permission.searches_all(self._own):
            return
        if folder.mount is None and (folder.path + b"/").startswith(b"/proc/"):
            return
        try:
            if folder.mount is None and self._tracee.root():
                self._require_each(folder)
            elif folder.mount is not None or not permission.open_to_all(folder.path):
                permission.require(self.real(folder), os.X_OK, self._identity)
        except FileNotFoundError:  # only prefixes stand in folders that do not exist
            self._require_search(folder.parent())

    def _require_each(self, folder: Place) -> None:
        """In another root: nobody but us may follow /proc/TID/root, so every folder is judged by itself."""
        if not folder.is_root:
            self._require_each(folder.parent())
        file = os.open(self.real(folder), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            permission.require(b"/proc/self/fd/%d/." % file, os.X_OK, self._identity)
        finally:
            os.close(file)
