"""git on a drive, and between a drive and the local disk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .harness import Pair, Place, bash

IDENTITY = {
    "GIT_AUTHOR_NAME": "A U Thor",
    "GIT_AUTHOR_EMAIL": "author@example.com",
    "GIT_AUTHOR_DATE": "2020-01-02T03:04:05Z",
    "GIT_COMMITTER_NAME": "C O Mitter",
    "GIT_COMMITTER_EMAIL": "committer@example.com",
    "GIT_COMMITTER_DATE": "2020-01-02T03:04:05Z",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "3",
    "GIT_CONFIG_KEY_0": "init.defaultBranch",
    "GIT_CONFIG_VALUE_0": "main",
    "GIT_CONFIG_KEY_1": "pack.threads",
    "GIT_CONFIG_VALUE_1": "1",
    "GIT_CONFIG_KEY_2": "gc.autoDetach",
    "GIT_CONFIG_VALUE_2": "false",
}

COMMIT = """
    git init -q "$R"; cd "$R"
    for n in $(seq 20); do mkdir -p "dir-$((n % 4))"; seq $n 300 > "dir-$((n % 4))/file-$n"; done
    ln -s dir-1 link; printf '#!/bin/sh\\n' > run; chmod +x run; git add .; git commit -qm first
"""

SCENARIOS = {
    "commit": """git status --short; echo change >> run; git rm -q link; git mv dir-1/file-1 moved
        git status --short
        git diff --stat; git commit -qam second; git log --stat --format=%H; git show --stat
        git fsck --strict """,
    "status stays clean": """git status --porcelain; git update-index --refresh; git diff-files
        git status --porcelain
        touch -d 2001-01-01 run; git status --porcelain; git stash -q; git ls-files -s | sha256sum """,
    "gc": """for n in 1 2 3; do echo $n >> run; git commit -qam "$n"; done; git repack -qad
        git gc -q --prune=now; git fsck --full
        git count-objects -v | grep -v size; git log --oneline; git prune
        git verify-pack .git/objects/pack/*.idx; git reflog """,
    "branches": """git checkout -qb side; echo side > side; git add side; git commit -qm side
        git checkout -q main; echo main >> run
        git commit -qam main; git merge -q --no-edit side; git tag -am tag v1; git log --graph --format=%s
        git reset -q --hard HEAD~1
        git rebase -q side; git cherry-pick HEAD~1 2>&1 | head -n 1; git checkout -q -- . ; git clean -qfd
        git branch -av; git status """,
    "worktree": """git worktree add -q "$DRIVE/other" -b other; cd "$DRIVE/other"; echo x > x; git add x
        git commit -qm x
        cd "$R"; git worktree list; git worktree add -q "$LOCAL/there" -b there; cd "$LOCAL/there"
        git status -sb; cd "$R"
        git worktree remove "$DRIVE/other"; git log --oneline other; git worktree prune; git submodule status
        git grep -c 299 """,
    "archive": """git archive HEAD | tar tf - ; git bundle create -q "$LOCAL/b" main
        git clone -q "$LOCAL/b" "$DRIVE/from-bundle"
        git format-patch -q -1 --root -o patches; git ls-tree -r HEAD | wc -l; git cat-file -p HEAD
        git hash-object -w run """,
}
OPAQUE = ("*index", "*/b", "b")
"""An index holds inode numbers and ctimes, which differ from run to run."""


@pytest.fixture
def git_pair(pair: Pair) -> Pair:
    """A pair whose commits have the same names every time."""
    return replace(pair, environment={**IDENTITY, "R": f"{pair.prefix}/repo"})


def nothing(place: Place) -> None:
    """An empty drive."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_git(git_pair: Pair, name: str) -> None:
    """A repository on the drive: the same commits, the same messages, the same files."""
    git_pair.run(bash(COMMIT + SCENARIOS[name]), setup=nothing, opaque=OPAQUE)


def test_clone_there_and_back(git_pair: Pair) -> None:
    """local → drive → drive → local, with push and pull over the file transport."""
    git_pair.run(
        bash(f"""R="$LOCAL/origin"; {COMMIT}
            git clone -q "$LOCAL/origin" "$DRIVE/clone"; cd "$DRIVE/clone"; git status -sb; echo more > more
            git add more
            git commit -qm more; git push -q origin HEAD:refs/heads/pushed
            git clone -q --bare . "$DRIVE/bare.git"
            git clone -q file://"$DRIVE/bare.git" "$LOCAL/back"; cd "$LOCAL/back"; git log --format='%H %s'
            git status -sb
            echo again >> more; git commit -qam again; git push -q; cd "$DRIVE/clone"
            git pull -q "$DRIVE/bare.git" main
            git log --format='%H %s'; git fsck; git -C "$DRIVE/bare.git" fsck
            git -C "$LOCAL/origin" branch -a"""),
        setup=nothing,
        opaque=OPAQUE,
    )
