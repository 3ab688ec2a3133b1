"""The two ways to run a program: natively, with plain folders mounted at the prefixes, and on drives."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

_MAIN = (
    "import sys; sys.path.insert(0, {root!r}); sys.argv[0] = 'seccomp-drive'; "
    "from launcher.cli import main; sys.exit(main())"
)


@dataclass(frozen=True, slots=True)
class Mount:
    """One prefix of a scenario, and the name of the folder whose content appears there."""

    prefix: str
    name: str = "drive"
    read_only: bool = False

    def point(self, work: Path) -> Path:
        """Where the prefix is natively. A scheme is a relative path to the kernel: a folder of the working one."""
        return work / self.prefix if self.prefix.endswith(":") else Path(self.prefix)


def seccomp_drive(*arguments: str) -> list[str]:
    """The command under test: the installed script, or else this source tree."""
    script = Path(sys.executable).parent / "seccomp-drive"
    if script.exists():
        return [str(script), *arguments]
    return [sys.executable, "-I", "-c", _MAIN.format(root=str(REPOSITORY)), *arguments]


def as_user(user: int) -> list[str]:
    """The command that runs its arguments as this user and group."""
    return ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", "--"]


def native(mounts: Sequence[Mount], folders: Path, work: Path, confined: Sequence[str]) -> str:
    """A shell script that runs its arguments by the command `confined`, with each mount's folder bound to its prefix.

    The binding is private to them, and `nosuid,nodev` as a drive is. Needs root or user namespaces.
    """
    lines = ["set -e"]
    for mount in mounts:
        point = shlex.quote(str(mount.point(work)))
        options = "nosuid,nodev" + (",ro" if mount.read_only else "")
        lines.append(f"mount --bind {shlex.quote(str(folders / mount.name))} {point}")
        lines.append(f"mount -o remount,bind,{options} {point}")
    if os.geteuid() == 0:
        unshare, drop = ["unshare", "--mount"], list(confined)
    else:
        unshare = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount"]
        drop = ["setpriv", "--ambient-caps", "-all", "--inh-caps", "-all", "--"]
    inner = "\n".join([*lines, f'exec {shlex.join(drop)} "$@"'])
    return f'#!/bin/sh\nexec {shlex.join([*unshare, "--", "sh", "-c", inner, "sh"])} "$@"\n'


def brokered(mounts: Sequence[Mount], urls: Mapping[str, str], confined: Sequence[str]) -> str:
    """A shell script that runs its arguments under `seccomp-drive exec`, itself run by the command `confined`, with
    the remote at the URL of each mount's name."""
    options = []
    for mount in mounts:
        options += ["-m", f"{mount.prefix}={urls[mount.name]}" + (",ro" if mount.read_only else "")]
    command = [*confined, *seccomp_drive("exec", *options, "--")]
    return f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n'
