"""Rows are chosen as asked: filters, repeated rows, leaks, spread; counts are known beforehand."""

import json
import time
from collections import Counter
from dataclasses import replace

import pytest

from core.config import Config
from core.data.build import open_dataset
from core.data.choosing.split import spread
from core.errors import UserError

LONG = "this is a long and winding question about the number {} of the many rivers in the world"


@pytest.fixture
def write(tmp_path):
    def write(rows: list[tuple[str, str]], name: str = "rows") -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows))
        return str(path)
    return write


def questions(opened, part: str = "train") -> list[str]:
    return list(getattr(opened, part)["question"])


@pytest.mark.parametrize(("settings", "kept"), [
    ({"min_characters": 20}, {2, 3, 4}), ({"max_characters": 20}, {0, 1}),
    ({"languages": ("en",)}, {0, 2, 4}), ({"languages": ("zh", "de")}, {1, 3}),
    ({"keep_pattern": "river|河"}, {1, 2}), ({"drop_pattern": r"\d{3}"}, {0, 1, 2, 3}),
    ({"keep_pattern": "^(?i)what"}, {0}), ({"min_characters": 20, "languages": ("en",)}, {2, 4})])
def test_filters_keep_the_rows_that_they_name(settings, kept, write, folders):
    rows = ["What is it?", "河在哪里？", "Where does the river end?",
            "Wo ist der Bahnhof und wie spät ist es?", "The room 404 is not to be found here."]
    config = Config(dataset=write([(q, "-") for q in rows]), eval_rows=0, **settings)
    opened = open_dataset(config, folders)
    assert {rows.index(q) for q in questions(opened)} == kept
    assert f"{5 - len(kept)} of 5 rows are left out by the filters" in opened.notes[0]


def test_filters_that_leave_nothing_are_told(write, folders):
    with pytest.raises(UserError, match="None of the 1 rows"):
        open_dataset(Config(dataset=write([("a", "b")]), min_characters=100), folders)


def test_an_expression_that_is_none_is_told(write, folders):
    with pytest.raises(UserError, match="Keep rows with"):
        open_dataset(Config(dataset=write([("a", "b")]), keep_pattern="(a"), folders)


def test_no_expression_can_hang(write, folders):
    path = write([("a" * 5000 + "b", "x"), ("c", "y")])
    began = time.monotonic()
    open_dataset(Config(dataset=path, eval_rows=0, drop_pattern="(a+)+$"), folders)
    assert time.monotonic() - began < 60


def test_equal_rows_are_left_out_when_asked(write, folders):
    rows = [(LONG.format(n % 30 * 7919), str(n % 30)) for n in range(50)]
    config = Config(dataset=write(rows), eval_rows=0)
    assert len(questions(open_dataset(config, folders))) == 50
    opened = open_dataset(replace(config, duplicates="leave equal ones out"), folders)
    assert len(questions(opened)) == len(set(questions(opened))) == 30
    assert "20 rows that repeat another one" in opened.notes[0]


def test_near_rows_are_left_out_when_asked_and_short_ones_with_one_instruction_kept(write, folders):
    near = LONG.format("seven")
    rows = [(near, "a"), (near.replace("long", "lengthy"), "a"), ("cold rain", "b"),
            ("warm sun", "c")]
    config = Config(dataset=write(rows), eval_rows=0, duplicates="leave near ones out",
                    instruction="Answer the following question about geography as well as you can.")
    assert set(questions(open_dataset(config, folders))) == {near, "cold rain", "warm sun"}


def test_training_rows_that_repeat_a_held_out_one_are_left_out(write, folders):
    every = [(f"{word} {word[::-1]} {word * 2}", "-") for word in map(str, range(7000, 7250, 10))]
    own, shared = every[:20], every[20:]
    config = Config(dataset=write(own + shared), eval_dataset=write(shared, "eval"), eval_rows=5,
                    duplicates="leave near ones out")
    opened = open_dataset(config, folders)
    assert set(questions(opened)) == {q for q, _ in own}
    assert any("5 training rows that repeat a held-out one" in note for note in opened.notes)


def test_a_data_set_of_its_own_is_held_out_whatever_its_columns(write, folders, tmp_path):
    (tmp_path / "eval.jsonl").write_text(json.dumps(
        {"messages": [{"role": "user", "content": "Hi?"},
                      {"role": "assistant", "content": "Hello."}]}) + "\n")
    config = Config(dataset=write([("a", "b")] * 4), eval_dataset=str(tmp_path / "eval.jsonl"))
    opened = open_dataset(config, folders)
    assert len(opened.train) == 4
    assert opened.messages(opened.held_out[0])[-1] == {"role": "assistant", "content": "Hello."}


@pytest.mark.parametrize(("share", "held"), [(0.2, 20), (0.01, 1), (0.5, 50)])
def test_a_share_is_held_out_where_one_is_given(share, held, write, folders):
    config = Config(dataset=write([(f"{n}?", str(n)) for n in range(100)]), eval_share=share)
    opened = open_dataset(config, folders)
    assert (len(opened.train), len(opened.held_out)) == (100 - held, held)
    assert not set(questions(opened)) & set(questions(opened, "held_out"))


def test_a_small_part_keeps_the_share_of_each_label(write, folders):
    rows = [(f"{n}?", "rare" if n % 10 == 0 else "common") for n in range(1000)]
    config = Config(dataset=write(rows), train_rows=50, eval_rows=20, stratify="by label")
    opened = open_dataset(config, folders)
    assert Counter(opened.train["answer"]) == {"common": 45, "rare": 5}
    assert Counter(opened.held_out["answer"]) == {"common": 18, "rare": 2}


def test_a_small_part_keeps_the_variety_of_lengths(write, folders):
    rows = [("x" * (n + 1), "-") for n in range(1000)]
    config = Config(dataset=write(rows), train_rows=20, eval_rows=0, stratify="by length")
    lengths = sorted(map(len, questions(open_dataset(config, folders))))
    assert Counter(length * 10 // 1001 for length in lengths) == dict.fromkeys(range(10), 2)


def test_answers_that_are_no_labels_cannot_spread_rows(write, folders):
    path = write([(f"{n}?", f"It is {n}.") for n in range(50)])
    with pytest.raises(UserError, match="50 different answers"):
        open_dataset(Config(dataset=path, stratify="by label"), folders)


def test_the_order_of_a_spread_is_decided_by_the_seed():
    strata = [0] * 30 + [1] * 3
    assert sorted(spread(strata, 1)) == list(range(33))
    assert (spread(strata, 1) == spread(strata, 1)).all()
    assert (spread(strata, 1) != spread(strata, 2)).any()
