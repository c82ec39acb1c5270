"""Whether a worker's process is still there, and if not, what took it away."""

import contextlib
import functools
import os
import sys
from pathlib import Path

import psutil

SAME_START_SECONDS = 2.0
MEMORY_EVENTS = ("memory.events", "memory.oom_control")  # of control groups, version 2 and 1


@functools.cache
def boot_id() -> str:
    """A name for the time since this machine was switched on."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def start_time(pid: int) -> float:
    """When a process began; 0 where it is gone. On Linux in seconds since the machine was switched
    on, because times of day move when somebody sets the clock."""
    try:
        if sys.platform != "linux":
            return psutil.Process(pid).create_time()
        # The name in parentheses may hold blanks; field 22 of the line is 19 behind it.
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(after_name.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, psutil.Error):
        return 0.0


def is_alive(pid: int, started: float) -> bool:
    """Whether the very process that had this pid is still there; pids are used again."""
    try:
        return (pid > 0 and abs(start_time(pid) - started) < SAME_START_SECONDS
                and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def memory_kills() -> int:
    """How many processes the system has ended for want of memory so far: of this control group
    where it counts them, else of the machine. 0 where nobody counts."""
    for file in [*_group_files(), Path("/proc/vmstat")]:
        with contextlib.suppress(OSError, ValueError):
            for line in file.read_text(encoding="ascii").splitlines():
                name, _, number = line.partition(" ")
                if name == "oom_kill":
                    return int(number)
    return 0


def _group_files() -> list[Path]:
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    roots = [Path("/sys/fs/cgroup") / ("memory" if "memory" in line else "")
             / line.split(":", 2)[2].lstrip("/") for line in lines if line.count(":") >= 2]
    return [root / name for root in roots for name in MEMORY_EVENTS]


def why_gone(boot: str, kills_before: int, step: int) -> tuple[str, str]:
    """What took a worker away that left no word, as far as the machine tells, and what to do.
    `boot` and `kills_before` were noted when it began."""
    go_on = "Resume goes on from the last checkpoint."
    if boot and boot != boot_id():
        return f"The machine was restarted while the run was at step {step}.", go_on
    if kills_before < memory_kills():
        return (f"The system ended the trainer at step {step}, because memory (RAM) ran out.",
                f"Lower Batch size or Max length, or close other programs. {go_on}")
    return (f"The trainer was ended from outside at step {step}: it was killed, or it crashed.",
            f"{go_on} If it happens again, memory may have run out: lower Batch size or Max "
            "length.")
