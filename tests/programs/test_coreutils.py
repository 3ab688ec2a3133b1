"""The core utilities on a drive, and between a drive and the local disk."""

from __future__ import annotations

import pytest

from .harness import Pair, Place, bash, fill_standard
from .trees import settle, standard

ON_THE_DRIVE = {
    "ls": """
        ls -lA --time-style=full-iso "$DRIVE"
        cd "$DRIVE"; ls -la --time-style=+%s.%N sub sub/deep; ls -lL sub; ls -d */ .*
        ls -RF --color=always . """,
    "inodes agree": """
        cd "$DRIVE"; test "$(stat -c %i hello.txt)" = "$(ls -i hello.txt | cut -d' ' -f1)"
        test "$(stat -c %i hello.txt)" = "$(stat -c %i - < hello.txt)"
        test "$(stat -c %d sub)" = "$(stat -c %d sub/one)"; find . -samefile sub/two | sort """,
    "cp -a": """
        cd "$DRIVE"; cp -a sub copy; cp -a hello.txt absolute dangling "$DRIVE/copy"
        cp -p big.bin sub/none/big """,
    "cp": """
        cd "$DRIVE"; cp hello.txt new; cp -f lines.txt new; cp -r sub other; cp -u hello.txt new
        cp -n big.bin new
        cp -b hello.txt new; cp -l hello.txt hard; cp -s "$DRIVE/hello.txt" soft
        cp --sparse=always big.bin holes """,
    "mv": """
        cd "$DRIVE"; mv hello.txt moved; mv moved sub/; mv sub renamed; mv -T renamed/deep into2
        mv big.bin lines.txt
        mv empty renamed/one; mv -n renamed/two lines.txt; mkdir target; mv -t target -- -dash .hidden
        ls -A """,
    "rm": """
        cd "$DRIVE"; rm hello.txt "$DRIVE/empty"; rm -r sub/deep; rm -rf missing sub; rm -- -dash; rm into
        ls -A """,
    "rmdir": """
        cd "$DRIVE"; rmdir sub/none; mkdir -p a/b/c; rmdir -p a/b/c
        rmdir sub || rmdir hello.txt || rmdir missing || : """,
    "mkdir": """
        cd "$DRIVE"; mkdir one; mkdir -p two/three/four "$DRIVE/five/six"; mkdir -m 700 private; mkdir -p one
        (umask 077; mkdir narrow; : > narrow/file); (umask 0; mkdir wide; : > wide/file); mkdir one || : """,
    "ln": """
        cd "$DRIVE"; ln -s hello.txt s1; ln -s "$DRIVE/sub" s2; ln -sf sub s1; ln -sr sub/one s3
        ln -sfn big.bin s2
        ln hello.txt h1; ln -f hello.txt h1; ln -L absolute h2; ln -P absolute h3; readlink s1 s2 s3 """,
    "touch": """
        cd "$DRIVE"; touch -d '2001-02-03 04:05:06.789012345' hello.txt sub
        touch -m -d @1000000000.5 big.bin new
        touch -h -d 1999-12-31 dangling; touch -r hello.txt empty; touch -c missing; touch fresh
        touch -d 1950-01-01 old
        stat -c '%n %y' hello.txt sub big.bin dangling empty old """,
    "stat": """
        cd "$DRIVE"; stat -c '%n %N %F %a %A %h %s %u %g %U %y %b %B %t %T' ./* .hidden
        stat -Lc '%n %F' into absolute
        stat -c '%n %F %s' "$DRIVE" "$DRIVE/" "$DRIVE/." "$DRIVE//sub" sub/ sub/.. """,
    "du": """
        cd "$DRIVE"; du -a sub | sort -k2; du -s --apparent-size .; du -sb "$DRIVE"; du -sL sub
        du -c lines.txt big.bin """,
    "df": """
        df "$DRIVE" > "$LOCAL/out"; df -i "$DRIVE/sub/one" > "$LOCAL/out"; stat -f "$DRIVE" > "$LOCAL/out"
        rm "$LOCAL/out" """,
    "find": """
        find "$DRIVE" | sort; cd "$DRIVE"; find . -type f -size +10k | sort; find . -newer big.bin | sort
        find sub -printf '%p %y %s %m %n %T@ %l\\n' | sort; find . -xtype l | sort; find -L sub -type f | sort
        find . -empty | sort; find . -name 'o*' -exec cat {} +; find sub -name t* -delete
        find sub -execdir echo {} \\; | sort """,
    "tee": """
        cd "$DRIVE"; echo first | tee new "$DRIVE/sub/new" hello.txt; echo second | tee -a new >/dev/null
        cat new """,
    "dd": """
        cd "$DRIVE"; printf XX | dd of=hello.txt conv=notrunc bs=1 seek=2 status=none; cat hello.txt
        dd if=big.bin of=part bs=4096 skip=3 count=2 status=none
        dd if=big.bin of=synced conv=fsync bs=64k status=none
        echo more | dd of=hello.txt oflag=append conv=notrunc status=none
        dd if=/dev/zero of=zeros bs=1k count=9 seek=3 status=none
        dd if=lines.txt of=big.bin conv=fdatasync status=none
        dd if=lines.txt of=$DRIVE/lines.txt bs=100 count=1 conv=notrunc status=none """,
    "truncate": """
        cd "$DRIVE"; truncate -s 3 hello.txt; truncate -s +100 empty; truncate -s 1M new
        truncate -s 0 lines.txt
        truncate -r hello.txt big.bin; fallocate -l 5000 "$DRIVE/sub/one"; fallocate -p -o 0 -l 4096 sub/one
        cat sub/one | wc -c """,
    "install": """
        cd "$DRIVE"; install -m 750 -d bin lib/deep; install -m 755 hello.txt bin/tool
        install -D -p big.bin a/b/c
        install -t lib lines.txt hello.txt; install -m 600 empty bin/tool; install -b hello.txt bin/tool """,
    "sort in place": """
        cd "$DRIVE"; sort -r -o lines.txt lines.txt; head -2 lines.txt
        sort -u -o hello.txt hello.txt lines.txt; sort -S 64k -T . lines.txt | tail -1 """,
    "grep": """
        cd "$DRIVE"; grep -r --include='*.txt' 'line 7' . | sort | head; grep -rlc hello "$DRIVE" 2>&1 | sort
        grep -R 1 sub | sort """,
    "sed": """
        cd "$DRIVE"; sed -i 's/line/LINE/' lines.txt; sed -i.bak '1d' hello.txt
        sed -n '$p' "$DRIVE/lines.txt"; sed -i --follow-symlinks s/1/one/ absolute; cat sub/one """,
    "awk, split and friends": """
        cd "$DRIVE"; awk '{print > "awk-" NR%3}' lines.txt; split -l 900 lines.txt part-
        csplit -s lines.txt 5 50
        paste hello.txt sub/one; comm hello.txt sub/one; join hello.txt hello.txt; tac lines.txt | head -1
        shuf -n0 lines.txt
        wc lines.txt; uniq -c hello.txt; nl sub/one; head -c 10 big.bin | od -c; tail -n2 lines.txt
        cut -c1 hello.txt """,
    "checksums": """
        cd "$DRIVE"; sha256sum *.txt sub/deep/er/three > sums; sha256sum -c sums; md5sum "$DRIVE/big.bin"
        cksum < big.bin
        cmp big.bin lines.txt || :; diff hello.txt sub/one || :; cp -r sub sub2; diff -r sub sub2
        cat sums """,
    "xargs": """
        cd "$DRIVE"; seq 64 | xargs -P8 -I{} sh -c 'echo {} > new-{}; cp hello.txt copy-{}; rm copy-{}; mv new-{} out-{}'
        find . -name 'out-*' -print0 | xargs -0 -P8 -n4 cat | sort -n | tail -1 """,  # noqa: E501
    "chmod and chown": """
        cd "$DRIVE"; chmod 600 hello.txt; chmod -R go-rwx sub; chmod u+s,g+s big.bin; chmod +t sub
        chmod --reference=hello.txt empty
        chmod 400 absolute; chmod a=,u=rw lines.txt; stat -c '%n %a' ./* """,
    "mktemp": """
        cd "$DRIVE"; f=$(mktemp -p .); echo x > "$f"; cat "$f"; d=$(mktemp -d "$DRIVE/dir.XXXX"); rmdir "$d"
        rm "$f" """,
    "FIFOs": """
        cd "$DRIVE"; mkfifo pipe; mkfifo -m 600 other; (echo through > pipe) & cat pipe; wait
        stat -c '%F %a' pipe other """,
    "paths": """
        cd "$DRIVE"; realpath sub/up into absolute .; readlink -f into/er
        readlink -e dangling || readlink -m dangling
        readlink -f "$DRIVE/../etc/hosts"; pwd -P; cd into; pwd; pwd -P; cd ..; pwd
        realpath --relative-to="$DRIVE" er """,
    "sync": """
        cd "$DRIVE"; echo x > new; sync new; sync -d hello.txt; sync -f .; sync "$DRIVE/sub" """,
    "extended attributes": """
        cd "$DRIVE"; setfattr -n user.color -v red hello.txt; setfattr -n user.size -v large sub
        getfattr -d hello.txt sub
        getfattr -n user.color --only-values "$DRIVE/hello.txt"; cp --preserve=xattr hello.txt copy
        setfattr -x user.size sub
        setfattr -n user.late -v 1 - < /dev/null || :; getfattr -n user.none empty || : """,
    "flock": """
        cd "$DRIVE"; flock hello.txt echo locked; exec 9> lock; flock -n 9
        flock -n lock echo never || echo held
        flock -u 9; flock -n lock echo free; flock -s sub ls sub """,
    "messages": """
        cd "$DRIVE"; cat missing || :; cat hello.txt/ || :; cat hello.txt/x || :; cat sub || :; cat loop || :
        cat dangling || :
        ls missing || :; mkdir hello.txt || :; rm sub || :; rmdir hello.txt || :; cp sub other || :
        mv sub sub/deep || :
        ln hello.txt empty || :; ln sub hard || :; touch missing/x || :; cd hello.txt || :
        cat "$DRIVE/missing/" || :
        mv missing x || :; mv sub hello.txt || :; mv hello.txt sub/deep/er/three/x || :
        truncate -s 1 sub || :; : > sub/ || : """,
    "tail -f": """
        cd "$DRIVE"; echo one > log; (while test ! -e seen; do sleep 0.05; done; echo two >> log
        echo three >> log) &
        tail -n +1 -f log | while read -r line; do echo "$line"; : > seen; test "$line" != three || break
        done; wait """,
}

