"""The lane's own answers: a stat of what the broker has vouched for, for callers who act as the broker does."""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from vouched import Setting, setting_of

from broker.kernel import native

STATX = 332
SETFSUID, SETFSGID, CAPSET = 122, 123, 126
CLONE_NEWUSER = 0x10000000
BASIC_STATS = 0x7FF
OFFSETS = {"nlink": (16, 20), "mode": (28, 30), "ino": (32, 40), "blocks": (48, 56)}


def statx(path: bytes, flags: int = 0) -> bytes:
    buffer = bytearray(256)
    native.call(native.AUDIT_ARCH_X86_64, STATX, (-100, path, flags, BASIC_STATS, buffer))
    return bytes(buffer)


def statx_to(path: bytes, address: int) -> int:
    return native.call(native.AUDIT_ARCH_X86_64, STATX, (-100, path, 0, BASIC_STATS, address))


def number(answer: bytes, field: str) -> int:
    return int.from_bytes(answer[slice(*OFFSETS[field])], "little")


def set_fs_ids(uid: int, gid: int) -> None:
    native.call(native.AUDIT_ARCH_X86_64, SETFSGID, (gid,))
    native.call(native.AUDIT_ARCH_X86_64, SETFSUID, (uid,))


def drop_capabilities() -> None:
    native.call(native.AUDIT_ARCH_X86_64, CAPSET, (b"\x22\x05\x08\x20" + bytes(4), bytes(24)))


def identities() -> tuple[native.Identity, native.Identity]:
    status = native.status(os.getpid())
    permitted = 0 if status.ids[0] else status.permitted
    return (
        native.Identity(status.ids[3], status.ids[7], status.groups, status.effective),
        native.Identity(status.ids[0], status.ids[4], status.groups, permitted),
    )


def unshare_user() -> int:
    return ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER)


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    more = {
        "statx": statx,
        "statx_to": statx_to,
        "set_fs_ids": set_fs_ids,
        "drop_capabilities": drop_capabilities,
        "identities": identities,
        "unshare_user": unshare_user,
    }
    with setting_of(tmp_path, more) as made:
        yield made


@pytest.mark.parametrize("call", ["stat", "lstat", "statx"])
def test_a_fresh_name_is_answered_as_the_mirror_has_it(setting: Setting, call: str) -> None:
    """With all the fields of the mirror's node, by every call of the family."""
    setting.vouch("d", "d/file")
    if call == "statx":
        assert setting.answered("statx", b"/drive/d/file") == statx(os.fsencode(setting.tree / "d/file"))
    else:
        assert setting.answered(call, "/drive/d/file") == tuple((setting.tree / "d/file").lstat())


def test_what_the_remote_knows_better_is_shown(setting: Setting) -> None:
    """Links, blocks and set-id bits, each only where it was given."""
    setting.vouch("d")
    ino = (setting.tree / "d/file").stat().st_ino
    setting.drive.name(b"d/file", time.monotonic() + 60)
    setting.drive.node(ino, 7, 88, 0o4000, False)
    shown = setting.answered("statx", b"/drive/d/file")
    assert [number(shown, field) for field in ("nlink", "blocks", "ino")] == [7, 88, ino]
    assert number(shown, "mode") & 0o7000 == 0o4000
    setting.drive.node(ino, None, 88, 0, False)
    shown = setting.answered("statx", b"/drive/d/file")
    assert [number(shown, "nlink"), number(shown, "blocks")] == [1, 88]
    assert setting.answered("stat", "/drive/d/file")[1] == ino


def test_only_what_is_fresh_is_answered(setting: Setting) -> None:
    """Neither a name that was never vouched for, nor one whose time is over, whose folder is not fresh, or that was
    taken back."""
    setting.vouch("d/file")
    assert setting.handed_over("stat", "/drive/d/file")
    setting.vouch("d", until=-1)
    assert setting.handed_over("stat", "/drive/d/file")
    setting.vouch("d")
    setting.answered("stat", "/drive/d/file")
    setting.drive.name(b"d", 0)
    assert setting.handed_over("stat", "/drive/d/file")
    setting.vouch("d")
    setting.drive.forget_names()
    assert setting.handed_over("stat", "/drive/d/file")


