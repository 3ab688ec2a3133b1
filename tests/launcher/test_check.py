"""`check` tries what this machine allows, and says what to do about the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher import check as checking
from launcher import probe
from launcher.check import Finding, cache, check, descriptors, kernel, supervised

CONTINUING = Path(__file__).with_name("continuing.py")


def test_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the tests run all is there: one line each, exit status 0; also for who was told to ignore SIGCHLD."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    policy = tmp_path / "p.toml"
    policy.write_text('[[mount]]\nprefix = "/drive"\nremote = "file:///srv"\n')
    assert check(str(policy), []) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in ("ok", "warn") for line in lines)
    for topic in (
        "kernel",
        "user notification",
        "WAIT_KILLABLE_RECV",
        "wake-up",
        "ADDFD",
        "ptrace",
        "drops its ids",
        "descriptor limit",
        "32-bit",
        "io_uring",
        "policy: /drive",
        "cache",
    ):
        assert sum(topic in line for line in lines) == 1, topic


def test_a_remote_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Each mount's remote is asked: one that answers is ok, one that does not is wrong, with what to do."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert check(None, [f"/here=file://{tmp_path}", f"/there=file://{tmp_path}/gone"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert f"ok      remote file://{tmp_path} at /here answers" in lines
    (wrong,) = [line for line in lines if line.startswith("wrong")]
    assert f"file://{tmp_path}/gone at /there;" in wrong and "create it" in wrong


def test_a_bad_policy_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """check -p tells the line, and exits with 1."""
    policy = tmp_path / "p.toml"
    policy.write_text("x = 1")
    assert check(str(policy), []) == 1
    assert f"wrong   policy; {policy}:1: unknown key" in capsys.readouterr().out


def test_another_listener_is_found_out() -> None:
    """Under a filter with a listener no second one is possible, and check says so."""
    script = "from launcher import probe; print(probe.supervision().refusal)"
    argv = [sys.executable, str(CONTINUING), "plain", sys.executable, "-c", script]
    root = str(Path(__file__).parents[2])
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": root})
    assert "already under a seccomp filter with a listener" in result.stdout


@pytest.mark.parametrize(
    ("found", "missing", "warned"),
    [
        (probe.Supervision(None, True, True, None, None), 0, 0),
        (probe.Supervision(None, False, False, None, None), 0, 2),
        (probe.Supervision(None, True, True, "Invalid argument", "Operation not permitted"), 2, 0),
        (probe.Supervision("not allowed; allow it"), 1, 0),
    ],
)
def test_what_is_told_of_a_supervision(found: probe.Supervision, missing: int, warned: int) -> None:
    """Everything that failed has its level and a remedy."""
    findings = list(supervised(found))
    assert [finding.level for finding in findings].count("missing") == missing
    assert [finding.level for finding in findings].count("warn") == warned
    assert all(finding.remedy for finding in findings if finding.level != "ok")


@pytest.mark.parametrize(
    ("release", "level"),
    [("4.19.0-amd64", "missing"), ("5.9.0", "warn"), ("6.1.0-13-amd64", "warn"), ("6.17.1", "ok"), ("7.0", "ok")],
)
def test_kernels(release: str, level: str) -> None:
    """By version only what cannot be tried."""
    assert kernel(release).level == level


@pytest.mark.parametrize(("limit", "level"), [(256, "warn"), (1023, "warn"), (1024, "ok"), (-1, "ok")])
def test_descriptor_limits(limit: int, level: str) -> None:
    """The range of drive descriptors ends at 1023; unlimited is -1."""
    assert descriptors(limit).level == level


def test_a_cache_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way is told with its path."""
    (tmp_path / "file").touch()
    finding = cache(str(tmp_path / "file/cache"))
    assert finding.level == "missing"
    assert str(tmp_path) in finding.what


def test_a_cache_without_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eviction would not be safe there; without sparse files it is only larger. Nothing is left behind."""
    monkeypatch.setitem(checking._FILE_SYSTEM, "leases", lambda path: False)
    assert cache(str(tmp_path)).level == "missing"
    monkeypatch.setitem(checking._FILE_SYSTEM, "leases", lambda path: True)
    monkeypatch.setitem(checking._FILE_SYSTEM, "sparse files", lambda path: False)
    assert cache(str(tmp_path)) == Finding(
        "warn", f"cache {tmp_path}: no sparse files", "give a folder on ext4, xfs, btrfs or tmpfs as cache.dir"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops its ids")
@pytest.mark.parametrize(("prefix", "way"), [([], "capability"), (["setpriv", "--bounding-set=-sys_ptrace"], "ids")])
def test_memory_of_a_program_that_dropped_its_ids(prefix: list[str], way: str) -> None:
    """Root reads it by CAP_SYS_PTRACE, and without that by taking the program's real ids."""
    argv = [*prefix, sys.executable, "-c", "from launcher import probe; print(probe.foreign_memory())"]
    root = str(Path(__file__).parents[2])
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": root})
    assert result.stdout == f"{way}\n", result.stderr
