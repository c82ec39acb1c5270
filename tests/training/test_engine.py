"""A run from its config to its adapter, in this process, on the tiny model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from core.config import Config
from core.data.build import open_dataset
from core.data.tokens.tokenize import IGNORED, encode
from core.errors import UserError
from core.files import Folders
from core.model.attention import ordinary
from core.training import engine
from core.training.run import Run, create

ASSETS = Path(__file__).parents[2] / "assets"
SHORT = {"max_steps": 3, "eval_rows": 0}


@pytest.fixture
def train(folders):
    def run_to_its_end(config) -> Run:
        run = create(config, folders.runs)
        engine.train(run, folders)
        return run
    return run_to_its_end


def losses(run: Run, name: str = "loss") -> list[float]:
    return [record[name] for record in run.metrics() if name in record]


def evaluations(run: Run) -> list[tuple[int, float]]:
    return [(r["step"], r["eval_loss"]) for r in run.metrics() if "eval_loss" in r]


def held_out_loss(model, tokenizer, config, folders) -> float:
    """Mean over all learned tokens of the held-out rows, one row at a time."""
    opened = open_dataset(config, folders)
    total = count = 0
    for row in opened.held_out:
        example = encode(opened.messages(row), tokenizer, config.loss_on, config.max_length)
        labels = torch.tensor([example.labels])
        learned = int((labels[:, 1:] != IGNORED).sum())
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([example.ids]), labels=labels).loss
        total, count = total + loss.item() * learned, count + learned
    return total / count


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_model, colours):
    """One full run that several tests look at: (run, config, folders)."""
    folders = Folders(tmp_path_factory.mktemp("finished"), ASSETS).make()
    config = Config(dataset=str(colours), base_model=str(tiny_model), base_weights="32bit",
                    precision="fp32", eval_rows=16, batch_size=5, lora_dropout=0.0, lora_r=8,
                    learning_rate=1e-2, epochs=4, max_length=128)
    run = create(config, folders.runs)
    engine.train(run, folders)
    return run, config, folders


def test_a_finished_run_has_a_whole_adapter_folder(finished):
    run, _, _ = finished
    names = {path.name for path in run.adapter.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md", "tokenizer.json",
            "tokenizer_config.json"} <= names
    assert not (run.folder / "adapter.part").exists()
    status = run.status()
    assert (status.state, status.step) == ("finished", status.total_steps)
    assert status.ended and "before" in status.words and "after" in status.words


def test_the_weights_moved_and_the_base_model_did_not(finished, tiny_model):
    run, _, _ = finished
    weights = load_file(run.adapter / "adapter_model.safetensors")
    moved = [value for name, value in weights.items() if "lora_B" in name]
    assert len(moved) == 14 and all(value.abs().max() > 0 for value in moved)
    assert all(value.isfinite().all() for value in weights.values())
    assert not any("embed" in name for name in weights)


def test_the_loss_falls_on_what_is_easily_learned(finished):
    run, _, _ = finished
    assert losses(run)[-1] < 0.4 * losses(run)[0]
    assert evaluations(run)[-1][1] < 0.4 * evaluations(run)[0][1]


def test_measurements_are_flat_numbers_with_rising_steps(finished):
    run, _, _ = finished
    records = [r for r in run.metrics() if "loss" in r]
    assert [r["step"] for r in records] == list(range(1, run.status().total_steps + 1))
    for record in records:
        assert {"time", "step", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second",
                "ram_bytes"} <= record.keys()
        assert all(isinstance(value, (int, float)) for value in record.values())


def test_the_held_out_rows_are_measured_once_before_and_after_each_epoch(finished):
    run, _, _ = finished
    steps = [step for step, _ in evaluations(run)]
    per_epoch = run.status().total_steps // 4
    assert steps == [0, per_epoch, 2 * per_epoch, 3 * per_epoch, 4 * per_epoch]


def test_the_measure_before_is_that_of_the_base_model(finished, tokenizer, tiny_model):
    run, config, folders = finished
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    assert evaluations(run)[0][1] == pytest.approx(
        held_out_loss(base, tokenizer, config, folders), rel=1e-4)


def test_the_measure_after_is_that_of_the_saved_adapter(finished, tokenizer, tiny_model):
    run, config, folders = finished
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, run.adapter).eval()
    assert evaluations(run)[-1][1] == pytest.approx(
        held_out_loss(tuned, tokenizer, config, folders), rel=1e-3)


def test_the_folder_tells_with_what_it_was_made(finished):
    run, config, _ = finished
    assert run.config() == config
    assert run.facts("data")["train"]["used_rows"] == 48
    assert run.facts("data")["eval"]["used_rows"] == 16
    # The package's own version leaves out the build, such as +cu130.
    told = run.facts("environment")["packages"]["torch"]
    assert torch.__version__.startswith(told.partition("+")[0])
    card = (run.adapter / "README.md").read_text()
    assert card.startswith("---\n") and "before" in card


def test_a_run_evaluated_at_every_step_measures_the_base_once(train, quick):
    run = train(replace(quick, max_steps=3, eval_every="steps", eval_steps=1))
    assert [step for step, _ in evaluations(run)] == [0, 1, 2, 3]


def test_a_run_of_one_step_is_measured_before_and_after(train, quick):
    run = train(replace(quick, max_steps=1))
    assert [step for step, _ in evaluations(run)] == [0, 1]


def test_measuring_the_base_does_not_change_what_is_learned(train, quick):
    with_it = train(replace(quick, max_steps=4, eval_every="steps", eval_steps=100))
    without = train(replace(quick, max_steps=4, eval_every="never"))
    assert losses(with_it) == pytest.approx(losses(without), rel=1e-5)


def test_joined_and_padded_rows_teach_the_same(train, quick):
    joined = train(replace(quick, max_steps=6, packing=True))
    padded = train(replace(quick, max_steps=6, packing=False))
    assert losses(joined) == pytest.approx(losses(padded), rel=1e-3)
    assert evaluations(joined)[-1][1] == pytest.approx(evaluations(padded)[-1][1], rel=1e-3)


def test_accumulated_passes_teach_what_one_large_pass_teaches(train, quick):
    once = train(replace(quick, max_steps=4, batch_size=8))
    added = train(replace(quick, max_steps=4, batch_size=2, gradient_accumulation=4))
    assert losses(added) == pytest.approx(losses(once), rel=1e-3)


def test_gradient_checkpointing_teaches_the_same(train, quick):
    plain = train(replace(quick, **SHORT))
    saving = train(replace(quick, **SHORT, memory="least"))
    assert losses(saving) == pytest.approx(losses(plain), rel=1e-4)


def test_the_same_settings_teach_the_same_and_another_seed_another(train, quick):
    dropping = replace(quick, **SHORT, lora_dropout=0.2)
    first, again, other = train(dropping), train(dropping), train(replace(dropping, seed=7))
    assert losses(first) == losses(again) != losses(other)


def test_early_stopping_ends_early_and_keeps_the_best(train, quick, tokenizer, tiny_model, folders):
    config = replace(quick, epochs=50, eval_every="steps", eval_steps=2, learning_rate=0.5,
                     early_stopping_patience=2, max_grad_norm=0.0)
    run = train(config)
    status = run.status()
    assert status.step < status.total_steps and status.state == "finished"
    best = min(loss for step, loss in evaluations(run) if step)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, run.adapter).eval()
    assert held_out_loss(tuned, tokenizer, config, folders) == pytest.approx(best, rel=1e-3)


@pytest.fixture
def built(monkeypatch) -> list[engine.Parts]:
    """What each run was built of; its model is the trained one when the run has ended."""
    kept: list[engine.Parts] = []
    build = engine.build

    def keep(*args):
        kept.append(build(*args))
        return kept[-1]

    monkeypatch.setattr(engine, "build", keep)
    return kept


IDS = torch.tensor([[5, 6, 7, 8]])


def expect_that_the_saved_is_the_trained(run: Run, model, folder: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    plain = base(input_ids=IDS).logits
    loaded = PeftModel.from_pretrained(base, run.adapter).eval()(input_ids=IDS).logits
    with ordinary(model.get_base_model()):
        trained = model.eval()(input_ids=IDS).logits
    torch.testing.assert_close(loaded, trained, rtol=1e-3, atol=1e-3)
    assert (loaded - plain).abs().max() > 1e-2


@pytest.mark.parametrize("settings", [
    {}, {"init_lora": "pissa"}, {"init_lora": "olora"}, {"use_dora": True}, {"use_rslora": True},
    {"lora_bias": "all"}, {"modules_to_save": ("lm_head",)},
    {"modules_to_save": ("embed_tokens",)},
], ids=str)
def test_the_saved_adapter_on_the_plain_base_is_the_trained_model(
        settings, train, quick, tiny_model, built):
    run = train(replace(quick, max_steps=4, lora_r=4, **settings))
    expect_that_the_saved_is_the_trained(run, built[0].model, tiny_model)
    assert evaluations(run)[0][0] == 0


@pytest.mark.parametrize("first, then", [
    ({}, {}), ({}, {"init_lora": "pissa"}), ({"init_lora": "pissa"}, {"init_lora": "pissa"}),
    ({"use_dora": True}, {}), ({"modules_to_save": ("lm_head",)}, {}),
    ({"modules_to_save": ("embed_tokens",)}, {})], ids=str)
def test_a_run_that_went_on_from_an_adapter_is_saved_as_it_was_trained(
        first, then, train, quick, tiny_model, built):
    origin = train(replace(quick, max_steps=4, eval_rows=0, lora_r=4, **first))
    run = train(replace(quick, max_steps=3, eval_rows=0, lora_r=4, adapter=origin.id, **then))
    expect_that_the_saved_is_the_trained(run, built[1].model, tiny_model)


def test_a_run_goes_on_from_an_adapter(finished, train, quick, folders):
    origin, _, origin_folders = finished
    shutil.copytree(origin.folder, folders.runs / origin.id)
    run = train(replace(quick, **SHORT, adapter=origin.id, learning_rate=1e-6))
    assert losses(run)[0] < 0.5 * losses(origin)[0]
    weights = (load_file(r.adapter / "adapter_model.safetensors") for r in (origin, run))
    for before, after in zip(*(w.values() for w in weights), strict=True):
        torch.testing.assert_close(before, after, rtol=1e-2, atol=1e-4)


def test_an_adapter_of_another_base_model_is_refused(finished, train, quick, other_model, folders):
    origin, _, _ = finished
    shutil.copytree(origin.folder, folders.runs / origin.id)
    other = replace(quick, **SHORT, base_model=str(other_model))
    with pytest.raises(UserError, match="trained on"):
        train(replace(other, adapter=origin.id))
    with pytest.raises(UserError, match="doesn't fit"):
        train(replace(other, adapter=str(origin.adapter)))


def test_a_run_goes_on_from_its_last_checkpoint_as_if_it_had_not_stopped(quick, folders, train):
    config = replace(quick, max_steps=6, eval_rows=0, lora_dropout=0.1, save_every="steps",
                     save_steps=3, save_total_limit=5)
    whole = train(config)
    half = create(config, folders.runs)
    shutil.copytree(whole.checkpoints / "checkpoint-3", half.checkpoints / "checkpoint-3")
    engine.train(half, folders)
    assert losses(half) == pytest.approx(losses(whole)[3:], rel=1e-5)


def test_a_step_that_was_done_again_after_a_crash_is_measured_once(quick, folders, train):
    config = replace(quick, max_steps=5, eval_rows=0, save_every="steps", save_steps=3)
    whole = train(config)
    crashed = create(config, folders.runs)  # at step 4, behind its checkpoint of step 3
    shutil.copytree(whole.checkpoints / "checkpoint-3", crashed.checkpoints / "checkpoint-3")
    for record in whole.metrics()[:4]:
        crashed.append_metrics(record)
    engine.train(crashed, folders)
    assert [record["step"] for record in crashed.metrics()] == [1, 2, 3, 4, 5]


def test_stop_and_save_leaves_an_adapter_and_a_state_with_words(quick, folders):
    run = create(replace(quick, max_steps=50), folders.runs)
    run.ask_to_stop(at_once=False)
    engine.train(run, folders)
    status = run.status()
    assert (status.state, status.step) == ("stopped", 1)
    assert (run.adapter / "adapter_model.safetensors").is_file()
    assert run.last_checkpoint() is not None


def test_a_stop_within_a_step_drops_it_and_the_run_goes_on_as_if_it_had_not_been(
        quick, folders, train, monkeypatch):
    monkeypatch.setattr(engine.pace, "choose_dial", lambda *_: engine.pace.Dial(0.0, 64))
    config = replace(quick, max_steps=4, eval_rows=0, lora_dropout=0.1)
    whole, run = train(config), create(config, folders.runs)
    heed = engine.Recorder.heed

    def stop_in_the_second_step(recorder, state):
        if state.global_step == 1:
            run.ask_to_stop(at_once=False)
        heed(recorder, state)

    with monkeypatch.context() as patched:
        patched.setattr(engine.Recorder, "heed", stop_in_the_second_step)
        engine.train(run, folders)
    assert (run.status().state, run.status().step) == ("stopped", 1)
    assert run.last_checkpoint().name == "checkpoint-1"
    run.withdraw_stop()
    engine.train(run, folders)
    assert losses(run) == losses(whole)


def test_a_loss_that_is_no_number_ends_the_run_in_words(train, quick, tiny_model, tmp_path):
    broken = AutoModelForCausalLM.from_pretrained(tiny_model)
    broken.model.norm.weight.data[0] = float("nan")
    shutil.copytree(tiny_model, tmp_path / "broken")
    broken.save_pretrained(tmp_path / "broken")
    with pytest.raises(UserError, match="no number") as caught:
        train(replace(quick, **SHORT, base_model=str(tmp_path / "broken")))
    assert "learning rate" in caught.value.remedy


def test_rows_that_teach_nothing_end_the_run_before_the_model_is_loaded(
        quick, train, tmp_path, monkeypatch):
    monkeypatch.setattr(engine.load, "load_base", lambda *_: pytest.fail("loaded the model"))
    (tmp_path / "empty.jsonl").write_text(
        "".join(json.dumps({"question": "?", "answer": " "}) + "\n" for _ in range(4)))
    with pytest.raises(UserError, match="None of the 2 training rows"):
        train(replace(quick, dataset=str(tmp_path / "empty.jsonl")))


@pytest.mark.parametrize("settings", [
    {"lr_scheduler": "cosine", "weight_decay": 0.1, "optimizer": "adamw_torch_fused"},
    {"neftune_noise_alpha": 5.0, "loss_on": "all tokens", "use_dora": True, "packing": False},
    {"lora_bias": "all", "optimizer": "adafactor", "lr_scheduler": "constant"},
    {"modules_to_save": ("lm_head",), "logging_steps": 2, "eval_every": "steps"},
    {"base_weights": "16bit", "precision": "bf16", "optimizer": "sgd", "use_rslora": True},
    {"init_lora": "pissa", "memory": "least", "too_long": "drop"},
], ids=str)
def test_a_run_ends_well_with_settings_together(settings, train, quick):
    run = train(replace(quick, max_steps=2, **settings))
    assert run.status().state == "finished"
    assert (run.adapter / "adapter_model.safetensors").is_file()
    assert [step for step, _ in evaluations(run)] == [0, 2]
