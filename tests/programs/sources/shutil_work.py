"""Copies, moves, archives and removes trees of the folder given with shutil and pathlib."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

top = Path(sys.argv[1])
(top / "tree/deep/er").mkdir(parents=True)
(top / "tree/file").write_text("text")
(top / "tree/deep/other").write_bytes(bytes(70000))
(top / "tree/link").symlink_to("file")
os.utime(top / "tree/file", (1_000_000_000, 1_000_000_000.25))
shutil.copytree(top / "tree", top / "copy", symlinks=True)
shutil.copytree(top / "tree", top / "followed")
shutil.copy2(top / "tree/file", top / "copy/second")
shutil.move(top / "copy", top / "moved")
shutil.move(top / "moved/second", top)
with tempfile.TemporaryDirectory() as local:
    shutil.move(top / "followed", local)
    print(sorted(path.name for path in Path(local).rglob("*")))
    shutil.move(f"{local}/followed", top / "returned")
    archive = shutil.make_archive(f"{local}/archive", "tar", top, "tree")
    shutil.unpack_archive(archive, top / "unpacked")
shutil.rmtree(top / "moved/deep")
shutil.copymode(top / "tree/file", top / "second")
print(shutil.which("file", path=str(top)), shutil.disk_usage(top).total > 0)
(top / "second").chmod(0o751)
(top / "second").rename(top / "third").replace(top / "fourth")
try:
    (top / "tree").rmdir()
except OSError as error:
    print(error.strerror)
try:
    shutil.copytree(top / "tree", top / "moved")
except FileExistsError as error:
    print(error.strerror)
for path in sorted(top.rglob("*")):
    print(path.relative_to(top), path.is_dir(), path.is_symlink(), path.lstat().st_nlink, oct(path.lstat().st_mode))
print((top / "moved/link").resolve().relative_to(top.resolve()), (top / "fourth").read_text())
