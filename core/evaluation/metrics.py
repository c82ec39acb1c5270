"""Numbers about answers, from the field's libraries; each is imported where it is used."""

import json
import re
from typing import Any

import numpy as np

BINS = 10


# ---- labels -----------------------------------------------------------------------------


def accuracy(truth: np.ndarray, said: np.ndarray) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(truth, said))


def macro_f1(truth: np.ndarray, said: np.ndarray, labels: int) -> float:
    """The mean F1 of the labels that occur in the rows or were said; one that was never asked for
    nor said has none."""
    from sklearn.metrics import f1_score

    present = np.union1d(truth, said)
    present = present[(present >= 0) & (present < labels)]
    return float(f1_score(truth, said, labels=present, average="macro", zero_division=0.0))


def confusion(truth: np.ndarray, said: np.ndarray, labels: int) -> list[list[int]]:
    """Rows are the data's labels, columns the model's."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(truth, said, labels=range(labels)).tolist()


def calibration(right: np.ndarray, confidence: np.ndarray) -> list[dict[str, float]]:
    """For each of ten steps of confidence: how many rows, how sure on average, how many right."""
    step = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [{"rows": int((step == b).sum()), "confidence": float(confidence[step == b].mean()),
             "accuracy": float(right[step == b].mean())}
            for b in range(BINS) if (step == b).any()]


def expected_calibration_error(right: np.ndarray, confidence: np.ndarray) -> float:
    """ECE with ten equal steps (Guo et al., 2017): how far confidence and accuracy lie apart."""
    return sum(b["rows"] * abs(b["confidence"] - b["accuracy"])
               for b in calibration(right, confidence)) / max(len(right), 1)


def said_label(text: str, labels: list[str]) -> int:
    """Which label a written answer names: its own words, else the only one that it holds. Of
    labels that hold each other ('good', 'not good') the longer one counts. -1: none, or several."""
    plain = text.strip().casefold()
    names = [label.strip().casefold() for label in labels]
    if plain in names:
        return names.index(plain)
    held = [n for n, name in enumerate(names) if name and _holds(plain, name)]
    longest = [n for n in held if not any(names[n] in names[o] and n != o for o in held)]
    return longest[0] if len(longest) == 1 else -1


def _holds(text: str, name: str) -> bool:
    """As words of their own where the name is one: 'irrelevant' doesn't say 'relevant'."""
    return re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", text) is not None


# ---- texts ------------------------------------------------------------------------------


def is_json(text: str) -> bool:
    """Whether it is a JSON object or list as it stands, or in one code fence."""
    plain = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip())
    try:
        return isinstance(json.loads(plain), (dict, list))
    except ValueError:
        return False


def matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


# ---- groups -----------------------------------------------------------------------------


def group_gaps(truth: np.ndarray, said: np.ndarray, groups: list[str], positive: int
               ) -> dict[str, Any]:
    """fairlearn's demographic parity and equalised odds differences between the groups of rows,
    for the label `positive`; and each group's accuracy and rate of that label."""
    from fairlearn.metrics import (
        MetricFrame,
        demographic_parity_difference,
        equalized_odds_difference,
        selection_rate,
    )
    from sklearn.metrics import accuracy_score

    wanted, found = (truth == positive).astype(int), (said == positive).astype(int)
    frame = MetricFrame(metrics={"accuracy": accuracy_score, "rate": selection_rate},
                        y_true=wanted, y_pred=found, sensitive_features=groups)
    return {"demographic_parity": float(demographic_parity_difference(
                wanted, found, sensitive_features=groups)),
            "equalised_odds": float(equalized_odds_difference(
                wanted, found, sensitive_features=groups)),
            "groups": {str(name): {"accuracy": float(line["accuracy"]), "rate": float(line["rate"])}
                       for name, line in frame.by_group.iterrows()}}
