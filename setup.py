"""Builds the native part: the Cython modules and the static helper that runs scripts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNEL = Path("broker/kernel")
MIRROR = Path("broker/mirror")
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


def extension(package: Path, name: str, *parts: str) -> Extension:
    """The module `name` of a package, with `parts` of its src/."""
    return Extension(
        ".".join([*package.parts, name]),
        [str(package / f"{name}.pyx"), *(str(package / "src" / f"{part}.c") for part in parts)],
        include_dirs=[str(package)],
        depends=[str(header) for pattern in ("*.pxd", "src/*.h") for header in sorted(package.glob(pattern))],
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
        KERNEL,
        "native",
        *("notification", "asking", "tracee", "descriptor", "status", "perform", "redirect", "spin", "elf", "memory"),
    ),
    extension(
        KERNEL,
        "lane",
        *("notification", "asking", "tracee", "status", "perform", "caller", "prefixes", "links", "scripts", "elf"),
        *("signals", "warm", "witness", "judge", "locate", "answers", "spared", "lane", "threads"),
    ),
    extension(MIRROR, "making", "place"),
]

setup(
    ext_modules=cythonize(EXTENSIONS, compiler_directives=DIRECTIVES),
    cmdclass={"build_ext": BuildNative},
)
