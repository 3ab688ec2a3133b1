"""Shells at work on a drive: loops of tests, redirections, the working directory, scripts and programs run."""

from __future__ import annotations

import os
import shutil

import pytest

from .harness import Pair, Place, bash, fill_standard
from .trees import settle

SHELLS = {"bash": ["bash"], "dash": ["dash"], "busybox": ["busybox", "sh"]}

PATH_TESTS = """
    i=0; wrong=0
    while [ $i -lt 3000 ]; do
        [ -e "$DRIVE/hello.txt" ] || wrong=$((wrong+1))
        [ -d "$DRIVE/sub" ] || wrong=$((wrong+1))
        [ -e /etc/passwd ] || wrong=$((wrong+1))
        [ -e "$DRIVE/missing" ] && wrong=$((wrong+1))
        [ $((i % 5)) -eq 0 ] && /bin/true &
        i=$((i+1))
    done
    wait
    echo "$wrong wrong" """

COMMON = {
    "write and append": """
        cd "$DRIVE"; echo one > f; echo two >> f; cat < f; echo three >> "$DRIVE/f"; cat f; > f; wc -c < f
        : >> fresh
        printf 'no newline' > "$DRIVE/sub/new"; { echo a; echo b; } > block; (echo c; echo d) >> block
        cat block """,
    "read and write": """
        cd "$DRIVE"; printf 12345 > f; exec 3<> f; printf ab >&3; cat <&3; printf end >&3; exec 3>&-; cat f
        echo x 1<> f; cat f; echo > g 3<> h; ls h """,
    "descriptors": """
        cd "$DRIVE"; exec 3> out 4< hello.txt 5>> "$DRIVE/lines.txt"; echo three >&3; read line <&4
        echo "$line" >&5
        exec 6>&3 3>&-; echo six >&6; exec 6>&- 4<&- 5>&-; cat out; tail -n 1 lines.txt
        ls /proc/self/fd | wc -l
        sh -c 'echo inherited >&7' 7> seven; cat seven; exec 8< sub/one; cat <&8; exec 8<&- """,
    "errors and both": """
        cd "$DRIVE"; ls missing 2> err || cat err; ls hello.txt missing > both 2>&1 || cat both
        ls missing >> both 2>&1 || :
        cat < missing || echo status $?; echo > sub || echo status $?; cat both; echo 2> e >&2 to-err
        cat e """,
    "here-documents": """
        cd "$DRIVE"; cat > doc <<END
            expanded $((1 + 1)) $(cat hello.txt)
END
        cat >> doc <<'END'
            literal $x
END
        cat doc; head -c 100000 /dev/zero | tr '\\\\0' z > long; read -r l < doc; cat <<END | wc -c
$(cat long)
END
        echo "$l" """,
    "noclobber": """
        cd "$DRIVE"; set -C; (echo x > hello.txt) || echo refused; echo y >| hello.txt; echo z > new
        (echo z > new) || echo refused
        cat hello.txt new; echo > /dev/null; (: > "$DRIVE/empty") || echo refused """,
    "substitution": """
        cd "$DRIVE"; x=$(cat sub/one); y=$(cat < sub/two); echo "$x $y"; set -- $(ls); echo $#
        echo `cat hello.txt`; . "$DRIVE/sub/vars" """,
    "pipelines": """
        cd "$DRIVE"; cat lines.txt | sort -r | head -n 3 > top; cat top
        tail -n 1 < lines.txt | tee "$DRIVE/last" | wc -c
        cat hello.txt | while read -r l; do echo "got $l" > got; done; cat got
        ! cat missing 2>/dev/null | grep x """,
    "background": """
        cd "$DRIVE"; for n in 1 2 3 4 5 6 7 8; do (echo $n > job-$n; cat job-$n >> "$DRIVE/job") & done; wait
        sort job
        { sleep 0.2; echo late; } > late & wait $!; cat late; sh -c 'echo detached > detached' & wait """,
    "cd": """
        cd "$DRIVE"; pwd; cd sub; pwd; cd deep/er; pwd; cd ../..; pwd; cd ..; pwd; cat hello.txt; cd ..; pwd
        ls -d etc
        cd "$DRIVE/sub/"; pwd; cd -; cd "$OLDPWD"; pwd; cd /; cd "${DRIVE#/}"; pwd; ls sub; cd into; pwd
        cd ..; pwd; cd -P into; pwd
        cd ..; pwd; cd "$LOCAL"; cat "$DRIVE/hello.txt"; cd "$DRIVE/../${DRIVE#/}/sub"; pwd
        cd "$DRIVE//sub/./deep/.."; pwd
        (cd deep; pwd); pwd; cd hello.txt || cd missing || cd ../empty || pwd; cd; ls "$DRIVE/sub" """,
    "/bin/pwd": """
        cd "$DRIVE/sub"; /bin/pwd; cd ..; /bin/pwd; cd ..; /bin/pwd; cd "$DRIVE/into"; /bin/pwd -P
        readlink /proc/self/cwd; (cd er; readlink /proc/self/cwd) """,
    "a folder removed under us": """
        cd "$DRIVE"; mkdir gone; cd gone; rmdir "$DRIVE/gone"; ls; (echo > x) || echo refused
        /bin/pwd || echo nowhere; cd ..; pwd """,
    "a folder renamed under us": """
        cd "$DRIVE/sub/deep"; mv "$DRIVE/sub" "$DRIVE/renamed"; cat er/three; echo here > new; /bin/pwd
        cat ../one; cd -P ..; ls """,
    "globbing": """
        cd "$DRIVE"; echo *; echo "$DRIVE"/*.txt; echo sub/*/er/*; echo .h*; echo s*/[o-t]*; echo */
        echo "$DRIVE"/s?b/o*; echo nothing*; echo "${DRIVE%??}"?? """,
    "umask": """
        cd "$DRIVE"; umask 077; echo > a; mkdir b; umask 0; echo > c; mkdir d; umask 027; cp hello.txt e
        stat -c '%n %a' a b c d e """,
    "test": """
        cd "$DRIVE"; for f in hello.txt empty sub into dangling loop missing absolute outside big.bin; do
        for o in e f d h r w x s p S u g k O G; do if test -$o $f; then printf $o; else printf -- -; fi; done
        echo " $f"; done """,
    "proc": """
        cd "$DRIVE"; exec 3< hello.txt 4> new; readlink /proc/self/fd/3; readlink /proc/$$/fd/4
        readlink /proc/$$/cwd; cat /proc/self/fd/3
        cat /dev/fd/3; echo x > /dev/fd/4; cat new; cat /proc/self/cwd/sub/one; ls /proc/self/cwd/sub
        cat /dev/stdin < hello.txt
        echo y > /proc/self/cwd/other; cat other; (cd sub; exec 5< .; ls /proc/self/fd/5/
        readlink /proc/self/fd/5) """,
}

