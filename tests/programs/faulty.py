"""seccomp-drive with a scheme more, ``faulty+file:``, whose remote goes wrong as the test at its socket says.

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
    from broker.session import serve
    from tests.broker.remotes.faults import SCHEMES

    return functools.partial(serve, schemes=SCHEMES)


def maintenance() -> Maintain:
    """`sync` and `status`, which know the scheme too."""
    from broker.maintenance import run
    from tests.broker.remotes.faults import SCHEMES

    return functools.partial(run, schemes=SCHEMES)


if __name__ == "__main__":
    sys.exit(main(session=session, maintenance=maintenance))
