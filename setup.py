"""Builds the native part: the two Cython modules and the static helper that runs scripts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNEL = Path("broker/kernel")
SOURCES = KERNEL / "src"
HEADERS = [str(header) for header in sorted(SOURCES.glob("*.h"))]
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}
HELPER_FLAGS = (
    *("-static", "-nostdlib", "-O2", "-Wall", "-Wextra"),
    *("-fno-stack-protector", "-fno-pie", "-no-pie", "-fno-builtin", "-fno-tree-loop-distribute-patterns"),
    *("-fno-asynchronous-unwind-tables", "-s"),
)


def extension(name: str, *parts: str) -> Extension:
    return Extension(
        f"broker.kernel.{name}",
        [str(KERNEL / f"{name}.pyx"), *(str(SOURCES / f"{part}.c") for part in parts)],
        include_dirs=[str(KERNEL)],
        depends=[*HEADERS, str(KERNEL / f"{name}.pxd")],
        extra_compile_args=["-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fvisibility=hidden", "-g0"],
        extra_link_args=["-lpthread"],
    )


class BuildNative(build_ext):
    """build_ext that compiles the exec helper as well, next to the modules."""

    def run(self) -> None:
        super().run()
        in_place = self.inplace or getattr(self, "editable_mode", False)
        target = (Path() if in_place else Path(self.build_lib)) / KERNEL / "exec-helper"
        target.parent.mkdir(parents=True, exist_ok=True)
        compiler = os.environ.get("CC", "gcc").split()
        subprocess.run([*compiler, *HELPER_FLAGS, "-o", str(target), str(KERNEL / "exec_helper.c")], check=True)


EXTENSIONS = [
    extension(
        "native",
        *("notification", "asking", "tracee", "descriptor", "status", "perform", "redirect", "spin", "elf", "memory"),
    ),
    extension(
        "lane",
        *("notification", "asking", "tracee", "caller", "prefixes", "links", "scripts", "elf", "signals"),
        *("warm", "judge", "answers", "deferred", "lane", "threads"),
    ),
]

setup(
    ext_modules=cythonize(EXTENSIONS, compiler_directives=DIRECTIVES),
    cmdclass={"build_ext": BuildNative},
)
