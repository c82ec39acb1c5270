"""The background thread that owns the line of runs: starts each, watches it, records its end."""

import logging
import subprocess
import threading
import time
from dataclasses import replace

import filelock

from core.config import Config
from core.errors import UserError
from core.files import Folders
from core.training import launch, run
from core.training.launch import Launcher
from core.training.run import ACTIVE, EXIT_DISK_FULL, FINAL, Run, Status

TICK_SECONDS = 0.25
STOP_NOW_SECONDS = 1.0
LEAVE_SECONDS = 20.0  # for a worker that said its last words and still holds the device
LOG = logging.getLogger(__name__)


class Queue:
    """The line of runs in one data folder. Runs are found in their folders at every tick, so a
    restarted server goes on where the last one was. Of several servers on the same folder one
    holds the lock and starts runs; the others only look on, and take over when it ends."""

    def __init__(self, folders: Folders, keep_spare: bool = True, before_start=lambda: None):
        self._folders, self._keep_spare, self._before_start = folders, keep_spare, before_start
        self._launcher = Launcher(folders.home / "trainer.log")
        self._lock = filelock.FileLock(folders.runs / ".queue.lock")
        self._workers: dict[str, subprocess.Popen] = {}
        self._returncodes: dict[str, int] = {}
        self._killed: dict[str, float] = {}
        self._ended: dict[str, int] = {}  # run id to the time of its status file
        self._wake, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="queue", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread and the spare trainer. Runs at work go on."""
        self._ending.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._launcher.dismiss()

    def submit(self, config: Config) -> Run:
        """A new run at the end of the line."""
        submitted = run.create(config, self._folders.runs)
        self._wake.set()
        return submitted

    def resume(self, run_id: str) -> Run:
        """Put a run that ended early back in the line; it goes on from its last checkpoint."""
        found = run.find_run(self._folders.runs, run_id)
        status = found.status()
        if status.state not in ("stopped", "failed", "interrupted"):
            raise UserError(f"The run '{run_id}' is {status.state}.",
                            "Only a run that ended early can be resumed.")
        found.withdraw_stop()
        found.write_status(Status(created=status.created, step=status.step,
                                  total_steps=status.total_steps, words="Waits to be resumed."))
        self._wake.set()
        return found

    def stop(self, run_id: str, at_once: bool = False) -> Status:
        """Ask a run to stop, saving, or at once. One that hasn't begun leaves the line."""
        found = run.find_run(self._folders.runs, run_id)
        status = found.status()
        if status.state in FINAL:
            raise UserError(f"The run '{run_id}' has ended already: {status.state}.",
                            "There is nothing to stop.")
        found.ask_to_stop(at_once)
        self._wake.set()
        return status

    def active(self) -> list[Run]:
        """Runs that are at work or wait, the oldest first."""
        return [r for r in reversed(run.list_runs(self._folders.runs))
                if r.status().state not in FINAL]

    def _work(self) -> None:
        while not self._ending.is_set():
            try:
                self._tick()
            except OSError as error:  # a full disk must not end the thread that reports it
                LOG.error("The queue could not write: %s", error)
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()
        self._lock.release()

    def _tick(self) -> None:
        if not self._owns_the_line():
            return
        for run_id, worker in list(self._workers.items()):
            if worker.poll() is not None:
                self._returncodes[run_id] = self._workers.pop(run_id).returncode
        statuses = [(self._watch(found), found) for found in self._unfinished()]
        waiting = [pair for pair in statuses if pair[0].state == "queued"]
        if self._workers or any(status.state in ACTIVE for status, _ in statuses):
            return
        if waiting:
            _, first = min(waiting, key=lambda pair: pair[0].created)
            self._before_start()
            self._workers[first.id] = self._launcher.launch(first)
        elif self._keep_spare:
            self._launcher.prepare()

    def _owns_the_line(self) -> bool:
        try:
            if not self._lock.is_locked:
                self._lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        return True

    def _unfinished(self) -> list[Run]:
        """Runs that aren't known to have ended; looking at a file's time is cheaper than reading
        it, and a resumed run's file has a new time."""
        found = []
        for each in run.list_runs(self._folders.runs):
            written = each.written_at()
            if self._ended.get(each.id) != written:
                found.append(each)
        return found

    def _watch(self, found: Run) -> Status:
        """The run's status, after its worker's death or a wish to stop was acted on."""
        written, status = found.written_at(), found.status()
        if status.state == "queued" and found.stop_asked():
            status = found.update(state="stopped", words="Taken out of the line before it began.",
                                  ended=time.time())
        if status.state in FINAL:
            self._take_leave(found, status, written)
        elif found.stop_asked() == "now" or (found.stop_asked() and status.state == "starting"):
            self._end_at_once(found, status.pid, STOP_NOW_SECONDS)
        return status

    def _take_leave(self, found: Run, status: Status, written: int) -> None:
        """Wait for the worker's process to be gone, then know the run as ended. `written` is the
        time of the status that was looked at: one that changed since then is looked at again."""
        if found.id in self._workers:
            self._end_at_once(found, self._workers[found.id].pid, LEAVE_SECONDS)
            return
        if status.state == "interrupted":
            found.write_status(_last_words(found, status, self._returncodes.get(found.id)))
        self._killed.pop(found.id, None)
        self._returncodes.pop(found.id, None)
        self._ended[found.id] = written

    def _end_at_once(self, found: Run, pid: int, patience_seconds: float) -> None:
        """Ask the process to end (unless it is about to), and after a while end it."""
        first = self._killed.setdefault(found.id, time.monotonic())
        force = time.monotonic() - first > patience_seconds
        if force or patience_seconds == STOP_NOW_SECONDS:
            launch.kill(pid, force)


def _last_words(found: Run, status: Status, returncode: int | None) -> Status:
    """How a run ended whose worker could not say it itself. `returncode` is None where the worker
    was started by another server."""
    if found.stop_asked():
        return replace(status, state="stopped", remedy="",
                       words=f"Stopped at once at step {status.step}; the last checkpoint is kept.")
    if returncode == EXIT_DISK_FULL:
        return replace(status, state="failed", words="The disk is full.",
                       remedy="Free some space, then resume from the last checkpoint.")
    return status