def test_a_listing_vouches_for_its_names(setting: Setting) -> None:
    """Those that are there need a node; those that are not are ENOENT."""
    setting.drive.listing(b"", time.monotonic() + 60)
    setting.drive.listing(b"d", time.monotonic() + 60)
    assert setting.handed_over("stat", "/drive/d/file")
    setting.drive.node((setting.tree / "d/file").stat().st_ino, None, None, 0, False)
    setting.answered("stat", "/drive/d/file")
    assert setting.answered("stat", "/drive/d/other") == -errno.ENOENT
    assert setting.answered("stat", "/drive/d")[0] == (setting.tree / "d").stat().st_mode
    setting.drive.listing(b"d", 0)
    setting.drive.name(b"d", time.monotonic() + 60)
    assert setting.handed_over("stat", "/drive/d"), "a folder's links are only right when it is listed"


def test_a_node_counts_while_nobody_has_changed_the_ledger(setting: Setting) -> None:
    """Another session's change shows in the shared numbers; a node may also be forgotten."""
    setting.vouch("d", "d/file")
    setting.answered("stat", "/drive/d/file")
    setting.shared[9] = 1
    assert setting.handed_over("stat", "/drive/d/file")
    setting.shared[9] = 0
    setting.drive.forget_node((setting.tree / "d/file").stat().st_ino)
    assert setting.handed_over("stat", "/drive/d/file")
    setting.vouch("d/file")
    setting.drive.forget_nodes()
    assert setting.handed_over("stat", "/drive/d/file")


def test_symlinks_are_the_brokers(setting: Setting) -> None:
    """Unless the call is about the link itself."""
    setting.vouch("link", "d", "d/file")
    assert setting.answered("lstat", "/drive/link") == tuple((setting.tree / "link").lstat())
    assert setting.handed_over("stat", "/drive/link")
    (setting.tree / "folder").symlink_to("d")
    setting.vouch("folder", "folder/file")
    assert setting.handed_over("stat", "/drive/folder/file")


def test_every_spelling_of_an_ordinary_path(setting: Setting) -> None:
    """Doubled slashes and dots, a scheme, a working directory and a descriptor in the mirror."""
    setting.vouch("d", "d/file")
    expected = tuple((setting.tree / "d/file").stat())
    assert setting.answered("stat", "//drive/./d//file") == expected
    setting.probe.ask("chdir", setting.tree / "d")
    setting.probe.lane.forget_links()
    assert setting.answered("stat", "file") == expected
    descriptor = setting.probe.ask("open", setting.tree, os.O_PATH)[0]
    assert setting.answered("stat", "d/file", dir_fd=descriptor) == expected
    for other in ("/drive/d/file/", "/drive/d/../d/file", "/drive/d/.", "/drive", "sommelier:d/file"):
        assert setting.handed_over("stat", other), other


def test_a_scheme_is_no_name_in_a_folder(setting: Setting) -> None:
    """Also where all names of the folder are known, and it is none of them."""
    setting.drive.listing(b"", time.monotonic() + 60)
    setting.drive.listing(b"d", time.monotonic() + 60)
    setting.probe.ask("chdir", setting.tree / "d")
    setting.probe.lane.forget_links()
    assert setting.answered("stat", "other:") == -errno.ENOENT
    for path in ("sommelier:", "/drive/d/sommelier:", "../d/sommelier:"):
        assert setting.handed_over("stat", path), path


def test_a_folder_that_was_removed_is_no_other(setting: Setting) -> None:
    """The kernel shows a working directory without a name by one that another folder may have."""
    (setting.tree / "gone").mkdir()
    (setting.tree / "gone (deleted)").mkdir()
    (setting.tree / "gone (deleted)" / "file").touch()
    setting.vouch("gone (deleted)", "gone (deleted)/file")
    setting.answered("stat", "/drive/gone (deleted)/file")
    setting.probe.ask("chdir", setting.tree / "gone")
    setting.probe.lane.forget_links()
    (setting.tree / "gone").rmdir()
    assert setting.handed_over("stat", "file")


