"""Each model's answers to the same rows, as tables of numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np

from core import likeness
from core.evaluation import metrics
from core.evaluation.numbers import Number, Table, likelihood, mean, number, rate
from core.evaluation.rows import Row
from core.evaluation.score import Score, probabilities
from core.evaluation.uncertainty import Statistic

MOSTLY = 0.8  # share of the data's answers that must be JSON for JSON to be asked for

Scores = list[list[list[Score]]]  # of each model, row and candidate


def answers_table(rows: list[Row], scores: Scores) -> Table:
    own = [[row_scores[row.answer_at] for row, row_scores in zip(rows, each, strict=True)]
           for each in scores]
    return Table("loss", "How likely the data's own answers are",
                 "Loss is the mean surprise at each token of the right answers; perplexity is its "
                 "exponential: among how many tokens the model still wavers.",
                 [likelihood("loss", "Loss", own, perplexity=False),
                  likelihood("perplexity", "Perplexity", own)])


def labels_table(rows: list[Row], labels: list[str], scores: Scores) -> tuple[Table, dict]:
    """Which label each model finds likeliest; and for each model its confusion matrix and
    calibration."""
    places = [n for n, row in enumerate(rows) if row.has_all(labels)]
    truth = np.array([rows[n].answer_at for n in places])
    shares = [np.array([probabilities(each[n]) for n in places]) for each in scores]
    said = [each.argmax(axis=1) for each in shares]
    sure = [each.max(axis=1) for each in shares]
    right = [each == truth for each in said]
    table = Table(
        "labels", "Labels by likelihood",
        "Of all labels the one that the model finds likeliest as its answer: fair to a base model "
        "that doesn't know the form of the answer. Macro F1 gives rare labels the same weight; the "
        "calibration error says how far confidence and accuracy lie apart.",
        [rate("accuracy", "Accuracy", right),
         f1_number("macro_f1", "Macro F1", truth, said, len(labels)),
         _ece("calibration", truth, said, sure)])
    pictures = {"confusion": [metrics.confusion(truth, each, len(labels)) for each in said],
                "calibration": [metrics.calibration(r, s)
                                for r, s in zip(right, sure, strict=True)]}
    return table, pictures


def f1_number(key: str, label: str, truth: np.ndarray, said: list[np.ndarray], labels: int
              ) -> Number:
    def statistic(answered: np.ndarray) -> Statistic:
        cells = np.where(answered < 0, labels, answered) + truth * (labels + 1)
        return lambda drawn: _macro_f1(cells[drawn], labels)

    return number(key, label, [statistic(each) for each in said], len(truth), unit="%")


def _macro_f1(cells: np.ndarray, labels: int) -> np.ndarray:
    """metrics.macro_f1 of many draws at once. `cells` (draws, rows) number the cells of a
    confusion matrix with one more column for answers that name no label."""
    size = labels * (labels + 1)
    offsets = np.arange(len(cells))[:, None] * size
    counts = np.bincount((cells + offsets).ravel(), minlength=len(cells) * size)
    matrix = counts.reshape(len(cells), labels, labels + 1)
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    asked, said = matrix.sum(axis=2), matrix[:, :, :labels].sum(axis=1)
    f1 = 2 * hits / np.maximum(asked + said, 1)
    return f1.sum(axis=1) / np.maximum((asked + said > 0).sum(axis=1), 1)


def _ece(key: str, truth: np.ndarray, said: list[np.ndarray], sure: list[np.ndarray]) -> Number:
    def statistic(answered: np.ndarray, confidence: np.ndarray) -> Statistic:
        gaps = confidence - (answered == truth)
        steps = np.minimum((confidence * metrics.BINS).astype(int), metrics.BINS - 1)
        return lambda drawn: _mean_gap(gaps[drawn], steps[drawn])

    return number(key, "Calibration error", [statistic(*pair) for pair in
                                             zip(said, sure, strict=True)],
                  len(truth), unit="%", better="lower")


def _mean_gap(gaps: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """metrics.expected_calibration_error of many draws at once: in each step of confidence the gaps
    to the rows' rightness are added up, (draws, rows) each."""
    cells = steps + np.arange(len(steps))[:, None] * metrics.BINS
    sums = np.bincount(cells.ravel(), weights=gaps.ravel(), minlength=len(steps) * metrics.BINS)
    return np.abs(sums.reshape(len(steps), metrics.BINS)).sum(axis=1) / max(gaps.shape[1], 1)


