"""What a run tells while it trains: overfitting in words, sample answers, its best state."""

from dataclasses import replace

import pytest
import sacrebleu
import torch
from transformers import AutoModelForCausalLM

from core.files import read_json_lines
from core.settings.progress import BEST_BY, OF_ANSWERS
from core.training import engine, run
from core.training.adversarial import adversarial
from core.training.metrics import Reader
from core.training.overfitting import overfitting
from core.training.samples import alike
from ui import run_view


def records(train: list[float], held: list[float]) -> list[dict]:
    """Ten steps between evaluations; step 0 is the base model."""
    found = [{"step": step + 1, "loss": loss} for step, loss in enumerate(train)]
    return found + [{"step": 10 * at, "eval_loss": loss} for at, loss in enumerate(held)]


FALLING = [3 - n / 20 for n in range(50)]


@pytest.mark.parametrize("train, held, overfits", [
    (FALLING, [3, 2, 1.5, 1.8, 2.2], True),
    (FALLING, [3, 2, 1.5, 1.4, 1.3], False),
    (FALLING, [3, 2, 1.5, 1.505, 1.51], False),  # within noise
    (FALLING, [3, 2, 1.5, 1.8], False),  # one alone may be chance
    ([2.0] * 50, [3, 2, 1.5, 1.8, 2.2], False),  # it doesn't learn its rows either
    (FALLING, [3], False), ([], [], False)])
def test_overfitting_is_called_so_when_both_losses_part(train, held, overfits):
    assert bool(overfitting(records(train, held))) == overfits


def test_the_warning_is_on_the_page_of_the_run(quick, folders):
    work = run.create(quick, folders.runs)
    for record in records(FALLING, [3, 2, 1.5, 1.8, 2.2]):
        work.append_metrics(record)
    assert "overfits" in str(run_view.view(work, "", Reader())["warnings"])


def test_held_out_prompts_are_answered_at_each_evaluation(quick, folders):
    work = run.create(replace(quick, epochs=2, sample_answers=3), folders.runs)
    engine.train(work, folders)
    told = read_json_lines(work.folder / "samples.jsonl")
    steps = sorted({each["step"] for each in told})
    assert steps[0] == 0 and len(steps) == 3 and len(told) == 9
    assert all(each["prompt"] and each["answer"] for each in told)
    view = run_view.view(work, "", Reader())
    assert view["samples"][0]["step"] == steps[-1]
    for name in OF_ANSWERS.values():
        assert [step for step, _ in view["series"][name]] == steps
        assert all(0 <= score <= 1 for _, score in view["series"][name])


def test_answers_are_measured_by_the_libraries_numbers():
    scores = alike(["the red fox", "42"], ["a red fox ran", "42"])
    assert scores["exact_answers"] == 0.5
    assert scores["token_f1"] == pytest.approx((2 * 2 / 5 + 1) / 2)  # without articles
    assert scores["rouge_l"] == pytest.approx((2 * 2 / 7 + 1) / 2)
    theirs = sacrebleu.sentence_chrf("a red fox ran", ["the red fox"]).score
    assert scores["chrf"] == pytest.approx((theirs / 100 + 1) / 2)


@pytest.mark.parametrize("stop_on", ["token accuracy", "exact answers", "ROUGE-L", "chrF"])
def test_the_best_by_another_number_is_kept(quick, folders, stop_on):
    work = run.create(replace(quick, epochs=4, sample_answers=4, early_stopping_patience=1,
                              stop_on=stop_on, learning_rate=2e-2), folders.runs)
    engine.train(work, folders)
    name = BEST_BY[stop_on]
    told = [r for r in work.metrics() if name in r and r["step"] > 0]
    assert work.status().state == "finished" and told
    assert work.effect()[1] in [r["eval_loss"] for r in work.metrics() if "eval_loss" in r]


def test_an_adversarial_step_moves_embeddings_by_their_share_and_leaves_the_model_as_it_was(
        tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    embedding = model.get_input_embeddings()
    embedding.weight.requires_grad_(False)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    seen = []

    def step():
        hook = embedding.register_forward_hook(lambda *a: seen.append(a[2].detach().clone()))
        loss = model(input_ids=ids, labels=ids).loss
        hook.remove()
        loss.backward()
        losses.append(float(loss))
        return loss.detach()

    losses: list[float] = []
    returned = adversarial(step, model, 0.1)()
    assert float(returned) == losses[0] < losses[1]
    shift = (seen[1] - seen[0]).norm() / seen[0].norm()
    assert float(shift) == pytest.approx(0.1, rel=1e-4)
    with torch.no_grad():
        assert float(model(input_ids=ids, labels=ids).loss) == pytest.approx(losses[0])


def test_a_run_learns_with_adversarial_steps(quick, folders):
    work = run.create(replace(quick, adversarial_strength=0.1, epochs=2), folders.runs)
    engine.train(work, folders)
    before, after = work.effect()
    assert after < before
