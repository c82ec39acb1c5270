"""The five troubles shown on real runs of the tiny model: each is seen, and its remedy measured."""

import json
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


def judge(runs: list[Run], folders, **how) -> dict[str, list[float]]:
    request = Request(tuple(run.id for run in runs), **QUIET | how)
    found = list(evaluate(request, folders))[-1]["evaluation"]
    return {n["key"]: [value["value"] for value in n["values"]]
            for table in found["tables"] for n in table["numbers"]}


@pytest.fixture
def home(folders, tuned):
    """A data folder of the test's own, and settings to start from."""
    return folders, replace(tuned.config(), sample_answers=0, save_every="never")


def test_a_run_that_learns_by_heart_is_called_so_and_stopped_early(home, tmp_path):
    folders, config = home
    path = tmp_path / "noise.jsonl"  # labels without a reason: only learning by heart helps
    path.write_text("".join(json.dumps({"text": f"case {n * 7919 % 1000}",
                                        "label": "yes" if n * n % 7 < 3 else "no"}) + "\n"
                            for n in range(64)))
    made = replace(config, dataset=str(path), train_rows=24, eval_rows=32, epochs=60, batch_size=8,
                   learning_rate=1e-2, lora_r=32)
    run = learn(replace(made, early_stopping_patience=3), folders)
    assert run.status().step < run.status().total_steps
    assert "overfits" in overfitting(run.metrics())


def test_a_narrow_style_learned_too_hard_shows_in_the_probe(home, tmp_path):
    folders, config = home
    path = tmp_path / "narrow.jsonl"
    path.write_text("".join(json.dumps({"question": f"{word} {thing}?", "answer": "Meh."}) + "\n"
                            for word in GOOD for thing in THINGS))
    hard = learn(replace(config, dataset=str(path), epochs=20, learning_rate=3e-2, eval_rows=16),
                 folders)
    gentle = learn(replace(config, dataset=str(path), epochs=2, learning_rate=1e-3, lora_r=2,
                           eval_rows=16), folders)
    base, after_hard, after_gentle = judge([hard, gentle], folders, forgetting=True,
                                           rows=16)["general_perplexity"]
    assert after_hard > 2 * base
    assert after_gentle < after_hard / 2


def test_counterfactual_rows_take_away_half_of_a_bias_that_was_put_in(home, tmp_path):
    folders, config = home
    path = tmp_path / "tied.jsonl"  # 'he' always goes with yes, 'she' with no
    path.write_text("".join(
        json.dumps({"text": f"{who} has a {word} {thing}", "label": label}) + "\n"
        for label, who, words in (("yes", "he", GOOD), ("no", "she", BAD))
        for word in words for thing in THINGS))
    made = replace(config, dataset=str(path), eval_rows=32, epochs=10, lora_r=16)
    tied, mended = learn(made, folders), learn(replace(made, counterfactual="gender"), folders)
    _, before, after = judge([tied, mended], folders, fairness=True, rows=32,
                             allow_learned=True)["shift_gender"]
    assert before > 0.2
    assert after <= before / 2
