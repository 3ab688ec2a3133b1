"""What it costs to act as somebody else: opening a file of the drive as the broker's user, and as another."""

from __future__ import annotations

import os
import sys

from measure import Bench, bench, median, ratio, table

OPENS = 2_000
AS_NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534")


def opening(setting: Bench, calls: str) -> None:
    remote = setting.folder("small")
    (remote / "file").write_bytes(os.urandom(4096))
    for path in (setting.scratch, remote, remote / "file"):
        path.chmod(0o755)
    loop = [calls, "open", str(OPENS), "/drive/file"]
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
    title = "Open, read and close of a 4 KiB file that is in the mirror: three calls, of which the broker makes one"
    table(title, ["caller", "µs", "more", "ratio", "goal for more"], rows)


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("only root can act as others: run it as root")
    with bench("Measure what acting as another user costs.", runs=5) as setting:
        opening(setting, setting.compile("calls"))


if __name__ == "__main__":
    main()
