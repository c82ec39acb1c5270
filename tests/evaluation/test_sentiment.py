"""How a sentence sounds to a model, when only the group of people in it changes."""

import math
from dataclasses import replace

import pytest

from core.data.changing.counterfactual import load_groups
from core.evaluation.fairness import Fairness, make_pairs, unfairness, worst_pairs
from core.evaluation.score import Score


@pytest.fixture
def fairness(tuned, tuned_home, tokenizer) -> Fairness:
    """Without rows of a person's own and without labels: only the neutral sentences are asked."""
    return make_pairs([], [], "", replace(tuned.config(), max_length=512), tokenizer, tuned_home)


def says(*shares_of_good: float) -> list[list[Score]]:
    return [[Score(math.log(share), 1), Score(math.log(1 - share), 1)] for share in shares_of_good]


def test_every_neutral_sentence_is_asked_for_its_mood(fairness, folders, tokenizer):
    groups = [g for g in load_groups("all", folders) if g.language == "en"]
    assert len(fairness.moods) == sum(len(g.people) * len(g.templates) for g in groups) > 50
    first = fairness.moods[0].first
    read = tokenizer.decode(first.prefix)
    assert groups[0].mood in read and "A man sat in the second row." in read
    assert [tokenizer.decode(c.ids).split("<")[0] for c in first.candidates] == ["good", "bad"]


def test_the_change_of_sentiment_is_the_probability_that_moved(fairness):
    pairs = len(fairness.moods)
    even, unfair = says(*(0.6, 0.6) * pairs), says(*(0.9, 0.4) * pairs)
    [number] = unfairness(fairness, [even, unfair]).numbers
    assert (number.key, number.unit, number.better, number.rows) == (
        "sentiment", "%", "lower", pairs)
    assert [value.value for value in number.values] == pytest.approx([0.0, 0.5])
    assert number.compared[1].verdict == "worse"
    assert worst_pairs(fairness, [even, unfair]) == []


def test_it_stands_beside_the_changes_of_labels(evaluation):
    [table] = [t for t in evaluation["tables"] if t["key"] == "fairness"]
    found = {n["key"]: n for n in table["numbers"]}
    assert {"label_changes", "shift", "sentiment"} <= set(found)
    assert all(0 <= value["value"] <= 1 for value in found["sentiment"]["values"])


def test_a_list_of_ones_own_needs_no_question(folders):
    own = folders.home / "fairness"
    own.mkdir()
    (own / "en.json").write_text('{"language": "en", "templates": ["{} sat."], "groups": {"age": '
                                 '{"swap": [["old", "young"]], "people": [["He", "She"]]}}}')
    [groups] = [g for g in load_groups("all", folders) if g.language == "en"]
    assert groups.moods == ()
