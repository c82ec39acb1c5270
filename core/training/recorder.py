"""Writes what the trainer reports to the run's folder, and passes on the wish to stop."""

import math
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
from transformers.trainer_callback import TrainerCallback, TrainerState

from core.errors import UserError
from core.model.hardware import Device
from core.training import ranks
from core.training.run import Run

STATUS_SECONDS = 0.5


class StopAsked(Exception):
    """Raised out of an evaluation that a person's Stop breaks off."""


class Recorder(TrainerCallback):
    """Writes each log of the trainer to the run's folder, and passes on the wish to stop."""

    def __init__(self, run: Run, device: Device):
        self._run, self._device = run, device
        self._written = 0.0
        self._stops = False
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
        if ranks.agree(self._run.stop_asked()):
            self._stop(state, control)
        elif control.should_save:
            # A mean over several steps ends at each checkpoint, so that it comes out the same
            # for a run that goes on from there.
            control.should_log = True

    def on_substep_end(self, args, state, control, **_):
        """Between the passes of one step: what they added up is dropped, the step is done again
        after a resume."""
        if ranks.agree(self._run.stop_asked()):
            self._stop(state, control)

    def on_prediction_step(self, args, state, control, **_):
        self.heed(state)

    def heed(self, state: TrainerState) -> None:
        """Breaks off where Stop was asked for: in an evaluation, or within a step. What the step
        had added up is dropped; it is done again after a resume."""
        if ranks.agree(self._run.stop_asked()):
            self._say_that_it_stops(state)
            raise StopAsked

    def on_epoch_end(self, args, state, control, **_):
        if self._stops:  # no evaluation now, and no second save
            control.should_evaluate = control.should_log = False
            control.should_save = self._unsaved(state)

    def _stop(self, state, control) -> None:
        self._stops = True
        self._say_that_it_stops(state)
        control.should_training_stop, control.should_evaluate = True, False
        control.should_save = self._unsaved(state)

    def _say_that_it_stops(self, state) -> None:
        self._run.update(state="stopping", words="Stops and saves.", step=state.global_step)

    def _unsaved(self, state) -> bool:
        return state.global_step > 0 and not (
            self._run.checkpoints / f"checkpoint-{state.global_step}").exists()

    def on_log(self, args, state, control, logs, model, **_):
        record = {"time": round(time.time(), 2), "step": state.global_step,
                  "epoch": round(state.epoch or 0.0, 4)}
        if "loss" in logs:
            record |= {name: logs[name] for name in ("loss", "learning_rate", "grad_norm")
                       if name in logs}
            record |= self._speed(state) | self._memory()
        elif "eval_token_loss" in logs:
            record |= {"eval_loss": logs["eval_token_loss"],
                       "token_accuracy": logs["eval_token_accuracy"]}
        elif "base_token_loss" in logs:
            record |= {"eval_loss": logs["base_token_loss"], "step": 0, "epoch": 0.0,
                       "token_accuracy": logs["base_token_accuracy"]}
        else:
            return
        self._run.append_metrics({k: float(v) if k != "step" else v for k, v in record.items()})
        print(" ".join(f"{k} {v:.6g}" for k, v in record.items() if k != "time"), flush=True)
        self._tokens, self._since = state.num_input_tokens_seen, time.monotonic()
        if not math.isfinite(record.get("loss", 0.0)):
            raise UserError(f"The loss is no number any more at step {state.global_step}.",
                            "Lower the learning rate, or use bf16 instead of fp16.")
        if state.global_step == 1 and self.measure_base and "loss" in logs:
            # The base model is measured after the first step, not before it, so that a person
            # sees the first step without waiting for an evaluation.
            due, measure = control.should_evaluate, self.measure_base
            self.measure_base = None
            with model.disable_adapter():
                measure()
            control.should_evaluate = due  # evaluating takes it back

    def _speed(self, state) -> dict[str, float]:
        seconds = time.monotonic() - self._since
        tokens = state.num_input_tokens_seen - self._tokens
        return {"tokens_per_second": tokens / seconds} if seconds and tokens else {}

    def _memory(self) -> dict[str, float]:
        """Of all processes; `gpu_bytes` is that of the fullest GPU, with several each is told."""
        memory = {"ram_bytes": sum(ranks.gather(psutil.Process().memory_info().rss))}
        if self._device.kind == "cuda":
            peaks = ranks.gather(torch.cuda.max_memory_allocated())
            memory["gpu_bytes"] = max(peaks)
            if len(peaks) > 1:
                memory |= {f"gpu_{at}_bytes": peak for at, peak in enumerate(peaks)}
        return memory
