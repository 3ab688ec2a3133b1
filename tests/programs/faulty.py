"""seccomp-drive with two schemes more: the remote of ``faulty+file:`` goes wrong as the test at its socket says, and
that of ``hostile+file:`` lies.

A script of its own rather than a module to import: what it runs must be the whole command, in processes of its own.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from launcher.cli import Maintain, main
from launcher.serving import Serve


def session() -> Serve:
    """In the broker's process only."""
    from broker.remotes import checking
    from broker.session import serve
    from tests.broker.remotes.faults import SCHEMES
    from tests.broker.remotes.hostile import open_hostile

    checking.ENTRIES_MAX = 3000  # a million placeholders take minutes
    return functools.partial(serve, schemes={**SCHEMES, "hostile+file": open_hostile})


def maintenance() -> Maintain:
    """`sync` and `status`, which know the scheme too."""
    from broker.maintenance import run
    from tests.broker.remotes.faults import SCHEMES

    return functools.partial(run, schemes=SCHEMES)


if __name__ == "__main__":
    sys.exit(main(session=session, maintenance=maintenance))