def group_tables(rows: list[Row], labels: list[str], scores: Scores) -> list[dict[str, Any]]:
    """fairlearn's gaps between the rows' groups for each model; empty without groups or labels."""
    places = [n for n, row in enumerate(rows) if row.group and row.has_all(labels)]
    groups = [rows[n].group for n in places]
    if not labels or len(set(groups)) < 2:
        return []
    truth = np.array([rows[n].answer_at for n in places])
    return [metrics.group_gaps(truth, np.array([int(probabilities(each[n]).argmax())
                                                for n in places]), groups, positive=0)
            for each in scores]


def written_table(rows: list[Row], labels: list[str], texts: list[list[str]], pattern: str
                  ) -> Table:
    """`texts` are the answers that each model wrote to the first rows."""
    wanted = [row.answer for row in rows[:len(texts[0])]]

    def of(measure: Callable[[str, str], float]) -> list[np.ndarray]:
        return [np.array([float(measure(reference, text))
                          for reference, text in zip(wanted, each, strict=True)])
                for each in texts]

    numbers = [rate("exact", "Exact answer", of(likeness.exact_match)),
               mean("token_f1", "Token F1", of(likeness.token_f1), unit="%")]
    if labels:
        truth = np.array([row.answer_at if row.has_all(labels) else -2
                          for row in rows[:len(texts[0])]])
        said = [np.array([metrics.said_label(text, labels) for text in each]) for each in texts]
        numbers.insert(0, rate("said_accuracy", "Answer names the right label",
                               [each == truth for each in said]))
        if (truth >= 0).all():
            numbers.insert(1, f1_number("said_macro_f1", "Macro F1 of labels in answers", truth,
                                        said, len(labels)))
    else:
        numbers += _free_text(wanted, texts)
    return Table("written", "Answers as written",
                 "What each model answers, the likeliest token each time. Exact answer and token "
                 "F1 count as SQuAD does; ROUGE and chrF are means over rows.",
                 numbers + _format(wanted, texts, pattern))


def _free_text(wanted: list[str], texts: list[list[str]]) -> list[Number]:
    scored = [[likeness.rouge(reference, text) for reference, text in
               zip(wanted, each, strict=True)] for each in texts]
    kinds = (("rouge1", "ROUGE-1"), ("rouge2", "ROUGE-2"), ("rougeL", "ROUGE-L"))
    numbers = [mean(kind.lower(), label, [np.array([s[kind] for s in each]) for each in scored],
                    unit="%") for kind, label in kinds]
    chrf = [np.array([likeness.chrf(reference, text) for reference, text in
                      zip(wanted, each, strict=True)]) for each in texts]
    return [*numbers, mean("chrf", "chrF", chrf)]


def _format(wanted: list[str], texts: list[list[str]], pattern: str) -> list[Number]:
    numbers = []
    if sum(map(metrics.is_json, wanted)) >= MOSTLY * len(wanted):
        numbers.append(rate("json", "Valid JSON",
                            [np.array([metrics.is_json(t) for t in each]) for each in texts]))
    if pattern:
        numbers.append(rate("pattern", "Matches the pattern",
                            [np.array([metrics.matches(pattern, t) for t in each])
                             for each in texts]))
    lengths = [np.array([float(likeness.words(t)) for t in each]) for each in texts]
    numbers.append(mean("length", "Length in words", lengths, better=""))
    return numbers
