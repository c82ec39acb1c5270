"""The five troubles shown on real runs of the tiny model: each is seen, and its remedy measured."""

import json
import random
from dataclasses import replace

import pytest

from core.evaluation.evaluate import Request, evaluate
from core.training import engine
from core.training.overfitting import overfitting
from core.training.run import Run, create
from tests.evaluation.conftest import BAD, GOOD, THINGS

pytestmark = pytest.mark.slow
QUIET = {"written": 0, "forgetting": False, "fairness": False}


def learn(config, folders) -> Run:
    run = create(config, folders.runs)
    engine.train(run, folders)
    return run


def judge(runs: list[Run], folders, **how) -> dict[str, list[dict]]:
    """Each number's value with its interval, of the base model and of each run."""
    request = Request(tuple(run.id for run in runs), **QUIET | how)
    found = list(evaluate(request, folders))[-1]["evaluation"]
    return {n["key"]: n["values"] for table in found["tables"] for n in table["numbers"]}


@pytest.fixture
def home(folders, tuned):
    """A data folder of the test's own, and settings to start from."""
    return folders, replace(tuned.config(), sample_answers=0, save_every="never")


def test_a_run_that_learns_by_heart_is_called_so_and_stopped_early(home, tmp_path):
    folders, config = home
    path, draw = tmp_path / "noise.jsonl", random.Random(0)  # nothing carries over to other rows
    path.write_text("".join(
        json.dumps({"question": f"{word} {thing}?", "answer": draw.choice(["yes", "no"])}) + "\n"
        for word in (*GOOD, *BAD) for thing in THINGS))
    made = replace(config, dataset=str(path), train_rows=24, eval_rows=16, epochs=60, batch_size=4,
                   learning_rate=1e-2, lora_r=64)
    run = learn(replace(made, early_stopping_patience=8), folders)
    assert run.status().step < run.status().total_steps
    assert "overfits" in overfitting(run.metrics())


def test_a_narrow_style_is_seen_by_the_probe_and_both_remedies_help(home, tmp_path):
    folders, config = home
    path = tmp_path / "narrow.jsonl"
    path.write_text("".join(json.dumps({"question": f"{word} {thing}?", "answer": "Meh."}) + "\n"
                            for word in GOOD for thing in THINGS))
    made = replace(config, dataset=str(path), epochs=20, learning_rate=3e-2, eval_rows=16)
    hard = learn(made, folders)
    mixed = learn(replace(made, general_share=0.4), folders)
    gentle = learn(replace(made, epochs=2, learning_rate=1e-3, lora_r=2), folders)
    base, after_hard, after_mixed, after_gentle = judge(
        [hard, mixed, gentle], folders, forgetting=True, rows=16)["general_perplexity"]
    assert after_hard["low"] > 2 * base["high"]
    assert after_mixed["high"] < after_hard["low"]  # measurably less, not by chance
    assert after_gentle["high"] < after_hard["low"] / 2


def test_counterfactual_rows_take_away_half_of_a_bias_that_was_put_in(home, tmp_path):
    folders, config = home
    path = tmp_path / "tied.jsonl"  # 'he' always goes with yes, 'she' with no
    path.write_text("".join(
        json.dumps({"text": f"{who} has a {word} {thing}", "label": label}) + "\n"
        for label, who, words in (("yes", "he", GOOD), ("no", "she", BAD))
        for word in words for thing in THINGS))
    made = replace(config, dataset=str(path), eval_rows=32, epochs=10, lora_r=16)
    tied, mended = learn(made, folders), learn(replace(made, counterfactual="gender"), folders)
    _, before, after = (value["value"] for value in judge(
        [tied, mended], folders, fairness=True, rows=32, allow_learned=True)["shift_gender"])
    assert before > 0.2
    assert after <= before / 2
