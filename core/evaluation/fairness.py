"""Whether answers change when only the group of people in the question changes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.config import Config
from core.data.changing.counterfactual import HAN, KINDS, load_groups, swap
from core.evaluation.numbers import Table, mean, rate
from core.evaluation.rows import Row, ask, make_row
from core.evaluation.score import Asked, Score, probabilities
from core.files import Folders

HELP = ("Pairs of questions in which only a group word differs ('he' and 'she', 'young' and "
        "'old'): your own rows that name a group, and neutral sentences. A fair model answers "
        "both alike, so lower is better.")
MOST_OWN_PAIRS = 200


@dataclass(frozen=True)
class Pair:
    """Two questions that differ in the group only; `answer_at` is the data's own answer."""

    kind: str
    first: Asked
    second: Asked
    first_text: str
    second_text: str
    answer_at: int


@dataclass(frozen=True)
class Fairness:
    pairs: list[Pair]
    labels: list[str]

    @property
    def asked(self) -> list[Asked]:
        return [asked for pair in self.pairs for asked in (pair.first, pair.second)]


def make_pairs(rows: list[Row], labels: list[str], instruction: str, config: Config,
               tokenizer: Any, folders: Folders) -> Fairness:
    """Pairs from the rows and, where answers are labels, from the shipped sentences in the rows'
    own language."""
    pairs: list[Pair] = []
    chinese = sum(bool(HAN.search(row.prompt)) for row in rows) * 2 > len(rows)
    for kind in KINDS:
        lists = [g for g in load_groups(kind, folders) if (g.language == "zh") == chinese]
        words = [pair for groups in lists for pair in groups.pairs]
        pairs += _own(rows, kind, words, labels, config, tokenizer)
        if labels:
            pairs += [pair for groups in lists for people in groups.people
                      for sentence in groups.templates
                      if (pair := _from_sentence(sentence, people, kind, labels, instruction,
                                                 config, tokenizer))]
    return Fairness(pairs, labels)


def _own(rows: list[Row], kind: str, words: list[tuple[str, str]], labels: list[str],
         config: Config, tokenizer: Any) -> list[Pair]:
    found: list[Pair] = []
    for row in rows:
        if row.prompt_ids is None or len(found) == MOST_OWN_PAIRS or not row.has_all(labels):
            continue
        turned = [m if m is row.messages[-1] else {**m, "content": swap(m["content"], words)}
                  for m in row.messages]
        if turned == row.messages:
            continue
        other = make_row(turned, labels, config, tokenizer)
        if other and other.has_all(labels):
            found.append(Pair(kind, row.asked, other.asked, row.prompt, other.prompt,
                              row.answer_at))
    return found


def _from_sentence(sentence: str, people: tuple[str, str], kind: str, labels: list[str],
                   instruction: str, config: Config, tokenizer: Any) -> Pair | None:
    texts = [sentence.format(who) for who in people]
    asked = [ask([{"role": "user", "content": "\n".join(filter(None, (instruction, text)))}],
                 labels, config, tokenizer) for text in texts]
    return Pair(kind, asked[0], asked[1], texts[0], texts[1], 0) if all(asked) else None


def unfairness(fairness: Fairness, scores: list[list[list[Score]]]) -> Table:
    """`scores` are those of `fairness.asked` by each model, the base model first."""
    shifts = [_shifts(fairness, each) for each in scores]
    numbers = []
    if fairness.labels:
        numbers.append(rate("label_changes", "Pairs answered with different labels",
                            [_changes(each) for each in scores], better="lower"))
    what = ("Change of a label's probability" if fairness.labels
            else "Change of the answer's log-probability a token")
    numbers.append(mean("shift", what, shifts, better="lower",
                        unit="%" if fairness.labels else ""))
    for kind in KINDS:
        chosen = np.array([pair.kind == kind for pair in fairness.pairs])
        if chosen.any() and not chosen.all():
            numbers.append(mean(f"shift_{kind}", f"{what}, by {kind}",
                                [each[chosen] for each in shifts], better="lower",
                                unit="%" if fairness.labels else ""))
    return Table("fairness", "Fairness", HELP, numbers)


def worst_pairs(fairness: Fairness, scores: list[list[list[Score]]], most: int = 20
                ) -> list[dict[str, Any]]:
    """The pairs whose answers differ most, by any model: texts and each model's change."""
    shifts = np.array([_shifts(fairness, each) for each in scores])
    order = np.argsort(-shifts.max(axis=0))[:most]
    return [{"kind": fairness.pairs[n].kind, "first": fairness.pairs[n].first_text,
             "second": fairness.pairs[n].second_text, "shifts": shifts[:, n].tolist()}
            for n in order]


def _changes(scores: list[list[Score]]) -> np.ndarray:
    best = np.array([int(np.argmax([c.log_probability for c in row])) for row in scores])
    return best[0::2] != best[1::2]


def _shifts(fairness: Fairness, scores: list[list[Score]]) -> np.ndarray:
    """For each pair how far its two answers lie apart: with labels the share of probability that
    moved from one label to others, else the change of the answer's log-probability a token."""
    if not fairness.labels:
        means = [row[0].log_probability / max(row[0].tokens, 1) for row in scores]
        return np.abs(np.array(means[0::2]) - np.array(means[1::2]))
    shares = np.array([probabilities(row) for row in scores])
    return np.abs(shares[0::2] - shares[1::2]).sum(axis=1) / 2

