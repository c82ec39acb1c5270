"""Last words of a run's processes, and from them the one reason why the run ended."""

import json
import shutil
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from core.files import write_json
from core.training.run import FINAL, Run

# What a process says when another one has gone: true, and never the reason.
ECHOES = ("Connection closed by peer", "Connection reset by peer", "Connection refused",
          "Broken pipe", "NCCL", "DistBackendError", "DistNetworkError", "DistStoreError",
          "Socket", "gloo", "recvBytes", "sendBytes")


@dataclass(frozen=True)
class Failure:
    """Why one process ended; `remedy` and `detail` as in a run's status."""

    words: str
    remedy: str
    detail: str
    time: float = 0.0

    @property
    def is_echo(self) -> bool:
        return any(sound in self.words for sound in ECHOES)


def forget(run: Run) -> None:
    """Before a run starts, or starts again."""
    shutil.rmtree(_folder(run), ignore_errors=True)


def leave(run: Run, rank: int, words: str, remedy: str, detail: str) -> None:
    """Written by a process that ends with an error."""
    _folder(run).mkdir(exist_ok=True)
    write_json(_folder(run) / f"{rank}.json", asdict(Failure(words, remedy, detail, time.time())))


def is_final(run: Run) -> bool:
    """Whether a process ended for a reason of its own, which another start wouldn't mend."""
    return any(not failure.is_echo for failure in _read(run))


def conclude(run: Run, exit_codes: dict[int, int], processes: int) -> None:
    """Give a run whose processes have all ended its last state: the first error that isn't an
    echo of another's, else the process that was killed, else the first echo. `exit_codes` of
    those that failed, by rank; negative ones are signals."""
    if run.status().state in FINAL and not exit_codes:
        return
    said = sorted(_read(run), key=lambda failure: (failure.is_echo, failure.time))
    killed = [(rank, -code) for rank, code in sorted(exit_codes.items())
              if code < 0 and -code != signal.SIGTERM]
    if said and not (said[0].is_echo and killed):
        run.update(state="failed", phase="", ended=time.time(), words=said[0].words,
                   remedy=said[0].remedy, detail=said[0].detail)
    elif killed or run.status().state not in FINAL:
        run.update(state="interrupted", phase="", ended=time.time(), detail="",
                   words=_loss(run, killed, processes),
                   remedy="Resume goes on from the last checkpoint. If it was killed for using too "
                          "much memory, lower Batch size or Max length first.")


def _loss(run: Run, killed: list[tuple[int, int]], processes: int) -> str:
    step = run.status().step
    if not killed:
        return f"The processes of this run ended without a word at step {step}."
    rank, number = killed[0]
    return (f"Process {rank + 1} of {processes} was killed ({signal.Signals(number).name}) at step "
            f"{step}, so the run ended in all of them.")


def _folder(run: Run) -> Path:
    return run.folder / "failures"


def _read(run: Run) -> list[Failure]:
    found = []
    for path in sorted(_folder(run).glob("*.json")):
        try:
            found.append(Failure(**json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue  # the process ended in the middle of it
    return found
