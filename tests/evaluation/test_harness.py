"""Public tasks are measured by lm-evaluation-harness where it is installed, and said to be missing
where it isn't. With it: pip install lm-eval, then this file runs whole."""

import json

import pytest

from core.errors import UserError
from core.evaluation import harness
from core.evaluation.evaluate import Request, evaluate

installed = pytest.mark.skipif(not harness.is_installed(), reason="lm-eval isn't installed")
TASK = """
task: goodness
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{text}}}}"
doc_to_choice: [" yes", " no"]
doc_to_target: "{{{{label}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


@pytest.fixture
def task(tuned_home, tmp_path):
    """A task of a person's own, with rows on this computer."""
    rows = tmp_path / "rows.json"
    rows.write_text("".join(json.dumps({"text": f"a good film {n}", "label": n % 2}) + "\n"
                            for n in range(12)))
    folder = tuned_home.home / harness.FOLDER
    folder.mkdir(exist_ok=True)
    (folder / "goodness.yaml").write_text(TASK.format(rows=rows))
    return "goodness"


def test_names_are_read_with_commas_and_spaces():
    assert harness.task_names(" arc_easy, ,hellaswag ") == ["arc_easy", "hellaswag"]


def test_without_the_harness_it_is_said_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(harness, "is_installed", lambda: False)
    with pytest.raises(UserError, match="lm-evaluation-harness isn't installed"):
        Request(("run",), public_tasks="arc_easy")


def samples(metric: str, values: list) -> dict:
    rows = [{"doc_id": at, "filter": "none", "metrics": [metric], metric: value}
            for at, value in enumerate(values)]
    return {"samples": {"task": rows[::-1]}, "higher_is_better": {"task": {metric: False}}}


def test_right_and_wrong_is_a_rate_and_other_numbers_a_mean():
    (found,) = harness._numbers([samples("acc", [0, 1, 1, 0]), samples("acc", [1, 1, 1, True])])
    assert found.unit == "%" and [v.value for v in found.values] == [0.5, 1.0]
    (found,) = harness._numbers([samples("loss", [0.5, 2.5]), samples("loss", [0.25, 0.75])])
    assert found.better == "lower" and [v.value for v in found.values] == [1.5, 0.5]


def test_a_metric_that_counts_no_rows_is_left_out():
    assert list(harness._numbers([samples("words", [(1, 2), (3, 4)])])) == []


@installed
def test_a_task_is_measured_for_every_model_with_an_interval(tuned, tuned_home, task):
    found = list(evaluate(Request((tuned.id,), rows=8, written=0, forgetting=False, fairness=False,
                                  public_tasks=task), tuned_home))[-1]["evaluation"]
    table = found["tables"][-1]
    assert table["title"] == "Public tasks"
    (number,) = (n for n in table["numbers"] if n["label"] == "goodness, acc")
    assert number["rows"] == 8 and len(number["values"]) == 2
    for value in number["values"]:
        assert 0 <= value["low"] <= value["value"] <= value["high"] <= 1


@installed
def test_a_task_that_is_not_known_is_named(tuned, tuned_home):
    with pytest.raises(UserError, match="no task 'nonsense'"):
        list(evaluate(Request((tuned.id,), rows=8, written=0, public_tasks="nonsense"),
                      tuned_home))
