"""Every setting once: described, checked all together, kept in YAML, and read by somebody."""

import dis
import json
import math
import sys
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import GROUPS, Config, load_yaml, read_settings
from core.errors import UserError

FIELDS = {f.name: f for f in fields(Config)}
NUMBERS = [name for name, f in FIELDS.items() if type(f.default) in (int, float)]
CHOICES = [name for name, f in FIELDS.items() if f.metadata["choices"]]
each_field = pytest.mark.parametrize("name", FIELDS)
each_number = pytest.mark.parametrize("name", NUMBERS)


def problems(raw: dict) -> list[str]:
    with pytest.raises(UserError) as caught:
        Config.parse(raw)
    return caught.value.problem.splitlines()


@each_field
def test_every_setting_has_words_and_a_place(name):
    about = FIELDS[name].metadata
    assert about["label"] and about["help"].endswith(".")
    assert about["group"] in GROUPS


def test_no_two_settings_have_one_label():
    labels = [f.metadata["label"] for f in FIELDS.values()]
    assert len(set(labels)) == len(labels)


def test_the_defaults_are_valid():
    Config()


@pytest.mark.parametrize("name, text, value", [
    ("learning_rate", "3e-4", 3e-4), ("learning_rate", " 0.001 ", 0.001), ("lora_r", "8", 8),
    ("lora_r", "8.0", 8), ("epochs", "0.5", 0.5), ("epochs", 2, 2.0), ("packing", "False", False),
    ("packing", "true", True), ("target_modules", "q_proj, v_proj,", ("q_proj", "v_proj")),
    ("target_modules", ["q_proj"], ("q_proj",)), ("modules_to_save", None, ()),
    ("system_column", None, ""), ("dataset", " a.csv ", "a.csv"), ("seed", 2**31, 2**31),
])
def test_values_may_come_as_text(name, text, value):
    parsed = getattr(Config.parse({name: text}), name)
    assert parsed == value and type(parsed) is type(value)


@each_number
@pytest.mark.parametrize("value", ["abc", "", "1e999", "nan", math.nan, math.inf, "-1", -1, None,
                                   [], {}], ids=repr)
def test_a_number_that_is_none_or_out_of_range_is_told_with_its_label(name, value):
    found = problems({name: value})
    assert len(found) == 1
    assert found[0].startswith(FIELDS[name].metadata["label"])


@pytest.mark.parametrize("value", ["8.5", True, "0x10"], ids=repr)
def test_a_rank_that_is_no_whole_number_is_told(value):
    assert problems({"lora_r": value})[0].startswith("Rank r")


@pytest.mark.parametrize("name, value", [
    ("lora_r", 0), ("lora_r", 1025), ("learning_rate", 0), ("learning_rate", 1.5), ("epochs", 0),
    ("lora_dropout", 1.0), ("max_length", 15), ("batch_size", 0), ("warmup_ratio", 0.95),
    ("eval_steps", 0), ("seed", 2**32)])
def test_a_value_out_of_range_is_told_with_value_and_bound(name, value):
    with pytest.raises(UserError, match=f"{FIELDS[name].metadata['label']}: found {value}"):
        Config(**{name: value})


@pytest.mark.parametrize("value", ["yes", "1", 1, 0, "", None, "on"], ids=repr)
def test_a_switch_takes_true_or_false_only(value):
    assert problems({"packing": value})[0].startswith("Join rows without padding")


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_that_is_not_offered_is_told_with_those_that_are(name):
    found = problems({name: "something else"})
    assert all(choice in found[0] for choice in FIELDS[name].metadata["choices"])


def test_all_problems_are_told_at_once():
    found = problems({"lora_r": 0, "learning_rate": "fast", "optimizer": "magic", "no_such": 1,
                      "packing": "maybe", "target_modules": ""})
    assert len(found) == 6
    for word in ("Rank r", "Learning rate", "Optimizer", "no_such", "Join rows", "Target modules"):
        assert sum(word in line for line in found) == 1


