"""Where a drive is: several prefixes, schemes, folders in the way, links of every kind, and names of every kind."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from .harness import Pair, Place, bash, fill_standard
from .sides import Mount, seccomp_drive
from .trees import settle, standard

TWO = {
    "across": """
        mv "$DRIVE/hello.txt" "$OTHER/moved"; mv "$OTHER/sub" "$DRIVE/moved"; cp -a "$DRIVE/big.bin" "$OTHER"
        cd "$DRIVE"; mv lines.txt "$OTHER/new"
        ln empty "$OTHER/hard" || :; cp -l empty "$OTHER/hard" || :; cd "$OTHER"
        rsync -a "$DRIVE/moved/" synced; ls -A . "$DRIVE" """,
    "EXDEV": """
        python3 - <<'END'
import os
drive, other, local = (os.environ[name] for name in ("DRIVE", "OTHER", "LOCAL"))
for one, two in ((drive, other), (drive, local), (local, drive)):
    open(f"{one}/f", "w").close()
    for call in (os.rename, os.link, os.replace):
        try:
            call(f"{one}/f", f"{two}/g")
        except OSError as error:
            print(error.strerror)
END
        """,
    "links between": """
        ln -s "$OTHER/sub" "$DRIVE/there"; ls "$DRIVE/there"; cat "$DRIVE/there/one"; cd "$DRIVE/there"
        pwd -P; cat ../hello.txt; echo x > new
        ln -s "$DRIVE/there/new" "$OTHER/back"; cat "$OTHER/back"; cat "$DRIVE/../${OTHER#/}/hello.txt"
        readlink -f "$OTHER/back" """,
    "boundaries": """
        ls -d "$DRIVE" "$OTHER" "${DRIVE}x" "${DRIVE%?}" 2>&1 | grep -c 'No such'
        cat "$DRIVE-other/hello.txt"; cd "$DRIVE"; cat "../${OTHER##*/}/hello.txt"
        cat ".././${OTHER##*/}//sub/../sub/one"; cd "../${OTHER##*/}/sub"; pwd; cat two """,
}

LINKS = {
    "every kind": """
        for l in sub/link sub/up absolute outside into dangling loop; do readlink "$DRIVE/$l"
        head -c 4 "$DRIVE/$l" 2>&1 || :; ls -dL "$DRIVE/$l" 2>&1 || :; done
        ls "$DRIVE/into" "$DRIVE/into/" "$DRIVE/into/er/"; cat "$DRIVE/absolute/" || :
        cat "$DRIVE/into/../one"; cd "$DRIVE/into/er"; pwd -P """,
    "from the local disk": """
        ln -s "$DRIVE" all; ln -s "$DRIVE/sub" sub; ln -s "$DRIVE/hello.txt" file; ln -s sub/one chained
        ln -s "$LOCAL/all/into" far; ln -s "$DRIVE/none" none
        cat file chained all/sub/two far/er/three "$LOCAL/all/hello.txt"; ls all/ sub far; echo x > none
        echo y >> file; mkdir all/made; touch sub/new
        mv all/empty sub/moved; rm chained; ls -l all | wc -l; cd sub; pwd; pwd -P
        cat ../hello.txt || cat ../file; cd ..; pwd; rm -r sub/deep; rm sub all """,
    "relative, into a prefix": """
        up=$(pwd | sed 's,[^/]*,..,g; s,^../,,'); ln -s "$up$DRIVE/sub" rel; ls rel; cat rel/one
        ln -s "../..$LOCAL" "$DRIVE/sub/out"; : > there; ls "$DRIVE/sub/out" | grep there """,
    "through a local link that changes": """
        mkdir real; echo local > real/one; ln -s "$LOCAL/real" turning; cat turning/one
        ln -sfn "$DRIVE/sub" turning; cat turning/one; ln -sfn real turning; cat turning/one
        rm turning; mkdir turning; echo folder > turning/one; cat turning/one; rm -r turning
        ln -s "$DRIVE/sub" turning; cat turning/one """,
    "O_CREAT and dangling": """
        cd "$DRIVE"; echo created > dangling; cat nowhere; ln -s missing/x deep; echo y > deep || :
        ln -s "$LOCAL/made" away; echo z > away; cat "$LOCAL/made"
        ln -s "$DRIVE/by-absolute" abs; echo w > abs; ls -l by-absolute | wc -l; mkdir dangling2 || :
        ln -s gone dangling2 || mkdir "$DRIVE/dangling" || : """,
    "long chains": """
        cd "$DRIVE"; ln -s hello.txt l1; for n in $(seq 2 42); do ln -s l$((n - 1)) l$n; done
        for n in 39 40 41 42; do cat l$n || :; done
        cd "$LOCAL"; ln -s "$DRIVE/l38" k1; for n in 2 3 4; do ln -s k$((n - 1)) k$n; cat k$n || :; done """,
    "not followed": """
        cd "$DRIVE"; rm absolute into; mv dangling moved; cp -P outside copied
        chmod -h 600 loop 2> /dev/null || :; chown -h 0 loop; touch -h -d @5 outside
        stat -c '%N %Y' outside moved; find -P . -type l | sort
        dd if=sub/up iflag=nofollow of=/dev/null status=none || :; ls -l --time-style=+ loop """,
    "/proc": """
        cd "$DRIVE/sub"; cat /proc/self/cwd/one /proc/$$/cwd/two /proc/self/root"$DRIVE"/hello.txt /proc/thread-self/cwd/one; readlink -f /proc/self/cwd/up
        exec 5< "$DRIVE/sub" 6< one; cat /proc/self/fd/5/two; cat /proc/self/fd/6; ls /dev/fd/5/
        cat "/proc/self/cwd/../hello.txt"; (cd /proc/self/fd/5; pwd -P) """,  # noqa: E501
}

NAMELESS = """
    cd "$DRIVE"; exec 4< hello.txt; mv lines.txt hello.txt; cat /dev/fd/4; readlink /proc/self/fd/4
    exec 5<> sub/one; rm sub/one; echo innocent > sub/one; echo clobber > /dev/fd/5; cat sub/one /dev/fd/5
    stat -L -c '%s %h' /dev/fd/4 /dev/fd/5; TMPDIR=$DRIVE bash -c 'x=$(seq 30000); wc -l /dev/stdin <<< "$x"'
    mkdir gone; cd gone; rmdir ../gone; readlink /proc/self/cwd; ls /proc/self/cwd; cd "$DRIVE"
    cp "$(command -v sleep)" nap; ./nap 1 & sleep 0.2; rm nap; readlink /proc/$!/exe
    cmp /proc/$!/exe "$(command -v sleep)" && wait """

NAMES = {
    "not UTF-8": r"""
        cd "$DRIVE"; printf x > $'\xff\xfe'; mkdir $'d\x80'; echo y > $'d\x80/\xc3'
        mv $'\xff\xfe' $'d\x80/\xfd moved'; ln -s $'\x81target' $'\x82link'
        ls -b . $'d\x80'; readlink $'\x82link' | od -c; find "$DRIVE" -print0 | sort -z | od -c | tail -n 20
        cat "$DRIVE"/d*/*; cd $'d\x80'; /bin/pwd | od -c | tail -n 2
        python3 -c 'import os; print(os.listdir(b"."), os.getcwdb()[-3:], os.listdir(".."))' | sed 's/, /\n/g' | sort; rm $'\xc3'; tar cf - . | wc -c """,  # noqa: E501
    "odd": r"""
        cd "$DRIVE"; for n in $'new\nline' $'tab\t' ' ' '*' '\' "'" '"' '~' '#' '%s' 'a:b' '...' '..x' '.x.' $'\x01' $'\x7f' 'é' $'e\xcc\x81' '{' '$x' -n; do
        echo "$n" > "./$n"; cat "$DRIVE/$n"; mv "./$n" "./$n.moved"; done; ls -bA; mkdir '...' ; cd ...
        cat ../hello.txt; ls -bA "$DRIVE" | wc -l """,  # noqa: E501
    "long": """
        cd "$DRIVE"; n=$(printf '%0255d' 7); echo x > $n; cat $n; mkdir ${n}8 || :
        echo > "$DRIVE/${n}8" || :; cat $n/x || :; mv $n $(printf '%0255d' 8); ls
        p=$(printf 'a/%.0s' $(seq 100)); mkdir -p $p; echo deep > $p/f; cat "$DRIVE/$p/f"
        cat $(printf './%.0s' $(seq 2040))hello.txt; cat $(printf './%.0s' $(seq 2050))hello.txt || : """,
    "in hundreds": """
        mkdir "$DRIVE/many"; cd "$DRIVE/many"; seq 3000 | xargs touch; ls | wc -l; ls -f | wc -l
        find . -name '*7' | wc -l; rm ./*3; ls | wc -l; cd ..; mv many more; ls more | wc -l; rm -r more """,
}


def both(place: Place) -> None:
    """Two standard trees, for two prefixes."""
    fill_standard(place)
    standard(place.folders / "other", f"{place.prefix}-other")


@pytest.mark.parametrize("name", TWO)
def test_two_prefixes(pair: Pair, name: str) -> None:
    """Two drives beside each other: EXDEV between them, links across, and no prefix is taken for a longer name."""
    other = f"{pair.prefix}-other"
    pair = replace(pair, mounts=(Mount(pair.prefix), Mount(other, "other")), environment={"OTHER": other})
    pair.run(bash(TWO[name]), setup=both)


@pytest.mark.parametrize("name", LINKS)
def test_links(pair: Pair, name: str) -> None:
    """Symlinks on the drive, out of it, on the local disk into it, and through /proc."""
    pair.run(bash(LINKS[name]))


def test_what_has_no_name_any_more(pair: Pair) -> None:
    """/dev/fd/N and its kin lead to the file itself, not to what has its name by now."""
    pair.run(bash(NAMELESS))


@pytest.mark.parametrize("name", NAMES)
def test_names(pair: Pair, name: str) -> None:
    """Names are bytes: of any encoding, any length that Linux has, any number."""
    pair.run(bash(NAMES[name]), seconds=100)


def test_below_a_local_folder(pair: Pair) -> None:
    """A prefix inside the working directory is reached by relative paths too."""
    pair = replace(pair, mounts=(Mount(str(pair.base / "work/a/b/drive")),))

    def setup(place: Place) -> None:
        fill_standard(place)
        (place.work / "a/b").mkdir(parents=True, exist_ok=True)
        (place.work / "a/b/local").write_text("local\n")

    pair.run(
        bash("""cat a/b/drive/hello.txt a/b/local; cd a; ls b b/drive; cd b/drive/sub
        cat one ../hello.txt ../../local; pwd
            cd ../..; pwd; echo x > drive/new; mv local drive/; mv drive/hello.txt .; ls -A . drive
            find . | sort; rm -r drive/sub; cat */new"""),
        setup=setup,
    )


def test_a_local_folder_is_hidden(pair: Pair) -> None:
    """What lies at the prefix on the local disk is not seen, and not touched."""
    pair = replace(pair, mounts=(Mount(str(pair.base / "work/shadow")),))

    def setup(place: Place) -> None:
        fill_standard(place)
        (place.work / "shadow").mkdir(exist_ok=True)
        (place.work / "shadow/hidden").write_text("hidden\n")
        settle(place.work)

    pair.run(
        bash(
            "cat shadow/hidden || :; ls shadow; cat shadow/hello.txt; echo x > shadow/hidden; cd shadow; cat hidden"
        ),
        setup=setup,
    )


def test_the_prefix_is_seen(pair: Pair) -> None:
    """A listing of the folder above shows the prefix, and so do patterns."""
    pair.run(
        bash(
            """above=$(dirname "$DRIVE"); ls "$above" | grep -Fx "${DRIVE##*/}"; echo "${DRIVE%??}"*
            cd "$DRIVE/.."; ls -d "${DRIVE##*/}"; ls -ld --time-style=+ "$DRIVE" """
        )
    )


LIST = """
import ctypes, os, sys
above, name = os.path.split(sys.argv[1])
for size in 320, 512, 32768:
    folder, buffer, found = os.open(above, os.O_RDONLY), ctypes.create_string_buffer(size), 0
    while (got := ctypes.CDLL(None).syscall(217, folder, buffer, size)) > 0:
        found += buffer.raw[:got].count(os.fsencode(name) + bytes(1))
    print(size, got, found)