BASH = {
    "process substitution": """cd "$DRIVE"; diff <(cat hello.txt) <(cat sub/one) || :
        paste -d' ' <(ls sub) <(ls); tee >(wc -l > counted) < hello.txt; wait; sleep 0.2 """,
    "contents": """cd "$DRIVE"; echo "$(<hello.txt)"; mapfile -t l < lines.txt; echo "${#l[@]} ${l[7]}"
        read -r x < sub/one; echo "$x"; echo <<< "$x"; cat <<< word > w """,
    "both at once": """cd "$DRIVE"; ls hello.txt missing &> both || cat both; ls missing &>> both || cat both
        exec {fd}> auto; echo x >&$fd; exec {fd}>&-; cat auto """,
    "globs": """cd "$DRIVE"; shopt -s globstar dotglob nullglob extglob
        echo **/; echo **/t*; echo !(sub|into); echo nothing*; compgen -f sub/ | sort
        compgen -d "$DRIVE/s" """,
    "coproc and jobs": """cd "$DRIVE"; coproc cat hello.txt; read -r l <&"${COPROC[0]}"; echo "$l"; wait
        sleep 0.1 > slept & wait -n; echo $? """,
    "hash and PATH": """mkdir -p "$DRIVE/bin"; printf '#!/bin/sh\\necho tool "$0"\\n' > "$DRIVE/bin/tool"
        chmod +x "$DRIVE/bin/tool"; PATH="$DRIVE/bin:$PATH"; tool; type -P tool; cd "$DRIVE"; PATH=bin:$PATH
        hash -r; tool; command -v tool """,
}

SCRIPTS = {
    "by path": """ "$DRIVE/bin/script" a 'b c'; cd "$DRIVE"; bin/script; ./bin/script x; cd bin; ./script
        ../bin/script """,
    "by the shell": """ sh "$DRIVE/bin/script" a; cd "$DRIVE"; sh bin/script; bash < bin/script
        . bin/sourced """,
    "from PATH": """ PATH="$DRIVE/bin:$PATH"; script 1; env script 2; cd "$DRIVE"; PATH="bin:/usr/bin:/bin"
        script 3; command -v script """,
    "env and python": """ "$DRIVE/bin/env-script" a; "$DRIVE/bin/python-script" x; cd "$DRIVE/bin"
        ./python-script y """,
    "interpreter on the drive": """ "$DRIVE/bin/inner" a; cd "$DRIVE"; bin/inner b; ./local-one
        "$LOCAL/local" c; ./bin/nested d; "$LOCAL/linked" e """,
    "not executable": """ "$DRIVE/bin/plain" || echo $?; "$DRIVE/bin/nowhere" || echo $?
        "$DRIVE/bin/missing" || echo $?; "$DRIVE/sub" || echo $?; "$DRIVE/empty" || echo $?
        "$DRIVE/bin/no-line" z """,
    "as an argument of exec": """ (exec "$DRIVE/bin/script" e); (exec -a echo "$DRIVE/bin/busybox" hello)
        (exec -a sh "$DRIVE/bin/busybox" -c 'echo $0') """,
    "programs": """
        cd "$DRIVE"; cp /usr/bin/readlink /usr/bin/env .; ./readlink /proc/self/exe
        "$DRIVE/env" X=1 ./env | grep X=
        bin/busybox echo static; "$DRIVE/bin/busybox" readlink /proc/self/exe; mv env renamed; ./renamed true
        ln -s renamed soft; ./soft true
        (cd sub; ../bin/busybox pwd); find . -name busybox -exec {} echo found \\;
        env "$DRIVE/readlink" -f .; nice ./readlink sub/link; timeout 9 ./renamed true """,
    "write, then run": """
        cd "$DRIVE"; for n in $(seq 30); do cp /usr/bin/true tool-$n; ./tool-$n
        printf '#!/bin/sh\\nexit 0\\n' > s-$n; chmod +x s-$n; ./s-$n; rm tool-$n s-$n; done; echo done """,
}


