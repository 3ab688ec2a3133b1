"""What the lane hands over by descriptor, working directory, socket address and interpreter."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from tracee import Probe, probing

from broker.kernel import native
from broker.table import SOCKET_CALLS

MMAP = 9
SOCKETCALL = 102
SA_NOCLDSTOP = 1
SA_RESTORER = 0x04000000
SA_RESTART = 0x10000000
RESTORER = 0x20000

both = pytest.mark.parametrize("arch", [native.AUDIT_ARCH_X86_64, native.AUDIT_ARCH_I386], ids=["x86_64", "i386"])


def test_nothing_is_in_a_mirror_before_something_was_handed_out(probe: Probe, tmp_path: Path) -> None:
    """Descriptors and relative paths then need no look; mirror paths by their names are handed over always."""
    number, seen = probe.ask("open", bytes(tmp_path / "mirror" / "file"), os.O_RDWR)
    assert seen
    assert probe.handed_over("stat", b"mirror/file")
    assert not probe.handed_over("fsync", number)
    assert not probe.handed_over("getcwd")
    assert not probe.handed_over("close", probe.ask("dup2", number, 900)[0])


def test_what_lies_in_a_mirror_is_handed_over_afterwards(probe: Probe, tmp_path: Path) -> None:
    """By descriptor, by empty path, by working directory, and through /proc."""
    probe.lane.handed_out()
    inside, _ = probe.ask("open", bytes(tmp_path / "mirror" / "file"), os.O_RDWR)
    folder, _ = probe.ask("open", bytes(tmp_path / "mirror"), os.O_RDONLY)
    outside, _ = probe.ask("open", b"/tmp", os.O_RDONLY)
    assert probe.handed_over("fsync", inside)
    assert probe.handed_over("utime", inside)
    assert probe.handed_over("stat", b"file", dir_fd=folder)
    assert probe.handed_over("stat", b"/proc/self/fd/%d" % inside)
    assert probe.handed_over("stat", b"/dev/fd/%d" % inside)
    assert not probe.handed_over("fsync", outside)
    assert not probe.handed_over("utime", outside)
    assert not probe.handed_over("stat", b"file", dir_fd=outside)
    assert not probe.handed_over("getcwd")
    assert not probe.handed_over("stat", b"elsewhere")
    assert probe.handed_over("chdir", b"mirror/sub")
    assert probe.handed_over("getcwd")
    assert probe.handed_over("stat", b"elsewhere")
    assert probe.handed_over("stat", b"../file")
    (tmp_path / "mirror" / "file").unlink()
    assert probe.handed_over("fsync", inside), "also when it has been deleted"


def test_ranged_descriptors_are_handed_over_afterwards(probe: Probe) -> None:
    """close and dup2 onto 768..1023, and getdents; other numbers never reach the lane."""
    probe.lane.handed_out()
    assert probe.handed_over("dup2", 0, 900)
    assert probe.handed_over("dup", 900)
    assert probe.handed_over("close", 900)
    received = probe.lane.counters()["received"]
    assert not probe.handed_over("close", probe.ask("dup", 0)[0])
    assert not probe.handed_over("close", -1)
    assert probe.lane.counters()["received"] == received


def test_a_descriptor_that_is_not_open_continues(probe: Probe) -> None:
    """EBADF is the kernel's to say."""
    probe.lane.handed_out()
    for number in (500, 2**31 - 1):
        assert probe.ask("fsync", number) == (-errno.EBADF, [])
        assert probe.ask("stat", b"x", dir_fd=number) == (-errno.EBADF, [])


def bind(path: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)


def test_sockets_on_a_drive_are_handed_over(tmp_path: Path) -> None:
    """bind and connect of a pathname; abstract names, other families and local paths continue."""

    def connect(address: bytes | tuple[str, int]) -> None:
        with socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX) as client:
            client.connect(address)

    with probing({"bind": bind, "connect": connect}) as probe:
        probe.ask("chdir", tmp_path)
        for name in ("bind", "connect"):
            for path in (b"/drive/socket", b"sommelier:socket"):
                _, seen = probe.ask(name, path)
                assert seen[0].paths == (path,)
        probe.ask("chdir", b"/")
        assert probe.handed_over("connect", b"drive/socket")
        assert not probe.handed_over("connect", b"\0abstract-nobody")
        assert not probe.handed_over("connect", ("127.0.0.1", 1))
        assert not probe.handed_over("bind", bytes(tmp_path / "socket"))
        assert (tmp_path / "socket").is_socket()


def multiplexed(call: int, address: bytes) -> int:
    """socketcall(2), which reads its arguments, and the address, in the lower 4 GiB."""
    low = native.call(native.AUDIT_ARCH_X86_64, MMAP, (0, 4096, 3, 0x62, -1, 0))  # MAP_32BIT, private, anonymous
    name = struct.pack("=H", socket.AF_UNIX) + address
    words = struct.pack("=III", 0, low + 12, len(name))
    ctypes.memmove(low, words + name, len(words) + len(name))
    return native.call(native.AUDIT_ARCH_I386, SOCKETCALL, (call, low))


def at(place: int) -> int:
    return native.call(native.AUDIT_ARCH_I386, SOCKETCALL, (2, place))


