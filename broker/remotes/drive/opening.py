"""From a URL to a drive. Imported only where a session has one; of the two kinds only the one that is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping

from broker.drive.errors import DriveError
from broker.errors import SetupError
from broker.remotes.drive.clients import Client
from broker.remotes.drive.locations import Embedded, locate
from broker.remotes.protocol import Remote
from broker.settings import RemoteSettings


def open_drive(settings: RemoteSettings) -> Remote:
    """The remote of a mount. SetupError, which says what to do, when it cannot be opened."""
    return open_client(settings).remote


def open_client(settings: RemoteSettings, environ: Mapping[str, str] = os.environ) -> Client:
    """The same with its parts, for the commands. An embedded drive is made when there is none."""
    where = locate(settings, environ)
    try:
        if isinstance(where, Embedded):
            from broker.remotes.drive.embedded import open_embedded

            return open_embedded(where, environ)
        from broker.remotes.drive.served import open_served

        return open_served(where, environ)
    except DriveError as error:
        raise SetupError(str(error)) from error
    except OSError as error:
        todo = "give a folder that you may write to, by XDG_DATA_HOME or as drive:///FOLDER"
        more = f"; {todo}" if isinstance(where, Embedded) else ""
        raise SetupError(f"{error.filename or settings.url}: {error.strerror}{more}") from error