BETWEEN = {
    "cp -a there": """cp -a source "$DRIVE/there"; cp -a "$LOCAL/source/file" "$DRIVE/sub/" """,
    "cp -a back": """cp -a "$DRIVE/sub" back; cp -a "$DRIVE"/*.txt "$DRIVE/absolute" "$DRIVE/dangling" . """,
    "mv there": """mv source "$DRIVE/there"; mv other "$DRIVE/hello.txt"; cd "$DRIVE"; mv "$LOCAL/third" new
        ls -A "$LOCAL" """,
    "mv back": """mv "$DRIVE/sub" moved; mv "$DRIVE/big.bin" other; cd "$DRIVE"; mv hello.txt "$LOCAL"
        mv dangling "$LOCAL"; ls -A """,
    "links": """
        ln "$DRIVE/hello.txt" hard || :; ln other "$DRIVE/hard" || :; ln -s "$DRIVE/hello.txt" soft; cat soft
        ln -s "$DRIVE/sub" folder; ls folder; cat folder/one; echo new > folder/new; cd folder; pwd; pwd -P
        ls -lR . | grep -c one
        ln -s "$LOCAL/other" "$DRIVE/outward"; cat "$DRIVE/outward"; echo changed >> "$DRIVE/outward"
        ln -s "$LOCAL/soft" "$DRIVE/around"; cat "$DRIVE/around" """,
    "install": """install -D -m 755 -p other "$DRIVE/a/b"; install -p -m 644 "$DRIVE/sub/one" one """,
    "tar there": """tar cf source.tar source; cd "$DRIVE"; tar xpf "$LOCAL/source.tar"
        tar xf "$LOCAL/source.tar" -C sub/none; tar df "$LOCAL/source.tar" """,
    "tar back": """
        tar cf drive.tar --sort=name -C "$DRIVE" sub hello.txt big.bin absolute; tar tvf drive.tar
        tar xpf drive.tar
        tar cf - -C "$DRIVE" --sort=name sub | sha256sum; tar df drive.tar -C "$DRIVE" """,
    "tar on the drive": """
        cd "$DRIVE"; tar czf out.tgz --sort=name sub; tar tzf out.tgz; mkdir out; tar xzf out.tgz -C out
        tar cJf "$LOCAL/o.txz" -C / "${DRIVE#/}/sub/one"
        tar rf out.tar hello.txt; tar rf out.tar empty; tar tf out.tar; tar xf out.tar --overwrite
        tar --delete -f out.tar empty """,
    "rsync there": """
        rsync -aH source/ "$DRIVE/there"; rsync -ai source/ "$DRIVE/there"; echo more >> source/file
        rsync -ai --inplace source/ "$DRIVE/there"; rm source/file
        rsync -ai --delete --checksum source/ "$DRIVE/there" """,
    "rsync back": """
        rsync -aH "$DRIVE/sub" "$DRIVE/hello.txt" back/; rsync -ain "$DRIVE/sub" back/
        rsync -a --append-verify "$DRIVE/big.bin" back/
        cd "$DRIVE"; rsync -a sub/ copy; rsync -ai --delete --exclude one hello.txt sub/ copy
        rsync -a --link-dest="$DRIVE/sub" sub/ linked """,
    "zip": """zip -qr out.zip source; cd "$DRIVE"; unzip -q "$LOCAL/out.zip"; cat source/file
        zip -q0r in.zip sub; unzip -t in.zip """,
}


