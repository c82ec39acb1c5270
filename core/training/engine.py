"""Trains one run in three steps: build what it needs, loop, save. Knows the folder, nobody else."""

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, TrainerCallback

from core.config import Config
from core.data import build as data
from core.data.pack import collator
from core.errors import UserError
from core.files import Folders
from core.model import hub, load, lora
from core.model.attention import rows_stay_apart, use_varlen
from core.model.hardware import Device, Formats, choose_formats, find_device
from core.training import card
from core.training.environment import describe_environment
from core.training.loss import learned_loss, loss_and_count, token_loss
from core.training.run import Run, adapter_folder

STATUS_SECONDS = 0.5


@dataclass(frozen=True)
class Parts:
    """All that the loop needs."""

    model: Any
    tokenizer: Any
    train: list[dict[str, list[int]]]
    held_out: list[dict[str, list[int]]]
    formats: Formats
    device: Device
    packing: bool


def train(run: Run, folders: Folders) -> None:
    """Work on a run from its config to its adapter. Its folder says how far it is at any time;
    errors rise to the worker, which writes them down."""
    config = run.config()
    device = find_device()
    formats = choose_formats(config, device)
    if device.kind == "cpu" and hasattr(os, "nice"):
        os.nice(5)  # so that the page stays quick while all cores are at work
    parts = build(run, config, folders, device, formats)
    initial = _keep_initial_adapter(run, config, parts.model)
    trainer = make_trainer(run, config, parts)
    checkpoint = run.last_checkpoint()
    run.forget_steps_after(int(checkpoint.name.rpartition("-")[2]) if checkpoint else -1)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if parts.held_out and config.eval_every != "never" and _last_evaluated(run) != \
            trainer.state.global_step:
        trainer.evaluate()
    save(run, config, parts, initial)
    stopped = run.stop_asked() == "save"
    run.update(state="stopped" if stopped else "finished", phase="", ended=time.time(),
               step=trainer.state.global_step, words=_summary(run, trainer, stopped))


def build(run: Run, config: Config, folders: Folders, device: Device, formats: Formats) -> Parts:
    """Data to ids, name to model, model to adapter; each phase in words on the run's status."""
    def on_progress(words: str, share: float | None = None) -> None:
        run.update(phase=words if share is None else f"{words}, {share:.0%}")

    on_progress("Opening the base model")
    folder = hub.locate(config.base_model, folders, config.revision, on_progress=on_progress)
    tokenizer = load.load_tokenizer(folder)
    on_progress("Reading the data set")
    opened = data.open_dataset(config, folders)
    examples, report = data.tokenize_rows(opened, opened.train, config, tokenizer)
    data.require_rows(examples, report, "training")
    held_out, held_report = ([], None) if opened.held_out is None else data.tokenize_rows(
        opened, opened.held_out, config, tokenizer)
    run.write_facts("data", {
        "dataset": config.dataset, "layout": opened.layout.name, "train": report.to_dict(),
        "eval": held_report.to_dict() if held_report else None})
    run.write_facts("environment", describe_environment(device, formats))
    on_progress("Loading the base model")
    model = load.load_base(folder, formats, config, device)
    packing = _can_join(config, model, device, formats)
    set_seed(config.seed)
    model = lora.attach(config, model, adapter_folder(config, folders.runs))
    return Parts(model, tokenizer, _rows(examples), _rows(held_out), formats, device,
                 packing)


def _can_join(config: Config, model: Any, device: Device, formats: Formats) -> bool:
    """Whether rows are laid end to end, and how they are kept apart, said in the log. NEFTune
    scales its noise by the length of what it takes for one row, so it needs them apart."""
    if not config.packing or config.neftune_noise_alpha:
        return False
    if use_varlen(model, device, formats):
        print("Rows are joined; attention never computes across them (varlen).", flush=True)
    elif not rows_stay_apart(model):
        print(f"Rows are padded: joined rows of a {model.config.model_type} would see each other.",
              flush=True)
        return False
    return True


def _rows(examples: list[data.Example]) -> list[dict[str, list[int]]]:
    return [{"input_ids": e.ids, "labels": e.labels} for e in examples]


