"""What makes a resumed run equal to one that never stopped: whole checkpoints, the same draws."""

import random
from collections.abc import Callable
from typing import Any

import numpy
import torch
from accelerate import PartialState
from transformers.trainer_callback import TrainerCallback, TrainerState

from core.files import flush, settle
from core.training import checkpoint, ranks
from core.training.run import Run


class Saver(TrainerCallback):
    """Moves what the trainer saved in `run.saving` to the run's checkpoints."""

    def __init__(self, run: Run, keep: int):
        self._run, self._keep = run, keep

    def on_train_begin(self, args, state, control, **_):
        self._run.drop_unfinished_checkpoints()
        # The path in the checkpoint is that of the machine and folder in which it was written.
        best = self._run.checkpoints / f"checkpoint-{state.best_global_step}"
        state.best_model_checkpoint = str(best) if best.is_dir() else None

    def on_save(self, args, state: TrainerState, control, **_):
        processes = PartialState()
        processes.wait_for_everyone()  # each writes its own random state
        aside = self._run.saving / f"checkpoint-{state.global_step}"
        final = self._run.checkpoints / aside.name
        if state.best_global_step:
            best = self._run.checkpoints / f"checkpoint-{state.best_global_step}"
            state.best_model_checkpoint = str(best) if best == final or best.is_dir() else None
        if state.is_world_process_zero:
            state.save_to_json(str(aside / checkpoint.STATE))
            if (self._run.folder / "metrics.jsonl").exists():
                flush(self._run.folder / "metrics.jsonl")  # the curve reaches as far as the state
            checkpoint.commit(aside, self._run.checkpoints)
            checkpoint.prune(self._run.checkpoints, self._keep, state.best_global_step)
        processes.wait_for_everyone()


class Draws(TrainerCallback):
    """Lets each step begin with the random state that the step before left, whatever came between:
    an evaluation draws numbers too, and so does a step that Stop breaks off."""

    def __init__(self):
        self._kept: dict[str, Any] | None = None
        self._tokens = 0

    def on_step_end(self, args, state, control, **_):
        self._kept, self._tokens = _draws(), state.num_input_tokens_seen

    def on_evaluate(self, args, state, control, **_):
        self._restore()

    def on_epoch_end(self, args, state, control, **_):
        if self._kept is not None:
            self._restore()
            state.num_input_tokens_seen = self._tokens

    def _restore(self) -> None:
        if self._kept is None:
            return
        random.setstate(self._kept["python"])
        numpy.random.set_state(self._kept["numpy"])
        torch.set_rng_state(self._kept["torch"])
        if "cuda" in self._kept:
            torch.cuda.set_rng_state(self._kept["cuda"])


def _draws() -> dict[str, Any]:
    kept = {"python": random.getstate(), "numpy": numpy.random.get_state(),
            "torch": torch.get_rng_state()}
    return kept | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else {})


class MissedEvaluation(TrainerCallback):
    """Makes up for the evaluation that was due at the step of a checkpoint and didn't come to its
    end, because the run was stopped or killed in it."""

    def __init__(self, run: Run, evaluate: Callable[[], dict[str, float]]):
        self._run, self._evaluate = run, evaluate

    def on_train_begin(self, args, state: TrainerState, control, train_dataloader=None, **_):
        step = state.global_step
        if not step or ranks.agree(any(r.get("step") == step and "eval_loss" in r
                                       for r in self._run.metrics())):
            return
        passes = len(train_dataloader)
        per_epoch = max(1, -(-passes // args.gradient_accumulation_steps))
        due = {"epoch": step % per_epoch == 0, "steps": step % state.eval_steps == 0}
        if not due.get(str(getattr(args.eval_strategy, "value", args.eval_strategy))):
            return
        value, best = self._evaluate()[args.metric_for_best_model], state.best_metric
        if best is None or (value > best if args.greater_is_better else value < best):
            state.best_metric, state.best_global_step = value, step


def is_complete(state: TrainerState, patience: int) -> bool:
    """Whether nothing is left to train: the trainer itself would do one step more."""
    stopping = state.stateful_callbacks.get("EarlyStoppingCallback", {})
    stopping = stopping[0] if isinstance(stopping, list) else stopping
    bad = stopping.get("attributes", {}).get("early_stopping_patience_counter", 0)
    return state.global_step >= state.max_steps or bool(patience and bad >= patience)


def clear_leftovers(run: Run) -> None:
    """Put right what a killed worker left half done."""
    settle(run.adapter)
    run.drop_unfinished_checkpoints()
    checkpoint.clear_pruned(run.checkpoints)
    for folder in run.checkpoints.glob("checkpoint-*.old"):
        settle(folder.with_name(folder.name.removesuffix(".old")))
