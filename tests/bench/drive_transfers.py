"""A large file to and from an embedded drive: its speed, that of one changed byte, and the broker's memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from measure import Bench, Sample, bench, column, median, ratio, table
from processes import resident, waiting

SIZES = {
    "mib": (1024, "MiB of the file"),
    "memory": (4096, "MiB of the file whose way through the broker is watched"),
}


def changed_byte(file: Path, path: str) -> list[str]:
    """A command that changes a byte in the middle of `path`, which is as long as `file`."""
    middle = file.stat().st_size // 2
    return ["dd", "if=/dev/urandom", f"of={path}", "bs=1", "count=1", f"seek={middle}", "conv=notrunc", "status=none"]


def chunks(drive: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(drive / "blobs"))


def natively(setting: Bench, file: Path) -> Sample:
    """Seconds of `cp` with `sha256sum`, of `cp` alone, and of `sha256sum` alone."""
    target = str(setting.scratch / "copy")
    copied = setting.seconds(["cp", str(file), target])
    hashed = setting.seconds(["sha256sum", str(file)])
    os.unlink(target)
    return (*(one + other for one, other in zip(copied, hashed, strict=True)), *copied, *hashed)


def on_a_drive(setting: Bench, file: Path) -> Sample:
    """Seconds to a new drive, from it with an empty cache, from it when the content is in the cache, and of a changed
    byte; and the chunks that this sent."""
    target, there = str(setting.scratch / "fetched"), "/drive/file"
    with setting.encrypted() as (folder, url):

        def seconds(argv: list[str], environment: Mapping[str, str]) -> float:
            return setting.seconds(setting.under_exec(*argv, remote=url), environment=environment)[0]

        with setting.cache() as cache:
            sent = seconds(["cp", str(file), there], cache)
            warm = seconds(["cp", there, target], cache)
            before = chunks(folder)
            changed = seconds(changed_byte(file, there), cache)
            new = chunks(folder) - before
        with setting.cache() as cache:
            fetched = seconds(["cp", there, target], cache)
        os.unlink(target)
    return sent, fetched, warm, changed, new


def transfers(setting: Bench) -> None:
    size = setting.sizes["mib"] << 20
    file = setting.file("large", size)
    samples = setting.rounds({"native": lambda: natively(setting, file), "drive": lambda: on_a_drive(setting, file)})
    os.unlink(file)
    native, drive = samples["native"], samples["drive"]
    base = column(native, 0)

    def row(name: str, taken: list[Sample], goal: str = "") -> list[str]:
        return [name, f"{median(taken):.2f}", f"{size / median(taken) / 1e6:.0f}", f"{ratio(base, taken):.2f}", goal]

    table(
        f"A file of {size >> 20} MiB; sessions with their start and end",
        ["", "s", "MB/s", "of cp and sha256sum", "goal"],
        [
            row("cp and sha256sum", base),
            row("cp", column(native, 1)),
            row("sha256sum", column(native, 2)),
            row("cp to the drive", column(drive, 0), "at least 0.5"),
            row("cp from the drive, empty cache", column(drive, 1), "at least 0.5"),
            row("cp from the drive, in the cache", column(drive, 2)),
        ],
    )
    changed, hashed = column(drive, 3), column(native, 2)
    table(
        f"One byte changed in the middle of a file of {size >> 20} MiB that is in the cache, and the file closed",
        ["", "s", "of sha256sum", "chunks sent", "goal"],
        [["dd", f"{median(changed):.2f}", f"{ratio(changed, hashed):.2f}", f"{median(drive, 4):.0f}", "at most 2"]],
    )


def copied(setting: Bench, source: str, target: str, url: str) -> Sample:
    """MB in the broker before a file is copied, at most meanwhile, and after."""
    with setting.cache() as cache:
        with waiting(setting, "ls /drive >/dev/null", remote=url, environment=cache) as session:
            before = resident(session.broker)
        with waiting(setting, f"cp {source} {target}", remote=url, environment=cache) as session:
            return before, resident(session.broker, "VmHWM"), resident(session.broker)


def both_ways(setting: Bench, file: Path) -> Sample:
    with setting.encrypted() as (_, url):
        there = copied(setting, str(file), "/drive/file", url)
        back = copied(setting, "/drive/file", str(setting.scratch / "back"), url)
        os.unlink(setting.scratch / "back")
    return there + back


def memory(setting: Bench) -> None:
    size = setting.sizes["memory"] << 20
    file = setting.file("larger", size)
    samples = setting.rounds({"drive": lambda: both_ways(setting, file)})["drive"]
    os.unlink(file)
    rows = [
        [name, *(f"{median(samples, first + offset):.0f}" for offset in range(3)), "at most 200"]
        for name, first in (("to the drive", 0), ("from the drive", 3))
    ]
    table(
        f"Broker's memory (MB) while a file of {size >> 20} MiB goes through",
        ["", "VmRSS before", "VmHWM", "VmRSS after", "goal for VmHWM"],
        rows,
    )


def main() -> None:
    with bench(__doc__, runs=3, sizes=SIZES) as setting:
        if setting.sizes["mib"]:
            transfers(setting)
        if setting.sizes["memory"]:
            memory(setting)


if __name__ == "__main__":
    main()