def make_trainer(run: Run, config: Config, parts: Parts) -> Trainer:
    """transformers' Trainer on our rows, reporting to the run's folder."""
    recorder = Recorder(run, parts.device)
    callbacks: list[TrainerCallback] = [recorder]
    if config.early_stopping_patience and parts.held_out:
        callbacks.append(EarlyStoppingCallback(config.early_stopping_patience))
    trainer = Trainer(
        model=parts.model, args=training_arguments(run, config, parts),
        train_dataset=parts.train, eval_dataset=parts.held_out or None,
        data_collator=collator(parts.packing, parts.tokenizer.pad_token_id),
        compute_loss_func=learned_loss, preprocess_logits_for_metrics=loss_and_count,
        compute_metrics=token_loss,
        callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    if parts.held_out and config.eval_every != "never" and _hides_base(config):
        recorder.measure_base = trainer.evaluate
    return trainer


def _hides_base(config: Config) -> bool:
    """Whether switching the adapter off shows the base model as it was: not where biases are
    learned, nor where the initialisation changes the weights."""
    return config.init_lora == "default" and config.lora_bias == "none"


def training_arguments(run: Run, config: Config, parts: Parts) -> TrainingArguments:
    """Our settings in transformers' words."""
    evaluate = config.eval_every if parts.held_out and config.eval_every != "never" else "no"
    save_every = config.save_every if config.save_every != "never" else "no"
    save_steps = config.save_steps
    keep_best = bool(config.early_stopping_patience) and evaluate != "no"
    if keep_best:  # the best can only be kept if each evaluated state is saved
        save_every, save_steps = evaluate, config.eval_steps
    passes = math.ceil(len(parts.train) / config.batch_size)
    per_epoch = max(1, math.ceil(passes / config.gradient_accumulation))
    steps = config.max_steps or math.ceil(config.epochs * per_epoch)
    arguments = TrainingArguments(
        output_dir=str(run.checkpoints), report_to=[], disable_tqdm=True, label_names=["labels"],
        remove_unused_columns=False, use_cpu=parts.device.kind == "cpu", seed=config.seed,
        num_train_epochs=config.epochs, max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        learning_rate=config.learning_rate, lr_scheduler_type=config.lr_scheduler,
        warmup_steps=math.ceil(config.warmup_ratio * steps), weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm, optim=config.optimizer,
        bf16=parts.formats.precision == "bf16", fp16=parts.formats.precision == "fp16",
        gradient_checkpointing=config.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False}
        if config.gradient_checkpointing else None,
        neftune_noise_alpha=config.neftune_noise_alpha or None,
        eval_strategy=evaluate, eval_steps=config.eval_steps,
        eval_on_start=evaluate != "no" and not _hides_base(config),
        save_strategy=save_every, save_steps=save_steps, save_total_limit=config.save_total_limit,
        load_best_model_at_end=keep_best, metric_for_best_model="eval_token_loss",
        greater_is_better=False, logging_strategy="steps", logging_steps=config.logging_steps,
        logging_first_step=True, logging_nan_inf_filter=False,
        include_num_input_tokens_seen="all" if parts.packing else "non_padding")
    arguments._n_gpu = 1  # else Trainer wraps the model in DataParallel over all GPUs it sees
    return arguments


class Recorder(TrainerCallback):
    """Writes each log of the trainer to the run's folder, and passes on the wish to stop."""

    def __init__(self, run: Run, device: Device):
        self._run, self._device = run, device
        self._written = 0.0
        self._measures_base = False
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
            record |= {"eval_loss": logs["eval_token_loss"]}
            record |= {"step": 0, "epoch": 0.0} if self._measures_base else {}
        self._run.append_metrics({k: float(v) if k != "step" else v for k, v in record.items()})
        print(" ".join(f"{k} {v:.6g}" for k, v in record.items() if k != "time"), flush=True)
        self._tokens, self._since = state.num_input_tokens_seen, time.monotonic()
        if not math.isfinite(record.get("loss", 0.0)):
            raise UserError(f"The loss is no number any more at step {state.global_step}.",
                            "Lower the learning rate, or use bf16 instead of fp16.")
        if state.global_step == 1 and self.measure_base and not self._measures_base:
            # The base model is measured after the first step, not before it, so that a person
            # sees the first step without waiting for an evaluation.
            due = control.should_evaluate  # evaluating takes it back
            self._measures_base = True
            with model.disable_adapter():
                self.measure_base()
            self._measures_base, self.measure_base = False, None
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


def _keep_initial_adapter(run: Run, config: Config, model: Any) -> Path | None:
    """PiSSA and OLoRA change the base weights; the adapter as it began is needed to write one that
    fits the unchanged base."""
    if config.init_lora == "default" or config.adapter:
        return None
    folder = run.folder / "initial_adapter"
    if not folder.exists():
        model.save_pretrained(folder)
    return folder


def save(run: Run, config: Config, parts: Parts, initial: Path | None) -> None:
    """The adapter folder, whole or absent: adapter, tokenizer and model card."""
    aside = run.folder / "adapter.part"
    shutil.rmtree(aside, ignore_errors=True)
    options = {"path_initial_model_for_weight_conversion": str(initial)} if initial else {}
    parts.model.save_pretrained(aside, **options)
    parts.tokenizer.save_pretrained(aside)
    (aside / "README.md").write_text(card.model_card(run, config), encoding="utf-8")
    shutil.rmtree(run.adapter, ignore_errors=True)
    os.replace(aside, run.adapter)


def _last_evaluated(run: Run) -> int:
    return max((r["step"] for r in run.metrics() if "eval_loss" in r), default=-1)


def _summary(run: Run, trainer: Trainer, stopped: bool) -> str:
    losses = run.effect()
    effect = (f" Loss on held-out rows: {losses[0]:.3f} before, {losses[1]:.3f} after."
              if losses else "")
    verb = "Stopped and saved" if stopped else "Finished"
    return f"{verb} at step {trainer.state.global_step}.{effect}"
