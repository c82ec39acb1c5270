"""A run on several machines, through Ray Train: on a cluster that is there, or one started here.

The trainer process that the queue knows drives; Ray starts one process a GPU. All see the run's
folder, the data and the models on storage that they share. When a machine is lost, Ray starts the
processes again on those that are left, and the run goes on from its last checkpoint.
"""

import logging
import os
from pathlib import Path
from typing import Any

from core.config import Config
from core.errors import UserError
from core.training import failures
from core.training.run import Run

ROOT = Path(__file__).parents[2]
RESTARTS = 20  # more losses than that are no accident
LEFT_AT_HOME = ["build", "docs", "tests", "bench"]
# Nothing is sent to Ray's makers; starting may take as long as the libraries take to load.
SETTLED = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_COLOR_PREFIX": "0", "RAY_TRAIN_V2_ENABLED": "1",
           "RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600"}
STARTS_HERE = "local"


def train(run: Run, config: Config) -> None:
    """Work on a run; its folder tells how it ended."""
    os.environ |= SETTLED
    import ray

    failures.forget(run)
    where: dict[str, Any] = {"address": config.cluster}
    if config.cluster == STARTS_HERE:
        where = {"include_dashboard": False,
                 "num_cpus": max(config.processes, os.cpu_count() or 1)}
    try:
        ray.init(**where, logging_level="warning",
                 runtime_env={"working_dir": str(ROOT), "excludes": LEFT_AT_HOME,
                              "worker_process_setup_hook": "core.training.cluster.hush"})
    except (ConnectionError, ValueError, TimeoutError) as error:
        raise UserError(
            f"The Ray cluster '{config.cluster}' doesn't answer: "
            f"{(str(error).splitlines() or [''])[0]}",
            "Start it with 'ray start' on its machines, this one among them; or type local to "
            "start one here.") from error
    try:
        _fit(run, config)
    finally:
        ray.shutdown()


def _fit(run: Run, config: Config) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    gpus = int(ray.cluster_resources().get("GPU", 0))
    there = gpus or len([node for node in ray.nodes() if node["Alive"]])
    # All there are may become fewer; a number that was asked for is waited for.
    workers: Any = config.processes or ((1, there) if there > 1 else 1)
    trainer = TorchTrainer(
        _work, train_loop_config={"folder": str(run.folder)},
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus > 0),
        run_config=RunConfig(name="ray", storage_path=str(run.folder),
                             failure_config=FailureConfig(max_failures=RESTARTS)))
    try:
        trainer.fit()
    except TrainingFailedError as error:
        print(error, flush=True)
    failures.conclude(run, {}, config.processes or there)


def _write_to_the_log(run: Run) -> None:
    """From here, not by way of Ray, which would put names before each line and leave out others;
    what all processes say alike is said once."""
    log = os.open(run.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log if run.writes else os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(log, 2)


def hush() -> None:
    """In each of Ray's processes: without its dashboard one of them complains every second."""
    logging.getLogger("ray.train").setLevel(logging.ERROR)


def _work(loop: dict[str, Any]) -> None:
    """One process of the run, on whichever machine Ray put it."""
    import torch
    from ray.train import get_context
    from ray.train.torch import get_device

    from core.files import default_folders
    from core.quiet import quieten
    from core.training import rank

    quieten()
    number = get_context().get_world_rank()
    run = Run(Path(loop["folder"]), writes=number == 0)
    if failures.is_final(run):
        return  # starting again would only fail again
    _write_to_the_log(run)
    if run.writes:
        failures.forget(run)
    if torch.cuda.is_available():
        torch.cuda.set_device(get_device())
    code = rank.work(run, default_folders(run.folder.parents[1]), number)
    if code:
        raise RuntimeError(f"process {number} ended with code {code}; its words are in the log")
