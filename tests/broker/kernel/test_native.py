"""Memory, status, descriptors and files of this process and of others, as `native` sees them."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracee import running

from broker.kernel import native

PAGE = mmap.PAGESIZE

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another identity")


class Pages:
    """`count` pages of our own, the last of which cannot be read."""

    def __init__(self, count: int) -> None:
        self._map = mmap.mmap(-1, count * PAGE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.end = self.address + (count - 1) * PAGE
        libc = ctypes.CDLL(None)
        assert libc.mprotect(ctypes.c_void_p(self.end), ctypes.c_size_t(PAGE), 0) == 0

    def put(self, address: int, data: bytes) -> None:
        ctypes.memmove(address, data, len(data))


@given(
    text=st.binary(max_size=2 * PAGE).map(lambda data: data.replace(b"\0", b"x")),
    gap=st.integers(min_value=0, max_value=300),
)
def test_a_string_is_read_to_its_nul_wherever_the_page_ends(text: bytes, gap: int) -> None:
    """A string that ends just before an unreadable page, or crosses a page, is read whole and nothing behind it."""
    pages = Pages(4)
    start = pages.end - len(text) - 1 - gap
    pages.put(start, text + b"\0")
    assert native.read_string(os.getpid(), start, 3 * PAGE) == text


def test_a_string_without_nul_before_an_unreadable_page_is_efault() -> None:
    """The kernel would say EFAULT as well."""
    pages = Pages(2)
    pages.put(pages.end - 10, b"x" * 10)
    with pytest.raises(OSError) as caught:
        native.read_string(os.getpid(), pages.end - 10, PAGE)
    assert caught.value.errno == errno.EFAULT


@pytest.mark.parametrize("limit", [1, 10, 256, 257, 4096])
def test_a_string_longer_than_the_limit_is_enametoolong(limit: int) -> None:
    """The NUL counts: `limit` bytes without one are too long, `limit - 1` and a NUL are not."""
    pages = Pages(4)
    pages.put(pages.address, b"x" * limit + b"\0")
    with pytest.raises(OSError) as caught:
        native.read_string(os.getpid(), pages.address, limit)
    assert caught.value.errno == errno.ENAMETOOLONG
    assert len(native.read_string(os.getpid(), pages.address, limit + 1)) == limit


@given(offset=st.integers(0, 2 * PAGE), length=st.integers(0, 4 * PAGE))
def test_memory_is_cut_off_at_the_unreadable_page(offset: int, length: int) -> None:
    """process_vm_readv fails as a whole across such a page; read_memory does not."""
    pages = Pages(3)
    pages.put(pages.address, bytes(range(256)) * (2 * PAGE // 256))
    start = pages.address + offset
    readable = pages.end - start
    if length and readable <= 0:
        with pytest.raises(OSError):
            native.read_memory(os.getpid(), start, length)
        return
    expected = (bytes(range(256)) * (2 * PAGE // 256))[offset : offset + length]
    assert native.read_memory(os.getpid(), start, length) == expected


def test_bad_pointers_are_efault() -> None:
    """NULL, kernel addresses and the top of the address space."""
    for address in (0, 1, 0xFFFF_8000_0000_0000, 2**64 - 1):
        for read in (native.read_memory, native.read_string):
            with pytest.raises(OSError) as caught:
                read(os.getpid(), address, 100)
            assert caught.value.errno == errno.EFAULT


def test_memory_is_written_whole_or_not() -> None:
    """What is written can be read back; an unwritable address is EFAULT."""
    pages = Pages(2)
    native.write_memory(os.getpid(), pages.address + 5, bytearray(b"written"))
    assert native.read_memory(os.getpid(), pages.address + 5, 7) == b"written"
    with pytest.raises(OSError) as caught:
        native.write_memory(os.getpid(), pages.end, b"x")
    assert caught.value.errno == errno.EFAULT


def test_status_says_what_proc_says() -> None:
    """Ids, groups, umask, threads and signal masks of this thread, compared with the interpreter's words for them."""
    before = os.umask(0o027)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
        status = native.status(threading.get_native_id())
        signal.sigwait([signal.SIGUSR2])
    finally:
        os.umask(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    assert status.tgid == os.getpid()
    assert status.threads >= 1
    assert status.umask == 0o027
    assert status.ids == (*os.getresuid(), os.geteuid(), *os.getresgid(), os.getegid())
    assert sorted(status.groups) == sorted(os.getgroups())
    assert status.pending & 1 << signal.SIGUSR2 - 1
    assert status.blocked & 1 << signal.SIGUSR2 - 1
    assert status.ignored & 1 << signal.SIGPIPE - 1
    assert status.effective & ~status.permitted == 0


def test_the_status_of_nobody_is_an_error() -> None:
    """A thread that is gone is ESRCH or ENOENT."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises((ProcessLookupError, FileNotFoundError)):
        native.status(child)


@root_only
def test_status_with_many_groups() -> None:
    """The line of the groups may be longer than a page."""
    groups = tuple(range(100_000, 103_000))

    def many() -> bool:
        os.setgroups(groups)
        return native.status(os.getpid()).groups == groups

    with running(many, rows=()) as session:
        assert session.result()


def test_a_descriptor_of_another_process_is_copied(tmp_path: Path) -> None:
    """The copy shares the offset with the original and is closed on exec; a number that is not open is EBADF."""
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(file, b"abc")
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        copy = native.get_descriptor(child, file)
        assert os.lseek(copy, 0, os.SEEK_CUR) == 3
        assert not os.get_inheritable(copy)
        os.close(copy)
        with pytest.raises(OSError) as caught:
            native.get_descriptor(child, 999)
        assert caught.value.errno == errno.EBADF
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(file)


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (os.O_WRONLY, True),
        (os.O_RDWR, True),
        (os.O_RDONLY, False),
        (os.O_PATH, False),
        (os.O_PATH | os.O_RDWR, False),
    ],
)
def test_another_descriptor_that_can_write(tmp_path: Path, flags: int, found: bool) -> None:
    """Of the same path, whatever else is open; the number itself is no other one."""
    path = tmp_path / "file"
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    elsewhere = os.open(tmp_path / "file2", os.O_RDWR | os.O_CREAT)
    me = os.getpid()
    assert native.other_writer(me, file) is None
    other = os.open(path, flags)
    assert native.other_writer(me, file) == (other if found else None)
    for each in (file, elsewhere, other):
        os.close(each)
    with pytest.raises(OSError) as caught:
        native.other_writer(me, file)
    assert caught.value.errno == errno.EBADF


def test_a_number_that_is_free() -> None:
    """The first one that is no descriptor."""
    me, file = os.getpid(), os.open("/", os.O_RDONLY)
    try:
        numbers = [os.dup2(file, number) for number in (300, 301, 303)]
        assert [native.free_number(me, *between) for between in ((300, 310), (300, 301), (301, 302), (304, 303))] == [
            *(302, None, 302, None)
        ]
        for number in numbers:
            os.close(number)
        assert native.free_number(me, 300, 300) == 300
    finally:
        os.close(file)


def test_open_beneath_never_leaves_the_folder(tmp_path: Path) -> None:
    """`..`, absolute paths and symlinks, also those that stay inside, are refused; plain names are opened."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "file").write_text("x")
    (tmp_path / "in" / "link").symlink_to("sub")
    folder = os.open(tmp_path / "in", os.O_RDONLY)
    try:
        os.close(native.open_beneath(folder, b"sub/file", os.O_RDONLY))
        os.close(native.open_beneath(folder, b"sub/new", os.O_WRONLY | os.O_CREAT, 0o600))
        assert (tmp_path / "in" / "sub" / "new").stat().st_mode & 0o777 == 0o600
        for path, expected in (
            (b"..", errno.EXDEV),
            (b"/etc", errno.EXDEV),
            (b"sub/../../x", errno.EXDEV),
            (b"link/file", errno.ELOOP),
            (b"none", errno.ENOENT),
        ):
            with pytest.raises(OSError) as caught:
                native.open_beneath(folder, path, os.O_RDONLY)
            assert caught.value.errno == expected, path
    finally:
        os.close(folder)


def test_spin_ends_with_the_first_event_or_in_time() -> None:
    """It takes nothing: the event is there for the next who looks; threads run meanwhile."""
    reader, writer = os.pipe()
    with select.epoll() as epoll:
        epoll.register(reader, select.EPOLLIN)
        assert not native.spin(epoll.fileno(), 0.001)
        threading.Timer(0.05, os.write, (writer, b"x")).start()
        assert native.spin(epoll.fileno(), 30)
        assert epoll.poll(0) == [(reader, select.EPOLLIN)]
    os.close(reader)
    os.close(writer)