"""


def test_the_prefix_is_seen_in_small_pieces(pair: Pair) -> None:
    """Once, whatever room there is for entries in one getdents64(2)."""
    pair.run(["python3", "-c", LIST, pair.prefix])


def test_scheme(pair: Pair) -> None:
    """`sommelier:/a/b` is a path of the drive for every program, with dots and doubled slashes."""
    pair = replace(pair, mounts=(Mount("sommelier:"),))
    pair.run(
        bash("""S=sommelier:; cat $S/hello.txt $S//sub///one $S/./sub/../hello.txt $S/sub/deep/../deep/er/./three; ls $S/ $S/sub; stat -c '%n %s %F' $S/sub $S/
            echo new > $S/new; echo more >> $S/new; cat $S/new; mkdir -p $S/x/y; cp -a $S/sub $S/x
            cp -a $S/sub out; mv $S/big.bin .; mv big.bin $S/back; rm -r $S/sub/deep
            find $S/x | sort; cat $S/missing || :; cat $S/hello.txt/ || :; ln $S/hello.txt $S/hard
            ln -s one $S/sub/soft; cat $S/sub/soft; test -d $S/sub; : > $S/x/y/z
            (cd $S/sub; ls; cat two; echo rel > rel; cat ../hello.txt)
            python3 -c 'import os; print(sorted(os.listdir("sommelier:/sub")), open("sommelier:/hello.txt").read())'
            printf '#!/bin/sh\\necho run "$0" "$@"\\n' > $S/script; chmod +x $S/script; $S/script a
            sort -o $S/lines.txt $S/lines.txt; sed -i s/hello/bye/ $S/hello.txt"""),  # noqa: E501
        links=True,
    )


def test_scheme_and_prefix(pair: Pair) -> None:
    """A scheme and a folder in one session; both show what they should."""
    pair = replace(pair, mounts=(Mount("sommelier:", "other"), Mount(pair.prefix)))
    pair.run(
        bash(
            'cp sommelier:/hello.txt "$DRIVE/new"; mv "$DRIVE/sub" sommelier:/moved; cat sommelier:/moved/one "$DRIVE/new"'  # noqa: E501
        ),
        setup=both,
    )


def test_deeper_than_the_longest_path(pair: Pair) -> None:
    """A folder whose path on the drive would have 4,096 bytes is refused, and all above it still works."""
    pair.run(
        bash("""cd "$DRIVE"; n=$(printf '%0200d' 7); for i in $(seq 19); do mkdir $n; cd $n; done
        echo deep > f; cat f ../$n/f; ls
            find "$DRIVE" -name f | wc -c; cd "$DRIVE"; du -s --apparent-size . > /dev/null; mv 0* x
            cat $(find x -name f); rm -r x; ls""")
    )


def test_a_prefix_behind_a_symlink(pair: Pair) -> None:
    """Its folder is reached by every spelling of the folders above it, and shown as the kernel would."""
    (pair.base / "real").mkdir()
    (pair.base / "link").symlink_to("real")
    (pair.base / "other").symlink_to("link")
    real, link, other = (f"{pair.base}/{name}/drive" for name in ("real", "link", "other"))
    pair = replace(pair, prefix=link)
    pair.run(
        bash(f"""
            for way in {real} {link} {other}; do cat $way/hello.txt; stat -c %F $way; ls $way/sub; cd $way
            pwd -P; cd sub; cat ../hello.txt; done
            echo new > {other}/new; cat {real}/new; cd {pair.base}/link; cat drive/new """),
        opaque=("absolute",),
    )


DEEP = """
import errno, os, sys
prefix = sys.argv[1]
if os.path.exists(os.path.dirname(prefix)) and not os.path.ismount(prefix):
    os.removedirs(os.path.dirname(prefix))  # the native run has made them
