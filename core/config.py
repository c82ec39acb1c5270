"""Every setting once: default, label, help, range and group; checked when made; saved as YAML."""

import math
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from core.errors import UserError

GROUPS = {
    "data": "Data",
    "model": "Base model",
    "lora": "LoRA",
    "training": "Training",
    "progress": "Evaluate, save, log",
}

TARGET_PRESETS = ("all linear", "attention", "attention q and v")


def setting(default: Any, group: str, label: str, help: str, *, low: float | None = None,
            high: float | None = None, choices: tuple[str, ...] = (), simple: bool = False,
            above_low: bool = False) -> Any:
    """One field of Config. `simple` settings are shown at first, the others behind "More";
    `above_low` means that `low` itself is not allowed."""
    return field(default=default, metadata={
        "group": group, "label": label, "help": help, "low": low, "high": high,
        "choices": choices, "simple": simple, "above_low": above_low})


@dataclass(frozen=True)
class Config:
    """All that decides what a run learns and how. Making one checks it: a UserError names every
    problem at once. Field names follow transformers' TrainingArguments and peft's LoraConfig."""

    # Data
    dataset: str = setting(
        "sample:film-reviews", "data", "Data set",
        "A sample, a file or folder on this computer, or a Hugging Face id.")
    dataset_config: str = setting("", "data", "Configuration", "Sub-set name of a hub data set.")
    train_split: str = setting("train", "data", "Training split", "Which split is learned.")
    eval_split: str = setting(
        "", "data", "Evaluation split",
        "Which split is held out. Empty: rows are set aside from the training split.")
    layout: str = setting(
        "auto", "data", "Layout", "How a row becomes a dialogue. Auto looks at the columns.",
        choices=("auto", "messages", "conversations", "instruction", "question", "labelled",
                 "text"))
    prompt_column: str = setting("", "data", "Prompt column", "Empty: found by its name.")
    input_column: str = setting("", "data", "Context column", "Text that follows the prompt.")
    answer_column: str = setting("", "data", "Answer column", "What the model should answer.")
    system_column: str = setting("", "data", "System column", "Text of the system turn.")
    instruction: str = setting(
        "", "data", "Instruction",
        "Put before each text or prompt; dialogues stay as they are. Empty: the sample's own.")
    train_rows: int = setting(
        0, "data", "Training rows", "How many rows are learned, drawn with the seed. 0: all.",
        low=0, simple=True)
    eval_rows: int = setting(
        100, "data", "Evaluation rows", "How many rows are held out to measure. 0: none.", low=0)
    data_seed: int = setting(42, "data", "Data seed", "Decides which rows are drawn.",
                            low=0, high=2**32 - 1)
    loss_on: str = setting(
        "answers", "data", "Loss on", "Learn the answers only, or all tokens (plain text).",
        choices=("answers", "last answer", "all tokens"), simple=True)
    max_length: int = setting(
        512, "data", "Max length", "Tokens a row may have; memory grows with it.",
        low=16, high=1_048_576, simple=True)
    too_long: str = setting(
        "cut", "data", "Longer rows", "Cut the end off, or leave the whole row out.",
        choices=("cut", "drop"))
    packing: bool = setting(
        True, "data", "Join rows without padding",
        "Rows of a batch are laid end to end and can't see each other. Faster, same result.")

    # Base model
    base_model: str = setting(
        "starter:SmolLM2-135M-Instruct", "model", "Base model",
        "From the catalogue, a Hugging Face id, modelscope:<id>, a folder or a GGUF file.")
    revision: str = setting("", "model", "Revision", "Branch, tag or commit on the hub.")
    adapter: str = setting(
        "", "model", "Continue from adapter", "A run's name or an adapter folder to go on from.")
    base_weights: str = setting(
        "auto", "model", "Base weights",
        "How the frozen weights are held. 4bit needs about a quarter of 16bit. Auto: 16bit, "
        "or 32bit where this machine has no fast 16-bit arithmetic.",
        choices=("auto", "4bit", "8bit", "16bit", "32bit"), simple=True)
    quant_type: str = setting(
        "nf4", "model", "4-bit type", "nf4 suits normally distributed weights.",
        choices=("nf4", "fp4"))
    double_quantization: bool = setting(
        True, "model", "Double quantization", "Also stores the 4-bit scales in 8 bit.")
    precision: str = setting(
        "auto", "model", "Precision",
        "Number format of the arithmetic. Auto: bf16 where the hardware has it.",
        choices=("auto", "bf16", "fp16", "fp32"))

    # LoRA
    lora_r: int = setting(
        8, "lora", "Rank r", "Size of the adapter: more can learn more and forget more.",
        low=1, high=1024, simple=True)
    lora_alpha: int = setting(
        16, "lora", "Alpha", "Scale of the adapter; often twice the rank.",
        low=1, high=4096, simple=True)
    lora_dropout: float = setting(
        0.05, "lora", "Dropout", "Share of adapter inputs dropped while training.",
        low=0.0, high=0.95)
    target_modules: tuple[str, ...] = setting(
        ("all linear",), "lora", "Target modules", "Which layers get an adapter.", simple=True)
    lora_bias: str = setting(
        "none", "lora", "Bias", "Which bias vectors are learned too.",
        choices=("none", "all", "lora_only"))
    use_rslora: bool = setting(
        False, "lora", "rsLoRA", "Scale by alpha / sqrt(r): steadier at high rank.")
    use_dora: bool = setting(
        False, "lora", "DoRA", "Learns magnitude and direction apart: better, slower.")
    init_lora: str = setting(
        "default", "lora", "Initialisation", "How the adapter begins. PiSSA and OLoRA start from "
        "the weights' own directions and need 16- or 32-bit base weights.",
        choices=("default", "pissa", "olora"))
    modules_to_save: tuple[str, ...] = setting(
        (), "lora", "Modules trained in full", "For example lm_head; large, rarely needed.")

    # Training
    epochs: float = setting(
        1.0, "training", "Epochs", "Passes over the training rows; fractions are allowed.",
        low=0.0, high=1000.0, above_low=True, simple=True)
    max_steps: int = setting(
        0, "training", "Max steps", "Ends after so many steps. 0: epochs decide.", low=0)
    batch_size: int = setting(
        8, "training", "Batch size", "Rows in one pass through the model.",
        low=1, high=4096, simple=True)
    gradient_accumulation: int = setting(
        1, "training", "Gradient accumulation", "Passes that are added up before one step.",
        low=1, high=4096)
    learning_rate: float = setting(
        2e-4, "training", "Learning rate", "How far a step goes; 1e-4 to 1e-3 suit LoRA.",
        low=0.0, high=1.0, above_low=True, simple=True)
    lr_scheduler: str = setting(
        "linear", "training", "Schedule",
        "How the learning rate falls after the warm-up; constant has no warm-up.",
        choices=("linear", "cosine", "constant", "constant_with_warmup"))
    warmup_ratio: float = setting(
        0.03, "training", "Warm-up", "Share of the steps in which the learning rate rises.",
        low=0.0, high=0.9)
    weight_decay: float = setting(
        0.0, "training", "Weight decay", "Pulls weights to zero; against overfitting.",
        low=0.0, high=1.0)
    max_grad_norm: float = setting(
        1.0, "training", "Gradient clipping", "Longest gradient allowed. 0: no clipping.",
        low=0.0, high=1000.0)
    optimizer: str = setting(
        "adamw_torch", "training", "Optimizer", "The 8-bit and paged ones save GPU memory.",
        choices=("adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit",
                 "paged_adamw_32bit", "adafactor", "lion_32bit", "sgd"))
    gradient_checkpointing: bool = setting(
        False, "training", "Gradient checkpointing",
        "Computes activations twice to save memory; about a third slower.")
    neftune_noise_alpha: float = setting(
        0.0, "training", "NEFTune noise", "Noise on embeddings against overfitting; 5 is usual.",
        low=0.0, high=100.0)
    seed: int = setting(42, "training", "Seed", "Decides order, dropout, initial adapter.",
                       low=0, high=2**32 - 1)

    # Evaluate, save, log
    eval_every: str = setting(
        "epoch", "progress", "Evaluate each", "When the held-out rows are measured.",
        choices=("epoch", "steps", "never"))
    eval_steps: int = setting(50, "progress", "Evaluate every … steps", "With 'steps'.", low=1)
    save_every: str = setting(
        "epoch", "progress", "Save each", "When a checkpoint is written.",
        choices=("epoch", "steps", "never"))
    save_steps: int = setting(50, "progress", "Save every … steps", "With 'steps'.", low=1)
    save_total_limit: int = setting(
        2, "progress", "Checkpoints kept", "Older ones are deleted; the best is kept.", low=1)
    logging_steps: int = setting(
        1, "progress", "Log every … steps", "How often a point is drawn.", low=1)
    early_stopping_patience: int = setting(
        0, "progress", "Early stopping", "Ends after so many evaluations without a better loss, "
        "keeps the best, and saves at each evaluation. 0: off.", low=0)

    def __post_init__(self) -> None:
        problems = [problem for f in fields(self) for problem in _range_problems(f, self)]
        problems += _contradictions(self)
        _raise_if_any(problems)

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> "Config":
        """A Config from widgets, YAML or JSON: numbers may come as text ("3e-4"), lists as text
        with commas. Settings that `raw` leaves out keep their defaults."""
        by_name = {f.name: f for f in fields(cls)}
        unknown = [f"There is no setting '{name}'." for name in raw if name not in by_name]
        values, problems = {}, unknown
        for name, value in raw.items():
            if name in by_name:
                try:
                    values[name] = _convert(by_name[name], value)
                except ValueError as error:
                    problems.append(str(error))
        try:
            config = cls(**values)
        except UserError as error:
            problems += error.problem.splitlines()
        _raise_if_any(problems)
        return config

    def to_dict(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(self).items()}

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


