"""Trains one run in three steps: build what it needs, loop, save. Knows the folder, nobody else."""

import math
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, TrainerCallback

from core.config import Config
from core.data import build as data
from core.data.pack import collator
from core.files import Folders
from core.model import hub, load, lora
from core.model.attention import rows_stay_apart, use_varlen
from core.model.hardware import Device, Formats, choose_formats, find_device
from core.training import card
from core.training.adversarial import adversarial
from core.training.environment import describe_environment
from core.training.loss import learned_loss, loss_and_count, token_loss
from core.training.recorder import Recorder
from core.training.run import Run, adapter_folder
from core.training.samples import SampleAnswers, questions

# What early stopping may watch, by the names of the evaluation's numbers.
BEST_BY = {"loss": "token_loss", "token accuracy": "token_accuracy",
           "exact answers": "exact_answers"}


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
    questions: list[dict[str, Any]]


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
                 packing, questions(opened, tokenizer, config.sample_answers))


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
    if parts.questions:
        callbacks.append(SampleAnswers(run, parts.tokenizer, parts.questions, recorder))
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
    if config.adversarial_strength:
        trainer.training_step = adversarial(trainer.training_step, parts.model,
                                            config.adversarial_strength)
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
        load_best_model_at_end=keep_best,
        metric_for_best_model=f"eval_{BEST_BY[config.stop_on]}",
        greater_is_better=config.stop_on != "loss",
        logging_strategy="steps", logging_steps=config.logging_steps,
        logging_first_step=True, logging_nan_inf_filter=False,
        include_num_input_tokens_seen="all" if parts.packing else "non_padding")
    arguments._n_gpu = 1  # else Trainer wraps the model in DataParallel over all GPUs it sees
    return arguments


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
