"""The working day of a team on an encrypted drive: server, PostgreSQL, S3, real programs; and what leaks of it."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import obstore
import psycopg
import pytest
from obstore.store import S3Store
from psycopg import sql

from broker.drive.keyring import load_identity

from .conftest import Build
from .sides import seccomp_drive
from .team import Machine, Team, forms, machine, team
from .terminal import Terminal

pytestmark = pytest.mark.usefixtures("drive_only")

SECRET_NAME = "plan-" + os.urandom(9).hex()
SECRET_TEXT = "the text " + os.urandom(9).hex()


@dataclass(frozen=True)
class Office:
    team: Team
    alice: Machine
    bob: Machine


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Two users who have registered; what the tests of this module do is searched in the last one."""
    folder = tmp_path_factory.mktemp("team")
    with team(folder) as made:
        office = Office(made, machine(folder / "alice"), machine(folder / "bob"))
        for user, name in ((office.alice, "alice"), (office.bob, "bob")):
            said = user.drive("register", made.url, "--home", f"/{name}", "--prefix", "sommelier:").decode()
            assert re.search(r"recovery code:  ([A-Z2-7]{4}-){8}[A-Z2-7]{4}\n", said)
            assert f"fingerprint:    {name}@" in said
        yield office


def fingerprint(user: Machine) -> str:
    """As its user reads it to another one."""
    found = re.search(r"fingerprint: +(\S+)", user.drive("key", "show").decode())
    assert found
    return found[1]


