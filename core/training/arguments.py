"""Our settings in the words of transformers' Trainer."""

import math
from typing import Any

from transformers import TrainingArguments

from core.config import Config
from core.model.hardware import Device, Formats
from core.training import ranks, sharding, shares
from core.training.run import Run
from core.training.verdict import steps_of

# What early stopping may watch, by the names of the evaluation's numbers.
BEST_BY = {"loss": "token_loss", "token accuracy": "token_accuracy",
           "exact answers": "exact_answers"}


def hides_base(config: Config) -> bool:
    """Whether switching the adapter off shows the base model as it was: not where biases are
    learned, nor where the initialisation changes the weights."""
    return config.init_lora == "default" and config.lora_bias == "none"


def training_arguments(run: Run, config: Config, model: Any, rows: int, formats: Formats,
                       device: Device, evaluates: bool, packing: bool) -> TrainingArguments:
    """`rows` are those that are learned; `evaluates` says whether some are held out."""
    evaluate = config.eval_every if evaluates and config.eval_every != "never" else "no"
    save_every = config.save_every if config.save_every != "never" else "no"
    save_steps = config.save_steps
    keep_best = bool(config.early_stopping_patience) and evaluate != "no"
    if keep_best:  # the best can only be kept if each evaluated state is saved
        save_every, save_steps = evaluate, config.eval_steps
    steps = steps_of(config, rows)
    shared = shares.share(config, ranks.count())
    checkpointing = config.gradient_checkpointing and not sharding.checkpoints_itself(config)
    arguments = TrainingArguments(
        output_dir=str(run.saving), report_to=[], disable_tqdm=True, label_names=["labels"],
        remove_unused_columns=False, use_cpu=device.kind == "cpu", seed=config.seed,
        num_train_epochs=config.epochs, max_steps=config.max_steps or -1,
        per_device_train_batch_size=shared.rows, per_device_eval_batch_size=shared.rows,
        gradient_accumulation_steps=shared.passes,
        learning_rate=config.learning_rate, lr_scheduler_type=config.lr_scheduler,
        # The first step of a warm-up does nothing, so a run of one step has none.
        warmup_steps=min(steps - 1, math.ceil(config.warmup_ratio * steps)),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm, optim=config.optimizer,
        bf16=formats.precision == "bf16", fp16=formats.precision == "fp16",
        gradient_checkpointing=checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if checkpointing else None,
        neftune_noise_alpha=config.neftune_noise_alpha or None,
        eval_strategy=evaluate, eval_steps=config.eval_steps,
        eval_on_start=evaluate != "no" and not hides_base(config),
        save_strategy=save_every, save_steps=save_steps, data_seed=config.seed,
        load_best_model_at_end=keep_best,
        metric_for_best_model=f"eval_{BEST_BY[config.stop_on]}",
        greater_is_better=config.stop_on != "loss",
        logging_strategy="steps", logging_steps=config.logging_steps,
        logging_first_step=True, logging_nan_inf_filter=False,
        include_num_input_tokens_seen="all" if packing else "non_padding",
        **sharding.arguments(config, model))
    sharding.settle(config, arguments)
    return arguments