os.chdir(prefix)
for call in (lambda: os.chdir(".."), lambda: os.stat(".."), lambda: os.listdir(".."), lambda: os.open("../new", 66)):
    try:
        print(call())
    except OSError as error:
        print(errno.errorcode[error.errno])
print(os.getcwd() == prefix, open("hello.txt").read(), open("../drive/hello.txt").read(), end="")
"""


@pytest.mark.usefixtures("drive_only")
def test_folders_above_a_prefix_that_do_not_exist(pair: Pair) -> None:
    """To go up from the drive is ENOENT, since nothing is there; the program stays where it is and goes on."""
    pair = replace(pair, prefix=f"{pair.base}/none/such/drive")
    _, drive = pair.outcomes(["python3", "-c", DEEP, pair.prefix], setup=fill_standard, seconds=30)
    assert drive.stdout == "ENOENT\n" * 4 + "True hello\n hello\n", drive.stderr


def test_the_home_with_the_cache_in_it(tmp_path: Path) -> None:
    """A walk ends, also the second one: the mirrors, which have what the first has seen, are not in themselves."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "note").write_text("note\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for _ in range(2):
        walk = subprocess.run(
            seccomp_drive("exec", "-m", f"/drive={tmp_path.as_uri()}", "find", "/drive", "-type", "f"),
            env=environment,
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert walk.stdout.split() == [b"/drive/.cache/seccomp-drive/reserve", b"/drive/docs/note"]
    assert (tmp_path / ".cache/seccomp-drive/mirrors").is_dir()
