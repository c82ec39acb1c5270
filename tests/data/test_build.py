"""From settings to the rows that are learned, with counts that add up."""

import copy
import json
from dataclasses import replace

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from core.config import Config
from core.data.build import open_dataset, require_rows, tokenize_rows
from core.errors import UserError


@pytest.fixture
def config(tmp_path) -> Config:
    """100 rows, each with an answer of its own."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": f"{n}?", "answer": f"It is {n}."}) + "\n"
                            for n in range(100)))
    return Config(dataset=str(path), eval_rows=20)


def answers(rows) -> set[str]:
    return {*rows["answer"]}


def test_rows_are_set_aside_from_the_training_split(config, folders):
    opened = open_dataset(config, folders)
    assert (len(opened.train), len(opened.held_out)) == (80, 20)
    assert not answers(opened.train) & answers(opened.held_out)


def test_an_evaluation_split_of_its_own_is_drawn_from(config, folders, tmp_path):
    (tmp_path / "set").mkdir()
    for split, first in (("train", 0), ("test", 1000)):
        (tmp_path / "set" / f"{split}.jsonl").write_text("".join(
            json.dumps({"question": "?", "answer": str(first + n)}) + "\n" for n in range(50)))
    opened = open_dataset(replace(config, dataset=str(tmp_path / "set"), eval_split="test",
                                  train_rows=30), folders)
    assert (len(opened.train), len(opened.held_out)) == (30, 20)
    assert all(int(answer) < 1000 for answer in opened.train["answer"])
    assert all(int(answer) >= 1000 for answer in opened.held_out["answer"])


@pytest.mark.parametrize("eval_split", ["test", "train"])
def test_no_row_is_learned_and_held_out_when_the_splits_are_one_file(config, folders, eval_split):
    try:
        opened = open_dataset(replace(config, eval_split=eval_split), folders)
    except UserError:
        return
    assert not answers(opened.train) & answers(opened.held_out)


def test_nothing_is_held_out_where_no_evaluation_rows_are_wanted(config, folders):
    opened = open_dataset(replace(config, eval_rows=0), folders)
    assert (len(opened.train), opened.held_out) == (100, None)


def test_a_single_row_is_learned_and_none_held_out(config, folders, tmp_path):
    (tmp_path / "one.jsonl").write_text('{"question": "?", "answer": "!"}\n')
    opened = open_dataset(replace(config, dataset=str(tmp_path / "one.jsonl")), folders)
    assert (len(opened.train), opened.held_out) == (1, None)


def test_label_ids_of_a_data_set_become_words(config, folders, monkeypatch):
    rows = Dataset.from_dict({"text": ["Good", "Bad"], "label": [1, 0]}, Features(
        {"text": Value("string"), "label": ClassLabel(names=["very_bad", "good"])}))
    monkeypatch.setattr("core.data.reading.sources.open_rows", lambda *_: rows)
    opened = open_dataset(replace(config, eval_rows=0), folders)
    assert {opened.messages(row)[-1]["content"] for row in opened.train} == {"very bad", "good"}


def test_a_sample_is_asked_with_its_own_instruction_or_with_the_persons(folders):
    config = Config(train_rows=1, eval_rows=0)
    opened = open_dataset(config, folders)
    own = opened.messages(opened.train[0])[0]["content"]
    assert own.startswith("Is this film review positive or negative?\n")
    opened = open_dataset(replace(config, instruction="Good?"), folders)
    assert opened.messages(opened.train[0])[0]["content"] == own.replace(
        "Is this film review positive or negative?", "Good?")


def test_a_row_that_does_not_fit_its_layout_is_shown_in_a_user_error(folders, tmp_path):
    (tmp_path / "a.json").write_text('[{"messages": [{"speaker": "user", "content": "Hi?"}]}]')
    opened = open_dataset(Config(dataset=str(tmp_path / "a.json"), eval_rows=0), folders)
    with pytest.raises(UserError, match="speaker"):
        opened.messages(opened.train[0])


def write_lengths(tmp_path, answers: list[str]) -> str:
    path = tmp_path / "lengths.jsonl"
    path.write_text("".join(json.dumps({"question": "?", "answer": a}) + "\n" for a in answers))
    return str(path)


@pytest.mark.parametrize("too_long, used, cut, dropped", [("cut", 3, 1, 0), ("drop", 2, 0, 1)])
def test_the_report_counts_what_happened_to_the_rows(
        too_long, used, cut, dropped, folders, tmp_path, tokenizer):
    config = Config(dataset=write_lengths(tmp_path, ["one", "two", "", "long " * 200]),
                    eval_rows=0, too_long=too_long, max_length=128)
    opened = open_dataset(config, folders)
    examples, report = tokenize_rows(opened, opened.train, config, tokenizer)
    assert (report.rows, report.used_rows, report.empty_rows) == (4, used, 1)
    assert (report.cut_rows, report.dropped_rows) == (cut, dropped)
    assert report.tokens == sum(len(example.ids) for example in examples)
    assert report.learned_tokens == sum(example.learned for example in examples)
    assert report.lost_learned_tokens > 0
    assert all(len(example.ids) <= 128 for example in examples)


def test_the_fingerprint_is_that_of_the_rows(config, folders, tokenizer):
    def fingerprint(**changes):
        changed = replace(config, **changes)
        opened = open_dataset(changed, folders)
        return tokenize_rows(opened, opened.train, changed, tokenizer)[1].fingerprint
    assert fingerprint() == fingerprint()
    assert fingerprint() != fingerprint(data_seed=7)


def test_no_row_left_is_told_with_the_counts(folders, tmp_path, tokenizer):
    config = Config(dataset=write_lengths(tmp_path, ["", "", "long " * 200]), eval_rows=0,
                    too_long="drop", max_length=64)
    opened = open_dataset(config, folders)
    examples, report = tokenize_rows(opened, opened.train, config, tokenizer)
    with pytest.raises(UserError, match="None of the 3 training rows.* 2 .* 1 ") as caught:
        require_rows(examples, report, "training")
    assert "Max length" in caught.value.remedy


def test_progress_is_reported_up_to_the_last_row(config, folders, tokenizer):
    seen = []
    opened = open_dataset(config, folders)
    tokenize_rows(opened, opened.held_out, config, tokenizer,
                  lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)


def test_the_tutorials_rows_are_those_that_datasets_draws(folders, tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {n}", "label": 0}) + "\n"
                            for n in range(2000)))
    config = Config(dataset=str(path), layout="text", train_rows=500, eval_rows=0, data_seed=42)
    expected = Dataset.from_list([{"text": f"text {n}"} for n in range(2000)]).shuffle(
        seed=42).select(range(500))
    assert open_dataset(config, folders).train["text"][:] == expected["text"][:]


@pytest.mark.parametrize("writes_the_day, folders_made", [(True, 2), (False, 1)])
def test_rows_of_a_template_that_writes_the_day_are_tokenized_anew_each_day(
        writes_the_day, folders_made, config, folders, tokenizer, monkeypatch):
    changed = copy.copy(tokenizer)
    if writes_the_day:
        changed.chat_template = "{{ strftime_now('%d %b %Y') }} " + tokenizer.chat_template
    opened = open_dataset(config, folders)
    for day in ("2026-01-31", "2026-01-31", "2026-02-01"):
        monkeypatch.setattr("core.data.build.time.strftime", lambda form, day=day: day)
        found, _ = tokenize_rows(opened, opened.train, config, changed)
        assert len(found) == 80
    assert len(list((folders.home / "cache" / "tokens").glob("[!.]*"))) == folders_made
