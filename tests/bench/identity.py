"""What it costs to act as somebody else: calls about a file of the drive by the broker's user, and by another."""

from __future__ import annotations

import os
import sys

from measure import Bench, bench, median, ratio, table

CALLS = 3_000
AS_NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534")


def calling(setting: Bench, calls: str, way: str, title: str) -> None:
    remote = setting.folder(f"for-{way}")
    (remote / "file").write_bytes(os.urandom(4096))
    for path in (setting.scratch, remote, remote / "file"):
        path.chmod(0o755)
    loop = [calls, way, str(CALLS), "/drive/file"]
    callers = {
        "the broker's own user": (),
        "another user": (*AS_NOBODY, "--clear-groups", "--"),
        "another user, in 16 groups": (*AS_NOBODY, "--groups", ",".join(map(str, range(2000, 2016))), "--"),
    }
    samples = setting.rounds(
        {
            name: lambda drop=drop: setting.numbers(setting.under_exec(*drop, *loop, remote=remote))
            for name, drop in callers.items()
        }
    )
    base = samples["the broker's own user"]
    rows = []
    for name, one in samples.items():
        more = median([(sample[0] - other[0],) for sample, other in zip(one, base, strict=True)])
        goal = "" if one is base else "at most 60"
        rows.append([name, f"{median(one):.1f}", f"{more:.1f}", f"{ratio(one, base):.2f}", goal])
    table(title, ["caller", "µs", "more", "ratio", "goal for more"], rows)


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("only root can act as others: run it as root")
    with bench("Measure what acting as another user costs.", runs=5) as setting:
        calls = setting.compile("calls")
        calling(setting, calls, "access", "access(2), which the broker answers")
        calling(setting, calls, "open", "Open, read and close of a warm 4 KiB file, which the lane opens")


if __name__ == "__main__":
    main()
