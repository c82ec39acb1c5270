"""Trains one run in three steps: build what it needs, loop, save. Knows the folder, nobody else."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, Trainer, set_seed
from transformers.trainer_callback import PrinterCallback, TrainerCallback, TrainerState

from core.config import Config
from core.data import build as data
from core.data.tokens.pack import collator, share_opening
from core.data.tokens.plain import with_template
from core.data.tokens.token_rows import TrainingRows
from core.errors import UserError
from core.files import Folders, put_in_place
from core.model import hub, load, lora
from core.model.attention import attend_by_rows, reads_shared, rows_stay_apart
from core.model.fused.blocks import Blocks
from core.model.hardware import Device, Formats, choose_formats, find_device
from core.training import card, energy, pace, ranks, sharding, shares, trackers, verdict
from core.training.adversarial import adversarial
from core.training.arguments import hides_base, training_arguments
from core.training.checkpoint import STATE, newest_whole
from core.training.environment import describe_environment
from core.training.lean import Lean
from core.training.loss import LearnedLoss, plain_head, token_loss
from core.training.passes import Passes, Rehearsal, heaviest_batch
from core.training.recorder import Recorder, StopAsked
from core.training.run import Run, adapter_folder
from core.training.samples import SampleAnswers, questions
from core.training.saver import Draws, MissedEvaluation, Saver, clear_leftovers, is_complete


@dataclass(frozen=True)
class Parts:
    """All that the loop needs."""

    model: Any
    tokenizer: Any
    train: TrainingRows
    held_out: TrainingRows
    formats: Formats
    device: Device
    packing: bool
    questions: list[dict[str, Any]]
    heaviest: list[dict[str, Any]]  # the longest rows, as many as a batch has
    dial: pace.Dial
    blocks: Blocks


def train(run: Run, folders: Folders) -> None:
    """Work on a run from its config to its adapter. Its folder says how far it is at any time;
    errors rise to the worker, which writes them down."""
    config = run.config()
    device = find_device()
    formats = choose_formats(config, device)
    if device.kind == "cpu" and hasattr(os, "nice"):
        os.nice(5)  # so that the page stays quick while all cores are at work
    if run.writes:
        clear_leftovers(run)
    parts = build(run, config, folders, device, formats)
    initial = _keep_initial_adapter(run, config, parts.model)
    began_with = verdict.weights_mark(parts.model)
    trainer = make_trainer(run, config, parts)
    with energy.metered(run):
        learn(run, config, trainer)
    run.drop_unfinished_checkpoints()  # the trainer leaves their folder, be it empty
    stopped = ranks.agree(run.stop_asked()) == "save"
    if not stopped and parts.held_out and config.eval_every != "never" \
            and ranks.agree(_last_evaluated(run)) != trainer.state.global_step:
        trainer.evaluate()
    end(run, config, parts, trainer, initial, began_with, stopped)


def learn(run: Run, config: Config, trainer: Trainer) -> None:
    """Train, from the newest whole checkpoint where there is one, to the end or to a Stop."""
    checkpoint, damaged = ranks.agree(newest_whole(run.checkpoints) if run.writes else None)
    for sentence in [*damaged, *run.config_problems()]:
        print(sentence, flush=True)
    run.write_facts("resumed", {"notices": damaged})
    run.forget_steps_after(int(checkpoint.name.rpartition("-")[2]) if checkpoint else -1)
    state = TrainerState.load_from_json(str(checkpoint / STATE)) if checkpoint else None
    whole = not trainer.is_fsdp_enabled  # else the trainer alone can put the weights together
    if whole and state and is_complete(state, config.early_stopping_patience):
        trainer.state = state
        best = run.checkpoints / f"checkpoint-{state.best_global_step}"
        keeps_best = trainer.args.load_best_model_at_end and best.is_dir()
        _load_weights(trainer, best if keeps_best else checkpoint)
        return
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except StopAsked:  # in an evaluation or a step: the state is that of the step before it
        step = trainer.state.global_step
        if step and not (run.checkpoints / f"checkpoint-{step}").is_dir():
            heard = trainer.args, trainer.state, trainer.control
            trainer.callback_handler.on_epoch_end(*heard)  # Draws goes back to that step
            trainer._save_checkpoint(trainer.model, None)
            trainer.callback_handler.on_save(*heard)
        if trainer.args.load_best_model_at_end and trainer.state.best_model_checkpoint:
            best = Path(trainer.state.best_model_checkpoint)
            if whole:
                _load_weights(trainer, best)
            else:
                trainer._load_from_checkpoint(str(best), trainer.model_wrapped)


def _load_weights(trainer: Trainer, checkpoint: Path) -> None:
    trainer.model.load_adapter(str(checkpoint), "default", is_trainable=True)


def end(run: Run, config: Config, parts: Parts, trainer: Trainer, initial: Path | None,
        began_with: dict, stopped: bool) -> None:
    """Save the adapter, look whether anything was learned, and say how it ended."""
    step = trainer.state.global_step
    if step == 0:
        run.update(state="stopped", phase="", ended=time.time(), step=0,
                   words="Stopped before the first step was done; nothing was learned.")
        return
    sharding.unwrap(parts.model)
    save(run, config, parts, initial)
    ended_with = verdict.weights_mark(parts.model)  # of weights that are cut up, all have a part
    nothing, signs = ranks.agree(verdict.judge(run, config, began_with, ended_with)
                                 if run.writes else None)
    run.write_facts("verdict", {"notices": signs})
    if nothing and not stopped:
        raise UserError("The run came to its end, but it learned nothing.", nothing)
    run.update(state="stopped" if stopped else "finished", phase="", ended=time.time(),
               step=step, words=_summary(run, trainer, stopped))


def build(run: Run, config: Config, folders: Folders, device: Device, formats: Formats) -> Parts:
    """Data to ids, name to model, model to adapter; each phase in words on the run's status."""
    def on_progress(words: str, share: float | None = None) -> None:
        run.update(phase=words if share is None else f"{words}, {share:.0%}")

    on_progress("Opening the base model")
    with ranks.first_alone():
        folder = hub.locate(config.base_model, folders, config.revision, on_progress=on_progress)
    tokenizer = with_template(load.load_tokenizer(folder), config.chat_template)
    on_progress("Reading the data set")
    opened = data.open_dataset(config, folders)

    def on_rows(done: int, total: int) -> None:
        on_progress("Tokenizing", done / max(1, total))

    examples, report = data.tokenize_rows(opened, opened.train, config, tokenizer, on_rows)
    data.require_rows(examples, report, "training")
    held_out, held_report = ([], None) if opened.held_out is None else data.tokenize_rows(
        opened, opened.held_out, config, tokenizer, on_rows)
    run.write_facts("data", {
        "dataset": config.dataset, "layout": opened.layout.name, "train": report.to_dict(),
        "eval": held_report.to_dict() if held_report else None})
    run.write_facts("environment", describe_environment(device, formats))
    rows = TrainingRows(examples)
    heaviest = heaviest_batch(rows, shares.share(config, ranks.count()).rows)
    dial = pace.choose_dial(load.meta_model(load.load_config(folder)), config, formats, device,
                            [len(row["input_ids"]) for row in heaviest])
    on_progress("Loading the base model")
    model = load.for_learning(load.load_base(folder, formats, config, device, dial.streams))
    packing = _can_join(config, model)
    set_seed(config.seed)
    model = lora.attach(config, model, adapter_folder(config, folders.runs))
    return Parts(model, tokenizer, rows, TrainingRows(held_out), formats, device, packing,
                 questions(opened, tokenizer, config.sample_answers), heaviest, dial,
                 pace.speed_up(model, config, formats, dial))


