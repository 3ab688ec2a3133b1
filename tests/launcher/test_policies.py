"""The ready policies, used: each drive of each of them is read and, where it may be, written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READY = sorted((ROOT / "policies").glob("*.toml"))
MAIN = "import sys; from launcher.cli import main; sys.exit(main())"


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_a_ready_policy_works(path: Path, tmp_path: Path) -> None:
    """With the folders of its remotes moved below a temporary one, all else as it is delivered."""
    text = re.sub(r"file://(/[^\"]+)", rf"file://{tmp_path}\1", path.read_text())
    (tmp_path / "policy.toml").write_text(text)
    document = tomllib.loads(text)
    urls = {name: remote["url"] for name, remote in document.get("remote", {}).items()}
    environment = os.environ | {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    environment.pop("XDG_CACHE_HOME", None)
    for number, mount in enumerate(document["mount"]):
        folder = Path(urls.get(mount["remote"], mount["remote"]).removeprefix("file://"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "read").write_text(f"content {number}\n")
    for number, mount in enumerate(document["mount"]):
        drive = f"{mount['prefix']}/"
        folder = Path(urls.get(mount["remote"], mount["remote"]).removeprefix("file://"))
        read_only = mount.get("access") == "read-only"
        script = f"cat {drive}read && echo written >{drive}new-{number}"
        argv = [sys.executable, "-c", MAIN, "exec", "-p", str(tmp_path / "policy.toml"), "sh", "-c", script]
        result = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
        assert result.stdout == (folder / "read").read_text()
        assert (result.returncode != 0) is read_only, result.stderr
        assert (folder / f"new-{number}").exists() is not read_only
        assert ("Read-only file system" in result.stderr) is read_only
