"""The policy file and the -m options."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.settings import MountSettings, RemoteSettings, Settings
from launcher import policy
from launcher.document import PolicyError, parse

READY = sorted((Path(__file__).parents[2] / "policies").glob("*.toml"))


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No policy and no home of the user who runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(policy, "SYSTEM_POLICY", str(tmp_path / "etc/policy.toml"))


def load(tmp_path: Path, text: str, *options: str) -> Settings:
    path = tmp_path / "p.toml"
    path.write_text(text)
    return policy.load(str(path), options, {})


def refusal(tmp_path: Path, text: str, *options: str) -> str:
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, text, *options)
    return str(caught.value).removeprefix(str(tmp_path / "p.toml"))


def mounts(*pairs: tuple[str, str]) -> str:
    return "".join(f'[[mount]]\nprefix = "{prefix}"\nremote = "{remote}"\n' for prefix, remote in pairs)


def test_everything_that_a_policy_can_say(tmp_path: Path) -> None:
    """Each key reaches the settings, named remotes with their own options, -m after the file's mounts."""
    text = """
        [remote.share]
        url = "drive:///srv"
        key = 3
        [[mount]]
        prefix = "/drive"
        remote = "share"
        access = "read-only"
        ttl = 2
        timeout = 7.5
        [[mount]]
        prefix = "sommelier:"
        remote = "file:///wine"
        [cache]
        dir = "$HOME/c/../cache"
        limit = "1.5GiB"
        keep_free = 0
    """
    share = RemoteSettings("drive:///srv", {"key": 3}, {"key": f"{tmp_path}/p.toml:4"})
    assert load(tmp_path, text, "/a=file:///b=c,d,ro", "/s=share") == Settings(
        mounts=(
            MountSettings(b"/drive", share, True, 2.0, 7.5),
            MountSettings(b"sommelier:", RemoteSettings("file:///wine")),
            MountSettings(b"/a", RemoteSettings("file:///b=c,d"), True),
            MountSettings(b"/s", share),
        ),
        cache_directory=f"{tmp_path}/home/cache",
        cache_limit=3 * 2**29,
        keep_free=0,
    )


def test_defaults(tmp_path: Path) -> None:
    """What is not said: read-write, one second, 10 GiB, the cache under the user's cache directory."""
    settings = policy.load(None, ["/drive=file:///srv"], {"XDG_CACHE_HOME": "/caches"})
    assert settings.mounts == (MountSettings(b"/drive", RemoteSettings("file:///srv"), False, 1.0),)
    assert (settings.cache_directory, settings.cache_limit) == ("/caches/seccomp-drive", 10 * 2**30)
    assert settings.keep_free is None
    relative = policy.load(None, [], {"XDG_CACHE_HOME": "caches"})
    assert relative.cache_directory == f"{tmp_path}/home/.cache/seccomp-drive"


def test_the_first_policy_found_is_used(tmp_path: Path) -> None:
    """-p goes before the variable, that before the user's file, that before the system's; the last two may lack."""
    places = [tmp_path / "option", tmp_path / "variable", tmp_path / "xdg/seccomp-drive/policy.toml"]
    places.append(Path(policy.SYSTEM_POLICY))
    environ = {"SECCOMP_DRIVE_POLICY": str(places[1]), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    for number, place in enumerate(places):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"cache.limit = {number + 1}")
    assert policy.load(str(places[0]), [], environ).cache_limit == 1
    assert policy.load(None, [], environ).cache_limit == 2
    del environ["SECCOMP_DRIVE_POLICY"]
    assert policy.load(None, [], environ).cache_limit == 3
    places[2].unlink()
    assert policy.load(None, [], environ).cache_limit == 4
    places[3].unlink()
    assert policy.load(None, [], environ).cache_limit == policy.CACHE_LIMIT


def test_without_any_mount_there_is_the_users_own_drive(tmp_path: Path) -> None:
    """Neither a policy nor an option: an encrypted drive at drive:. A mount of any kind takes its place."""
    own = (MountSettings(b"drive:", RemoteSettings("drive:")),)
    assert policy.load(None, [], {}).mounts == own
    assert load(tmp_path, "cache.limit = 5").mounts == own
    assert load(tmp_path, "", "/a=file:///b").mounts == (MountSettings(b"/a", RemoteSettings("file:///b")),)


def test_encrypted_drives_are_remotes(tmp_path: Path) -> None:
    """Each form of their URL is taken, with the options that a table gives."""
    text = """
        [remote.team]
        url = "drive+https://drive.example/alice"
        key = "~/alice.key"
    """
    mounts = load(
        tmp_path, text, "a:=drive:", "b:=drive:///srv/d", "c:=drive+http://localhost:8000/", "d:=team"
    ).mounts
    assert [mount.remote for mount in mounts] == [
        RemoteSettings("drive:"),
        RemoteSettings("drive:///srv/d"),
        RemoteSettings("drive+http://localhost:8000/"),
        RemoteSettings("drive+https://drive.example/alice", {"key": "~/alice.key"}, {"key": f"{tmp_path}/p.toml:4"}),
    ]


