"""Several data sets in one, by weight and share; originals and held-out rows stay as they were."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from core.config import Config
from core.data.build import open_dataset, tokenize_rows
from core.data.choosing.mix import wanted_general
from core.data.choosing.parts import Part, parts
from core.data.messages import dialogues
from core.errors import UserError


@pytest.fixture
def config(tmp_path) -> Config:
    """90 rows to learn and 10 held out."""
    path = tmp_path / "main.jsonl"
    path.write_text("".join(json.dumps({"question": f"{n}?", "answer": f"It is {n}."}) + "\n"
                            for n in range(100)))
    return Config(dataset=str(path), eval_rows=10)


@pytest.fixture
def texts(tmp_path) -> str:
    """Ten rows of another layout."""
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"messages": [
        {"role": "user", "content": f"Say {n}."}, {"role": "assistant", "content": f"{n}"}]}) + "\n"
        for n in range(10)))
    return str(path)


def origins(opened) -> Counter:
    return Counter(opened.train[dialogues.ORIGIN])


@pytest.mark.parametrize(("text", "found"), [
    ("", []), ("sample:a", [Part("a", "sample:a", 1.0)]),
    ("b = /data/x.csv * 0.5\n\n sample:a * 2 ", [Part("b", "/data/x.csv", 0.5),
                                                 Part("a", "sample:a", 2.0)])])
def test_a_line_names_a_data_set_with_name_and_weight(text, found):
    assert parts(text) == found


@pytest.mark.parametrize("text", ["a * 0", "a * -1", "a * much", "a\na", "b = a * nan",
                                  "general = a"])
def test_a_line_that_makes_no_sense_is_told(text):
    with pytest.raises(UserError):
        parts(text)


@pytest.mark.parametrize(("share", "rows"), [(0.1, 10), (0.5, 90), (0.05, 5)])
def test_the_share_of_general_rows_is_that_of_all(share, rows):
    assert wanted_general(90, share) == rows


def test_general_rows_make_their_share_and_none_is_held_out(config, folders):
    opened = open_dataset(replace(config, general_share=0.25), folders)
    assert origins(opened) == {"main.jsonl": 90, "general": 30}
    assert len(opened.held_out) == 10 and "question" in opened.held_out.column_names
    assert "'general' adds 30 rows" in opened.notes


def test_other_data_sets_join_by_weight_whatever_their_layout(config, folders, texts):
    opened = open_dataset(replace(config, mix=f"texts = {texts} * 0.1"), folders)
    assert origins(opened) == {"main.jsonl": 90, "texts": 9}
    row = next(row for row in opened.train if row[dialogues.ORIGIN] == "texts")
    assert opened.messages(row)[0]["content"].startswith("Say ")
    assert opened.raw(row)["messages"][0]["content"] == opened.messages(row)[0]["content"]


def test_a_small_data_set_is_repeated_four_times_at_most(config, folders, texts):
    opened = open_dataset(replace(config, mix=f"texts = {texts} * 2"), folders)
    answers = Counter(opened.messages(row)[-1]["content"] for row in opened.train
                      if row[dialogues.ORIGIN] == "texts")
    assert set(answers.values()) == {4} and len(answers) == 10
    assert any("180 were wanted" in note for note in opened.notes)


def test_a_part_with_the_name_of_the_main_one_is_told(config, folders):
    with pytest.raises(UserError, match="main data set's name"):
        open_dataset(replace(config, mix=config.dataset), folders)


def test_mixed_rows_are_tokenized_as_each_by_itself(config, folders, texts, tokenizer):
    mixed = replace(config, mix=f"texts = {texts} * 0.1")
    opened = open_dataset(mixed, folders)
    examples, report = tokenize_rows(opened, opened.train, mixed, tokenizer)
    assert report.used_rows == 99
    alone = open_dataset(config, folders)
    wanted = {tuple(alone.example(row, config, tokenizer).ids) for row in alone.train}
    assert wanted <= {tuple(example.ids) for example in examples}


def test_the_same_settings_give_the_same_rows(config, folders):
    mixed = replace(config, general_share=0.2)
    first, second = (open_dataset(mixed, folders).train for _ in range(2))
    assert first[dialogues.DIALOGUE][:] == second[dialogues.DIALOGUE][:]
    assert first._fingerprint == second._fingerprint
