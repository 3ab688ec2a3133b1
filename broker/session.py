"""The composition root of a broker: everything that one session needs is built and joined here."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import resource
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from broker import spinning
from broker.answering import Answerer
from broker.dispatch import Dispatcher
from broker.errors import SetupError
from broker.fronting import Fronting
from broker.kernel import native
from broker.kernel.lane import Lane, Warm
from broker.kernel.tracee import CAP_CHOWN, Credentials
from broker.mirror.content import Room, Tell
from broker.mirror.eviction import Eviction, Limits
from broker.mirror.mirror import Mirror
from broker.mirror.vouching import Vouch
from broker.namespace.mounts import Mount, Mounts
from broker.private import make_private
from broker.progress import Display, Progress
from broker.remotes.checking import Checked
from broker.remotes.paths import Path
from broker.remotes.protocol import BadAnswer, Remote, RemoteError
from broker.remotes.registry import SCHEMES, Factory, databases_of, open_remote
from broker.remotes.timing import Timed
from broker.remotes.witness import Witness
from broker.settings import MountSettings, Settings
from broker.syscalls.call import Services
from broker.syscalls.handlers import HANDLERS
from broker.syscalls.permission import Protected
from broker.table import TABLE
from broker.telling import Once, named

HELPER = os.path.join(os.path.dirname(os.path.abspath(native.__file__)), "exec-helper")
SCRIPT_QUESTION = b"/.seccomp-drive-exec"
_LANES = 2
_DESCRIPTORS = 32
"""What a session with one mount needs before the program has opened anything."""


def serve(
    settings: Settings,
    listener: int,
    ready: Callable[[], None],
    front: socket.socket,
    schemes: Mapping[str, Factory] = SCHEMES,
) -> None:
    """Serve one listener until no process is left under its filter. SetupError before `ready` was called."""
    native.end_without_memory(os.EX_OSERR)
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_DATA):
        _raise(limit)
    if 0 <= (limit := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) < _DESCRIPTORS:  # RLIM_INFINITY is -1
        raise SetupError(
            f"only {limit} files may be open here; raise the limit to {_DESCRIPTORS} at least (ulimit -n)"
        )
    os.umask(0)
    spinning.run(_serve(settings, listener, ready, front, schemes))


@contextlib.asynccontextmanager
async def mirrors_of(
    settings: Settings,
    tell: Callable[[str], None],
    schemes: Mapping[str, Factory] = SCHEMES,
    warm: Warm | None = None,
    display: Display | None = None,
) -> AsyncIterator[dict[int, Mirror]]:
    """The mirrors of all mounts, by the number of the mount, each with its remote open.

    `warm` is told what the lane may answer by itself.
    """
    eviction = Eviction(settings.cache_directory, Limits(settings.cache_limit, settings.keep_free))
    async with contextlib.AsyncExitStack() as stack:
        mirrors = {}
        for number, mount in enumerate(settings.mounts):
            vouch = warm.of(number) if warm else None
            mirror = await _open_mirror(settings, mount, tell, schemes, display or Display(), vouch, eviction)
            stack.push_async_callback(mirror.close)
            mirrors[number] = mirror
            eviction.add(mirror_directory(settings, mount), mirror.store)
            if warm is not None:
                tree, witness = mirror.tree, mirror.remote.witness or Witness()
                sources = *mirror.counters, witness.folder, witness.memory
                warm.drive(number, mount.prefix, tree.root, tree.root_fd, *sources)
                stack.callback(warm.close)
        stack.push_async_callback(eviction.close)
        eviction.start()
        yield mirrors


def mirror_directory(settings: Settings, mount: MountSettings) -> str:
    """Where the mirror of a mount is kept: one for each prefix and remote, as whoever its options say."""
    told = "".join(f"\0{name}={value}" for name, value in sorted(mount.remote.options.items()))
    what = mount.prefix + b"\0" + (mount.remote.url + told).encode(errors="surrogateescape")
    key = hashlib.blake2b(what, digest_size=12).hexdigest()
    return os.path.join(mirrors_directory(settings), key)


def mirrors_directory(settings: Settings) -> str:
    """What is private: mirrors with their ledgers."""
    return os.path.join(settings.cache_directory, "mirrors")


async def _serve(
    settings: Settings,
    listener: int,
    ready: Callable[[], None],
    front: socket.socket,
    schemes: Mapping[str, Factory],
) -> None:
    display = Display()
    tell = Once(display.tell)
    warm = Warm(len(settings.mounts))
    async with mirrors_of(settings, tell, schemes, warm, display) as mirrors:
        mounts = _mounts(settings, mirrors)
        native.sync_wake_up(listener)
        lane = _lane(listener, mounts, mirrors.values(), warm)
        services = Services(mounts, mirrors, lane, Credentials(), listener, HELPER, Protected.of_this_machine())
        answerer = Answerer(listener, tell)
        dispatcher = Dispatcher(services, HANDLERS, answerer, tell)
        serving = asyncio.ensure_future(dispatcher.serve())
        fronting = Fronting(front, mounts, mirrors, display)
        attending = asyncio.ensure_future(fronting.attend())
        for mirror in mirrors.values():
            mirror.recovery.start()
        ready()
        await serving
        for mirror in mirrors.values():
            await mirror.recovery.finish()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(fronting.answered.wait(), 5)
        attending.cancel()
        answerer.close()


async def open_guarded(
    mount: MountSettings, refused: Callable[[BadAnswer], None], schemes: Mapping[str, Factory]
) -> Remote:
    """Every remote is limited in time and checked, whatever it is: here, and nowhere else."""
    opening = asyncio.to_thread(open_remote, mount.remote, schemes)
    try:
        opened = await asyncio.wait_for(opening, mount.timeout)
    except TimeoutError:
        message = f"{named(mount.prefix)} ({mount.remote.url}): does not answer; check that its server is up"
        raise SetupError(message) from None
    return Checked(Timed(opened, mount.timeout), refused)


async def _open_mirror(
    settings: Settings,
    mount: MountSettings,
    tell: Callable[[str], None],
    schemes: Mapping[str, Factory],
    display: Display,
    vouch: Vouch | None,
    room: Room,
) -> Mirror:
    def tell_of(path: Path, what: str) -> None:
        tell(f"{named(mount.prefix, path)} {what}")

    def refused(error: BadAnswer) -> None:
        tell_of(error.path, f"is refused: {error.detail}")

    where = replace(mount.remote, hidden=_own_files(settings))
    remote = await open_guarded(replace(mount, remote=where), refused, schemes)
    try:
        return await _mirror(settings, mount, tell_of, remote, Progress(mount.prefix, display), vouch, room)
    except BaseException:
        await remote.close()
        raise


def _own_files(settings: Settings) -> tuple[str, ...]:
    """What the session works with. A mirror in itself would have no end, and to open and close a database that SQLite
    has open in this process takes its locks away (fcntl(2))."""
    databases = (path for mount in settings.mounts for path in databases_of(mount.remote))
    return (mirrors_directory(settings), *databases)


async def _mirror(
    settings: Settings,
    mount: MountSettings,
    tell: Tell,
    remote: Remote,
    progress: Progress,
    vouch: Vouch | None,
    room: Room,
) -> Mirror:
    try:
        await remote.stat(b"")
    except RemoteError as error:
        what = f"{named(mount.prefix)} ({mount.remote.url}): {error.detail or error}"
        todo = "check the remote and your access to it, or leave its mount out of the policy (another one: -p)"
        raise SetupError(f"{what}; {todo}") from error
    directory = mirror_directory(settings, mount)
    try:
        make_private(directory)
        mirror = Mirror(
            directory,
            remote,
            ttl=mount.ttl,
            read_only=mount.read_only,
            owners=_can_chown() and remote.capabilities.owners,
            progress=progress,
            tell=tell,
            vouch=vouch,
            room=room,
        )
        await mirror.recovery.prepare()
        return mirror
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        todo = "give a cache directory that you may write to, by XDG_CACHE_HOME or dir under [cache]"
        raise SetupError(f"{directory}: {reason}; {todo}") from error


def _mounts(settings: Settings, mirrors: dict[int, Mirror]) -> Mounts:
    prefixes = [_canonical(mount.prefix) for mount in settings.mounts]
    _require_apart(prefixes)
    mounts = [
        Mount(number, prefix, mount.remote.url, mount.read_only, mount.ttl)
        for number, (prefix, mount) in enumerate(zip(prefixes, settings.mounts, strict=True))
    ]
    private = os.fsencode(os.path.realpath(mirrors_directory(settings)))
    return Mounts(mounts, {number: mirror.tree.root for number, mirror in mirrors.items()}, private)


def _canonical(prefix: bytes) -> bytes:
    """Where mount(2) would put it: the folders above may be symlinks, and every spelling of them leads there."""
    folder, slash, name = prefix.rpartition(b"/")
    return os.path.join(os.path.realpath(folder or b"/"), name) if slash else prefix


def _require_apart(prefixes: Sequence[bytes]) -> None:
    """As the policy does for the prefixes as they are written."""
    for one, other in itertools.permutations(prefixes, 2):
        if other.startswith(b"/") and (one + b"/").startswith(other + b"/"):
            raise SetupError(
                f"two prefixes lead to {one.decode(errors='backslashreplace')} by a symlink; choose another for one"
            )


def _lane(listener: int, mounts: Mounts, mirrors: Iterable[Mirror], warm: Warm) -> Lane:
    ours = [SCRIPT_QUESTION, mounts.private] if mounts.private else [SCRIPT_QUESTION]
    return Lane(
        listener,
        TABLE,
        directories=[mount.prefix for mount in mounts if not mount.is_scheme] + ours,
        schemes=[mount.prefix for mount in mounts if mount.is_scheme],
        mirrors=[mirror.tree.root for mirror in mirrors],
        parents=list(mounts.parents()),
        threads=_LANES,
        warm=warm,
    )


def _raise(limit: int) -> None:
    """Each file that is being written costs a descriptor, and what is limited for the program is not meant for us."""
    _, hard = resource.getrlimit(limit)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(limit, (hard, hard))


def _can_chown() -> bool:
    return bool(native.status(os.getpid()).effective >> CAP_CHOWN & 1)
