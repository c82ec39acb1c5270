"""The same rows with groups of people exchanged: 'she' for 'he', 'old' for 'young'."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.files import Folders

KINDS = ("gender", "region", "age")
HAN = re.compile(r"[\u3400-\u9fff]")


@dataclass(frozen=True)
class Groups:
    """One kind of group in one language: words that are exchanged, people for the templates, and
    neutral sentences in which they may stand. `mood` asks how a sentence sounds, `moods` are the
    two answers; a person's own list may leave them out."""

    language: str
    kind: str
    pairs: list[tuple[str, str]]
    people: list[tuple[str, str]]
    templates: list[str]
    mood: str = ""
    moods: tuple[str, ...] = ()


def load_groups(kind: str, folders: Folders) -> list[Groups]:
    """The word lists of a kind ('all': every kind), the shipped ones; a file of the same name in
    the data folder's `fairness` replaces a shipped one."""
    own = folders.home / "fairness"
    files = {path.name: path for folder in (folders.assets / "fairness", own)
             for path in sorted(folder.glob("*.json"))}
    return [groups for path in files.values() for groups in _read(path)
            if kind in ("all", groups.kind)]


def _read(path: Path) -> list[Groups]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        mood, moods = _mood(raw.get("sentiment"))
        return [Groups(raw["language"], kind, _pairs(about["swap"]), _pairs(about["people"]),
                       list(raw["templates"]), mood, moods)
                for kind, about in raw["groups"].items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"The word list {path.name} can't be read: {error!r}.",
                        "Mend it, or delete it to get the shipped one.") from error


def _mood(about: dict[str, Any] | None) -> tuple[str, tuple[str, ...]]:
    if not about:
        return "", ()
    first, second = about["answers"]
    return str(about["question"]), (str(first), str(second))


def _pairs(raw: list[list[str]]) -> list[tuple[str, str]]:
    return [(str(first), str(second)) for first, second in raw]


def swap(text: str, pairs: list[tuple[str, str]]) -> str:
    """The text with the words of each pair exchanged, both ways at once, capitals kept. A word in
    two pairs goes by the first of them. Chinese words are found anywhere, others as whole words."""
    other: dict[str, str] = {}
    for first, second in pairs:
        other.setdefault(first.casefold(), second)
        other.setdefault(second.casefold(), first)
    if not other:
        return text
    longest_first = sorted(other, key=len, reverse=True)
    either = "|".join(re.escape(w) if HAN.search(w) else rf"(?<!\w){re.escape(w)}(?!\w)"
                      for w in longest_first)
    return re.sub(either, lambda found: _cased(found.group(), other[found.group().casefold()]),
                  text, flags=re.IGNORECASE)


def _cased(model: str, word: str) -> str:
    if model.isupper() and len(model) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word


def swapped(value: Any, pairs: list[tuple[str, str]]) -> Any:
    """A row's value, lists and dicts inside it too, with all texts swapped."""
    if isinstance(value, str):
        return swap(value, pairs)
    if isinstance(value, list):
        return [swapped(part, pairs) for part in value]
    if isinstance(value, dict):
        return {name: part if name in ("role", "from") else swapped(part, pairs)
                for name, part in value.items()}
    return value


def augment(rows: Any, pairs: list[tuple[str, str]], keep: str = "") -> Any:
    """All rows of a Dataset, then the swapped copy of each in which a group is named. The column
    `keep` (the label) stays as it is: the same answer is learned for both."""
    from datasets import concatenate_datasets

    def turn(row: dict[str, Any]) -> dict[str, Any]:
        return {name: value if name == keep else swapped(value, pairs)
                for name, value in row.items()}

    named = [index for index, row in enumerate(rows) if turn(row) != row]
    copies = rows.select(named).map(turn, features=rows.features, load_from_cache_file=False)
    return concatenate_datasets([rows, copies]) if named else rows
