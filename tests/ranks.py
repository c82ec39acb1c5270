"""Several processes that train one run, quickly: forked from a server that has done the imports.
Used by tests and by bench.processes."""

import multiprocessing
import os
import socket
import time
from pathlib import Path

import psutil

from core.files import Folders
from core.training import failures
from core.training.run import Run

SECONDS = 240.0


def train_together(run: Run, folders: Folders, count: int) -> dict[int, int]:
    """Train with `count` processes as the launcher would start them; exit codes of those that
    failed, by rank."""
    me = psutil.Process()
    run.update(state="starting", pid=me.pid, pid_started=me.create_time())
    failures.forget(run)
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["core.training.engine", "core.training.rank"])
    port = _free_port()
    ranks = [forks.Process(target=_work, args=(str(run.folder), folders, rank, count, port))
             for rank in range(count)]
    for process in ranks:
        process.start()
    deadline = time.monotonic() + SECONDS
    try:
        for process in ranks:
            process.join(max(0.0, deadline - time.monotonic()))
        return {rank: process.exitcode for rank, process in enumerate(ranks) if process.exitcode}
    finally:
        for process in ranks:
            if process.is_alive():
                process.kill()


def _work(folder: str, folders: Folders, number: int, count: int, port: int) -> None:
    from core.training import rank

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if count == 1:
        os._exit(rank.work(Run(Path(folder)), folders, 0))
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count),
                   "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port)}
    rank.join()
    os._exit(rank.work(Run(Path(folder), writes=number == 0), folders, number))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
