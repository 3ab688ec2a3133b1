"""What a session costs by itself: the time to start and end, and the memory of its processes."""

from __future__ import annotations

from pathlib import Path

from measure import Bench, bench, median, table
from processes import resident, waiting

FILES = 10_000


def memory(setting: Bench, remote: Path, script: str) -> tuple[float, float]:
    """MB resident in the broker, and in all processes of a session but the program, after the shell ran `script`."""
    with waiting(setting, script, remote=remote, environment=setting.fresh_cache()) as session:
        return resident(session.broker), sum(resident(pid) for pid in session.ours)


def main() -> None:
    with bench(__doc__, runs=9) as setting:
        setting.seconds(setting.under_exec("true"))
        samples = setting.rounds(
            {
                "true": lambda: setting.seconds(["true"]),
                "exec true": lambda: setting.seconds(setting.under_exec("true")),
            }
        )
        remote = setting.folder("many")
        for number in range(FILES):
            (remote / f"file-{number:05}").write_bytes(b"x")
        idle = [memory(setting, remote, ":") for _ in range(setting.runs // 3 or 1)]
        known = [memory(setting, remote, "ls -l /drive >/dev/null") for _ in range(setting.runs // 3 or 1)]
    true, ours = median(samples["true"]) * 1e3, median(samples["exec true"]) * 1e3
    table(
        "Starting and ending a session, wall time",
        ["command", "ms", "over true", "ratio", "goal over true"],
        [
            ["true", f"{true:.1f}", "", "", ""],
            ["exec true", f"{ours:.1f}", f"{ours - true:.1f}", f"{ours / true:.0f}", "at most 120"],
        ],
    )
    table(
        "Resident memory (VmRSS; shared pages count in each process)",
        ["files known", "broker MB", "all ours MB", "goal for the broker"],
        [
            ["none", f"{median(idle):.1f}", f"{median(idle, 1):.1f}", ""],
            [str(FILES), f"{median(known):.1f}", f"{median(known, 1):.1f}", "at most 80"],
        ],
    )


if __name__ == "__main__":
    main()
