"""The background thread that owns the line of runs: starts each, watches it, records its end."""

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from core.config import Config
from core.errors import UserError
from core.files import Folders
from core.training import checkpoint, devices, launch, line, notify, run
from core.training.launch import Launcher
from core.training.owner import Owner
from core.training.roll import Roll
from core.training.run import ACTIVE, EXIT_DISK_FULL, FINAL, Run, Status

TICK_SECONDS = 0.25
STOP_NOW_SECONDS = 1.0
FIRST_LOOK_SECONDS = 10.0
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
        self._owner, self._address = Owner(folders.runs), ""
        self._roll = Roll(folders.runs)
        self._seen = Roll(folders.runs)  # by other threads, which take no leave of a run
        self._trouble = ""  # the last error, so that the log isn't filled with it
        self._workers: dict[str, subprocess.Popen] = {}
        self._returncodes: dict[str, int] = {}
        self._killed: dict[str, float] = {}
        self._wake, self._ending = threading.Event(), threading.Event()
        self._has_looked, self._seeing = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._work, name="queue", daemon=True)

    def start(self, address: str = "") -> None:
        """`address` is told to other servers on the same data folder."""
        self._address = address
        self._thread.start()
        self._has_looked.wait(FIRST_LOOK_SECONDS)

    def elsewhere(self) -> str:
        """That another server starts this folder's runs, in words; empty where this one does."""
        return self._owner.elsewhere()

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
        self._look_at_once()
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
        self._look_at_once()
        return found

    def _look_at_once(self) -> None:
        self._roll.list_anew()
        self._seen.list_anew()
        self._wake.set()

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
        found = []
        with self._seeing:
            for each in reversed(self._seen.open_runs()):
                written = each.written_at()
                if each.status().state not in FINAL:
                    found.append(each)
                elif each.written_status().state in FINAL:
                    self._seen.ended(each, written)
        return found

    def _work(self) -> None:
        while not self._ending.is_set():
            try:
                self._tick()
                self._trouble = ""
            except OSError as error:  # a full disk must not end the thread that reports it
                self._log_once("The queue could not write: %s", error)
            except Exception as error:  # the thread's last frame: one run's trouble isn't all's
                self._log_once("The queue met an error and goes on: %r", error, exc_info=True)
            self._has_looked.set()
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()
        self._owner.give_up()

    def _log_once(self, words: str, error: Exception, **options: Any) -> None:
        if self._trouble != repr(error):
            LOG.error(words, error, **options)
        self._trouble = repr(error)

    def _tick(self) -> None:
        owns_the_line = self._owner.try_to_be(self._address)
        self._has_looked.set()  # all else may take a while, where there are many runs
        if not owns_the_line:
            return
        for run_id, worker in list(self._workers.items()):
            if worker.poll() is not None:
                self._returncodes[run_id] = self._workers.pop(run_id).returncode
        statuses = {found.id: (self._watch(found), found) for found in self._roll.open_runs()}
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

    def _watch(self, found: Run) -> Status:
        """The run's status, after its worker's death or a wish to stop was acted on."""
        written, status = found.written_at(), found.status()
        asked = found.stop_asked()  # once: between two looks somebody may click
        if status.state == "queued" and asked:
            status = found.update(state="stopped", words="Taken out of the line before it began.",
                                  ended=time.time())
        if status.state in FINAL:
            self._take_leave(found, status, written)
        elif asked == "now" or (asked and status.state == "starting"):
            self._end_at_once(found, status.pid, STOP_NOW_SECONDS)
        return status

    def _take_leave(self, found: Run, status: Status, written: int) -> None:
        """Wait for the worker's process to be gone, then know the run as ended. `written` is the
        time of the status that was looked at: one that changed since then is looked at again."""
        if found.id in self._workers:
            self._end_at_once(found, self._workers[found.id].pid, LEAVE_SECONDS)
            return
        if _is_unsettled(found.written_status()):
            self._say_last_words(found, status)
        self._killed.pop(found.id, None)
        self._returncodes.pop(found.id, None)
        self._roll.ended(found, written)

    def _say_last_words(self, found: Run, status: Status) -> None:
        """Write how a run ended that couldn't say it itself, or let it go on by itself."""
        goes_on = False
        with line.locked(self._folders.runs):
            if _is_unsettled(written := found.written_status()):
                if written.state in ACTIVE:  # its worker is gone without a last word
                    status = _last_words(found, status, self._returncodes.get(found.id))
                goes_on = self._requeued_by_itself(found, status)
                if not goes_on:
                    found.write_status(replace(status, settled=True))
                    threading.Thread(target=notify.tell_end, args=(found,), daemon=True).start()
        if goes_on:
            line.join(self._folders.runs, found.id, at_the_head=True)

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


def _is_unsettled(written: Status) -> bool:
    return written.state in ACTIVE or (written.state == "interrupted" and not written.settled)


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