def load_yaml(path: Path) -> Config:
    """A Config from a YAML file of settings; those it leaves out keep their defaults."""
    return Config.parse(read_settings(path))


def read_settings(path: Path) -> dict[str, Any]:
    """The names and values that a YAML file sets, not yet checked as settings."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path.name} can't be read as YAML: {error}.",
                        "Choose a settings file that TuneDesk or you wrote.") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path.name} holds no settings.", "It needs lines such as 'lora_r: 8'.")
    return raw


def _raise_if_any(problems: list[str]) -> None:
    if problems:
        raise UserError("\n".join(problems), "Nothing was started. Mend it in Settings.")


def _convert(f: Field, value: Any) -> Any:
    label, kind = f.metadata["label"], type(f.default)
    if kind is bool:
        if isinstance(value, bool):
            return value
        if str(value).strip().lower() in ("true", "false"):
            return str(value).strip().lower() == "true"
        raise ValueError(f"{label}: found '{value}', needs true or false.")
    if kind is tuple:
        parts = value.split(",") if isinstance(value, str) else value or ()
        return tuple(str(part).strip() for part in parts if str(part).strip())
    if kind is str:
        return "" if value is None else str(value).strip()
    return _number(label, kind, value)


def _number(label: str, kind: type, value: Any) -> float | int:
    sort = "a whole number" if kind is int else "a number"
    try:
        number = float(str(value).strip())
    except ValueError:
        raise ValueError(f"{label}: found '{value}', needs {sort}.") from None
    if not math.isfinite(number) or (kind is int and number != int(number)):
        raise ValueError(f"{label}: found '{value}', needs {sort}.")
    return kind(number)


def _range_problems(f: Field, config: Config) -> list[str]:
    value, about = getattr(config, f.name), f.metadata
    label, low, high = about["label"], about["low"], about["high"]
    if about["choices"] and value not in about["choices"]:
        return [f"{label}: found '{value}', needs one of {', '.join(about['choices'])}."]
    if low is not None and (value < low or (about["above_low"] and value == low)):
        return [f"{label}: found {value}, needs {'more than' if about['above_low'] else 'at least'}"
                f" {low:g}."]
    if high is not None and value > high:
        return [f"{label}: found {value}, needs at most {high:,g}."]
    return []


def _contradictions(config: Config) -> list[str]:
    """Settings that are each in range and can't go together."""
    problems = []
    if not config.target_modules:
        problems.append("Target modules: found none, needs at least one.")
    if not config.dataset:
        problems.append("Data set: found nothing, needs a name.")
    if not config.base_model:
        problems.append("Base model: found nothing, needs a name.")
    if config.init_lora != "default" and config.base_weights in ("4bit", "8bit"):
        problems.append(f"Initialisation: {config.init_lora} works on 16bit or 32bit base weights, "
                        f"found {config.base_weights}.")
    if config.init_lora != "default" and (config.use_rslora or config.use_dora):
        problems.append(f"Initialisation: {config.init_lora} doesn't go together with rsLoRA or "
                        "DoRA.")
    if config.init_lora != "default" and (config.lora_bias != "none" or config.modules_to_save):
        problems.append(f"Initialisation: {config.init_lora} doesn't go together with learned "
                        "biases or modules trained in full.")
    if config.early_stopping_patience and (config.eval_every == "never" or not config.eval_rows):
        problems.append("Early stopping: needs evaluation rows and 'Evaluate each' epoch or steps.")
    return problems
