"""What a session costs by itself: the time to start and end, and the memory of its processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from measure import Bench, bench, median, table

FILES = 10_000


def descendants(pid: int) -> list[int]:
    """`pid` and all below it, as /proc/PID/task/TID/children has them."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += descendants(int(child))
    return found


def holds_listener(pid: int) -> bool:
    return any("seccomp notify" in str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())


def resident(pid: int) -> float:
    """VmRSS in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def memory(setting: Bench, remote: Path, script: str) -> tuple[float, float]:
    """MB resident in the broker, and in all processes of a session but the program, after the shell ran `script`."""
    argv = setting.under_exec("sh", "-c", f"{script}; echo $$; read line", remote=remote)
    environment = setting.fresh_cache()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as session:
        assert session.stdout is not None
        program = int(session.stdout.readline())
        ours = [pid for pid in descendants(session.pid) if pid != program]
        broker = next(pid for pid in ours if holds_listener(pid))
        result = resident(broker), sum(resident(pid) for pid in ours)
        session.communicate(b"\n")
    return result


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
