"""The desk checks a data set before a run is started, and shows rows while it counts."""

import json
from dataclasses import replace

import pytest

from core.data.build import open_dataset, tokenize_rows
from core.desk import Desk
from core.errors import UserError


@pytest.fixture
def desk(folders) -> Desk:
    return Desk(folders)


def test_settings_that_can_run_pass_the_check(desk, quick):
    desk.check(quick.to_dict())


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"max_length": 16}, "teach nothing"), ({"paraphrase_share": 1.0}, "not written yet"),
    ({"prompt_column": "answer", "answer_column": "nothing"}, "no column")])
def test_what_the_audit_finds_red_stops_the_start(desk, quick, settings, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        desk.check(replace(quick, **settings).to_dict())
    assert caught.value.remedy


def test_rows_are_found_by_length_and_by_what_they_lose(desk, quick, tmp_path, wait_for):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": f"{n}?", "answer": "word " * (n % 10)}) + "\n"
                            for n in range(30)))
    settings = replace(quick, dataset=str(path), eval_rows=0, max_length=64).to_dict()
    wait_for(lambda: desk.look(settings).get("finished"), "the survey finished")
    first = desk.find_row(settings, "train", "longest", 0)
    rows = [list(desk.preview(settings, "train", index))[-1] for index in range(30)]
    longest = max(len(row["tokens"]) for row in rows)
    assert len(rows[first["index"]]["tokens"]) == longest
    loses = desk.find_row(settings, "train", "loses", 0)["index"]
    expected = next((i for i, row in enumerate(rows) if "part of what" in row["note"]), None)
    assert loses == expected


def test_rows_beyond_the_sample_are_found_once_they_are_tokenized(
        desk, quick, folders, tmp_path, tokenizer, wait_for, monkeypatch):
    monkeypatch.setattr("core.data.looking.survey.MOST_ROWS", 20)

    def rows(name: str, long: str = ""):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"question": f"{n}?", "answer": "word " * (
            300 if f"{n}?" == long else 1 + n % 9)}) + "\n" for n in range(40)))
        config = replace(quick, dataset=str(path), eval_rows=0, max_length=160)
        return config, open_dataset(config, folders)
    longest = 30
    config, opened = rows("long", rows("short")[1].train[longest]["question"])
    settings = config.to_dict()
    wait_for(lambda: desk.look(settings).get("finished"), "the survey finished")
    assert desk.find_row(settings, "train", "longest", 0)["index"] < 20
    assert desk.find_row(settings, "train", "loses", 0)["index"] is None
    tokenize_rows(opened, opened.train, config, tokenizer)  # as a run does
    assert desk.find_row(settings, "train", "longest", 0)["index"] == longest
    assert desk.find_row(settings, "train", "loses", 0)["index"] == longest


def test_a_wrong_setting_is_told_by_a_look(desk):
    told = desk.look({"max_length": "abc"})
    assert told["state"] == "failed" and "found 'abc'" in told["problem"]


def test_a_row_is_shown_while_thousands_are_looked_at(desk, quick, tmp_path):
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps({
        "question": f"What is {n} and {n * 7}?", "answer": f"Two numbers, {n}."}) + "\n"
        for n in range(5000)))
    settings = replace(quick, dataset=str(path)).to_dict()
    list(desk.preview(settings, "train", 0))
    assert not desk.look(settings).get("finished")
    list(desk.preview(settings, "train", 4000))
    assert not desk.look(settings).get("finished")
