"""The policy: a TOML file and the ``-m`` options, checked and turned into the broker's settings."""

from __future__ import annotations

import os
import posixpath
import re
import stat
import sys
from collections.abc import Mapping, Sequence

from broker.settings import DRIVE_PREFIX, DRIVE_URL, REMOTE_OPTIONS, MountSettings, RemoteSettings, Settings
from launcher.document import PolicyError, Value, parse

CACHE_LIMIT = 10 * 2**30
TTL = 1.0
TIMEOUT = 60.0
SYSTEM_POLICY = "/etc/seccomp-drive/policy.toml"

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
_URL = re.compile(r"[a-z][a-z0-9+.-]*:.+|drive:", re.DOTALL)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(B|[KMGT]i?B)")
_SIZE_MAX = 2**63 - 1
_PATH_MAX = 4096
_KERNEL_FOLDERS = ("/proc", "/sys", "/dev")

Remotes = Mapping[str, RemoteSettings]


def load(policy: str | None, options: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """The settings of the policy file, if there is one, with the ``-m`` `options` added. PolicyError.

    Where neither has a mount, the user's own encrypted drive is at ``drive:``.

    The file is `policy`, else the first of ``$SECCOMP_DRIVE_POLICY``,
    ``$XDG_CONFIG_HOME/seccomp-drive/policy.toml`` and ``/etc/seccomp-drive/policy.toml``.
    """
    document = parse(*_read(policy or environ.get("SECCOMP_DRIVE_POLICY"), environ))
    tables = document.table("mount", "remote", "cache")
    cache = tables.get("cache", document.item("cache", {})).table("dir", "limit", "keep_free")
    remotes = {
        name: _remote(table) for name, table in tables.get("remote", document.item("remote", {})).table().items()
    }
    placed = [(row, _mount(row, remotes)) for row in tables.get("mount", document.item("mount", [])).rows()]
    placed += [(row, _option(row, remotes)) for row in (Value(f"-m {text}", text) for text in options)]
    _apart(placed)
    return Settings(
        mounts=tuple(mount for _, mount in placed) or (MountSettings(DRIVE_PREFIX, RemoteSettings(DRIVE_URL)),),
        cache_directory=_directory(cache["dir"]) if "dir" in cache else _default_cache(environ),
        cache_limit=_size(cache["limit"]) if "limit" in cache else CACHE_LIMIT,
        keep_free=_size(cache["keep_free"], least=0) if "keep_free" in cache else None,
    )


def _read(named: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    """(path, text) of the policy file; an empty text when nobody named one and none is in the usual places."""
    home = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    for path in (named,) if named else (f"{home}/seccomp-drive/policy.toml", SYSTEM_POLICY):
        try:
            with open(path, encoding="utf-8") as file:
                return path, file.read()
        except (FileNotFoundError, NotADirectoryError) as error:
            if named:
                raise PolicyError(f"{path}: {error.strerror}; name an existing file with -p") from None
        except OSError as error:
            if named or os.path.exists(path):  # false in a folder that is closed to us, as that of another user
                raise PolicyError(f"{path}: {error.strerror}; make it a readable file") from None
        except UnicodeDecodeError:
            raise PolicyError(f"{path}: not UTF-8 text; a policy is a TOML file") from None
    return "no policy file", ""


def _remote(table: Value) -> RemoteSettings:
    items = table.table()
    if "url" not in items:
        raise table.error('the remote has no url; add one such as url = "file:///srv/share"')
    url = items["url"].text()
    if not _URL.fullmatch(url):
        raise items["url"].error(f'"{url}" is not a URL; write one such as "file:///srv/share"')
    _known_scheme(items["url"], url)
    options = {name: item for name, item in items.items() if name != "url"}
    known = REMOTE_OPTIONS.get(url.partition(":")[0], tuple(options))
    for name, item in options.items():
        if name not in known:
            advice = f"known here: url, {', '.join(known)}" if known else "remove it: such a remote has only a url"
            raise item.error(f'unknown option "{name}"; {advice}')
    return RemoteSettings(
        url,
        {name: item.value for name, item in options.items()},
        {name: item.place for name, item in options.items()},
    )


def _mount(row: Value, remotes: Remotes) -> MountSettings:
    items = row.table("prefix", "remote", "access", "ttl", "timeout")
    for name, example in (("prefix", "/drive"), ("remote", "file:///srv/share")):
        if name not in items:
            raise row.error(f'the mount has no {name}; add one such as {name} = "{example}"')
    return MountSettings(
        prefix=prefix_of(items["prefix"], items["prefix"].text()),
        remote=_which(items["remote"], items["remote"].text(), remotes),
        read_only="access" in items and _read_only(items["access"]),
        ttl=_seconds(items["ttl"], none=True) if "ttl" in items else TTL,
        timeout=_seconds(items["timeout"]) if "timeout" in items else TIMEOUT,
    )


def _option(option: Value, remotes: Remotes) -> MountSettings:
    """One ``-m PREFIX=REMOTE[,ro]``."""
    prefix, equals, remote = str(option.value).partition("=")
    if not equals:
        raise option.error('no "=" between prefix and remote; write for example -m /drive=file:///srv/share')
    url, comma, access = remote.rpartition(",")
    if comma and access != "ro" and access.isalpha():
        raise option.error(f'unknown option "{access}"; the only one is ",ro" (write a comma of a path as %2C)')
    where = _which(option, url if access == "ro" and comma else remote, remotes)
    return MountSettings(prefix_of(option, prefix), where, bool(comma) and access == "ro", TTL, TIMEOUT)


def _read_only(item: Value) -> bool:
    access = item.text()
    if access not in ("read-write", "read-only"):
        raise item.error(f'unknown access "{access}"; write "read-write" or "read-only"')
    return access == "read-only"


def _seconds(item: Value, *, none: bool = False) -> float:
    """More than 0, or with `none` also 0."""
    seconds = item.value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        seconds = -1
    if not 0 <= seconds <= sys.float_info.max or not (seconds or none):
        wanted = "0 or more" if none else "more than 0"
        raise item.error(f"{item.key[-1]} is not a time; write a number of seconds, {wanted}")
    return float(seconds)


def _which(place: Value, name: str, remotes: Remotes) -> RemoteSettings:
    if name in remotes:
        return remotes[name]
    if _URL.fullmatch(name):
        _known_scheme(place, name)
        return RemoteSettings(name)
    known = f" (there is {', '.join(sorted(remotes))})" if remotes else ""
    advice = f"write file://{name}" if name.startswith("/") else "write a URL or the name of a [remote.NAME]"
    raise place.error(f'unknown remote "{name}"{known}; {advice}')


def _known_scheme(place: Value, url: str) -> None:
    """The scheme, or the last part of one such as ``cached+file``, is that of a remote."""
    scheme = url.partition(":")[0]
    if not {scheme, scheme.rpartition("+")[2]} & set(REMOTE_OPTIONS):
        known = ", ".join(f"{name}:" for name in REMOTE_OPTIONS)
        raise place.error(f'there are no {scheme}: remotes, as in "{url}"; choose one of {known}')


def prefix_of(place: Value, prefix: str) -> bytes:
    """A prefix that programs can write. PolicyError, which blames `place`."""
    if not prefix.startswith("/"):
        if _SCHEME.fullmatch(prefix):
            return prefix.encode()
        if _SCHEME.fullmatch(prefix.lower()):
            raise place.error(f'the prefix "{prefix}" has capitals; write "{prefix.lower()}"')
        raise place.error(f'the prefix "{prefix}" is relative; write "/drive", or a scheme such as "drive:"')
    encoded = os.fsencode(prefix)
    if b"\0" in encoded or len(encoded) >= _PATH_MAX:
        raise place.error("the prefix is no path that a program could open; choose another")
    normal = posixpath.normpath("/" + prefix.lstrip("/"))
    if normal == "/":
        raise place.error('the prefix is the root; choose a folder such as "/drive"')
    if any(_within(normal, folder) for folder in _KERNEL_FOLDERS):
        raise place.error(f'the prefix "{prefix}" belongs to the kernel; choose a folder such as "/drive"')
    if normal != prefix:
        raise place.error(f'the prefix "{prefix}" is not in its plain form; write "{normal}"')
    if _is_file(prefix):
        raise place.error(f'the prefix "{prefix}" is a file here; choose a folder, which need not exist')
    return encoded


def _is_file(path: str) -> bool:
    try:
        return not stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return False


def _apart(placed: Sequence[tuple[Value, MountSettings]]) -> None:
    """No prefix may lie in another, or be there twice."""
    for index, (place, mount) in enumerate(placed):
        own = os.fsdecode(mount.prefix)
        for _, earlier in placed[:index]:
            other = os.fsdecode(earlier.prefix)
            if own == other:
                raise place.error(f'there is a mount at "{own}" already; choose another prefix')
            if _within(own, other) or _within(other, own):
                raise place.error(f'the prefixes "{other}" and "{own}" overlap; move one out of the other')


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _default_cache(environ: Mapping[str, str]) -> str:
    base = environ.get("XDG_CACHE_HOME", "")
    return f"{base if base.startswith('/') else os.path.expanduser('~/.cache')}/seccomp-drive"


def _directory(item: Value) -> str:
    path = os.path.expanduser(os.path.expandvars(item.text()))
    if not path.startswith("/") or "$" in path or "\0" in path:
        raise item.error(f'"{item.value}" is no absolute folder; write one such as "~/.cache/drive"')
    return posixpath.normpath(path)


def _size(item: Value, least: int = 1) -> int:
    """Bytes, `least` or more: an integer, or a text such as ``10GiB`` (powers of 1024) or ``10GB`` (of 1000)."""
    size = item.value
    if isinstance(size, str) and (match := _SIZE.fullmatch(size)):
        number, unit = match.groups()
        power = " KMGT".index(unit[0]) if len(unit) > 1 else 0
        size = float(number) * (1024 if "i" in unit else 1000) ** power
    elif isinstance(size, bool) or not isinstance(size, int):
        size = -1
    if not least <= size <= _SIZE_MAX:
        raise item.error(f'{item.key[-1]} is no size; write one such as "10GiB"')
    return int(size)
