"""Which of several servers on one data folder starts its runs."""

import contextlib
import json
from pathlib import Path

import filelock

from core.files import write_json


class Owner:
    """The server that holds the lock starts runs; the others only look on, and one of them takes
    over when it ends, however that happens. The holder leaves its address beside the lock."""

    def __init__(self, runs: Path):
        self._about = runs / ".queue.json"
        self._lock = filelock.FileLock(runs / ".queue.lock", thread_local=False)

    def try_to_be(self, address: str) -> bool:
        """Whether it is this one, from now on if nobody was. OSError where the folder can't be
        written."""
        if self._lock.is_locked:
            return True
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        with contextlib.suppress(OSError):  # a full disk: nobody is told the address
            write_json(self._about, {"address": address})
        return True

    def give_up(self) -> None:
        self._lock.release()

    def elsewhere(self) -> str:
        """What a person should know where another one has the line; empty where this one has."""
        if self._lock.is_locked:
            return ""
        try:
            address = str(json.loads(self._about.read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError):
            address = "an address that it didn't leave"
        return (f"Another TuneDesk works on this data folder and starts its runs: {address}. What "
                "is started here joins its line; this one takes over when that one ends.")
