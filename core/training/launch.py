"""Starts the process in which a run works, and keeps one ready so that Start needn't wait."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from core.training import alive
from core.training import devices as gpus
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
        self._spare_devices: tuple[str, ...] = ()

    def prepare(self, devices: tuple[str, ...] = ()) -> None:
        """Start a spare that sees these devices unless one stands ready. Libraries look at the
        devices when they are imported, so one that sees others is of no use."""
        if self._spare is not None and self._spare.poll() is None:
            if self._spare_devices == devices:
                return
            self.dismiss()
        with self._log.open("ab") as log:
            self._spare = subprocess.Popen(
                [sys.executable, "-m", "core.training.worker"], stdin=subprocess.PIPE,
                stdout=log, stderr=log, cwd=ROOT, text=True, start_new_session=True,
                env={**os.environ, **gpus.only(devices)})
        self._spare_devices = devices

    def launch(self, run: Run, devices: tuple[str, ...] = ()) -> subprocess.Popen:
        """The process that works on `run` from now on. The run's status names it before it gets
        the word, so that no look at the folder finds it without a worker."""
        self.prepare(devices)
        worker, self._spare = self._spare, None
        run.update(state="starting", words="The trainer starts.", phase="", pid=worker.pid,
                   pid_started=alive.start_time(worker.pid), boot=alive.boot_id(),
                   memory_kills=alive.memory_kills(), devices=devices, started=time.time(),
                   ended=0.0, remedy="", detail="")
        try:
            worker.stdin.write(f"{run.folder}\n")
            worker.stdin.close()
        except BrokenPipeError:
            return worker  # it has died; the queue finds the run interrupted
        return worker

    def dismiss(self) -> None:
        """End the spare, for a server that ends."""
        if self._spare is not None:
            self._spare.stdin.close()
            self._spare = None


def kill(pid: int, force: bool) -> None:
    """Ask a trainer and its children to end, or end them, those in groups of their own too.
    ValueError for what is no process's number: to the system 0 means whoever calls."""
    if pid <= 0:
        raise ValueError(f"there is no process {pid}")
    if os.name == "nt":
        subprocess.run(["taskkill", "/T", *(["/F"] if force else []), "/PID", str(pid)],
                       capture_output=True, check=False)
        return
    number = signal.SIGKILL if force else signal.SIGTERM
    for child in _descendants(pid):
        child.send_signal(number)
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return  # it ended by itself


def _descendants(pid: int) -> list[psutil.Process]:
    """Those that left the trainer's group, which a signal to the group wouldn't reach."""
    try:
        return [child for child in psutil.Process(pid).children(recursive=True)
                if os.getpgid(child.pid) != pid]
    except (psutil.Error, ProcessLookupError):
        return []
