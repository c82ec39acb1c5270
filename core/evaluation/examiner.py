"""The object of the evaluation process: one evaluation at a time, on which no page depends."""

import threading
import traceback
from typing import Any

from core.errors import UserError
from core.evaluation.evaluate import Request, evaluate, find_contestants
from core.evaluation.merge import merge
from core.files import Folders
from core.model.hardware import find_device

IDLE = {"state": "idle", "phase": "", "share": None, "problem": "", "remedy": "",
        "evaluation": ""}


class Examiner:
    """Works in a thread; `progress` tells how far it is, and is asked by any page at any time."""

    def __init__(self, folders: Folders):
        self._folders = folders
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._progress: dict[str, Any] = dict(IDLE)

    def start(self, request: dict[str, Any], gpu_is_taken: bool = False) -> dict[str, Any]:
        """Begin, and return at once. UserError where one is at work or the request can't be met."""
        asked = Request.parse(request)
        find_contestants(asked.runs, self._folders)
        if gpu_is_taken and find_device().kind == "cuda":
            raise UserError("A run is using the GPU, and an evaluation would take memory from it.",
                            "Wait until it has ended, or stop it.")
        with self._lock:
            if self._progress["state"] == "working":
                raise UserError("An evaluation is at work already.", "Wait for it, or stop it.")
            self._cancelled.clear()
            self._progress = {**IDLE, "state": "working", "phase": "Begins"}
        threading.Thread(target=self._work, args=(asked,), daemon=True).start()
        return self._progress

    def progress(self) -> dict[str, Any]:
        """`state` is idle, working, done, failed or stopped; `evaluation` the id of a done one."""
        return self._progress

    def cancel(self) -> dict[str, Any]:
        """Ask the work to end; nothing of it is kept."""
        self._cancelled.set()
        return self._progress

    def merge(self, runs: list[str], weights: list[float], way: str) -> str:
        """A new run whose adapter is the weighted mix of others; its id."""
        return merge(runs, weights, way, self._folders).id

    def _work(self, asked: Request) -> None:
        try:
            for report in evaluate(asked, self._folders):
                if "evaluation" in report:
                    self._progress = {**IDLE, "state": "done",
                                      "evaluation": report["evaluation"]["id"]}
                elif self._cancelled.is_set():
                    self._progress = {**IDLE, "state": "stopped"}
                    return
                else:
                    self._progress = {**self._progress, **report}
        except UserError as error:
            self._failed(error.problem, error.remedy)
        except Exception as error:  # the thread's last frame: a page must hear of it
            traceback.print_exc()
            if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
                self._failed("The memory of the device ran out.",
                             "Judge runs with 4bit base weights, or end other programs that use "
                             "the device; Chat holds a model too.")
                return
            self._failed(f"The evaluation ended on an unexpected error: {error!r}",
                         "The evaluation process's log in the data folder holds the details.")

    def _failed(self, problem: str, remedy: str) -> None:
        self._progress = {**IDLE, "state": "failed", "problem": problem, "remedy": remedy}
