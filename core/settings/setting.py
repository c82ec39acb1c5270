"""One setting: how it is described, read from text, and checked against its range."""

import math
from dataclasses import Field, field
from typing import Any


def setting(default: Any, group: str, label: str, help: str, *, low: float | None = None,
            high: float | None = None, choices: tuple[str, ...] = (), simple: bool = False,
            above_low: bool = False, step: float = 0.0) -> Any:
    """One field of Config. `simple` settings are shown at first, the others behind "More";
    `above_low` means that `low` itself is not allowed; with a `step` it is drawn as a slider."""
    return field(default=default, metadata={
        "group": group, "label": label, "help": help, "low": low, "high": high,
        "choices": choices, "simple": simple, "above_low": above_low, "step": step})


def convert(f: Field, value: Any) -> Any:
    """A value from a widget, YAML or JSON as its field holds it; ValueError where it has none."""
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


def _is_text(value: Any) -> bool:
    """False for what stands for bytes of a file's name that are no UTF-8: no file could keep it."""
    texts = value if isinstance(value, tuple) else (value,)
    return not any("\ud800" <= letter <= "\udfff" for text in texts if isinstance(text, str)
                   for letter in text)


def range_problems(f: Field, value: Any) -> list[str]:
    """What is wrong with a value of the right type, in words; empty where it is allowed."""
    about = f.metadata
    label, low, high = about["label"], about["low"], about["high"]
    if not _is_text(value):
        return [f"{label}: found {ascii(value)}, which holds bytes that are no text. Rename the "
                "file, or type it anew."]
    if about["choices"] and value not in about["choices"]:
        return [f"{label}: found '{value}', needs one of {', '.join(about['choices'])}."]
    if low is not None and (value < low or (about["above_low"] and value == low)):
        return [f"{label}: found {value}, needs {'more than' if about['above_low'] else 'at least'}"
                f" {low:g}."]
    if high is not None and value > high:
        return [f"{label}: found {value}, needs at most {high:,}."]
    return []
