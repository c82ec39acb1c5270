"""Numbers agree with the libraries' own, and odd answers give sensible ones."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from core import likeness
from core.evaluation import metrics, tables
from core.evaluation.numbers import likelihood, mean, rate
from core.evaluation.rows import Row
from core.evaluation.score import Asked, Candidate, Score
from core.evaluation.uncertainty import DRAWS, compare, draw_rows, interval, mcnemar, means

PAIRS = [("The cat sat on the mat.", "A cat is on the mat"), ("Paris", "paris!"), ("", ""),
         ("something", ""), ("电池很好，推荐购买", "电池很好，不推荐"), ("one two", "two one")]


def labelled(truth: list[int], labels: int) -> list[Row]:
    candidate = Candidate([1], [True])
    return [Row("?", "", Asked([1], [candidate] * labels), at, [1]) for at in truth]


def shares(said: list[int], labels: int, sure: float = 0.7) -> list[list[Score]]:
    rest = np.log((1 - sure) / (labels - 1))
    return [[Score(np.log(sure) if n == at else rest, 1) for n in range(labels)] for at in said]


@pytest.mark.parametrize("seed", range(3))
def test_label_numbers_are_those_of_scikit_learn(seed):
    draws = np.random.default_rng(seed)
    truth, said = draws.integers(0, 4, 60), draws.integers(0, 4, 60)
    table, pictures = tables.labels_table(labelled(truth, 4), list("abcd"), [shares(said, 4)] * 2)
    by_key = {n.key: n for n in table.numbers}
    assert by_key["accuracy"].values[0].value == pytest.approx((truth == said).mean(), abs=1e-12)
    assert by_key["macro_f1"].values[0].value == pytest.approx(
        f1_score(truth, said, average="macro"), abs=1e-12)
    assert metrics.macro_f1(truth, said, 4) == pytest.approx(
        f1_score(truth, said, average="macro"), abs=1e-12)
    assert np.array(pictures["confusion"][0]).sum() == 60
    right = (truth == said).mean()
    assert by_key["calibration"].values[0].value == pytest.approx(abs(0.7 - right), abs=1e-9)


def test_f1_of_one_draw_is_that_of_the_rows_drawn():
    draws = np.random.default_rng(1)
    truth, said = draws.integers(0, 3, 50), draws.integers(-1, 3, 50)
    drawn = draw_rows(50)[:20]
    cells = np.where(said < 0, 3, said) + truth * 4
    for found, rows in zip(tables._macro_f1(cells[drawn], 3), drawn, strict=True):
        assert found == pytest.approx(metrics.macro_f1(truth[rows], said[rows], 3), abs=1e-12)


def test_the_calibration_error_of_one_draw_is_that_of_the_rows_drawn():
    draws = np.random.default_rng(2)
    sure, right = draws.random(50), draws.random(50) < 0.5
    drawn = draw_rows(50)[:20]
    steps = np.minimum((sure * 10).astype(int), 9)
    for found, rows in zip(tables._mean_gap((sure - right)[drawn], steps[drawn]), drawn,
                           strict=True):
        assert found == pytest.approx(metrics.expected_calibration_error(right[rows], sure[rows]))


def test_one_class_only_gives_numbers():
    table, _ = tables.labels_table(labelled([0] * 5, 2), ["a", "b"], [shares([0] * 5, 2)] * 2)
    accuracy = table.numbers[0]
    assert accuracy.values[0].value == accuracy.values[0].low == 1.0
    assert accuracy.compared[1].verdict == "no clear difference"


@pytest.mark.parametrize("reference, text", PAIRS)
def test_text_numbers_are_those_of_the_libraries(reference, text):
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu import sentence_chrf

    assert likeness.chrf(reference, text) == pytest.approx(
        sentence_chrf(text, [reference]).score, abs=1e-6)
    if reference.isascii():
        own = likeness.rouge(reference, text)
        theirs = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(reference, text)
        for kind, score in theirs.items():
            assert own[kind] == pytest.approx(score.fmeasure, abs=1e-6)


def test_chinese_counts_by_characters():
    assert likeness.rouge("电池很好", "电池不好")["rouge1"] == pytest.approx(0.75)
    assert likeness.token_f1("电池很好", "电池不好") == pytest.approx(0.75)


@pytest.mark.parametrize("reference, text, exact, f1", [
    ("The answer", "answer.", 1, 1), ("red car", "a red bus", 0, 0.5), ("", "", 1, 1),
    ("yes", "", 0, 0), ("", "yes", 0, 0)])
def test_answers_compare_as_squad_does(reference, text, exact, f1):
    assert likeness.exact_match(reference, text) == exact
    assert likeness.token_f1(reference, text) == pytest.approx(f1)


@pytest.mark.parametrize("text, label", [
    ("good", 0), ("Not good", 1), ("It is not good.", 1), ("I find it good!", 0), ("", -1),
    ("good or bad", -1), ("goodness", -1), ("BAD", 2)])
def test_labels_that_hold_each_other_are_told_apart(text, label):
    assert metrics.said_label(text, ["good", "not good", "bad"]) == label


@pytest.mark.parametrize("text, claim", [
    ('{"a": 1}', True), ("[1, 2]", True), ('```json\n{"a": 1}\n```', True), ("1", False),
    ("{'a': 1}", False), ("", False), ('{"a": 1', False)])
def test_json_is_an_object_or_a_list(text, claim):
    assert metrics.is_json(text) == claim


def test_group_gaps_are_those_of_fairlearn():
    from fairlearn.metrics import demographic_parity_difference

    truth, said = np.array([0, 0, 1, 1, 0, 1]), np.array([0, 0, 1, 0, 1, 1])
    groups = ["a", "a", "a", "b", "b", "b"]
    found = metrics.group_gaps(truth, said, groups, positive=0)
    assert found["demographic_parity"] == pytest.approx(demographic_parity_difference(
        truth == 0, said == 0, sensitive_features=groups))
    assert found["groups"]["a"]["accuracy"] == 1.0


def test_perplexity_is_over_tokens_not_over_rows():
    scores = [Score(-2.0, 1), Score(-4.0, 4)]
    found = likelihood("p", "P", [scores, scores])
    assert found.values[0].value == pytest.approx(np.exp(6 / 5))


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    draws = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        rows = (draws.random(200) < 0.7).astype(float)
        found = interval(means(rows), 200, draw_rows(200)[:400])
        held += found.low <= 0.7 <= found.high
    assert 88 <= held <= 100


def test_mcnemar_counts_only_rows_on_which_models_differ():
    same, first, second = [True] * 50, [True] * 9 + [False], [False] * 9 + [True]
    p = mcnemar(np.array(same + first), np.array(same + second))
    assert p == pytest.approx(2 * (1 + 10) / 2**10)  # the two-sided binomial of 9 to 1


def test_a_difference_by_chance_is_not_called_better():
    draws = np.random.default_rng(3)
    one, other = draws.random(30), draws.random(30)
    found = compare(means(one), means(one + 0.5), 30, draw_rows(30), "higher")
    assert found.verdict == "better" and found.low > 0
    assert compare(means(one), means(other), 30, draw_rows(30), "lower").p > 1 / DRAWS
    worse = compare(means(one), means(one + 0.5), 30, draw_rows(30), "lower")
    assert worse.verdict == "worse"


def test_unknown_grades_do_not_count():
    graded = np.array([5.0, np.nan, 3.0])
    assert mean("g", "G", [graded, graded]).values[0].value == 4.0


def test_a_rate_of_few_rows_has_a_wide_interval():
    few = np.array([True, False, True, True])
    found = rate("r", "R", [few, few]).values[0]
    assert found.high - found.low > 0.5
