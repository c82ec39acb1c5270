"""A report is one page that holds all that was found, of one run or of several."""

import json
import shutil
from dataclasses import replace

import pytest

from core.evaluation import comparison, report, saved
from core.evaluation.curves import NOTHING, curve_svg, curves_svg
from core.evaluation.findings import percent
from core.training import run

STAGES = {"stages": ["first", "<second>"], "loss": [[4, 4], [1, 3], [2, 0.5]],
          "accuracy": [[0.5, None], [1.0, None], [0.75, None]], "forgotten": [1.0, 0.0]}
each_form = pytest.mark.parametrize("form", ["html_page", "markdown"])


@pytest.fixture
def other(tuned, tuned_home):
    """A second run on fewer rows, with measurements of its own."""
    made = run.create(replace(tuned.config(), train_rows=24), tuned_home.runs)
    for step, loss in ((0, 4.0), (4, 2.5), (8, 1.5)):
        made.append_metrics({"step": step, "eval_loss": loss})
    made.write_facts("data", {"train": {"used_rows": 24}})
    made.update(state="finished", step=8, started=60.0, ended=180.0)
    yield made
    shutil.rmtree(made.folder)


@pytest.fixture
def of_both(evaluation, tuned, other):
    """The evaluation as if its second contestant were the other run."""
    both = json.loads(json.dumps(evaluation))
    both["models"][2] = {"id": other.id, "title": other.id, "run": other.id}
    return both


@each_form
def test_what_stages_forgot_and_gaps_between_groups_are_told(form, evaluation, tuned):
    page = getattr(report, form)(tuned, evaluation | {"stages": STAGES})
    assert "What each stage still knows" in page
    assert "+1.000" in page and "2.000 (75% right)" in page
    gap = evaluation["groups"][1]
    assert "Groups of rows" in page and f"{gap['demographic_parity']:.1%}" in page
    assert "old: right" in page and f"{gap['groups']['old']['accuracy']:.1%}" in page


@each_form
def test_without_stages_and_groups_nothing_is_said_of_them(form, evaluation, tuned):
    page = getattr(report, form)(tuned, evaluation | {"stages": None, "groups": []})
    assert "still knows" not in page and "Groups of rows" not in page


def test_pairs_and_texts_are_not_called_rows(evaluation, tuned):
    pairs = next(n for t in evaluation["tables"] if t["key"] == "fairness" for n in t["numbers"])
    assert f"{pairs['label']} ({pairs['rows']} pairs)" in report.markdown(tuned, evaluation)


@pytest.mark.parametrize(("share", "words"), [
    (0.0, "0.0 %"), (0.5, "50.0 %"), (0.0004, "0.04 %"), (-0.00012, "-0.01 %"),
    (1e-9, "< 0.001 %")])
def test_a_share_that_is_not_nothing_never_reads_as_nothing(share, words):
    assert percent(share) == words


@each_form
def test_several_runs_are_set_side_by_side(form, of_both, tuned, other):
    page = getattr(comparison, form)([tuned, other], of_both)
    assert "Comparison of 2 runs" in page and tuned.id in page and other.id in page
    assert "Training rows" in page  # the setting in which they differ
    assert "2.0 minutes" in page and "Where they differ" in page and "Accuracy" in page


def test_a_comparison_is_one_page_that_runs_and_fetches_nothing(of_both, tuned, other):
    of_both["rows"][0] |= {"prompt": "<script>alert(1)</script>"}
    of_both["rows"][0]["by"][-1]["probability"] = 2.0  # so that it is among the samples
    page = comparison.html_page([tuned, other], of_both | {"stages": STAGES})
    assert "<script" not in page and "&lt;script&gt;" in page and "<second>" not in page
    assert "http" not in page and "<img" not in page


def test_runs_of_several_sizes_say_whether_more_rows_would_help(of_both, tuned, other, tuned_home):
    assert "Rows learned" not in comparison.markdown([tuned, other], of_both)
    third = run.create(tuned.config(), tuned_home.runs)
    third.write_facts("data", {"train": {"used_rows": 12}})
    of_both["models"][0] = {"id": third.id, "title": third.id, "run": third.id}
    page = comparison.markdown([tuned, other, third], of_both)
    assert "| 12 |" in page and "| 24 |" in page and "more rows" in page
    shutil.rmtree(third.folder)


def test_a_run_that_was_deleted_is_left_out(of_both, tuned, tuned_home):
    of_both["models"][2]["run"] = "gone"
    assert saved.known_runs(of_both, tuned_home) == [tuned]


def test_samples_without_an_answer_tell_the_loss(evaluation, tuned):
    bare = json.loads(json.dumps(evaluation))
    for row in bare["rows"]:
        row["by"] = [{"log_probability": -6.0, "tokens": 4} for _ in row["by"]]
    assert "loss 1.50" in report.html_page(tuned, bare)


def test_curves_fall_back_on_the_training_loss_and_name_each_run():
    held = [{"step": 0, "eval_loss": 4.0}, {"step": 9, "eval_loss": 1.0}]
    plain = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}]
    drawn = curves_svg([("a<b", held), ("c", plain), ("d", [])])
    assert "1 · a&lt;b" in drawn and "3 · d" in drawn
    assert drawn.count("<polyline") == 2
    assert curves_svg([("d", [])]) == curve_svg([]) == NOTHING