def _can_join(config: Config, model: Any) -> bool:
    """Whether rows are laid end to end, and how they are kept apart, said in the log. NEFTune
    scales its noise by the length of what it takes for one row, so it needs them apart."""
    if not config.packing or config.neftune_noise_alpha:
        return False
    if attend_by_rows(model):
        print("Rows are joined; attention never computes across them.", flush=True)
    elif not rows_stay_apart(model):
        print(f"Rows are padded: joined rows of a {model.config.model_type} would see each other.",
              flush=True)
        return False
    return True


def make_trainer(run: Run, config: Config, parts: Parts) -> Trainer:
    """transformers' Trainer on our rows, reporting to the run's folder."""
    recorder = Recorder(run, parts.device)
    losses = LearnedLoss(None if sharding.cuts_up(config) else plain_head(parts.model))
    callbacks: list[TrainerCallback] = [
        recorder, Draws(), Saver(run, config.save_total_limit),
        pace.Compiling(parts.model, parts.blocks, losses, config, parts.device)]
    if parts.questions:
        callbacks.append(SampleAnswers(run, parts.tokenizer, parts.questions))
    if config.early_stopping_patience and parts.held_out:
        callbacks.append(EarlyStoppingCallback(config.early_stopping_patience))
    if run.writes:
        callbacks += trackers.callbacks(run, config)
    trainer = Trainer(
        model=parts.model, args=training_arguments(
            run, config, parts.model, len(parts.train), parts.held_out.lengths, parts.formats,
            parts.device, parts.dial, parts.packing), train_dataset=parts.train,
        eval_dataset=parts.held_out or None,
        data_collator=collator(parts.packing, parts.tokenizer.pad_token_id),
        compute_loss_func=losses.learned, preprocess_logits_for_metrics=losses.count,
        compute_metrics=token_loss, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    trainer.training_step = _training_step(trainer, recorder, run, config, parts, losses)
    trainer.prediction_step = losses.headless(trainer.prediction_step)
    if parts.packing and reads_shared(parts.model):
        trainer.prediction_step = _sharing(trainer.prediction_step)
    if ranks.count() > 1:
        sharding.tune(trainer, parts.formats)
        shares.share_out(trainer, config, ranks.count(), parts.tokenizer.pad_token_id)
    if not sharding.cuts_up(config):
        trainer.add_callback(Lean(trainer))
    if parts.held_out and config.eval_every != "never":
        trainer.add_callback(MissedEvaluation(run, trainer.evaluate))
        if hides_base(config):
            recorder.measure_base = _measure_base(trainer)
    return trainer


def _training_step(trainer: Trainer, recorder: Recorder, run: Run, config: Config, parts: Parts,
                   losses: LearnedLoss) -> Callable[..., Any]:
    """The trainer's own step, without the model's head, twice where embeddings are moved against
    it, and in passes where rows are joined."""
    step = losses.headless(trainer.training_step)
    if config.adversarial_strength:
        step = adversarial(step, parts.model, config.adversarial_strength)
    if not parts.packing or sharding.cuts_up(config):
        return step

    def say(sentence: str) -> None:
        print(sentence, flush=True)
        run.write_facts("passes", {"notices": [sentence]})

    learned = [p for p in parts.model.parameters() if p.requires_grad]
    passes = Passes(step, learned, parts.dial.pass_tokens, say,
                    lambda: recorder.heed(trainer.state), parts.blocks.forget,
                    reads_shared(parts.model) and not config.adversarial_strength)
    if parts.device.kind == "cuda":
        trainer.add_callback(Rehearsal(passes, trainer, parts.heaviest))
    return passes


def _sharing(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step of the evaluation that computes what all rows begin with once."""
    return lambda model, inputs, *rest, **named: step(model, share_opening(inputs), *rest, **named)


def _measure_base(trainer: Trainer) -> Callable[[], Any]:
    return lambda: trainer.evaluate(metric_key_prefix="base")


def _keep_initial_adapter(run: Run, config: Config, model: Any) -> Path | None:
    """PiSSA and OLoRA change the base weights; the adapter as it began is needed to write one that
    fits the unchanged base."""
    if config.init_lora == "default" or config.adapter:
        return None
    folder = run.folder / "initial_adapter"
    if run.writes and not folder.exists():
        model.save_pretrained(folder)
    return folder


def save(run: Run, config: Config, parts: Parts, initial: Path | None) -> None:
    """The adapter folder, whole or absent: adapter, tokenizer and model card."""
    weights = sharding.whole(parts.model)
    if not run.writes:
        return
    aside = run.folder / "adapter.part"
    shutil.rmtree(aside, ignore_errors=True)
    options = {"path_initial_model_for_weight_conversion": str(initial)} if initial else {}
    parts.model.save_pretrained(aside, state_dict=weights, **options)
    parts.tokenizer.save_pretrained(aside)
    (aside / "README.md").write_text(card.model_card(run, config), encoding="utf-8")
    put_in_place(aside, run.adapter)


def _last_evaluated(run: Run) -> int:
    return max((r["step"] for r in run.metrics() if "eval_loss" in r), default=-1)


def _summary(run: Run, trainer: Trainer, stopped: bool) -> str:
    losses = run.effect()
    effect = (f" Loss on held-out rows: {losses[0]:.3f} before, {losses[1]:.3f} after."
              if losses else "")
    verb = "Stopped and saved" if stopped else "Finished"
    return f"{verb} at step {trainer.state.global_step}.{effect}"