@pytest.mark.parametrize("by_option", [True, False])
def test_a_named_policy_must_exist(tmp_path: Path, by_option: bool) -> None:
    """A misspelt -p or variable is not passed over in silence."""
    missing = str(tmp_path / "missing")
    with pytest.raises(PolicyError, match="missing: No such file or directory; name an existing file"):
        policy.load(missing if by_option else None, [], {} if by_option else {"SECCOMP_DRIVE_POLICY": missing})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[mount]\n", ":1: "),
        ("\n\nx = \n", ":3: "),
        ("a = 1\na = 2", ":2: cannot overwrite a value"),
        ("\nmounts = 1", ':2: unknown key "mounts"; known here: mount, remote, cache'),
        ("mount = 3", ":1: mount is not a list; write each as [[mount]]"),
        ("mount = [1]", ":1: mount.0 is not a table"),
        ("remote = []", ":1: remote is not a table"),
        ("remote.a = 1", ":1: remote.a is not a table"),
        ("\n\n[[remote]]\nurl = 'file:/x'", ":3: remote is not a table"),
        ("[remote.a]\nurls = 'x:y'", ":1: the remote has no url"),
        ("[remote.a]\n\nurl = 'x'", ':3: "x" is not a URL'),
        ("[[mount]]\nremote = 'x:y'", ":1: the mount has no prefix"),
        ("\n[[mount]]\nprefix = '/x'", ":2: the mount has no remote"),
        (mounts(("/a", "file:/x")) + "color = 1", ':4: unknown key "color"'),
        (mounts(("/a", "file:/x")) + "access = 'write'", ':4: unknown access "write"'),
        (mounts(("/a", "file:/x")) + "access = true", ":4: access is not a text"),
        (mounts(("/a", "file:/x")) + "ttl = -1", ":4: ttl is not a time"),
        (mounts(("/a", "file:/x")) + "ttl = true", ":4: ttl is not a time"),
        (mounts(("/a", "file:/x")) + "ttl = nan", ":4: ttl is not a time"),
        (mounts(("/a", "file:/x")) + "ttl = inf", ":4: ttl is not a time"),
        (mounts(("/a", "file:/x")) + "timeout = 0", ":4: timeout is not a time"),
        (mounts(("/a", "file:/x")) + "timeout = false", ":4: timeout is not a time"),
        (mounts(("/a", "file:/x")) + "timeout = inf", ":4: timeout is not a time"),
        (mounts(("/a", "file:/x")) + "timeout = '60s'", ":4: timeout is not a time"),
        (mounts(("drive", "file:/x")), ':2: the prefix "drive" is relative'),
        (mounts(("Drive:", "file:/x")), ':2: the prefix "Drive:" has capitals; write "drive:"'),
        (mounts(("", "file:/x")), ":2: prefix is not a text"),
        (mounts(("/", "file:/x")), ":2: the prefix is the root"),
        (mounts(("//", "file:/x")), ":2: the prefix is the root"),
        (mounts(("/proc", "file:/x")), ':2: the prefix "/proc" belongs to the kernel'),
        (mounts(("/x/../sys/a", "file:/x")), ':2: the prefix "/x/../sys/a" belongs to the kernel'),
        (mounts(("/dev/shm", "file:/x")), ':2: the prefix "/dev/shm" belongs to the kernel'),
        (mounts(("/drive/", "file:/x")), ':2: the prefix "/drive/" is not in its plain form; write "/drive"'),
        (mounts(("//a/./b", "file:/x")), 'write "/a/b"'),
        (mounts(("/etc/passwd", "file:/x")), ':2: the prefix "/etc/passwd" is a file here'),
        (mounts((f"/{'a' * 4096}", "file:/x")), ":2: the prefix is no path"),
        (mounts(("/a\\u0000", "file:/x")), ":2: the prefix is no path"),
        (mounts(("/a", "file:/x"), ("/a", "file:/y")), ':4: there is a mount at "/a" already'),
        (mounts(("a:", "file:/x"), ("a:", "file:/y")), ':4: there is a mount at "a:" already'),
        (mounts(("/a", "file:/x"), ("/a/b", "file:/y")), ':4: the prefixes "/a" and "/a/b" overlap'),
        (mounts(("/a/b", "file:/x"), ("/a", "file:/y")), ':4: the prefixes "/a/b" and "/a" overlap'),
        (mounts(("/a", "share")), ':3: unknown remote "share"; write a URL'),
        ("remote.b.url = 'file:/y'\n" + mounts(("/a", "share")), ':4: unknown remote "share" (there is b)'),
        (mounts(("/a", "/srv")), ':3: unknown remote "/srv"; write file:///srv'),
        ("[remote.b]\nurl = 'file:/y'\nkey = 'x'", ':3: unknown option "key"; remove it'),
        ("[remote.b]\nurl = 'drive:///y'\n\nkeys = 'x'", ':4: unknown option "keys"; known here: url, blobs, key'),
        ("[cache]\nlimit = 0", ":2: limit is no size"),
        ("[cache]\nlimit = true", ":2: "),
        ("[cache]\nkeep_free = -1", ":2: keep_free is no size"),
        ("[cache]\nlimit = '10 Gib'", ':2: limit is no size; write one such as "10GiB"'),
        (f"[cache]\nlimit = '{'9' * 400}GiB'", ":2: limit is no size"),
        (f"[cache]\nlimit = {'9' * 400}", ":2: limit is no size"),
        (f"[cache]\nlimit = 0x{'f' * 5000}", ":2: limit is no size"),
        (mounts(("/a", "file:/x")) + f"ttl = {'9' * 400}", ":4: ttl is not a time"),
        (mounts(("/a", "file:/x")) + f"timeout = {'9' * 400}", ":4: timeout is not a time"),
        (f"[cache]\n\nlimit = {'9' * 5000}", ":3: a number or a nesting that has no end"),
        (f"[cache]\n\nlimit = {'[' * 2000}{']' * 2000}", ":3: a number or a nesting that has no end"),
        (f"[cache]\n\nlimit = {'[' * 2000}", ":3: a number or a nesting that has no end"),
        (f"\n\nlimit = {'{a=' * 2000}1{'}' * 2000}", ":3: a number or a nesting that has no end"),
        ("[cache]\n\ndir = 'cache'", ':3: "cache" is no absolute folder'),
        ("[cache]\ndir = '$NO_SUCH_VARIABLE/x'", ':2: "$NO_SUCH_VARIABLE/x" is no absolute folder'),
        ("[cache]\nsize = 1", ':2: unknown key "size"; known here: dir, limit, keep_free'),
    ],
)
def test_what_is_refused_and_where(tmp_path: Path, text: str, message: str) -> None:
    """Every bad value is refused with the file, the line, what is wrong and what to write."""
    said = refusal(tmp_path, text)
    assert message in said
    assert re.match(r":\d+: [^;]+; .", said)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("/drive", '-m /drive: no "="'),
        ("/drive=file:/x,rw", '-m /drive=file:/x,rw: unknown option "rw"'),
        ("=file:/x", '-m =file:/x: the prefix "" is relative'),
        ("/d=", '-m /d=: unknown remote ""'),
        ("/d=share,ro", 'unknown remote "share"'),
        ("/a/b=file:/x", '-m /a/b=file:/x: the prefixes "/a" and "/a/b" overlap'),
    ],
)
def test_what_is_refused_of_an_option(tmp_path: Path, option: str, message: str) -> None:
    """A bad -m is named as it was written."""
    assert message in refusal(tmp_path, mounts(("/a", "file:/x")), option)


