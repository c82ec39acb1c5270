"""Settings with a name: the shipped ones and the person's own."""

from dataclasses import fields

import pytest

from core.config import Config
from core.errors import UserError
from core.presets import DEFAULT, SHIPPED, list_presets, load_preset, save_preset


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_preset_is_valid(name, folders):
    assert load_preset(name, folders) != Config()


def test_the_shipped_presets_come_first_and_the_default_is_one_of_them(folders):
    save_preset("A first one", Config(), folders)
    assert list(list_presets(folders)) == [*SHIPPED, "A first one"]
    assert DEFAULT in SHIPPED


def test_a_preset_without_a_data_set_keeps_the_data_and_the_base_model_that_are_chosen(folders):
    onto = Config(dataset="mine.jsonl", base_model="own/model", train_rows=7, lora_r=99)
    config = load_preset("Balanced", folders, onto.to_dict())
    assert (config.dataset, config.train_rows, config.base_model) == ("mine.jsonl", 7, "own/model")
    assert (config.lora_r, config.max_length) == (16, 1024)


def test_a_preset_with_a_data_set_comes_as_it_is(folders):
    onto = Config(dataset="mine.jsonl", system_column="rules").to_dict()
    assert load_preset("Tutorial run", folders, onto) == load_preset("Tutorial run", folders)


def test_the_tutorials_run_is_set_as_in_the_tutorial(folders):
    config = load_preset("Tutorial run", folders)
    expected = {
        "dataset": "stanfordnlp/imdb", "train_rows": 500, "eval_rows": 100, "data_seed": 42,
        "max_length": 512, "base_model": "deepseek-ai/deepseek-llm-7b-base",
        "base_weights": "4bit", "quant_type": "fp4", "double_quantization": False,
        "precision": "fp16", "lora_r": 8, "lora_alpha": 32, "lora_dropout": 0.05,
        "target_modules": ("q_proj", "v_proj"), "lora_bias": "none", "learning_rate": 3e-4,
        "batch_size": 1, "gradient_accumulation": 8, "epochs": 0.5, "weight_decay": 0.01}
    assert {name: getattr(config, name) for name in expected} == expected


def test_a_saved_preset_gives_all_its_settings_back(folders):
    config = Config(lora_r=3, instruction="这是好评吗？", target_modules=("q_proj",))
    save_preset("Mein Preset 我的", config, folders)
    loaded = load_preset("Mein Preset 我的", folders, Config(lora_r=99).to_dict())
    assert all(getattr(loaded, f.name) == getattr(config, f.name) for f in fields(Config))


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..\\c", "/etc/x"])
def test_a_preset_stays_in_its_folder_whatever_its_name(name, folders):
    before = {*folders.home.parent.rglob("*")}
    save_preset(name, Config(), folders)
    written = {*folders.home.parent.rglob("*")} - before
    assert written and all(path.parent == folders.presets for path in written)
    own = [shown for shown in list_presets(folders) if shown not in SHIPPED]
    assert len(own) == 1 and load_preset(own[0], folders) == Config()


@pytest.mark.parametrize("name", ["", " ", "...", "/", "Starter (any computer)"])
def test_a_preset_without_a_name_of_its_own_is_refused(name, folders):
    with pytest.raises(UserError):
        save_preset(name, Config(), folders)
    assert not list(folders.presets.iterdir())


def test_an_unknown_preset_is_told_with_those_there_are(folders):
    with pytest.raises(UserError, match="Mine") as caught:
        load_preset("Mine", folders)
    assert DEFAULT in caught.value.remedy


def test_a_damaged_preset_of_ones_own_is_named(folders):
    (folders.presets / "Mine.yaml").write_text("lora_r: zero\n")
    with pytest.raises(UserError, match="Rank r"):
        load_preset("Mine", folders)