def with_source(place: Place) -> None:
    """The standard drive, and on the local disk a tree to be brought there."""
    fill_standard(place)
    standard(place.work / "source", f"{place.work}/source")
    (place.work / "source/file").write_bytes(b"content\n")
    (place.work / "other").write_bytes(b"other\n")
    (place.work / "third").write_bytes(bytes(100_000))
    settle(place.work)


@pytest.mark.parametrize("name", ON_THE_DRIVE)
def test_on_the_drive(pair: Pair, name: str) -> None:
    """A utility does on a drive what it does in a plain folder, and says the same."""
    pair.run(bash(ON_THE_DRIVE[name]), links=name in ("cp -a", "ln", "cp"))


@pytest.mark.parametrize("name", BETWEEN)
def test_between_drive_and_disk(pair: Pair, name: str) -> None:
    """What goes from the local disk to a drive, or back, arrives whole: content, modes, times, links."""
    opaque = ("*.zip", "*.tgz", "*.txz")
    pair.run(bash(BETWEEN[name]), setup=with_source, opaque=opaque, links=name == "rsync there")


def test_owners_as_root(pair: Pair) -> None:
    """chown, chgrp and owners kept by cp and tar, by number, for root."""
    pair.run(
        bash("""cd "$DRIVE"; chown 1000:1001 hello.txt; chown -h 1000 dangling; chown -R 1002:1003 sub
        chgrp 7 big.bin
            cp -a sub copy; tar cf "$LOCAL/a.tar" --sort=name sub; mkdir out; tar xpf "$LOCAL/a.tar" -C out
            chmod g+s sub; mkdir sub/inherits; : > sub/file
            stat -c '%n %u %g %a' hello.txt sub/* copy/* out/sub/*"""),
        links=True,
    )
