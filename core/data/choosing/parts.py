"""The setting that names other data sets, a line each; no library that reads data is needed."""

from collections.abc import Callable
from dataclasses import dataclass

from core.errors import UserError

GENERAL = "general"


@dataclass(frozen=True)
class Part:
    """`weight` rows for each row of the main data set."""

    name: str
    dataset: str
    weight: float


def parts(text: str) -> list[Part]:
    """The lines 'name = data set * weight'; name and weight may be left out. UserError with the
    line where one can't be read."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, rest = line.partition(" = ")
        dataset, times, weight = (rest if equals else line).rpartition(" * ")
        dataset = (dataset if times else weight).strip()
        name = name.strip() if equals else dataset.rstrip("/").rpartition("/")[2]
        found.append(Part(name.removeprefix("sample:"), dataset, _weight(weight, line) if times
                          else 1.0))
    names = [*(part.name for part in found), GENERAL]
    if len(set(names)) < len(names):
        raise UserError(f"Other data sets: two have one name ({', '.join(names)}).",
                        "Write another name before the ' = '.")
    return found


def renamed(text: str, rename: Callable[[str], str]) -> str:
    """The same lines with other names of their data sets; each part keeps its own name."""
    lines = []
    for line in text.splitlines():
        for part in parts(line):
            anew = rename(part.dataset)
            if anew != part.dataset:
                line = f"{part.name} = {anew} * {part.weight!r}"
        lines.append(line)
    return "\n".join(lines)


def _weight(text: str, line: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= 1000:
        raise UserError(f"Other data sets: '{line}' has the weight '{text}'.",
                        "It needs a number above 0, such as: letters = letters.jsonl * 0.5")
    return weight
