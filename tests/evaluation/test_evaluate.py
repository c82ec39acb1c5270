"""An evaluation is whole or absent, on rows that no run has learned, and says what is wrong."""

import csv
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from core.errors import UserError
from core.evaluation import report, saved
from core.evaluation.evaluate import Request, evaluate
from core.evaluation.examiner import Examiner
from core.evaluation.rows import find_labels, held_rows
from core.training import engine, run
from tests.evaluation.conftest import BAD, GOOD, SMALL, THINGS


def _checkpoint(found: run.Run) -> str:
    return found.last_checkpoint().name


def numbers(evaluation: dict) -> dict[str, dict]:
    return {n["key"]: n for table in evaluation["tables"] for n in table["numbers"]}


def test_the_saved_predictions_give_the_numbers_that_scikit_learn_gives(evaluation):
    truth = [row["answer"] for row in evaluation["rows"]]
    told = numbers(evaluation)
    for place in range(3):
        said = [row["by"][place]["label"] for row in evaluation["rows"]]
        assert told["accuracy"]["values"][place]["value"] == pytest.approx(
            accuracy_score(truth, said), abs=1e-6)
        assert told["macro_f1"]["values"][place]["value"] == pytest.approx(
            f1_score(truth, said, average="macro", labels=["yes", "no"]), abs=1e-6)


def test_an_interval_is_that_of_an_independent_bootstrap(evaluation):
    right = np.array([row["by"][1]["label"] == row["answer"] for row in evaluation["rows"]])
    draws = np.random.default_rng(99)
    means = [draws.choice(right, len(right)).mean() for _ in range(4000)]
    told = numbers(evaluation)["accuracy"]["values"][1]
    low, high = np.percentile(means, (2.5, 97.5))
    assert told["low"] == pytest.approx(low, abs=0.04)
    assert told["high"] == pytest.approx(high, abs=0.04)


def test_the_tuned_model_finds_its_rows_likelier(evaluation):
    assert numbers(evaluation)["loss"]["compared"][1]["verdict"] == "better"


def test_the_last_checkpoint_is_the_run_itself(evaluation):
    for row in evaluation["rows"]:
        assert row["by"][1]["log_probability"] == pytest.approx(
            row["by"][2]["log_probability"], abs=1e-3)


def test_no_row_that_was_learned_is_judged_on(evaluation, tuned):
    from core.data.build import open_dataset
    from core.files import default_folders

    learned = set(open_dataset(tuned.config(), default_folders(tuned.folder.parents[1])
                               ).train["text"])
    assert not [row for row in evaluation["rows"] if row["prompt"].splitlines()[-1] in learned]


def test_groups_and_the_pattern_are_measured_where_asked(evaluation):
    assert set(evaluation["groups"][0]["groups"]) == {"old", "young"}
    assert "pattern" in numbers(evaluation)


def test_it_lies_in_the_folder_of_the_run_and_is_found_again(evaluation, tuned, tuned_home):
    assert saved.newest(tuned)["id"] in saved.list_all(tuned_home)
    assert saved.find(evaluation["id"], tuned_home)["rows"] == evaluation["rows"]


def test_the_csv_holds_every_row_and_model(evaluation):
    lines = list(csv.DictReader(io.StringIO(saved.to_csv(evaluation))))
    assert len(lines) == len(evaluation["rows"])
    assert lines[0]["Base model: label"] == evaluation["rows"][0]["by"][0]["label"]


def test_a_damaged_file_is_left_out(tuned, tuned_home):
    path = tuned.folder / "evaluation" / "20200101-000000.json"
    path.parent.mkdir(exist_ok=True)
    for content in ("{", "[]", '{"format": 1}'):
        path.write_text(content)
        with pytest.raises(UserError):
            saved.find(path.stem, tuned_home)
    path.unlink()


def test_the_report_escapes_what_comes_from_data(evaluation, tuned):
    bad = json.loads(json.dumps(evaluation))
    bad["rows"][0]["prompt"] = "<script>alert(1)</script>"
    bad["rows"][0]["by"][-1]["probability"] = 2.0  # so that it is among the samples
    page = report.html_page(tuned, bad)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "Accuracy" in report.markdown(tuned, bad)


def test_a_report_without_an_evaluation_says_so(tuned):
    assert "Evaluate" in report.html_page(tuned, None)


@pytest.mark.parametrize("raw", [
    {"runs": ["none"]}, {"runs": []}, {"runs": ["x"], "rows": 0}, {"runs": ["x"], "pattern": "("},
    {"runs": ["x"], "max_new_tokens": 0}], ids=str)
