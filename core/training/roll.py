"""Which runs have not ended, known without reading those that have."""

import time
from pathlib import Path

from core.training.run import Run, list_runs

LIST_SECONDS = 5.0


class Roll:
    """A run that has ended is known by the time of its status file, which is new where it was
    resumed. All folders are listed when something came or went, and every LIST_SECONDS, since that
    takes longer than a tick where there are thousands; in between, those that were open then are
    looked at."""

    def __init__(self, runs: Path):
        self._runs = runs
        self._ended: dict[str, int] = {}  # run id to the time of its status file
        self._open: list[Run] = []
        self._listed_at, self._folder_time = float("-inf"), 0

    def open_runs(self) -> list[Run]:
        """Runs that aren't known to have ended, the newest first."""
        # A change within the clock's grain of the listing is found by the next listing in time.
        folder_time = self._runs.stat().st_mtime_ns if self._runs.is_dir() else 0
        late = time.monotonic() - self._listed_at > LIST_SECONDS
        if late or folder_time != self._folder_time:
            found = list_runs(self._runs)
            self._ended = {run.id: self._ended[run.id] for run in found if run.id in self._ended}
            self._listed_at, self._folder_time = time.monotonic(), folder_time
        else:
            found = self._open
        self._open = [run for run in found if self._ended.get(run.id) != run.written_at()]
        return list(self._open)

    def list_anew(self) -> None:
        """The next look lists all folders."""
        self._listed_at = float("-inf")

    def ended(self, run: Run, written: int) -> None:
        """`written` is the time of the status file that said so."""
        self._ended[run.id] = written
