"""Our settings in the words of transformers' Trainer."""

import math
from collections.abc import Sequence
from typing import Any

from transformers import TrainingArguments

from core.config import Config
from core.model.hardware import Device, Formats
from core.settings.progress import BEST_BY
from core.training import ranks, sharding, shares
from core.training.pace import Dial
from core.training.run import Run
from core.training.trackers import PROJECT
from core.training.verdict import steps_of


def hides_base(config: Config) -> bool:
    """Whether switching the adapter off shows the base model as it was: not where biases are
    learned, nor where the initialisation changes the weights."""
    return config.init_lora == "default" and config.lora_bias == "none"


def training_arguments(run: Run, config: Config, model: Any, rows: int, held_out: Sequence[int],
                       formats: Formats, device: Device, dial: Dial, packing: bool
                       ) -> TrainingArguments:
    """`rows` are those that are learned, `held_out` the lengths of those that are only measured."""
    evaluate = config.eval_every if held_out and config.eval_every != "never" else "no"
    save_every = config.save_every if config.save_every != "never" else "no"
    save_steps = config.save_steps
    keep_best = bool(config.early_stopping_patience) and evaluate != "no"
    if keep_best:  # the best can only be kept if each evaluated state is saved
        save_every, save_steps = evaluate, config.eval_steps
    steps = steps_of(config, rows)
    shared = shares.share(config, ranks.count())
    arguments = TrainingArguments(
        output_dir=str(run.saving), report_to=[], run_name=run.id, project=PROJECT,
        disable_tqdm=True, label_names=["labels"],
        remove_unused_columns=False, use_cpu=device.kind == "cpu", seed=config.seed,
        num_train_epochs=config.epochs, max_steps=config.max_steps or -1,
        per_device_train_batch_size=shared.rows,
        per_device_eval_batch_size=shares.measured_at_once(held_out, dial.pass_tokens, shared.rows),
        gradient_accumulation_steps=shared.passes,
        learning_rate=config.learning_rate, lr_scheduler_type=config.lr_scheduler,
        # The first step of a warm-up does nothing, so a run of one step has none.
        warmup_steps=min(steps - 1, math.ceil(config.warmup_ratio * steps)),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm, optim=config.optimizer,
        bf16=formats.precision == "bf16", fp16=formats.precision == "fp16",
        **sharding.recomputing(config, dial.recomputed > 0),
        neftune_noise_alpha=config.neftune_noise_alpha or None,
        eval_strategy=evaluate, eval_steps=config.eval_steps,
        eval_on_start=evaluate != "no" and not hides_base(config),
        save_strategy=save_every, save_steps=save_steps, data_seed=config.seed,
        load_best_model_at_end=keep_best,
        # transformers' own eval_loss is a mean of batches' means.
        metric_for_best_model="eval_token_loss" if config.stop_on == "loss"
        else f"eval_{BEST_BY[config.stop_on]}",
        greater_is_better=config.stop_on != "loss",
        logging_strategy="steps", logging_steps=config.logging_steps,
        logging_first_step=True, logging_nan_inf_filter=False,
        include_num_input_tokens_seen="all" if packing else "non_padding",
        **sharding.arguments(config, model, dial.recomputed > 0))
    sharding.settle(config, arguments)
    return arguments
