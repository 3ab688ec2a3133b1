"""Which real-program tests also run on encrypted drives."""

from __future__ import annotations

BACKINGS = FILE, EMBEDDED, SERVED = "file", "embedded", "served"

ON_EMBEDDED = {
    "test_bad_calls",
    "test_binaries",
    "test_building",
    "test_coreutils",
    "test_databases",
    "test_git",
    "test_prefixes",
    "test_processes",
    "test_python",
    "test_shells",
    "test_syscalls",
    "test_terminal.test_nano",
    "test_terminal.test_vim",
}
"""Modules, and tests of others. Left out is what asks nothing of a remote: jobs at a terminal, containers, and who
may do what (test_identity, test_security), which the mirror decides."""

ON_SERVER = {
    "test_binaries.test_c_library": "m32--static",
    "test_building.test_build": "gcc and make",
    "test_coreutils.test_between_drive_and_disk": "there",
    "test_databases.test_locks_between_processes": "ofd",
    "test_databases.test_sqlite": "wal",
    "test_git.test_clone_there_and_back": "",
    "test_python.test_program": "shutil_work",
    "test_terminal.test_nano": "-IB",
}
"""Tests, and a part of the names of those of their parameters that are meant: one of each kind of program, since a
server takes several times as long for each."""

_BEFORE = "it is settled before a remote is asked"
_SHELL = "shells differ in their calls, not in what they ask of a remote"
_MORE = "120 random lists of calls are tried as it is"
_LOCKED = "hundreds of commits to the disk: the other journals have them too"

LEFT_OUT = {
    "test_outside": {"closed": _BEFORE, "inherited": _BEFORE, "signals": _BEFORE, "daemon": _BEFORE},
    "test_inside": {"inherits": _BEFORE, "zombies": _BEFORE, "namespaces": _BEFORE},
    "test_pid_1": {"": _BEFORE},
    "test_a_command_that_cannot_run": {"": _BEFORE},
    "test_exit_statuses": {"": _BEFORE},
    "test_go_beside_local_files": {"": _BEFORE},
    "test_many_files_open_for_writing": {"900": "there are 256 numbers for them: 300 files are more too"},
    "test_no_path_test_is_false": {"": "12,000 questions that the mirror answers alike for every remote"},
    "test_shell": {"dash": _SHELL, "busybox": _SHELL},
    "test_names": {"in hundreds": "thousands of small files: tests/bench measures that"},
    "test_random_calls": {"2": _MORE, "3": _MORE},
    "test_sqlite": {"truncate": _LOCKED, "persist": _LOCKED},
}
"""Of the chosen tests on embedded drives: parts of the names of parameters, and why they do without."""


def runs(module: str, test: str, parameters: str, backing: str) -> bool:
    """Whether a test with these parameters, as pytest names them, runs with that behind the prefix."""
    module = module.rpartition(".")[2]
    if backing == SERVED:
        part = ON_SERVER.get(f"{module}.{test}")
        return part is not None and part in parameters
    if backing == EMBEDDED:
        chosen = bool({module, f"{module}.{test}"} & ON_EMBEDDED)
        return chosen and not any(part in parameters for part in LEFT_OUT.get(test, ()))
    return True
