"""Python programs on a drive."""

from __future__ import annotations

import pytest

from .conftest import SOURCES
from .harness import Pair, Place, bash, fill_standard
from .trees import settle

PROGRAMS = ["mapping", "shutil_work", "tempfile_work", "pool_work", "folders", "open_files"]


def with_package(place: Place) -> None:
    """The standard drive with a package to import, a program, and a zip-less namespace package."""
    fill_standard(place)
    for name, content in {
        "lib/package/__init__.py": "from .part import VALUE\nprint(__name__, __file__)\n",
        "lib/package/part.py": "VALUE = 42\n",
        "lib/spaces/inner.py": "print(__name__)\n",
        "lib/program.py": "import package\nprint(package.VALUE, __file__)\n",
        "lib/__main__.py": "import sys\nprint('main', sys.path[0])\n",
    }.items():
        (place.drive / name).parent.mkdir(parents=True, exist_ok=True)
        (place.drive / name).write_text(content)
    settle(place.drive)


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(pair: Pair, program: str) -> None:
    """mmap, shutil, tempfile, multiprocessing and the os module, by absolute and relative paths."""
    source = SOURCES / f"{program}.py"
    pair.run(bash(f'mkdir "$DRIVE/a" "$DRIVE/r"; python3 {source} "$DRIVE/a"; cd "$DRIVE/r"; python3 {source} .'))


def test_imports(pair: Pair) -> None:
    """Packages on the drive are imported, compiled into __pycache__ once, and found again."""
    pair.run(
        bash("""export PYTHONPATH="$DRIVE/lib"
        python3 -c 'import package, spaces.inner; print(package.VALUE)'
            ls "$DRIVE/lib/package/__pycache__"; python3 -v -c 'import package' 2>&1 | grep -c 'matches.*part'
            cd "$DRIVE/lib"; python3 program.py; python3 -m program; python3 "$DRIVE/lib"
            python3 -m compileall -q .; ls __pycache__"""),
        setup=with_package,
    )


def test_venv(pair: Pair) -> None:
    """A virtual environment on the drive: made, its interpreter run by path and after activation."""
    pair.run(
        bash("""/usr/bin/python3 -m venv --without-pip "$DRIVE/venv"; cd "$DRIVE/venv"
        find . | grep -v '\\.pyc$' | sort
            bin/python -c 'import sys; print(sys.prefix, sys.executable, sys.base_prefix)'
            . bin/activate; python -c 'import sys; print(sys.prefix, sys.executable)'; cd "$LOCAL"
            which python
            /usr/bin/python3 -m venv --copies --without-pip "$DRIVE/copied"
            "$DRIVE/copied/bin/python" -c 'import sys; print(sys.executable)'
            readlink -f "$DRIVE/venv/bin/python"; cat "$DRIVE/venv/pyvenv.cfg" """),
    )
