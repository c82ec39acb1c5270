"""The background thread that owns the line of runs: starts each, watches it, records its end."""

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import filelock

from core.config import Config
from core.errors import UserError
from core.files import Folders
from core.training import checkpoint, devices, launch, line, notify, run
from core.training.launch import Launcher
from core.training.run import ACTIVE, EXIT_DISK_FULL, FINAL, Run, Status

TICK_SECONDS = 0.25
STOP_NOW_SECONDS = 1.0
LEAVE_SECONDS = 20.0  # for a worker that said its last words and still holds the device
CRASHES = {getattr(signal, name, 0) for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL",
                                                 "SIGFPE")} - {0}
LOG_LINES = 40
LOG = logging.getLogger(__name__)


class Queue:
    """The line of runs in one data folder. Runs are found in their folders at every tick, so a
    restarted server goes on where the last one was. Of several servers on the same folder one
    holds the lock and starts runs; the others only look on, and take over when it ends.

    Each GPU works on one run, unless a run claims several; a machine without one works on one run.
    `before_start` makes room on the device and returns what it did, in words, or nothing."""

    def __init__(self, folders: Folders, keep_spare: bool = True,
                 before_start: Callable[[], str | None] = lambda: None):
        self._folders, self._keep_spare, self._before_start = folders, keep_spare, before_start
        self._devices: tuple[str, ...] | None = None  # asked of the machine once, in the thread
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
        line.join(self._folders.runs, submitted.id)
        self._wake.set()
        return submitted

    def resume(self, run_id: str) -> Run:
        """Put a run that ended early back in the line; it goes on from its last checkpoint."""
        found = run.find_run(self._folders.runs, run_id)
        with line.locked(self._folders.runs):  # the thread may be writing how it ended
            status = found.status()
            if status.state not in ("stopped", "failed", "interrupted"):
                raise UserError(f"The run '{run_id}' is {status.state}.",
                                "Only a run that ended early can be resumed.")
            self._requeue(found, status, tries=0)
        line.join(self._folders.runs, run_id)
        self._wake.set()
        return found

    def _requeue(self, found: Run, status: Status, tries: int) -> None:
        found.withdraw_stop()
        newest = found.last_checkpoint()
        found.write_status(Status(
            created=status.created, step=status.step, total_steps=status.total_steps,
            words="Waits to be resumed.", tries=tries,
            tried_from=checkpoint.step_of(newest) if newest else 0))

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
            except Exception:  # the thread's last frame: one run's trouble isn't that of the others
                LOG.exception("The queue met an error and goes on.")
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()
        self._lock.release()

    def _tick(self) -> None:
        if not self._owns_the_line():
            return
        for run_id, worker in list(self._workers.items()):
            if worker.poll() is not None:
                self._returncodes[run_id] = self._workers.pop(run_id).returncode
        statuses = {found.id: (self._watch(found), found) for found in self._unfinished()}
        with line.locked(self._folders.runs):
            self._start_next(statuses)

    def _start_next(self, statuses: dict[str, tuple[Status, Run]]) -> None:
        """Start the first run of the line for which there is a device."""
        taken = [status.devices for run_id, (status, _) in statuses.items()
                 if status.state in ACTIVE or run_id in self._workers]
        free = self._free_devices(taken)
        now = line.read(self._folders.runs)
        for first in now.sorted([found for status, found in statuses.values()
                                 if status.state == "queued" and found.id not in now.held]):
            if free is None:
                return
            chosen = devices.claim(free, devices.wanted(first.config(), self._devices or ())) \
                if free else free
            if chosen is not None and first.status().state == "queued":
                self._launch(first, chosen)
            return  # who waits for several devices isn't overtaken for ever
        if self._keep_spare and free is not None:
            self._launcher.prepare(free[:1])

    def _free_devices(self, taken: list[tuple[str, ...]]) -> tuple[str, ...] | None:
        """GPUs that no run has; none at all on a machine without. None where a run must wait."""
        if self._devices is None:
            self._devices = devices.list_devices()
        used = {name for names in taken for name in names}
        free = tuple(name for name in self._devices if name not in used)
        nameless = any(not names for names in taken)  # it may be on any device
        return None if taken and (nameless or not free) else free

    def _launch(self, first: Run, chosen: tuple[str, ...]) -> None:
        made_room = self._before_start()
        if made_room:
            first.update(words=made_room)
            with first.log.open("a", encoding="utf-8") as log:
                log.write(f"{made_room}\n")
        self._workers[first.id] = self._launcher.launch(first, chosen)

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
        with line.locked(self._folders.runs):
            if (written_as := found.written_status().state) in (*ACTIVE, "interrupted"):
                if written_as in ACTIVE:  # its worker is gone without a last word
                    status = _last_words(found, status, self._returncodes.get(found.id))
                goes_on = self._requeued_by_itself(found, status)
                if not goes_on:
                    found.write_status(status)
                    threading.Thread(target=notify.tell_end, args=(found,), daemon=True).start()
            else:
                goes_on = False
        if goes_on:
            line.join(self._folders.runs, found.id, at_the_head=True)
        self._killed.pop(found.id, None)
        self._returncodes.pop(found.id, None)
        self._ended[found.id] = written

    def _requeued_by_itself(self, found: Run, status: Status) -> bool:
        """Put an interrupted run back in the line, where its settings say so and it has got
        further, or hasn't been tried too often, since it last went on by itself."""
        newest = found.last_checkpoint()
        further = newest is not None and checkpoint.step_of(newest) > status.tried_from
        tries = 1 if further else status.tries + 1
        if status.state != "interrupted" or tries > found.config().resume_tries:
            return False
        with found.log.open("a", encoding="utf-8") as log:
            log.write(f"{status.words} It goes on by itself.\n")
        self._requeue(found, status, tries)
        return True

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
    if returncode is not None and (returncode > 0 or -returncode in CRASHES):
        how = (f"signal {signal.Signals(-returncode).name}" if returncode < 0
               else f"exit code {returncode}")
        return replace(status, state="failed", detail=_log_end(found),
                       words=f"The trainer crashed at step {status.step} ({how}).",
                       remedy="Resume goes on from the last checkpoint. The details below are the "
                              "end of its log.")
    return status


def _log_end(found: Run) -> str:
    try:
        return "\n".join(found.log.read_text(encoding="utf-8", errors="replace"
                                             ).splitlines()[-LOG_LINES:])
    except OSError:
        return ""
