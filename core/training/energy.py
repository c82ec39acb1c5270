"""The energy that a run's GPUs take, where NVIDIA's driver tells it."""

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from core.training.run import Run

FACTS = "energy"
SECONDS = 5.0  # between two looks
LONGEST_LOOK = 10.0


@contextmanager
def metered(run: Run) -> Iterator[None]:
    """While it is open, what the run's GPUs draw is added up in the run's facts as
    {"joules", "gpus"}; a resumed run goes on from there. It is that of whole cards, with what
    others do on them. Nothing is written where the driver doesn't tell."""
    gpus = run.status().devices if run.writes and shutil.which("nvidia-smi") else ()
    ended = threading.Event()
    meter = threading.Thread(target=_add_up, args=(run, gpus, ended), daemon=True)
    if gpus:
        meter.start()
    try:
        yield
    finally:
        ended.set()
        if gpus:
            meter.join()


def _add_up(run: Run, gpus: tuple[str, ...], ended: threading.Event) -> None:
    joules = float(run.facts(FACTS).get("joules", 0.0))
    watts, since = power(gpus), time.monotonic()
    while watts is not None:
        last_look = ended.wait(SECONDS)
        before, watts = watts, power(gpus)
        if watts is None:
            return
        now = time.monotonic()
        joules += (before + watts) / 2 * (now - since)
        since = now
        run.write_facts(FACTS, {"joules": round(joules, 1), "gpus": list(gpus)})
        if last_look:
            return


def power(gpus: tuple[str, ...]) -> float | None:
    """Watts that these GPUs draw together; None where the driver doesn't tell, as for a part of a
    card (MIG)."""
    try:
        asked = subprocess.run(
            ["nvidia-smi", "-i", ",".join(gpus), "--query-gpu=power.draw",
             "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=LONGEST_LOOK, check=False)
        found = [float(line) for line in asked.stdout.split()]
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    return sum(found) if asked.returncode == 0 and len(found) == len(gpus) else None
