"""Many small files by `tar x`: into a plain folder, on a `file:` drive and on an embedded drive.

On ext4, give a --directory on a tmpfs: where many files were removed a minute ago, making others is slow.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from pathlib import Path

from measure import Sample, bench, column, median, ratio, table

SIZE = 4096
SIZES = {"files": (2000, f"files of {SIZE} bytes")}


def archive(path: Path, files: int) -> Path:
    with tarfile.open(path, "w") as tar:
        for number in range(files):
            member = tarfile.TarInfo(f"file-{number:05}")
            member.size = SIZE
            tar.addfile(member, io.BytesIO(os.urandom(SIZE)))
    return path


def main() -> None:
    with bench(__doc__, runs=5, sizes=SIZES) as setting:
        files, each = setting.sizes["files"], setting.compile("each")
        tar = archive(setting.scratch / "files.tar", files)

        def unpacking(folder: str) -> list[str]:
            return [each, "1", "tar", "-x", "-f", str(tar), "-C", folder]

        def on_a_drive(remote: Path | str) -> Sample:
            """Seconds of `tar`, and of the session with it."""
            argv = setting.under_exec(*unpacking("/drive"), remote=remote)
            return setting.numbers_and_seconds(argv, environment=setting.fresh_cache())

        def plain() -> Sample:
            return setting.numbers_and_seconds(unpacking(tempfile.mkdtemp(dir=setting.scratch)))

        def file() -> Sample:
            folder = Path(tempfile.mkdtemp(dir=setting.scratch))
            taken = on_a_drive(folder)
            assert len(os.listdir(folder)) == files
            return taken

        def encrypted() -> Sample:
            with setting.encrypted() as (_, url):
                return on_a_drive(url)

        samples = setting.rounds({"plain folder": plain, "file:": file, "embedded drive": encrypted})
    base, goals = column(samples["plain folder"], 0), {"embedded drive": "at least 700"}
    rows = []
    for name, measured in samples.items():
        rates = [f"{files / median(measured, number):.0f}" for number in range(2)]
        rows.append([name, *rates, f"{ratio(base, column(measured, 0)):.3f}", goals.get(name, "")])
    table(
        f"`tar x` of {files} files of {SIZE} bytes, files a second",
        ["into", "tar", "with the session", "of plain", "goal"],
        rows,
    )


if __name__ == "__main__":
    main()
