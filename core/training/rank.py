"""One of the processes of a run on several GPUs. The launcher's environment says which."""

import os
import sys
import threading
import time
from pathlib import Path

from core.files import Folders, default_folders
from core.quiet import quieten
from core.training.run import Run, is_alive

LOOK_SECONDS = 0.5


def main() -> None:
    quieten()
    rank = int(os.environ["RANK"])
    run = Run(Path(sys.argv[1]), writes=rank == 0)
    threading.Thread(target=_end_with_the_launcher, args=(run,), daemon=True).start()
    if rank:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # all say the same; errors go to the log
    join()
    sys.exit(work(run, default_folders(run.folder.parents[1]), rank))


def join() -> None:
    """Find the other processes, and take the GPU that is this one's."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def work(run: Run, folders: Folders, rank: int) -> int:
    """Train, and leave last words where that fails; the exit code."""
    import errno
    import traceback

    from core.errors import UserError
    from core.training import engine, failures
    from core.training.explain import explain
    from core.training.run import EXIT_DISK_FULL

    try:
        try:
            engine.train(run, folders)
            return 0
        except UserError as error:
            failures.leave(run, rank, error.problem, error.remedy, "")
        except Exception as error:  # this process' last frame: the launcher tells it to the person
            traceback.print_exc()
            failures.leave(run, rank, *explain(error), traceback.format_exc())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return EXIT_DISK_FULL
        raise
    return 1


def _end_with_the_launcher(run: Run) -> None:
    """The launcher may be killed without a chance to end its processes; they would go on for ever,
    holding the GPUs."""
    launcher = run.status()
    while is_alive(launcher.pid, launcher.pid_started):
        time.sleep(LOOK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
