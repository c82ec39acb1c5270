"""Reports a run to TensorBoard files, and to the trackers that a person chose."""

import os
from typing import Any

from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_callback import TrainerCallback

from core.config import TRACKERS, Config
from core.training.run import Run

CURVES = {"loss": "train/loss", "learning_rate": "train/learning_rate",
          "grad_norm": "train/grad_norm", "eval_token_loss": "held_out/loss",
          "base_token_loss": "held_out/loss"}


PROJECT = "TuneDesk"


def callbacks(run: Run, config: Config) -> list[TrainerCallback]:
    """One for TensorBoard, always, and one for each tracker of the settings."""
    for name, value in (_places(run) if config.trackers else {}).items():
        os.environ.setdefault(name, value)  # the person's own come first
    made: list[TrainerCallback] = [Careful(run, "TensorBoard", lambda: TensorBoard(run))]
    for name in TRACKERS:
        if name in config.trackers:
            made.append(Careful(run, name, lambda name=name: _foreign(name, run)))
    return made


def _places(run: Run) -> dict[str, str]:
    """Where trackers put what they write, by their variables. Without these it would be the folder
    in which the program lies. MLflow refuses plain files; its small package needs a server."""
    mlflow = f"sqlite:///{run.folder.parents[1] / 'mlflow.db'}"
    return {"WANDB_PROJECT": PROJECT, "WANDB_DIR": str(run.folder),
            "MLFLOW_EXPERIMENT_NAME": PROJECT, "MLFLOW_TRACKING_URI": mlflow}


def _foreign(name: str, run: Run) -> Any:
    """transformers' callback; it raises where the package isn't installed or has no key. SwanLab's
    newer versions are known to their own only."""
    if name == "swanlab":
        from swanlab.integration.transformers import SwanLabCallback

        return SwanLabCallback(project=PROJECT, experiment_name=run.id,
                               log_dir=str(run.folder / "swanlog"),
                               mode=os.environ.get("SWANLAB_MODE"))
    return get_reporting_integration_callbacks([name])[0]()


class TensorBoard(TrainerCallback):
    """Writes curves to the run's folder `tensorboard`."""

    def __init__(self, run: Run):
        from tensorboardX import SummaryWriter

        self._writer, self._folder = SummaryWriter, run.folder / "tensorboard"
        self._open: Any = None

    def on_train_begin(self, args, state, control, **_):
        # Steps that a resumed run does again take the place of those written before.
        self._open = self._writer(str(self._folder), purge_step=state.global_step + 1
                                  if state.global_step else None, flush_secs=10)

    def on_log(self, args, state, control, logs=None, **_):
        for name, title in CURVES.items():
            if self._open is not None and name in (logs or {}):
                step = 0 if name == "base_token_loss" else state.global_step
                self._open.add_scalar(title, float(logs[name]), step)

    def on_train_end(self, args, state, control, **_):
        if self._open is not None:
            self._open.close()


class Careful(TrainerCallback):
    """Passes on to another callback what it may hear, until that fails: then it says so once in the
    log and on the run, and falls silent. A tracker is never a reason for a run to end."""

    def __init__(self, run: Run, name: str, make: Any):
        self._run, self._name = run, name
        self._inner: Any = None
        self._attempt(lambda: setattr(self, "_inner", make()))

    def _attempt(self, action: Any) -> None:
        try:
            action()
        except Exception as error:  # whatever a foreign package raises, the run goes on
            self._inner = None
            first = (str(error).splitlines() or [""])[0]
            words = f"{self._name} gets no reports: {type(error).__name__}: {first}"
            print(words, flush=True)
            known = self._run.facts("trackers").get("notices", [])
            self._run.write_facts("trackers", {"notices": [*known, words]})

    def _pass_on(self, event: str, *heard: Any, **more: Any) -> None:
        if self._inner is not None:
            self._attempt(lambda: getattr(self._inner, event)(*heard, **more))

    # All that a tracker hears. Not of saves: some would upload checkpoints.
    def on_init_end(self, args, state, control, **more):
        self._pass_on("on_init_end", args, state, control, **more)

    def on_train_begin(self, args, state, control, **more):
        self._pass_on("on_train_begin", args, state, control, **more)

    def on_log(self, args, state, control, **more):
        self._pass_on("on_log", args, state, control, **more)

    def on_train_end(self, args, state, control, **more):
        self._pass_on("on_train_end", args, state, control, **more)
