"""Changed copies of training rows: questions are changed, answers and originals never."""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from datasets import Dataset, concatenate_datasets

from core.config import Config
from core.data.changing import change, paraphrase, synonyms
from core.data.changing.change import Thesaurus
from core.data.choosing.parts import GENERAL
from core.data.messages import dialogues
from core.data.messages.dialogues import CARRIED, CHANGE, DIALOGUE, ORIGIN, SOURCE
from core.data.messages.layouts import Message
from core.errors import UserError
from core.files import Folders

LONGEST_LABEL = 40  # characters; a longer answer is no label whose words a question must keep
TRIES = 4           # a short text may come out unchanged; then another draw is made

Progress = Callable[[str, float | None], None]


def is_on(config: Config) -> bool:
    return bool((config.augment_copies and _rates(config)) or config.paraphrase_share)


def _rates(config: Config) -> dict[str, float]:
    rates = {"synonyms": config.synonym_rate, "swapped words": config.swap_rate,
             "dropped words": config.drop_rate, "typing errors": config.typo_rate}
    return {name: rate for name, rate in rates.items() if rate}


def augmented(rows: Dataset, instruction: str, config: Config, folders: Folders,
              on_progress: Progress) -> tuple[Dataset, tuple[str, ...]]:
    """Carried rows followed by their changed copies, in one shuffled order; and in words what was
    added. UserError where the rows have no question that could change."""
    first = dialogues.carried_messages(rows[0])
    if first and first[0]["role"] == "text":
        raise UserError("Plain text is learned as it stands, so changes in it would be learned.",
                        "Set Changed copies and Paraphrases to 0, or choose a layout with answers.")
    thesaurus = synonyms.load(folders, on_progress) if config.synonym_rate and \
        config.augment_copies else lambda word: []
    copies = list(_copies(rows, instruction, config, thesaurus, on_progress))
    rewritten = list(_paraphrased(rows, instruction, config, folders)) \
        if config.paraphrase_share else []
    notes = []
    if config.augment_copies and _rates(config):
        notes.append(f"{len(copies):,} changed copies are added ({', '.join(_rates(config))})")
    if config.paraphrase_share:
        notes.append(f"{len(rewritten):,} paraphrases are added")
    if copies or rewritten:
        rows = concatenate_datasets([rows, Dataset.from_list(copies + rewritten, CARRIED)])
    return rows.shuffle(seed=config.augment_seed), tuple(notes)


def _copies(rows: Dataset, instruction: str, config: Config, thesaurus: Thesaurus,
            on_progress: Progress) -> Iterator[dict[str, Any]]:
    for index, row in enumerate(rows if config.augment_copies and _rates(config) else ()):
        if index % 100 == 0:
            on_progress("Writing changed copies", index / len(rows))
        if row[ORIGIN] == GENERAL:
            continue  # it is there to keep what the model knows, as the model knows it
        messages = dialogues.carried_messages(row)
        for copy in range(config.augment_copies):
            draw = random.Random(f"{config.augment_seed} {index} {copy}")
            changed = changed_messages(messages, instruction, config, thesaurus, draw)
            if changed:
                yield _row(row, changed, ", ".join(_rates(config)))


def _paraphrased(rows: Dataset, instruction: str, config: Config, folders: Folders
                 ) -> Iterator[dict[str, Any]]:
    written = paraphrase.kept(config, folders)
    for row in rows:
        messages = dialogues.carried_messages(row)
        asked = set(paraphrase.wanted(questions(row, instruction), config))
        changed = [{**m, "content": _around(m, instruction, lambda text: written.get(text) or text)}
                   if m["role"] == "user" and body(m, instruction) in asked else m
                   for m in messages]
        if changed != messages:
            yield _row(row, changed, "paraphrase")


def unwritten(rows: Dataset, instruction: str, config: Config, folders: Folders
              ) -> list[tuple[str, list[str]]]:
    """Texts of carried rows that `paraphrase_share` asks for and the model hasn't rewritten yet,
    each with the words that must stay."""
    written = paraphrase.kept(config, folders)
    texts = {text: labels(dialogues.carried_messages(row)) for row in rows
             for text in questions(row, instruction)}
    return [(text, texts[text]) for text in paraphrase.wanted(texts, config)
            if text not in written]


def questions(row: dict[str, Any], instruction: str) -> list[str]:
    """What may be rewritten in a carried row: the user's words without the shared instruction."""
    if row[ORIGIN] == GENERAL or row[CHANGE]:
        return []
    return [body(m, instruction) for m in dialogues.carried_messages(row) if m["role"] == "user"]


def changed_messages(messages: list[Message], instruction: str, config: Config,
                     thesaurus: Thesaurus, draw: random.Random) -> list[Message]:
    """The dialogue with changed user turns; empty where nothing could be changed."""
    protected = labels(messages)

    def alter(text: str) -> str:
        for _ in range(TRIES):
            after = altered(text, protected, config, thesaurus, draw)
            if change.keeps_meaning(text, after, protected):
                return after
        return text

    changed = [{**m, "content": _around(m, instruction, alter)} if m["role"] == "user" else m
               for m in messages]
    return changed if changed != messages else []


def altered(text: str, protected: Iterable[str], config: Config, thesaurus: Thesaurus,
            draw: random.Random) -> str:
    """A text after all changes that have a rate, words first, then letters."""
    parts = change.pieces(text, protected)
    parts = change.with_synonyms(parts, config.synonym_rate, draw, thesaurus)
    parts = change.swapped(parts, config.swap_rate, draw)
    parts = change.dropped(parts, config.drop_rate, draw)
    return change.joined(change.typing_errors(parts, config.typo_rate, draw))


def labels(messages: list[Message]) -> list[str]:
    """The words of a short answer: where a question holds them, they must stay."""
    said = dialogues.answer(messages).strip()
    if not said or len(said) > LONGEST_LABEL:
        return []
    return [said, *(word for word in said.split() if word.isalnum())]


def body(message: Message, instruction: str) -> str:
    """A user's turn without the instruction that all rows share."""
    return message["content"].removeprefix(instruction).lstrip("\n") if instruction \
        else message["content"]


def _around(message: Message, instruction: str, alter: Callable[[str], str]) -> str:
    text = body(message, instruction)
    return message["content"][: len(message["content"]) - len(text)] + (alter(text) if text else "")


def _row(row: dict[str, Any], messages: list[Message], what: str) -> dict[str, Any]:
    return {DIALOGUE: json.dumps(messages, ensure_ascii=False), ORIGIN: row[ORIGIN], CHANGE: what,
            SOURCE: row[SOURCE]}
