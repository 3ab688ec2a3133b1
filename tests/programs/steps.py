"""Random changes of a folder, step by step, and which trees may be found when it ended in the middle of one.

A tree maps relative paths to what is there: bytes for a file, "" for a folder, a text for a symlink.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Tree = dict[str, bytes | str]
FOLDER = ""
_TEMPORARY = ".seccomp-drive-"
_FILES = [f"{folder}{name}" for folder in ("", "d/", "e/") for name in ("f", "g", "h")]


@dataclass(frozen=True, slots=True)
class Step:
    """`what` happens to `path`; `other` is a second path or text, `number` decides on content and lengths."""

    what: str
    path: str
    other: str = ""
    number: int = 0

    @property
    def content(self) -> bytes:
        """What the step writes: different for each number, of very different lengths, some of it zeros."""
        rng = random.Random(self.number)
        size = rng.choice((0, 1, 10, 5000, 70_000, 300_000))
        return bytes(size) if rng.random() < 0.1 else rng.randbytes(size)

    @property
    def half(self) -> int:
        """How much of the content is confirmed first, by fsync(2)."""
        return len(self.content) // 2


def draw(rng: random.Random, tree: Tree) -> Step:
    """A step that can be done on `tree`."""
    files = [path for path, node in tree.items() if isinstance(node, bytes)]
    folders = [path for path, node in tree.items() if node == FOLDER]
    able = [path for path in _FILES if (os.path.dirname(path) in ("", *folders)) and tree.get(path) != FOLDER]
    path, number = rng.choice(able), rng.randrange(1 << 30)
    missing = [name for name in ("d", "e") if name not in tree]
    empty = [name for name in folders if not any(other.startswith(f"{name}/") for other in tree)]
    wanted = rng.choice(
        ["write"] * 4 + ["fsync", "append", "replace", "rename", "unlink", "truncate", "link", "folder"]
    )
    if wanted in ("append", "rename", "unlink", "truncate") and files:
        path = rng.choice(files)
        return Step(wanted, path, rng.choice([other for other in able if other != path] or [path]), number)
    if wanted == "link" and path not in tree:
        return Step("symlink", path, f"to {number}")
    if wanted == "folder":
        if missing and rng.random() < 0.5:
            return Step("rename", rng.choice(folders), missing[0]) if folders else Step("mkdir", missing[0])
        if missing or empty:
            return Step("mkdir", rng.choice(missing)) if missing else Step("rmdir", rng.choice(empty))
    if isinstance(tree.get(path), str):
        return Step("unlink", path)
    return Step(wanted if wanted in ("fsync", "replace") else "write", path, number=number)


def perform(step: Step, root: Path, confirm: Callable[[], None]) -> None:
    """Do the step below `root`; `confirm` is called after a part of it that counts by itself."""
    path, other, content = root / step.path, root / step.other, step.content
    if step.what in ("write", "fsync"):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(file, content[: step.half])
        if step.what == "fsync":
            os.fsync(file)
            confirm()
        os.write(file, content[step.half :])
        os.close(file)
    elif step.what == "append":
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(file, content)
        os.close(file)
    elif step.what == "replace":
        temporary = root / f"{step.path}.new"
        perform(Step("write", f"{step.path}.new", number=step.number), root, confirm)
        os.replace(temporary, path)
    elif step.what == "truncate":
        os.truncate(path, step.number % 10_000)
    elif step.what == "rename":
        os.rename(path, other)
    elif step.what == "symlink":
        os.symlink(step.other, path)
    else:
        {"unlink": os.unlink, "mkdir": os.mkdir, "rmdir": os.rmdir}[step.what](path)


def after(step: Step, tree: Tree) -> Tree:
    """The tree when the step has been done."""
    result = dict(tree)
    node = result.get(step.path)
    if step.what in ("write", "fsync", "replace"):
        result[step.path] = step.content
        if step.what == "replace":
            result.pop(f"{step.path}.new", None)
    elif step.what == "append":
        result[step.path] = _bytes(node) + step.content
    elif step.what == "truncate":
        size = step.number % 10_000
        result[step.path] = _bytes(node)[:size].ljust(size, b"\0")
    elif step.what == "rename":
        for path in [path for path in tree if path == step.path or path.startswith(f"{step.path}/")]:
            result[step.other + path.removeprefix(step.path)] = result.pop(path)
    elif step.what == "symlink":
        result[step.path] = step.other
    elif step.what == "mkdir":
        result[step.path] = FOLDER
    else:
        del result[step.path]
    return result


def fits(step: Step, before: Tree, actual: Tree, *, confirmed: bool) -> bool:
    """Whether `actual` may be found when the step was begun on `before` and perhaps done, all or in part.

    `confirmed` says that a part of it was. A program that is killed in write(2) may have written less than it wanted.
    """
    if actual == after(step, before) or (actual == before and not confirmed):
        return True
    path = f"{step.path}.new" if step.what == "replace" else step.path
    if step.what not in ("write", "fsync", "append", "replace") or actual.keys() | {path} != before.keys() | {path}:
        return False
    rest = all(actual.get(other) == node for other, node in before.items() if other != path)
    node, old = actual.get(path), before.get(path)
    if not rest or not isinstance(node, bytes):
        return False
    if step.what == "append":
        return _bytes(old) == node[: len(_bytes(old))] and (_bytes(old) + step.content).startswith(node)
    return step.content.startswith(node) and (not confirmed or len(node) >= step.half)


def digests(tree: Tree) -> dict[str, str]:
    """The tree in a form that can be compared between processes."""
    return {
        path: node if isinstance(node, str) else f"file {hashlib.sha256(node).hexdigest()}"
        for path, node in tree.items()
    }


def found(root: Path) -> Tree:
    """The tree that is there. A push that was killed may leave its temporary file, which drives do not show."""
    tree: Tree = {}
    for folder, folders, files in os.walk(root, onerror=_fail):
        for name in (*folders, *files):
            if name.startswith(_TEMPORARY):
                continue
            path = Path(folder, name)
            key = str(path.relative_to(root))
            if path.is_symlink():
                tree[key] = os.readlink(path)
            else:
                tree[key] = FOLDER if path.is_dir() else path.read_bytes()
    return tree


def _fail(error: OSError) -> None:
    raise error


def _bytes(node: bytes | str | None) -> bytes:
    assert isinstance(node, bytes)
    return node