def test_what_cannot_be_judged_is_said_before_anything_is_loaded(raw, tuned_home):
    with pytest.raises(UserError):
        Examiner(tuned_home).start(raw)


def test_rows_that_were_all_learned_are_refused_with_words(tuned, tuned_home, tokenizer, verdicts):
    config = replace(tuned.config(), eval_rows=0)
    with pytest.raises(UserError, match="learned"):
        held_rows([config], 20, tokenizer, tuned_home)
    allowed = held_rows([config], 20, tokenizer, tuned_home, allow_learned=True)
    assert len(allowed.rows) == 20


def test_other_rows_may_be_judged_on(tuned, tuned_home, tokenizer, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps({"question": f"Is {n} even?", "answer": f"It is {n}."})
                             + "\n" for n in range(9)))
    held = held_rows([tuned.config()], 5, tokenizer, tuned_home, dataset=str(other))
    assert len(held.rows) == 5 and held.labels == []


def test_a_column_that_is_not_there_is_named(tuned, tuned_home, tokenizer):
    with pytest.raises(UserError, match="nowhere"):
        held_rows([tuned.config()], 5, tokenizer, tuned_home, group_column="nowhere")


def test_free_answers_are_no_labels(tuned, tuned_home, tmp_path):
    from core.data.build import open_dataset

    rows = tmp_path / "free.jsonl"
    rows.write_text("".join(json.dumps({"question": "?", "answer": str(n % 15)}) + "\n"
                            for n in range(30)))
    assert find_labels(open_dataset(replace(tuned.config(), dataset=str(rows)), tuned_home)) == []
    assert find_labels(open_dataset(tuned.config(), tuned_home)) == ["no", "yes"]


def test_an_evaluation_can_be_watched_and_stopped(tuned, tuned_home, wait_for):
    before = set(saved.list_all(tuned_home))
    examiner = Examiner(tuned_home)
    examiner.start({"runs": [tuned.id], **SMALL})
    with pytest.raises(UserError, match="at work"):
        examiner.start({"runs": [tuned.id], **SMALL})
    examiner.cancel()
    wait_for(lambda: examiner.progress()["state"] == "stopped", "it didn't stop")
    assert set(saved.list_all(tuned_home)) == before


@pytest.mark.parametrize("way", ["linear", "ties", "dare_ties"])
def test_adapters_are_merged_in_every_way(tuned, tuned_home, way):
    from core.evaluation.merge import merge

    mixed = merge([tuned.id, f"{tuned.id}@{_checkpoint(tuned)}"], [0.7, 0.3], way, tuned_home)
    assert mixed.status().state == "finished"
    assert (mixed.adapter / "adapter_model.safetensors").is_file()
    shutil.rmtree(mixed.folder)


def test_the_exact_sum_of_an_adapter_with_itself_is_itself(tuned, tuned_home):
    from core.evaluation.merge import merge

    mixed = merge([tuned.id, f"{tuned.id}@{_checkpoint(tuned)}"], [0.5, 0.5], "cat", tuned_home)
    found = list(evaluate(Request((tuned.id, mixed.id), rows=16, written=0, forgetting=False,
                                  fairness=False), tuned_home))[-1]["evaluation"]
    base, own, mixture = (v["value"] for v in numbers(found)["loss"]["values"])
    assert mixture == pytest.approx(own, abs=0.02) and mixture < base
    shutil.rmtree(mixed.folder)


def test_a_chain_of_runs_tells_what_each_stage_forgot(tuned, tuned_home, tmp_path):
    from core.evaluation.chain import chain_of

    rows = tmp_path / "turned.jsonl"  # the same words the other way round
    rows.write_text("".join(json.dumps({"text": f"the {thing} was {word}", "label": label}) + "\n"
                            for label, words in (("no", GOOD), ("yes", BAD))
                            for word in words for thing in THINGS))
    second = run.create(replace(tuned.config(), dataset=str(rows), adapter=tuned.id,
                                save_every="never"), tuned_home.runs)
    engine.train(second, tuned_home)
    assert [stage.id for stage in chain_of(second, tuned_home)] == [tuned.id, second.id]
    found = list(evaluate(Request((second.id,), rows=16, written=0, forgetting=False,
                                  fairness=False), tuned_home))[-1]["evaluation"]["stages"]
    assert [len(line) for line in found["loss"]] == [2, 2, 2]
    base, first, last = found["loss"]
    assert first[0] < base[0] and last[1] < first[1]
    assert found["forgotten"][0] == pytest.approx(last[0] - first[0]) and found["forgotten"][1] == 0
    shutil.rmtree(second.folder)