def test_a_32_bit_programs_sockets_are_handed_over(tmp_path: Path) -> None:
    """As by the direct calls; and where nothing can be read the kernel has the right errno."""
    with probing({"multiplexed": multiplexed, "at": at}) as probe:
        for call in SOCKET_CALLS:
            _, seen = probe.ask("multiplexed", call, b"/drive/socket")
            assert seen[0].paths == (b"/drive/socket",)
        assert probe.ask("multiplexed", 2, bytes(tmp_path / "socket")) == (-errno.ENOTSOCK, [])
        assert probe.ask("multiplexed", 2, b"\0abstract") == (-errno.ENOTSOCK, [])
        assert probe.ask("at", 16) == (-errno.EFAULT, [])
        received = probe.lane.counters()["received"]
        probe.ask("multiplexed", 5, b"/drive/socket")
        assert probe.lane.counters()["received"] == received, "accept has no path"


def spawn(path: str) -> int:
    return subprocess.run([path], stderr=subprocess.DEVNULL).returncode


@pytest.mark.parametrize(
    ("first_line", "handed_over"),
    [
        ("#!/bin/sh", False),
        ("#! /bin/sh -e", False),
        ("#!/drive/bin/sh", True),
        ("#!\t/drive/bin/sh -e", True),
        ("#!FOLDER/link", True),
        ("#!FOLDER/through", True),
        ("#!sommelier:/sh", True),
        ("exit 0", False),
    ],
)
def test_a_local_script_with_its_interpreter_on_a_drive(tmp_path: Path, first_line: str, handed_over: bool) -> None:
    """By its first line, through a local link, or through another script."""
    (tmp_path / "link").symlink_to("/drive/bin/sh")
    (tmp_path / "through").write_text("#!/drive/bin/interpreter\n")
    script = tmp_path / "script"
    script.write_text(first_line.replace("FOLDER", str(tmp_path)) + "\nexit 3\n")
    script.chmod(0o755)
    (tmp_path / "through").chmod(0o755)
    with probing({"spawn": spawn}) as probe:
        _, seen = probe.ask("spawn", str(script))
        assert [trapped.paths for trapped in seen] == ([(bytes(script),)] if handed_over else [])


def test_a_local_program_with_its_interpreter_on_a_drive(tmp_path: Path) -> None:
    """By what it names itself (PT_INTERP), and as what a script runs."""
    program, script = tmp_path / "program", tmp_path / "script"
    flags = ["-nostdlib", "-fPIE", "-pie", "-Wl,--dynamic-linker=/drive/ld.so"]
    subprocess.run(["gcc", *flags, "-x", "c", "-o", program, "-"], input=b"void _start(void) {}", check=True)
    script.write_text(f"#!{program}\n")
    script.chmod(0o755)
    with probing({"spawn": spawn}) as probe:
        for path in (program, script):
            result, seen = probe.ask("spawn", str(path))
            assert (result, [trapped.paths for trapped in seen]) == (-errno.ENOENT, [(bytes(path),)])


def test_exec_of_a_local_program_continues(tmp_path: Path) -> None:
    """Also of one that is not a regular file, which is not opened to see."""
    os.mkfifo(tmp_path / "fifo")
    with probing({"spawn": spawn}) as probe:
        assert probe.ask("spawn", "/bin/true") == (0, [])
        assert probe.ask("spawn", str(tmp_path / "fifo")) == (-errno.EACCES, [])
        assert probe.handed_over("spawn", "/drive/bin/true")


# Signals.


@both
def test_handlers_of_sigchld_restart_calls(arch: int) -> None:
    """SA_RESTART is added to the program's own struct, and nothing else changed; not to SIG_IGN and SIG_DFL."""
    width, number = (4, 174) if arch == native.AUDIT_ARCH_I386 else (8, 13)

    def flags_after(handler: int, flags: int) -> tuple[int, int, int]:
        # struct kernel_sigaction: handler, flags, restorer, mask
        fields = (handler, flags | SA_RESTORER, RESTORER, 0)
        action = b"".join(value.to_bytes(width, "little") for value in fields).ljust(3 * width + 8, b"\0")
        before = bytearray(len(action))
        native.call(arch, number, (signal.SIGCHLD, action, before, 8))
        after = bytearray(len(action))
        native.call(arch, number, (signal.SIGCHLD, before, after, 8))
        words = [int.from_bytes(after[at : at + width], "little") for at in range(0, 3 * width, width)]
        return words[0], words[1], words[2]

    with probing({"flags_after": flags_after}) as probe:
        for handler, flags, expected in (
            (0x10000, 0, SA_RESTART),
            (0x10000, SA_NOCLDSTOP, SA_NOCLDSTOP | SA_RESTART),
            (0x10000, SA_RESTART, SA_RESTART),
            (0, SA_NOCLDSTOP, SA_NOCLDSTOP),
            (1, 0, 0),
        ):
            result, seen = probe.ask("flags_after", handler, flags)
            assert result == (handler, expected | SA_RESTORER, RESTORER)
            assert not seen


def test_a_descriptor_that_only_the_program_has(probe: Probe, tmp_path: Path) -> None:
    """Behind a link to /proc/self stands the program, not the broker, whose own numbers are others."""
    number = 900
    with pytest.raises(OSError):
        os.fstat(number)
    (tmp_path / "self").symlink_to("/proc/self")
    probe.lane.handed_out()
    inside, _ = probe.ask("open", bytes(tmp_path / "mirror" / "file"), os.O_RDWR)
    probe.ask("dup2", inside, number)
    for name in (b"/dev/fd/%d" % number, bytes(tmp_path / "self/fd") + b"/%d" % number):
        assert probe.handed_over("stat", name)
        assert probe.handed_over("stat", name), "nor is it remembered as another's"
    task = b"/task/%d/cwd" % probe.session.program
    assert probe.handed_over("stat", bytes(tmp_path / "self") + task)
