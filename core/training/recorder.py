"""Writes what the trainer reports to the run's folder, and passes on the wish to stop."""

import math
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
from transformers.trainer_callback import TrainerCallback

from core.errors import UserError
from core.model.hardware import Device
from core.training.run import Run

STATUS_SECONDS = 0.5


class Recorder(TrainerCallback):
    """Writes each log of the trainer to the run's folder, and passes on the wish to stop."""

    def __init__(self, run: Run, device: Device):
        self._run, self._device = run, device
        self._written = 0.0
        self.measures_base = False
        self.measure_base: Callable[[], Any] | None = None
        self._tokens, self._since = 0, time.monotonic()

    def on_train_begin(self, args, state, control, **_):
        self._run.update(state="running", words="Trains.", phase="", step=state.global_step,
                         total_steps=state.max_steps, stepping_since=time.time(),
                         stepping_from=state.global_step)
        self._tokens, self._since = state.num_input_tokens_seen, time.monotonic()

    def on_step_end(self, args, state, control, **_):
        if time.monotonic() - self._written > STATUS_SECONDS:
            self._written = time.monotonic()
            self._run.update(step=state.global_step, epoch=round(state.epoch or 0.0, 4))
        if self._run.stop_asked():
            self._run.update(state="stopping", words="Stops and saves.", step=state.global_step)
            control.should_training_stop = control.should_save = True

    def on_log(self, args, state, control, logs, model, **_):
        if "loss" not in logs and "eval_token_loss" not in logs:
            return
        record = {"time": round(time.time(), 2), "step": state.global_step,
                  "epoch": round(state.epoch or 0.0, 4)}
        if "loss" in logs:
            record |= {name: logs[name] for name in ("loss", "learning_rate", "grad_norm")
                       if name in logs}
            record |= self._speed(state) | self._memory()
        else:
            record |= {"eval_loss": logs["eval_token_loss"],
                       "token_accuracy": logs["eval_token_accuracy"]}
            record |= {"step": 0, "epoch": 0.0} if self.measures_base else {}
        self._run.append_metrics({k: float(v) if k != "step" else v for k, v in record.items()})
        print(" ".join(f"{k} {v:.6g}" for k, v in record.items() if k != "time"), flush=True)
        self._tokens, self._since = state.num_input_tokens_seen, time.monotonic()
        if not math.isfinite(record.get("loss", 0.0)):
            raise UserError(f"The loss is no number any more at step {state.global_step}.",
                            "Lower the learning rate, or use bf16 instead of fp16.")
        if state.global_step == 1 and self.measure_base and not self.measures_base:
            # The base model is measured after the first step, not before it, so that a person
            # sees the first step without waiting for an evaluation.
            due = control.should_evaluate  # evaluating takes it back
            self.measures_base = True
            with model.disable_adapter():
                self.measure_base()
            self.measures_base, self.measure_base = False, None
            control.should_evaluate = due

    def _speed(self, state) -> dict[str, float]:
        seconds = time.monotonic() - self._since
        tokens = state.num_input_tokens_seen - self._tokens
        return {"tokens_per_second": tokens / seconds} if seconds and tokens else {}

    def _memory(self) -> dict[str, float]:
        memory = {"ram_bytes": psutil.Process().memory_info().rss}
        if self._device.kind == "cuda":
            memory["gpu_bytes"] = torch.cuda.max_memory_allocated()
        return memory