def test_neighbours_do_not_overlap(tmp_path: Path) -> None:
    """/drivex is not /drive."""
    assert (
        len(load(tmp_path, mounts(("/drive", "file:/b"), ("/drivex", "file:/b"), ("drive:", "file:/b"))).mounts) == 3
    )


@given(number=st.integers(1, 999), unit=st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB", "KB", "MB", "GB", "TB"]))
def test_sizes(number: int, unit: str) -> None:
    """Binary units are powers of 1024, decimal ones of 1000."""
    base = 1024 if "i" in unit else 1000
    powers = {"B": 0, "K": 1, "M": 2, "G": 3, "T": 4}
    document = parse("p", f'limit = "{number}{unit}"').table()
    assert policy._size(document["limit"]) == number * base ** powers[unit[0]]


VALUE = st.sampled_from(
    ["1", "-1", "true", "nan", '""', '"/a"', '"/a/b"', '"s:"', '"x:y"', '"r"', "[]", "{}", "[{}]", "[1]"]
)
KEY = st.sampled_from(
    [
        "mount",
        "remote",
        "cache",
        "prefix",
        "url",
        "access",
        "ttl",
        "timeout",
        "dir",
        "limit",
        "keep_free",
        "other",
        "remote.r.url",
    ]
)
HEADER = st.sampled_from(["[[mount]]", "[remote.r]", "[cache]", "[mount]", "[remote]", "[[remote]]", "[other]"])
LINE = st.one_of(HEADER, st.builds("{} = {}".format, KEY, VALUE), st.sampled_from(["", "# x", "]", '"""']))


@given(st.lists(LINE, max_size=12))
def test_any_text_is_settings_or_a_refusal_with_its_line(lines: list[str]) -> None:
    """No text, valid TOML or not, ends in another exception or a line that does not exist."""
    path = f"/proc/self/fd/{(file := os.memfd_create('policy'))}"
    os.write(file, "\n".join(lines).encode())
    try:
        assert isinstance(policy.load(path, [], {}), Settings)
    except PolicyError as error:
        found = re.match(rf"{path}:(\d+): ", str(error))
        assert found and 1 <= int(found[1]) <= max(len(lines), 1)
    finally:
        os.close(file)


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_the_ready_policies_load(path: Path) -> None:
    """Every file under policies/ is valid."""
    assert policy.load(str(path), [], {}).mounts


def test_there_are_ready_policies() -> None:
    """The four that the documentation promises are there."""
    assert [path.stem for path in READY] == ["one-drive", "read-only", "scheme", "several-mounts"]
