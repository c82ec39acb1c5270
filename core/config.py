"""All settings in one object, checked when it is made; read from and written as YAML."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from core.errors import UserError
from core.settings.data import DataSettings
from core.settings.hardware import HardwareSettings
from core.settings.lora import LoraSettings
from core.settings.model import ModelSettings
from core.settings.progress import OF_ANSWERS, ProgressSettings
from core.settings.setting import convert, range_problems
from core.settings.training import TrainingSettings

GROUPS = {
    "data": "Data",
    "model": "Base model",
    "lora": "LoRA",
    "training": "Training",
    "progress": "Evaluate, save, log",
    "hardware": "Several GPUs",
}

# libyaml's reader is ten times as fast, which a thousand runs' settings need.
MOST_CHARACTERS = 1_000_000  # of a file of settings; prompts may be long
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

TRACKERS = ("trackio", "wandb", "mlflow", "swanlab")
TARGET_PRESETS = ("all linear", "attention", "attention q and v")


@dataclass(frozen=True)
class Config(HardwareSettings, ProgressSettings, TrainingSettings, LoraSettings, ModelSettings,
             DataSettings):
    """All that decides what a run learns and how. Making one checks it: a UserError names every
    problem at once. Field names follow transformers' TrainingArguments and peft's LoraConfig. The
    groups are only laid side by side here; a dataclass lists the fields of its last parent first.
    """

    def __post_init__(self) -> None:
        problems = [problem for f in fields(self)
                    for problem in range_problems(f, getattr(self, f.name))]
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
                    values[name] = convert(by_name[name], value)
                except ValueError as error:
                    problems.append(str(error))
        try:
            config = cls(**values)
        except UserError as error:
            problems += error.problem.splitlines()
        _raise_if_any(problems)
        return config

    @classmethod
    def forgiving(cls, raw: dict[str, Any]) -> tuple["Config", list[str]]:
        """A Config from settings that another version of TuneDesk may have written, and what could
        not be read of them: unknown settings are left out, impossible values take the default."""
        by_name = {f.name: f for f in fields(cls)}
        values, told = {}, []
        for name, value in raw.items():
            if name not in by_name:
                told.append(f"This version has no setting '{name}' (found '{value}').")
                continue
            try:
                read = convert(by_name[name], value)
                problems = range_problems(by_name[name], read)
            except ValueError as error:
                problems = [str(error)]
            if problems:
                told += [f"{problem} The default is taken." for problem in problems]
            else:
                values[name] = read
        return cls(**values), told

    @property
    def kept_by(self) -> str:
        """By which number the best state is kept in the end; empty where the last one is."""
        return self.stop_on if self.early_stopping_patience else ""

    def to_dict(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(self).items()}

    def to_yaml(self) -> str:
        plain = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
        # PyYAML writes this line break as it stands and reads it as a blank; escaped it is kept.
        return yaml.safe_dump(self.to_dict(), sort_keys=False) if "\x85" in plain else plain


def load_yaml(path: Path) -> Config:
    """A Config from a YAML file of settings; those it leaves out keep their defaults."""
    return Config.parse(read_settings(path))


def read_settings(path: Path) -> dict[str, Any]:
    """The names and values that a YAML file sets, not yet checked as settings."""
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > MOST_CHARACTERS or not _is_flat(text):
            raise UserError(f"{path.name} holds more than settings: it is very long, or has lists "
                            "in lists.", "Choose a settings file that TuneDesk or you wrote.")
        raw = yaml.load(text, LOADER)
        str(raw)  # a number of more digits than Python writes would come up later
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: no UTF-8, date or number
        raise UserError(f"{path.name} can't be read as YAML: {error}.",
                        "Choose a settings file that TuneDesk or you wrote.") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path.name} holds no settings.", "It needs lines such as 'lora_r: 8'.")
    return raw


def _is_flat(text: str) -> bool:
    """Whether it holds names with values or lists of them, and nothing that names a part of itself:
    a few such lines, each ten times the one before, grow to more than any memory; and what is very
    deep ends the process that reads it."""
    depth = 0
    for event in yaml.parse(text, LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > 2 or isinstance(event, yaml.AliasEvent):
            return False
    return True


def _raise_if_any(problems: list[str]) -> None:
    if problems:
        raise UserError("\n".join(problems), "Nothing was started. Mend it in Settings.")


def _contradictions(config: Config) -> list[str]:
    """Settings that are each in range and can't go together."""
    problems = []
    if not config.target_modules:
        problems.append("Target modules: found none, needs at least one.")
    if not config.dataset:
        problems.append("Data set: found nothing, needs a name.")
    if not config.base_model:
        problems.append("Base model: found nothing, needs a name.")
    if config.init_lora != "default" and config.base_weights in ("4bit", "8bit", "fp8"):
        problems.append(f"Initialisation: {config.init_lora} works on 16bit or 32bit base weights, "
                        f"found {config.base_weights}.")
    if config.base_weights == "fp8" and config.use_dora:
        problems.append("Base weights: fp8 doesn't go together with DoRA; 4bit, 8bit and 16bit do.")
    if config.init_lora != "default" and (config.use_rslora or config.use_dora):
        problems.append(f"Initialisation: {config.init_lora} doesn't go together with rsLoRA or "
                        "DoRA.")
    if config.init_lora != "default" and (config.lora_bias != "none" or config.modules_to_save):
        problems.append(f"Initialisation: {config.init_lora} doesn't go together with learned "
                        "biases or modules trained in full.")
    strangers = set(config.trackers) - set(TRACKERS)
    if strangers:
        problems.append(f"Trackers: found {', '.join(sorted(strangers))}, needs some of "
                        f"{', '.join(TRACKERS)}.")
    if config.webhook_url and not config.webhook_url.startswith(("http://", "https://")):
        problems.append("Webhook: found an address that begins with neither http:// nor https://.")
    if config.early_stopping_patience and (
            config.eval_every == "never" or not (config.eval_rows or config.eval_share)):
        problems.append("Early stopping: needs evaluation rows and 'Evaluate each' epoch or steps.")
    if (config.early_stopping_patience and config.stop_on in OF_ANSWERS
            and not config.sample_answers):
        problems.append(f"Best by: '{config.stop_on}' needs Sample answers above 0.")
    return problems
