"""The server's side of exporting: one job at a time, in a process that ends with it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from core.errors import UserError
from core.export import records
from core.files import Folders
from core.process import Process

CANCEL_SECONDS = 15.0


@dataclass(frozen=True)
class Job:
    """What is or was worked on. `state` is idle, working, done, failed or cancelled; `kind` is
    export or push; `done` what the work came to."""

    state: str = "idle"
    kind: str = ""
    run: str = ""
    form: str = ""
    phase: str = ""
    share: float | None = None
    problem: str = ""
    remedy: str = ""
    done: dict[str, Any] | None = None

    @property
    def is_working(self) -> bool:
        return self.state == "working"


class Exports:
    """Owns the export process. A job goes on when the page is closed; the process ends with the
    job, giving back the memory of its models."""

    def __init__(self, folders: Folders, process: Process):
        self._folders, self._process = folders, process
        self._lock = threading.Lock()
        self._job = Job()
        self._cancelled = False

    def job(self) -> Job:
        return self._job

    def export(self, run_id: str, form: str, gpu_is_taken: bool) -> None:
        """Begin an export. UserError while another job is at work, or for an unknown form."""
        records.place(self._folders.exports, run_id, form)
        self._start(Job("working", "export", run_id, form, "The export process starts"),
                    run_id=run_id, form=form, gpu_is_taken=gpu_is_taken)

    def push(self, run_id: str, form: str, repository: str, where: str, private: bool) -> None:
        """Begin an upload of an export that is there."""
        records.read(self._folders.exports, run_id, form)
        self._start(Job("working", "push", run_id, form, "The export process starts"),
                    run_id=run_id, form=form, repository=repository.strip(), where=where,
                    private=private)

    def cancel(self) -> Job:
        """End the job that is at work, if one is; returns when it has ended and nothing of it is
        left behind."""
        if self._job.is_working:
            self._cancelled = True
            asking = threading.Thread(target=self._ask_to_cancel, daemon=True)
            asking.start()
            self._wait(lambda: not self._job.is_working, CANCEL_SECONDS)
            if self._job.is_working:  # in a long step, such as reading a model: end it there
                self._process.stop()
                self._wait(lambda: not self._job.is_working, CANCEL_SECONDS)
        return self._job

    def close(self) -> None:
        self.cancel()
        self._process.stop()

    def _start(self, job: Job, **arguments: Any) -> None:
        with self._lock:
            if self._job.is_working:
                raise UserError(f"The export of '{self._job.run}' is at work.",
                                "Wait until it has ended, or cancel it.")
            self._job, self._cancelled = job, False
        threading.Thread(target=self._work, args=(job, arguments), daemon=True).start()

    def _work(self, job: Job, arguments: dict[str, Any]) -> None:
        ended = replace(job, state="failed", problem="The export process said nothing.",
                        remedy="Try again.")
        try:
            for report in self._process.stream(job.kind, **arguments):
                if "done" in report:
                    ended = replace(job, state="done", phase="", done=report["done"])
                else:
                    self._job = replace(job, phase=report["phase"], share=report["share"])
        except UserError as error:
            ended = replace(job, state="failed", problem=error.problem, remedy=error.remedy)
        except RuntimeError as error:  # a bug in the process, with its traceback in the log
            last = str(error).strip().splitlines()[-1]
            ended = replace(job, state="failed", problem=f"The export met a bug: {last}",
                            remedy="The other forms may work; the log tells more.")
            print(error, flush=True)
        finally:
            self._process.stop()
            records.drop_part(self._folders.exports, job.run, job.form)
            if self._cancelled and ended.state != "done":
                ended = replace(job, state="cancelled", phase="")
            self._job = ended

    def _ask_to_cancel(self) -> None:
        try:
            self._process.call("cancel")
        except (UserError, RuntimeError):
            return  # it has ended already

    def _wait(self, claim: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not claim() and time.monotonic() < deadline:
            time.sleep(0.05)
