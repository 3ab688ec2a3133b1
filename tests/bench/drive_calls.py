"""What a file on the drive costs: opening a warm one, listing many, and reading an open one."""

from __future__ import annotations

import os
import subprocess

from measure import Bench, Sample, bench, median, ratio, table

OPENS = 3_000
FILES = 10_000
LARGE = 256 << 20
PASSES = 8
WAYS = ("read 64 KiB", "pread 4 KiB", "mmap")


def opening(setting: Bench, calls: str) -> None:
    remote = setting.folder("small")
    (remote / "file").write_bytes(os.urandom(4096))
    loop = [calls, "open", str(OPENS)]
    samples = setting.rounds(
        {
            "local disk": lambda: setting.numbers([*loop, str(remote / "file")]),
            "local disk, under exec": lambda: setting.numbers(setting.under_exec(*loop, str(remote / "file"))),
            "drive": lambda: setting.numbers(setting.under_exec(*loop, "/drive/file", remote=remote)),
            "embedded drive": lambda: embedded(setting, loop),
        }
    )
    base = samples["local disk"]
    goals = {"drive": "at most 150"}
    rows = [
        [name, f"{median(one):.1f}", f"{ratio(one, base):.1f}", goals.get(name, "")] for name, one in samples.items()
    ]
    table("Open, read and close of a 4 KiB file that is in the mirror", ["file", "µs", "ratio", "goal"], rows)


def embedded(setting: Bench, loop: list[str]) -> Sample:
    """The same on a new drive, in a session after that which has written the file."""
    with setting.encrypted() as (_, url):
        environment = setting.fresh_cache()
        writing = setting.under_exec("sh", "-c", "head -c 4096 /dev/urandom > /drive/file", remote=url)
        subprocess.run(writing, env=environment, check=True, stderr=subprocess.DEVNULL)
        return setting.numbers(setting.under_exec(*loop, "/drive/file", remote=url), environment=environment)


def listing(setting: Bench, each: str) -> None:
    remote = setting.folder("many")
    for number in range(FILES):
        (remote / f"file-{number:05}").write_bytes(b"x")
    native, colds, news, warms = [], [], [], []
    for _ in range(setting.runs):
        native.append(setting.numbers([each, "3", "ls", "-l", str(remote)])[1:2])
        session, cache = setting.under_exec(each, "3", "ls", "-l", "/drive", remote=remote), setting.fresh_cache()
        cold, *warm = setting.numbers(session, environment=cache)
        colds.append((cold,))
        warms.append(tuple(warm))
        news.append(setting.numbers(session, environment=cache))
    base = median(native)
    rows = [["native", f"{base:.3f}", "", "", ""]]
    for name, samples, goal in (
        ("cold: nothing in the cache", colds, "at most 2"),
        ("warm: listed by an earlier session", news, "at most 0.5"),
        ("warm: listed by this session", warms, "at most 0.5"),
    ):
        over = median([(sample[0] - other[0],) for sample, other in zip(samples, native, strict=True)])
        rows.append([name, f"{median(samples):.3f}", f"{over:.3f}", f"{ratio(samples, native):.1f}", goal])
    title = f"`ls -l` of {FILES} files, the start of the session not counted"
    table(title, ["listing", "s", "over native", "ratio", "goal over native"], rows)


def passes(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """The seconds of every pass over the first file, and over the second, by the three ways."""
    numbers = [number for sample in samples for number in sample]
    starts = range(0, len(numbers), 2 * len(WAYS))
    first = [tuple(numbers[start : start + len(WAYS)]) for start in starts]
    second = [tuple(numbers[start + len(WAYS) : start + 2 * len(WAYS)]) for start in starts]
    return first, second


def reading(setting: Bench, calls: str) -> None:
    """Two files in turn in one process: a local one, and beside it a second local one or that on the drive."""
    remote = setting.folder("large")
    local, twin = str(setting.file("large/large", LARGE)), str(setting.file("twin", LARGE))
    loop = [calls, "read", str(PASSES), local]
    session = setting.under_exec(*loop, "/drive/large", remote=remote)
    variants = {"native": lambda: setting.numbers([*loop, twin]), "exec": lambda: setting.numbers(session)}
    samples = setting.rounds(variants)
    first, native = passes(samples["native"])
    under, drive = passes(samples["exec"])
    rows = []
    for column, way in enumerate(WAYS):
        speed = [LARGE / median(one, column) / 1e9 for one in (first, native, under, drive)]
        noise, ours = ratio(first, native, column), ratio(under, drive, column)
        rows.append([way, *(f"{one:.2f}" for one in speed), f"{noise:.3f}", f"{ours:.3f}", "0.97 to 1.03"])
    table(
        "Throughput of open files of 256 MiB (GB/s): a local one, and in turn with it a second one",
        ["by", "native", "second", "exec, local", "exec, drive", "second/native", "drive/local", "goal"],
        rows,
    )


def main() -> None:
    with bench(__doc__, runs=5) as setting:
        calls, each = setting.compile("calls"), setting.compile("each")
        opening(setting, calls)
        listing(setting, each)
        reading(setting, calls)


if __name__ == "__main__":
    main()
