"""The process in which a run works: imports first, then waits for the folder of its run."""

import errno
import faulthandler
import os
import sys
import time
import traceback
from pathlib import Path

from core.quiet import quieten


def main() -> None:
    """Reads a run's folder from standard input; an input that closes first means: not needed."""
    quieten()
    # Passes differ in size: without it the parts of memory that are free stop fitting together.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    from core.training import engine  # noqa: F401  the imports that take seconds

    line = sys.stdin.readline().strip()
    if line:
        work(Path(line))


def work(folder: Path) -> None:
    """Work on a run to an end that its folder tells."""
    from core.errors import UserError
    from core.files import default_folders
    from core.training import engine, notify, processes, spread
    from core.training.explain import explain
    from core.training.run import EXIT_DISK_FULL, Run

    run = Run(folder)
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
        notify.tell_end(run)
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
    faulthandler.enable(2)  # a crash inside a library leaves its stack there


def _fail(run, words: str, remedy: str, detail: str) -> None:
    run.drop_unfinished_checkpoints()  # on a full disk they take the room for these last words
    print(words, remedy, flush=True)
    run.update(state="failed", words=words, remedy=remedy, detail=detail, phase="",
               ended=time.time())


if __name__ == "__main__":
    main()