def with_programs(place: Place) -> None:
    """The standard drive, with scripts and a static program on it, and local scripts that need the drive."""
    fill_standard(place)
    scripts = {
        "bin/script": '#!/bin/sh\necho "$0" "$#" "$@"\n',
        "bin/sourced": "echo sourced\n",
        "bin/env-script": '#!/usr/bin/env -S bash -e\necho "$0" "$@"\n',
        "bin/python-script": "#!/usr/bin/python3\nimport sys\nprint(sys.argv, __file__, sys.path[0])\n",
        "bin/inner": f'#!{place.prefix}/bin/busybox sh\necho inner "$0" "$@"\n',
        "bin/nested": f"#!{place.prefix}/bin/script arg\n",
        "bin/nowhere": "#!/no/such/interpreter\n",
        "bin/no-line": 'echo plain "$0" "$@"\n',
        "local-one": "#!bin/busybox sh\necho relative interpreter\n",
    }
    for name, content in scripts.items():
        (place.drive / name).parent.mkdir(exist_ok=True)
        (place.drive / name).write_text(content)
        (place.drive / name).chmod(0o755)
    (place.drive / "bin/plain").write_text(scripts["bin/script"])
    shutil.copy("/bin/busybox", place.drive / "bin/busybox")
    settle(place.drive)
    (place.work / "local").write_text(scripts["bin/inner"])
    (place.work / "local").chmod(0o755)
    os.symlink(f"{place.prefix}/bin/script", place.work / "linked")


def with_variables(place: Place) -> None:
    """The standard drive and a file to be sourced."""
    fill_standard(place)
    (place.drive / "sub/vars").write_text("echo sourced\n")
    settle(place.drive)


@pytest.mark.parametrize("shell", SHELLS)
def test_no_path_test_is_false(pair: Pair, shell: str) -> None:
    """12,000 tests of paths while background jobs end all the time: a SIGCHLD makes none of them fail."""
    outcome = pair.run([*SHELLS[shell], "-c", PATH_TESTS], seconds=100)
    assert outcome.stdout == "0 wrong\n"


@pytest.mark.parametrize("name", COMMON)
@pytest.mark.parametrize("shell", SHELLS)
def test_shell(pair: Pair, shell: str, name: str) -> None:
    """Every form of redirection, substitution and change of directory does what it does in a plain folder."""
    opaque = ("job",) if name == "background" else ()
    pair.run([*SHELLS[shell], "-e", "-c", COMMON[name]], setup=with_variables, opaque=opaque)


@pytest.mark.parametrize("name", BASH)
def test_bash(pair: Pair, name: str) -> None:
    """What only bash has."""
    pair.run(bash(BASH[name]))


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_and_programs(pair: Pair, name: str) -> None:
    """Scripts and programs on the drive run by every way of naming them, with the right `$0` and `/proc/self/exe`."""
    pair.run(bash(SCRIPTS[name]), setup=with_programs)


def test_the_command_itself_is_on_the_drive(pair: Pair) -> None:
    """The program of `exec` may be a script on the drive whose interpreter is there too."""
    pair.run([f"{pair.prefix}/bin/inner", "first"], setup=with_programs)


@pytest.mark.parametrize(("command", "status"), [("missing", 127), ("sub", 126), ("hello.txt", 126)])
def test_a_command_that_cannot_run(pair: Pair, command: str, status: int) -> None:
    """127 for a command that is not found, 126 for one that is not executable, as shells say it."""
    pair.run(bash(f'drive-exec "$DRIVE/{command}" 2> /dev/null && : || exit $?'), outside=True, status=status)


def test_exit_statuses(pair: Pair) -> None:
    """The status of `exec` is that of its command, 128+N for a signal."""
    script = 'for n in 0 1 77 255; do drive-exec sh -c "exit $n"; echo $?; done; drive-exec sh -c "kill -9 \\$\\$"; echo $?'  # noqa: E501
    pair.run(["bash", "-c", f"{{ {script}; }} 2> /dev/null"], outside=True)