@pytest.mark.parametrize("raw", [
    {"init_lora": "pissa", "base_weights": "4bit"}, {"init_lora": "olora", "base_weights": "8bit"},
    {"init_lora": "pissa", "lora_bias": "all"}, {"init_lora": "olora", "lora_bias": "lora_only"},
    {"base_weights": "fp8", "use_dora": True}, {"init_lora": "pissa", "use_dora": True},
    {"init_lora": "pissa", "use_rslora": True},
    {"early_stopping_patience": 1, "eval_every": "never"},
    {"early_stopping_patience": 1, "eval_rows": 0}, {"dataset": ""}, {"base_model": " "},
    {"target_modules": []}], ids=str)
def test_settings_that_contradict_each_other_are_told(raw):
    assert len(problems(raw)) == 1


def test_settings_survive_yaml(tmp_path):
    config = Config(dataset="数据.jsonl", instruction="Ist das 'gut': ja?\n- nein #", lora_r=7,
                    learning_rate=1e-5, target_modules=("q_proj", "v_proj"), use_dora=True,
                    modules_to_save=("lm_head",), revision="1e3", system_column="null")
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert load_yaml(path) == config


@given(st.fixed_dictionaries({}, optional={
    "instruction": st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])),
    "learning_rate": st.floats(1e-12, 1.0), "epochs": st.floats(0.001, 1000),
    "seed": st.integers(0, 2**32 - 1), "lora_r": st.integers(1, 1024), "packing": st.booleans()}))
def test_any_valid_settings_survive_yaml(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    config = Config.parse(raw)
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert load_yaml(path) == config


@pytest.mark.parametrize("content", ["lora_r: [", "- a\n- b\n", "", "42", b"\xff\xfe\x00"],
                         ids=repr)
def test_a_file_that_holds_no_settings_is_named(content, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match="mine.yaml"):
        read_settings(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="none.yaml"):
        load_yaml(tmp_path / "none.yaml")


def spy(monkeypatch) -> set[str]:
    """The names of the settings that are read as attributes from now on. Reading all of them in a
    loop with getattr, as checks and to_dict do, doesn't count."""
    seen: set[str] = set()

    def read(self, name):
        if name in FIELDS:
            frame = sys._getframe(1)
            # From Python 3.12 on, f_lasti may lie in the caches behind the instruction.
            at = [i for i in dis.get_instructions(frame.f_code) if i.offset <= frame.f_lasti][-1]
            if at.argval == name and not frame.f_code.co_filename.endswith("core/config.py"):
                seen.add(name)
        return object.__getattribute__(self, name)

    monkeypatch.setattr(Config, "__getattribute__", read, raising=False)
    return seen


def test_every_setting_is_read_on_the_journey_of_a_run(monkeypatch, folders, quick, tmp_path):
    from core.chat.talk import Talk
    from core.desk import Desk
    from core.model.hardware import Device, Formats
    from core.model.load import load_base
    from core.training import engine, notify, run
    from core.training.queue import Queue

    rows = tmp_path / "rows.jsonl"  # one of them too long
    rows.write_text("".join(json.dumps({"question": "?", "answer": "yes " * count}) + "\n"
                            for count in (1, 2, 3, 500)))
    quick = replace(quick, dataset=str(rows), eval_rows=1, max_steps=1, augment_copies=1,
                    general_share=0.5, general_dataset=str(rows))
    work = run.create(quick, folders.runs)
    cpu = Device("cpu", "CPU", 0, has_bf16=False)
    seen = spy(monkeypatch)
    Desk(folders).preview(quick.to_dict())
    Desk(folders).check(quick.to_dict())
    engine.train(work, folders)
    list(Talk(folders).answer({}, [work.id], [{"role": "user", "content": "Hi?"}],
                              {"max_new_tokens": 1}))
    notify.tell_end(work)
    Queue(folders)._requeued_by_itself(work, replace(work.status(), state="interrupted"))
    # What a machine without a fast GPU may lack is asked of the function alone.
    monkeypatch.setattr("core.model.load.AutoModelForCausalLM.from_pretrained",
                        lambda *_, **options: options["quantization_config"] and _Shape())
    load_base(folders.home, Formats("4bit", "fp32"), quick, cpu)
    assert set(FIELDS) - seen == set()


class _Shape:
    class config:
        use_cache = True
