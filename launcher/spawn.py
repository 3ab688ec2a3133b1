"""The three processes of a session: every fork happens here, before any thread or event loop exists."""

from __future__ import annotations

import gc
import os
import socket
import traceback
from collections.abc import Callable, Sequence

from broker.kernel import native
from broker.settings import Settings
from launcher.inherited import Inherited, detach, pair
from launcher.say import FAILED
from launcher.serving import Serve, Serving


def run(settings: Settings, argv: Sequence[str], load: Callable[[], Serve], *, keep_running: bool = False) -> int:
    """Run `argv` with the drives of `settings`; the exit status for the caller to end with. SetupError.

    `load` gives broker.session.serve. It is called in the broker's process, because that import is slow and starts
    what must not be forked. What only one of the others needs it loads itself too, while the broker is on its way.
    `keep_running`: the program outlives a broker that dies.
    """
    inherited = Inherited.take()
    native.filter_cookie()  # drawn here, known to all
    to_broker, to_front = pair()
    front_of_init, init_of_front = pair()
    broker_of_init, init_of_broker = pair()
    listener_out, listener_in = pair()
    spare_out, spare_in = pair()
    front = os.getpid()

    def program() -> int:
        from launcher.program import become

        return become(argv, listener_out, spare_out, inherited)

    def init() -> int:
        from launcher.init import Init, adopt_orphans

        _close(to_front, listener_in, broker_of_init)  # not for the program to hold: it has to see the broker end
        adopt_orphans()
        pid = _fork(program)
        _close(listener_out, spare_out)
        detach(null=(0, 1, 2), keep=(init_of_front.fileno(), init_of_broker.fileno(), spare_in.fileno()))
        return Init(pid, init_of_front, front, init_of_broker, spare_in, keep_running=keep_running).run()

    def broker() -> int:
        _close(to_broker, front_of_init)
        _fork(init)
        _close(listener_out, init_of_front, init_of_broker, spare_out, spare_in)
        os.setsid()  # after init, which belongs to the terminal's session with the program
        detach(null=(0, 1), keep=(to_front.fileno(), listener_in.fileno(), broker_of_init.fileno()))
        os.chdir("/")
        return Serving(to_front, listener_in).run(settings, load)

    broker_pid = _fork(broker)
    from launcher.front import Front
    from launcher.init import adopt_orphans

    _close(to_front, init_of_front, broker_of_init, init_of_broker, listener_out, listener_in, spare_out)
    detach(null=(0, 1), keep=(to_broker.fileno(), front_of_init.fileno(), spare_in.fileno()))
    adopt_orphans()  # init's, should it be killed
    gc.freeze()
    gc.enable()
    return Front(broker_pid, to_broker, front_of_init, spare_in, keep_running=keep_running).run()


def _close(*ends: socket.socket) -> None:
    for end in ends:
        end.close()


def _fork(body: Callable[[], int]) -> int:
    """The pid of a child that runs `body`, exits with what it returns, and never comes back into our caller."""
    pid = os.fork()
    if pid:
        return pid
    status = FAILED
    try:
        status = body()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