def test_files_and_folders(office: Office) -> None:
    """touch, mkdir, cp into, within and out of the drive, cat, and ls with true sizes, modes and times."""
    alice = office.alice
    (alice.home / "local").write_text("some text\n")
    os.chmod(alice.home / "local", 0o640)
    os.utime(alice.home / "local", ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    alice.run("touch", "sommelier:/alice/empty")
    alice.run("mkdir", "sommelier:/alice/dir")
    alice.run("cp", "-p", "local", "sommelier:/alice/file1")
    alice.run("cp", "-p", "sommelier:/alice/file1", "sommelier:/alice/dir/file2")
    alice.run("cp", "-p", "sommelier:/alice/dir/file2", "back")
    assert (alice.home / "back").read_text() == "some text\n"
    assert alice.run("cat", "sommelier:/alice/file1", "sommelier:/alice/dir/file2") == b"some text\n" * 2
    listed = alice.run("ls", "-l", "--time-style=full-iso", "sommelier:/alice").decode().splitlines()
    assert [re.sub(r" +", " ", line).split(" ", 4)[0] for line in listed[1:]] == [
        "drwxr-xr-x",
        "-rw-r--r--",
        "-rw-r-----",
    ]
    assert " 10 2020-09-13 12:26:40.123456789 +0000 file1" in listed[3]
    assert alice.run("stat", "-c", "%s %a", "sommelier:/alice/empty") == b"0 644\n"
    assert alice.run("ls", "sommelier:/") == b"alice\n"


def test_what_the_old_system_could_not_do(office: Office, build: Build) -> None:
    """Delete, rename, modes, find, long and foreign names, a static program, and files of any size."""
    alice = office.alice
    alice.shell(
        "cd sommelier:/alice; mkdir old; touch old/a old/b; mv old/a old/c; chmod 751 old; rm old/b; mv old new;"
        "test -e new/c; test ! -e new/b; test $(stat -c %a new) = 751"
    )
    assert alice.drive("find", "sommelier:/alice/new") == b"sommelier:/alice/new/c\n"
    alice.shell("echo konnichiwa > sommelier:/alice/日本語; grep -q konni sommelier:/alice/日本*")
    long = "/".join(["a" * 99] * 3)
    alice.shell(
        f"mkdir -p sommelier:/alice/{long}; echo deep > sommelier:/alice/{long}/f; cat sommelier:/alice/{long}/f"
    )
    program = build("walker.go")
    walked = alice.run(str(program), "sommelier:/alice/new", "20")
    assert b"c" in walked
    alice.shell(
        "head -c 104857600 /dev/urandom > big; cp big sommelier:/alice/big; cmp big sommelier:/alice/big; rm big;"
        "test $(stat -c %s sommelier:/alice/big) = 104857600"
    )
    alice.run("rm", "sommelier:/alice/big")


def test_nano_saves_twice(office: Office) -> None:
    """An editor on the drive, as in the old system's own example; what it saved is seen from another machine."""
    alice = office.alice
    command = seccomp_drive("exec", "--", "nano", "sommelier:/alice/notes.txt")
    with Terminal(command, alice.environment, alice.home) as terminal:
        terminal.expect(b"notes.txt")
        for text in (b"first line", b" and more"):
            terminal.send(text + b"\x0f")
            terminal.expect(b"File Name to Write")
            terminal.send(b"\r")
            terminal.expect(b"Wrote")
        terminal.send(b"\x18")
        assert terminal.wait() == 0
    elsewhere = machine(alice.home.parent / "elsewhere")
    key = alice.home / ".local/share/seccomp-drive/keys" / f"127.0.0.1_{office.team.url.rpartition(':')[2]}.key"
    other = elsewhere.home / ".local/share/seccomp-drive/keys"
    other.mkdir(parents=True)
    (other / key.name).write_bytes(key.read_bytes())
    (other / key.name).chmod(0o600)
    mount = f"s:=drive+{office.team.url}/alice"
    assert elsewhere.drive("exec", "-m", mount, "--", "cat", "s:/notes.txt") == b"first line and more\n"


def test_sharing(office: Office) -> None:
    """By fingerprint, for reading; then for writing; then not any more, also for what is made afterwards."""
    alice, bob = office.alice, office.bob
    alice.shell(f"mkdir sommelier:/alice/report; echo '{SECRET_TEXT}' > sommelier:/alice/report/{SECRET_NAME}")
    path = f"sommelier:/alice/report/{SECRET_NAME}"
    bob.run("cat", path, status=1)
    assert "write bob@FINGERPRINT" in alice.said("share", "sommelier:/alice/report", "bob")
    alice.drive("share", "sommelier:/alice/report", fingerprint(bob))
    assert bob.run("cat", path) == f"{SECRET_TEXT}\n".encode()
    assert (
        bob.run("ls", "sommelier:/", "sommelier:/alice").split()
        == b"sommelier:/: alice bob sommelier:/alice: report".split()
    )
    bob.shell(f"echo no > {path}", status=1)
    bob.shell("touch sommelier:/alice/report/new", status=1)
    alice.drive("share", "sommelier:/alice/report", "bob", "--write")
    assert alice.drive("share", "sommelier:/alice/report").decode() == f"{fingerprint(bob)}  write\n"
    bob.shell(f"echo from bob >> {path}")
    assert alice.run("cat", path) == f"{SECRET_TEXT}\nfrom bob\n".encode()
    alice.drive("unshare", "sommelier:/alice/report", "bob")
    alice.shell(f"echo later > sommelier:/alice/report/later-{SECRET_NAME}; cat {path}")
    bob.run("cat", path, status=1)
    assert bob.run("ls", "sommelier:/") == b"bob\n"
    assert alice.drive("share", "sommelier:/alice/report") == b"shared with nobody\n"


def test_fsck_is_clean(office: Office) -> None:
    """The user's check of the tree, and the administrator's of the store."""
    assert office.alice.drive("fsck", "--data") == b"nothing is wrong\n"
    os.environ.update(office.team.seaweed.environment)
    store = ("--meta", office.team.database, "--blobs", office.team.seaweed.url)
    administrator = Machine(office.alice.home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Machine, "environment", {**administrator.environment, **office.team.seaweed.environment})
        assert administrator.drive("fsck", *store) == b"nothing is wrong\n"
        assert b"deleted" in administrator.drive("gc", "--grace", "1h", *store)


def test_nothing_leaks(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name, content or key of those that were planted is in the database, the blobs, the log, the metrics, or in
    what went over the wire, in any usual form. What is there in the clear is found, so that the search is one."""
    keys = office.alice.home / ".local/share/seccomp-drive/keys"
    identity = load_identity(str(next(keys.iterdir())), lambda _: "")
    home = identity.home_keys(1)
    assert home.seed
    secrets = [SECRET_NAME.encode(), SECRET_TEXT.encode(), identity.secret, home.read, home.seed, home.name_key]
    for name, value in office.team.seaweed.environment.items():
        monkeypatch.setenv(name, value)
    with urllib.request.urlopen(f"{office.team.url}/metrics") as answer:
        metrics = answer.read()
    places = {
        "database": dumped(office.team.database),
        "blobs": stored(office.team.seaweed.url),
        "log": office.team.server.log.encode(),
        "metrics": metrics,
        "traffic": office.team.recorder.passed,
    }
    assert identity.home in places["database"] and identity.home in places["traffic"]
    assert len(places["blobs"]) > 100_000 and places["log"] and places["metrics"]
    for place, found in places.items():
        for number, secret in enumerate(secrets):
            for form in forms(secret):
                assert form not in found, (place, number)


def dumped(database: str) -> bytes:
    """All tables of a database."""
    with psycopg.connect(database) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        rows = []
        for (table,) in tables:
            with connection.cursor(binary=True) as cursor:
                cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
                rows += [value for row in cursor for value in row]
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in rows)


def stored(url: str) -> bytes:
    """All objects of a store, with their names."""
    store = S3Store.from_url(url, client_options={"allow_http": True})
    found = []
    for page in obstore.list(store):
        for meta in page:
            found += [meta["path"].encode(), bytes(obstore.get(store, meta["path"]).bytes())]
    return b"\n".join(found)
