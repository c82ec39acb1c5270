"""Starts the process in which a run works, and keeps one ready so that Start needn't wait."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from core.training.run import Run

ROOT = Path(__file__).parents[2]


class Launcher:
    """Hands a run to a trainer process. A spare one, its imports done, may stand ready.

    A trainer is detached: it lives in a session of its own, its output goes to the run's log file,
    and the end of the server doesn't end it. A spare that never got a run ends with the server,
    because its standard input closes.
    """

    def __init__(self, log: Path):
        self._log = log
        self._spare: subprocess.Popen | None = None

    def prepare(self) -> None:
        """Start a spare unless one stands ready."""
        if self._spare is None or self._spare.poll() is not None:
            with self._log.open("ab") as log:
                self._spare = subprocess.Popen(
                    [sys.executable, "-m", "core.training.worker"], stdin=subprocess.PIPE,
                    stdout=log, stderr=log, cwd=ROOT, text=True, start_new_session=True)

    def launch(self, run: Run) -> subprocess.Popen:
        """The process that works on `run` from now on. The run's status names it before it gets
        the word, so that no look at the folder finds it without a worker."""
        self.prepare()
        worker, self._spare = self._spare, None
        run.update(state="starting", words="The trainer starts.", pid=worker.pid,
                   pid_started=_start_time(worker.pid), started=time.time(), ended=0.0, remedy="",
                   detail="")
        worker.stdin.write(f"{run.folder}\n")
        worker.stdin.close()
        return worker

    def dismiss(self) -> None:
        """End the spare, for a server that ends."""
        if self._spare is not None:
            self._spare.stdin.close()
            self._spare = None


def kill(pid: int, force: bool) -> None:
    """Ask a trainer and its children to end, or end them."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/T", *(["/F"] if force else []), "/PID", str(pid)],
                       capture_output=True, check=False)
        return
    try:
        os.killpg(pid, signal.SIGKILL if force else signal.SIGTERM)
    except ProcessLookupError:
        return  # it ended by itself


def _start_time(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0  # it is gone already; its run will be found interrupted
