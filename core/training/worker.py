"""The process in which a run works: imports first, then waits for the folder of its run."""

import errno
import os
import sys
import time
import traceback
from pathlib import Path

from core.quiet import quieten


def main() -> None:
    """Reads a run's folder from standard input; an input that closes first means: not needed."""
    quieten()
    from core.errors import UserError
    from core.files import default_folders
    from core.training import engine, processes, spread
    from core.training.run import EXIT_DISK_FULL, Run

    line = sys.stdin.readline().strip()
    if not line:
        return
    run = Run(Path(line))
    _write_to(run.log)
    try:
        try:
            config = run.config()
            spread.check(config)
            if config.cluster:
                from core.training import cluster

                cluster.train(run, config)
            elif (count := spread.processes(config)) > 1:
                processes.train(run, count)
            else:
                engine.train(run, default_folders(run.folder.parents[1]))
        except UserError as error:
            _fail(run, error.problem, error.remedy, "")
        except Exception as error:  # the worker's last frame: everything ends as a state with words
            traceback.print_exc()
            _fail(run, *explain(error), traceback.format_exc())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            sys.exit(EXIT_DISK_FULL)
        raise


def _write_to(log: Path) -> None:
    """From now on all output of this process, libraries' included, goes to the run's log."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _fail(run, words: str, remedy: str, detail: str) -> None:
    run.drop_unfinished_checkpoints()  # on a full disk they take the room for these last words
    print(words, remedy, flush=True)
    run.update(state="failed", words=words, remedy=remedy, detail=detail, phase="",
               ended=time.time())


def explain(error: Exception) -> tuple[str, str]:
    """What happened and what to do, for errors that a person can act on; else that it is a bug."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text \
            or isinstance(error, MemoryError):
        return ("The memory of the device ran out.",
                "Choose 4bit base weights, a smaller Batch size or Max length, or Gradient "
                "checkpointing; then start again.")
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in text \
            or "inline_container" in text:  # torch's words when it can't write its file
        return "The disk is full.", "Free some space, then resume from the last checkpoint."
    if "CUDA error" in text:
        return (f"The GPU reported an error: {text.splitlines()[0]}",
                "Resume from the last checkpoint; if it comes back, restart the machine.")
    return (f"The trainer stopped on an unexpected error: {type(error).__name__}: "
            f"{(text.splitlines() or [''])[0]}",
            "Nothing saved so far is lost. The details below help whoever mends it.")


if __name__ == "__main__":
    main()