def test_a_bad_pointer(setting: Setting) -> None:
    """EFAULT, as from the kernel."""
    setting.vouch("d", "d/file")
    assert setting.answered("statx_to", b"/drive/d/file", 8) == -errno.EFAULT


OTHERS = pytest.mark.skipif(os.geteuid() != 0, reason="only root has other identities to take")


@OTHERS
@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        (("set_fs_ids", 1000, 0), False),
        (("set_fs_ids", 0, 1000), True),
        (("setresuid", 1000, 0, 0), True),
        (("setresuid", 1000, 1000, 0), False),
        (("setgroups", [5]), True),
        (("drop_capabilities",), True),
    ],
    ids=str,
)
def test_a_caller_who_acts_as_somebody_else(setting: Setting, change: tuple[Any, ...], allowed: bool) -> None:
    """By any part of an identity alone: answered as the kernel judges that one, and what it refuses not at all."""
    setting.vouch("d", "d/file", "d/none")
    expected = setting.answered("stat", "/drive/d/file")
    assert not setting.probe.ask(*change)[0]
    assert setting.answered("stat", "/drive/d/file") == expected
    assert setting.answered("stat", "/drive/d/none") == -errno.ENOENT
    (setting.tree / "d").chmod(0o700)
    assert setting.handed_over("stat", "/drive/d/file") is not allowed
    assert setting.handed_over("stat", "/drive/d/none") is not allowed
    (trapped,) = setting.probe.ask("mkdir", "/drive/d/file")[1]
    assert not trapped.own and not trapped.rooted
    assert (trapped.identity, trapped.real) == setting.probe.ask("identities")[0]


@OTHERS
def test_groups_are_those_of_the_moment(setting: Setting) -> None:
    """They are read once, and again after any change."""
    setting.vouch("d", "d/file")
    (setting.tree / "d").chmod(0o710)
    os.chown(setting.tree / "d", -1, 5)
    for groups in ([5], [6, 7], [], [6, 5]):
        setting.probe.ask("setgroups", groups)
        setting.probe.ask("set_fs_ids", 1000, 1000)
        for _ in range(2):
            assert setting.handed_over("stat", "/drive/d/file") is (5 not in groups), groups
        setting.probe.ask("set_fs_ids", 0, 0)


@OTHERS
def test_the_way_to_the_drive(tmp_path: Path) -> None:
    """The folders above a prefix are judged too, as they are by now; of a relative path they are not."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as above,
        setting_of(tmp_path, {"set_fs_ids": set_fs_ids}, prefix=f"{above}/drive".encode()) as setting,
    ):
        setting.vouch("d", "d/file")
        setting.probe.ask("chdir", setting.tree / "d")
        setting.probe.lane.forget_links()
        setting.probe.ask("set_fs_ids", 1000, 1000)
        for mode in (0o755, 0o700, 0o711):
            os.chmod(above, mode)
            assert setting.handed_over("stat", f"{above}/drive/d/file") is (mode == 0o700)
            setting.answered("stat", "file")


@OTHERS
def test_another_user_namespace(setting: Setting) -> None:
    """Its ids are others to us: the broker is asked."""
    setting.vouch("d", "d/file")
    setting.answered("stat", "/drive/d/file")
    assert not setting.probe.ask("unshare_user")[0]
    (trapped,) = setting.probe.ask("stat", "/drive/d/file")[1]
    assert (trapped.own, trapped.identity, trapped.rooted) == (False, None, True)


@OTHERS
def test_an_identity_is_looked_at_for_every_call(setting: Setting) -> None:
    """Taken for a moment and given back, as servers do with setfsuid(2)."""
    setting.vouch("d", "d/file")
    (setting.tree / "d").chmod(0o700)
    for uid in (0, 1000, 0):
        setting.probe.ask("set_fs_ids", uid, 0)
        assert setting.handed_over("stat", "/drive/d/file") is (uid != 0)
