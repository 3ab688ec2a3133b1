"""Compilers, make, perl and editors' scripting tools building on a drive."""

from __future__ import annotations

import shutil

import pytest

from .conftest import SOURCES
from .harness import Pair, Place, bash, fill_standard
from .trees import settle

BUILDS = {
    "gcc and make": """
        cd "$DRIVE/project"; make -s -j2; ./main; make; touch util.c; make -s -j2; ./main more
        "$DRIVE/project/main"
        make -q && echo up to date; make -s clean; ls; make -sC "$DRIVE/project" -j2 CFLAGS=-g; cd /
        "$DRIVE/project/main" x """,
    "out of tree": """
        mkdir "$LOCAL/build" "$DRIVE/build"; cd "$LOCAL/build"
        make -s -f "$DRIVE/project/Makefile" VPATH="$DRIVE/project" -j2; ./main
        cd "$DRIVE/build"; make -s -f ../project/Makefile VPATH=../project -j2; ./main
        cp -r "$DRIVE/project" "$LOCAL/p"; make -sC "$LOCAL/p"; "$LOCAL/p/main" """,
    "shared library": """
        cd "$DRIVE/project"; gcc -shared -fPIC -o libutil.so util.c; gcc -o dyn main.c -L. -lutil
        LD_LIBRARY_PATH="$DRIVE/project" ./dyn
        gcc -o rel main.c -L. -lutil -Wl,-rpath,'$ORIGIN'; cd "$LOCAL"; "$DRIVE/project/rel"
        LD_PRELOAD="$DRIVE/project/libutil.so" true
        ldd "$DRIVE/project/rel" | grep -o 'libutil.so => [^ ]*'; cd "$DRIVE/project"
        nm -D libutil.so | grep -c util; strip rel; ./rel; ar rc x.a main.c; ar t x.a """,
    "-pipe and temporaries": """
        cd "$DRIVE/project"; TMPDIR="$DRIVE" gcc -save-temps -o saved main.c util.c; ./saved
        gcc -MMD -c -pipe util.c; cat util.d; gcc -E util.c > "$DRIVE/e.i"
        gcc -x c - -o piped < both.c; ./piped; gdb --version > /dev/null 2>&1 || :
        objdump -d util.o | grep -c ret; size util.o | wc -l """,
}

PERL = r"""
    cd "$DRIVE"; perl -i.orig -pe 's/line/row/' lines.txt; perl -ne 'print if $. == 3' lines.txt
    perl -MFile::Find -e 'find(sub { push @f, $File::Find::name }, $ENV{DRIVE}); print "$_\n" for sort @f'
    perl -MFcntl=:DEFAULT,:flock -e '
        sysopen F, "excl", O_RDWR|O_CREAT|O_EXCL or die; flock F, LOCK_EX; print F "x"; close F;
        sysopen F, "excl", O_CREAT|O_EXCL or print "$!\n"; rename "excl", "sub/renamed" or die; print -s "sub/renamed", "\n";
        opendir D, "sub"; print join(" ", sort readdir D), "\n";
        print join(" ", map { (stat)[2, 3, 7, 9] } "hello.txt", "sub/two"), "\n";
        symlink "a", "b"; print readlink "b", "\n"; truncate "lines.txt", 10; utime 1, 2, "big.bin"; unlink "empty", "-dash";
        mkdir "made", 0700; chmod 0711, "made"; chdir "made"; open F, ">>../hello.txt"; print F "end\n"; close F;
        print glob("../h*"), "\n"; print `cat ../hello.txt`; exec "$ENV{DRIVE}/script.pl", 7'
"""  # noqa: E501


def with_project(place: Place) -> None:
    """The standard drive, a small C project and a perl script on it."""
    fill_standard(place)
    shutil.copytree(SOURCES / "project", place.drive / "project")
    (place.drive / "project/both.c").write_text("int main(void) { return 0; }\n")
    (place.drive / "script.pl").write_text('#!/usr/bin/perl -w\nprint "$0 @ARGV\\n";\n')
    (place.drive / "script.pl").chmod(0o755)
    settle(place.drive)


@pytest.mark.parametrize("name", BUILDS)
def test_build(pair: Pair, name: str) -> None:
    """gcc and make -j2 on the drive make the same files, run them, and know afterwards what is up to date."""
    pair.run(bash(BUILDS[name]), setup=with_project, opaque=("*/x.a",))


def test_perl(pair: Pair) -> None:
    """perl reads, edits in place, locks, renames and runs a script on the drive."""
    pair.run(bash(PERL), setup=with_project)
