"""What the load benches share: a server in a process of its own, and what it leaves behind."""

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from core.config import Config
from core.files import Folders

# A server whose queue ticks as often as it is told; all else is the program's own.
SERVER = """
import sys
from core.training import queue
queue.TICK_SECONDS = float(sys.argv.pop(1))
import app
app.main()
"""
MARK = "TUNEDESK_BENCH"  # in the environment of each process that a server started


def tell(what: str, figure: object) -> None:
    print(f"| {what} | {figure} |", flush=True)


@contextmanager
def server(folders: Folders, tick_seconds: float = 0.25) -> Iterator[tuple[subprocess.Popen, str]]:
    """The program on a data folder, and its address; it ends with the block."""
    child = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tick_seconds), "--no-browser", "--data-folder",
         str(folders.home), "--port", "7970"], stdout=subprocess.PIPE, text=True,
        env=os.environ | {MARK: str(folders.home)})
    try:
        yield child, re.search(r"http://[\d.:]+", child.stdout.readline()).group()
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            child.wait()


def left_over(folders: Folders) -> list[psutil.Process]:
    """Processes that servers on this data folder started, and theirs."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.environ().get(MARK) == str(folders.home) \
                    and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
        except psutil.Error:
            continue  # it has ended, or isn't ours
    return found


def wait_for(claim: Callable[[], object], seconds: float = 120.0) -> float:
    """The seconds that it took to come true."""
    began = time.monotonic()
    while not claim():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not true within {seconds} s")
        time.sleep(0.02)
    return time.monotonic() - began


def none_left(folders: Folders) -> int:
    """How many are left a minute after the server has ended."""
    try:
        wait_for(lambda: not left_over(folders), 60)
    except TimeoutError:
        print([each.cmdline() for each in left_over(folders)], file=sys.stderr)
    return len(left_over(folders))


def settings(folders: Folders, **changes: object) -> dict:
    """A run of the tiny model that goes on until it is stopped."""
    return Config(**{
        "base_model": str(folders.models / "tiny"), "base_weights": "32bit", "precision": "fp32",
        "layout": "text", "loss_on": "all tokens", "eval_rows": 0, "save_every": "never",
        "max_steps": 1_000_000} | changes).to_dict()


def rss(child: subprocess.Popen) -> float:
    return psutil.Process(child.pid).memory_info().rss / 2**20


def spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return (f"{statistics.median(ordered):.3f}, {ordered[int(0.95 * len(ordered))]:.3f}, "
            f"{ordered[-1]:.3f}")
