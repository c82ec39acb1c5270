"""A small general probe: what a model knew before it was tuned, and whether it still does."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.config import Config
from core.data.tokens.tokenize import IGNORED, encode
from core.evaluation.numbers import Number, Table, likelihood, rate
from core.evaluation.rows import ask
from core.evaluation.score import Asked, Candidate, Score
from core.files import Folders

HELP = ("General text and easy questions in English and Chinese that have nothing to do with the "
        "training rows. A tuned model should be no worse here than the base model.")


@dataclass(frozen=True)
class Probe:
    """General texts, then questions whose first candidate is the right one."""

    texts: list[Asked]
    questions: list[Asked]

    @property
    def asked(self) -> list[Asked]:
        return [*self.texts, *self.questions]


def load_probe(config: Config, tokenizer: Any, folders: Folders) -> Probe:
    """The shipped probe in this tokenizer's tokens."""
    texts: list[Asked] = []
    questions: list[Asked] = []
    for path in sorted((folders.assets / "probe").glob("*.json")):
        about = json.loads(path.read_text(encoding="utf-8"))
        texts += [_text(text, tokenizer) for text in about["texts"]]
        asked = [ask([{"role": "user", "content": each["question"]}],
                     [each["answer"], *each["others"]], config, tokenizer)
                 for each in about["questions"]]
        questions += [each for each in asked if each is not None]
    return Probe(texts, questions)


def _text(text: str, tokenizer: Any) -> Asked:
    example = encode([{"role": "text", "content": text}], tokenizer, "all tokens", 4096)
    return Asked(example.ids[:1], [Candidate(
        example.ids[1:], [label != IGNORED for label in example.labels[1:]])])


def forgetting(probe: Probe, scores: list[list[list[Score]]]) -> Table:
    """`scores` are those of `probe.asked` by each model, the base model first."""
    texts = len(probe.texts)
    numbers: list[Number] = [likelihood(
        "general_perplexity", "Perplexity of general text",
        [[row[0] for row in each[:texts]] for each in scores])]
    if probe.questions:
        right = [np.array([_first_is_best(row) for row in each[texts:]]) for each in scores]
        numbers.append(rate("general_accuracy", "Easy general questions answered right", right))
    return Table("forgetting", "Forgetting", HELP, numbers)


def _first_is_best(candidates: list[Score]) -> bool:
    """Answers differ in length, so their mean log-probability a token is compared."""
    means = [c.log_probability / max(c.tokens, 1) for c in candidates]
    return int(np.argmax(means)) == 0
