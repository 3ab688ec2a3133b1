"""seccomp-drive with a scheme more, ``faulty+file:``, whose remote goes wrong as the test at its socket says.

A script of its own rather than a module to import: what it runs must be the whole command, in processes of its own.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from launcher.cli import main
from launcher.serving import Serve


def session() -> Serve:
    """In the broker's process only."""
    from broker.session import serve
    from tests.broker.remotes.faults import SCHEMES

    return functools.partial(serve, schemes=SCHEMES)


def maintain() -> int:
    """`sync` and `status`, which know the scheme too."""
    from broker.session import mirrors_of
    from tests.broker.remotes.faults import SCHEMES

    with mock.patch("broker.maintenance.mirrors_of", functools.partial(mirrors_of, schemes=SCHEMES)):
        return main()


if __name__ == "__main__":
    sys.exit(main(session=session) if sys.argv[1] == "exec" else maintain())
