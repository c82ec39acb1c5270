"""A run on several GPUs of this machine: one process each, started and watched by torch's launcher.

The trainer process that the queue knows starts the others and trains nothing itself. They write one
log; the first of them writes the run's folder. When one ends badly, all end, and the run's state
says why.
"""

import os
import signal
import sys
import tempfile
import uuid

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from core.training import failures
from core.training.run import EXIT_DISK_FULL, Run

WATCH_SECONDS = 0.2


def train(run: Run, processes: int) -> None:
    """Work on a run with so many processes; its folder tells how it ended."""
    failures.forget(run)
    # Else each of them would take all cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    if sys.platform == "linux":  # a machine's own name may lead nowhere, its loopback never does
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        exit_codes = _launch(run, processes)
    except SignalException as told:  # it has ended the others, and ends as it was told to
        signal.signal(told.sigval, signal.SIG_DFL)
        signal.raise_signal(told.sigval)
        return
    if EXIT_DISK_FULL in exit_codes.values():
        sys.exit(EXIT_DISK_FULL)
    failures.conclude(run, exit_codes, processes)


def _launch(run: Run, processes: int) -> dict[int, int]:
    """Exit codes of the processes that failed, by rank, once all have ended."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as logs:
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=uuid.uuid4().hex,
            rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0", local_addr="127.0.0.1",
            max_restarts=0, monitor_interval=WATCH_SECONDS,
            logs_specs=DefaultLogsSpecs(log_dir=logs))
        try:
            elastic_launch(config, sys.executable)("-m", "core.training.rank", str(run.folder))
        except ChildFailedError as error:
            return {rank: failed.exitcode for rank, failed in error.failures.items()}
    return {}
