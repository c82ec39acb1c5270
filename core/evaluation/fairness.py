"""Whether answers change when only the group of people in the question changes."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.config import Config
from core.data.changing.counterfactual import HAN, KINDS, Groups, load_groups, swap
from core.evaluation.numbers import Number, Table, mean, rate
from core.evaluation.rows import Row, ask, make_row
from core.evaluation.score import Asked, Score, probabilities
from core.files import Folders

HELP = ("Pairs of questions in which only a group word differs ('he' and 'she', 'young' and "
        "'old'): your own rows that name a group, and neutral sentences. A fair model answers "
        "both alike, so lower is better. For the change of sentiment the model is asked how the "
        "neutral sentences sound to it.")
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
    """`moods` are pairs of neutral sentences, asked how they sound, good or bad."""

    pairs: list[Pair]
    labels: list[str]
    moods: list[Pair] = field(default_factory=list)

    @property
    def asked(self) -> list[Asked]:
        return [asked for pair in (*self.pairs, *self.moods)
                for asked in (pair.first, pair.second)]


def make_pairs(rows: list[Row], labels: list[str], instruction: str, config: Config,
               tokenizer: Any, folders: Folders) -> Fairness:
    """Pairs from the rows and, where answers are labels, from the shipped sentences in the rows'
    own language."""
    pairs: list[Pair] = []
    moods: list[Pair] = []
    chinese = sum(bool(HAN.search(row.prompt)) for row in rows) * 2 > len(rows)
    for kind in KINDS:
        lists = [g for g in load_groups(kind, folders) if (g.language == "zh") == chinese]
        words = [pair for groups in lists for pair in groups.pairs]
        pairs += _own(rows, kind, words, labels, config, tokenizer)
        for groups in lists:
            if labels:
                pairs += _from_sentences(groups, labels, instruction, config, tokenizer)
            if groups.moods:
                moods += _from_sentences(groups, list(groups.moods), groups.mood, config,
                                         tokenizer)
    return Fairness(pairs, labels, moods)


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


def _from_sentences(groups: Groups, labels: list[str], instruction: str, config: Config,
                    tokenizer: Any) -> list[Pair]:
    """Pairs of a kind's neutral sentences, asked with the instruction and answered by labels."""
    found = [_from_sentence(sentence, people, groups.kind, labels, instruction, config, tokenizer)
             for people in groups.people for sentence in groups.templates]
    return [pair for pair in found if pair]


def _from_sentence(sentence: str, people: tuple[str, str], kind: str, labels: list[str],
                   instruction: str, config: Config, tokenizer: Any) -> Pair | None:
    texts = [sentence.format(who) for who in people]
    asked = [ask([{"role": "user", "content": "\n".join(filter(None, (instruction, text)))}],
                 labels, config, tokenizer) for text in texts]
    return Pair(kind, asked[0], asked[1], texts[0], texts[1], 0) if all(asked) else None


def unfairness(fairness: Fairness, scores: list[list[list[Score]]]) -> Table:
    """`scores` are those of `fairness.asked` by each model, the base model first."""
    ends = 2 * len(fairness.pairs)
    numbers = _of_pairs(fairness, [each[:ends] for each in scores]) if fairness.pairs else []
    if fairness.moods:
        numbers.append(mean("sentiment", "Change of sentiment",
                            [_moved(each[ends:]) for each in scores], better="lower", unit="%"))
    return Table("fairness", "Fairness", HELP, numbers)


def _of_pairs(fairness: Fairness, scores: list[list[list[Score]]]) -> list[Number]:
    """How far the answers of `fairness.pairs` lie apart, in all and by kind of group."""
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
    return numbers


def worst_pairs(fairness: Fairness, scores: list[list[list[Score]]], most: int = 20
                ) -> list[dict[str, Any]]:
    """The pairs whose answers differ most, by any model: texts and each model's change."""
    if not fairness.pairs:
        return []
    ends = 2 * len(fairness.pairs)
    shifts = np.array([_shifts(fairness, each[:ends]) for each in scores])
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
    return _moved(scores)


def _moved(scores: list[list[Score]]) -> np.ndarray:
    """For each pair the share of probability that moved from one answer to others."""
    shares = np.array([probabilities(row) for row in scores])
    return np.abs(shares[0::2] - shares[1::2]).sum(axis=1) / 2

