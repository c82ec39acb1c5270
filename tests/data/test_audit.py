"""What is planted in hand-made rows is found by the audit, with its rows and its remedy."""

import json
import random
import time
from dataclasses import replace

import pytest

from core.config import Config
from core.data.build import open_dataset
from core.data.looking import audit, room
from core.data.looking.audit import AMBER, GREEN, RED, Finding
from core.data.looking.room import DataRoom, search, template_words
from core.data.looking.survey import Survey, histogram, label_counts, survey

SYLLABLES = ["ka", "lo", "mi", "ru", "ten", "sha", "vor", "pel", "dis", "gan"]


def plain(count: int) -> list[tuple[str, str]]:
    """Rows in which nothing is wrong: English, different, with answers."""
    draw = random.Random(7)

    def words(number: int) -> str:
        return " ".join("the " + "".join(draw.choices(SYLLABLES, k=3)) for _ in range(number))

    return [(f"What is {words(5)} and how was {words(4)}?", f"That is {words(2)}.")
            for _ in range(count)]


@pytest.fixture
def look(tmp_path, folders, tokenizer):
    """The finished survey and the findings by the name of their check."""
    def look(rows: list[tuple[str, str]], held_out: list[tuple[str, str]] = (), **settings
             ) -> tuple[Survey, dict[str, Finding], object]:
        for name, some in (("rows", rows), ("eval", held_out)):
            (tmp_path / f"{name}.jsonl").write_text("".join(
                json.dumps({"question": q, "answer": a}) + "\n" for q, a in some))
        config = Config(**{"dataset": str(tmp_path / "rows.jsonl"), "eval_rows": len(held_out),
                           "eval_dataset": str(tmp_path / "eval.jsonl") if held_out else "",
                           **settings})
        opened = open_dataset(config, folders)
        *_, found = survey(opened, config, tokenizer)
        findings = audit.audit(found, config, template_words(opened, tokenizer))
        return found, {f.check: f for f in reversed(findings)}, opened
    return look


def texts_of(finding: Finding, opened) -> set[str]:
    parts = {"train": opened.train, "eval": opened.held_out}
    return {opened.messages(parts[part][index])[0]["content"] for part, index in finding.rows}


def test_rows_without_fault_are_all_green(look):
    found, findings, _ = look(plain(100), plain(400)[300:320])
    assert found.finished and found.share == 1.0
    assert {f.level for f in findings.values()} == {GREEN}


def test_what_was_not_found_in_a_sample_says_how_many_rows_were_looked_at(look, monkeypatch):
    """Rows that repeat a held-out one, where nobody looks."""
    rows, held_out = plain(100), plain(400)[300:320]
    _, _, opened = look(rows, held_out)
    last = set(opened.train["question"][80:])
    rows = [held_out[0] if row[0] in last else row for row in rows]
    monkeypatch.setattr("core.data.looking.survey.MOST_ROWS", 80)
    found, findings, _ = look(rows, held_out)
    assert "Looked at: 100 of 120 rows." in findings["Leakage"].words
    assert all("Looked at" in f.words for f in findings.values() if f.level == GREEN)
    monkeypatch.undo()
    found, findings, _ = look(rows, held_out)
    assert findings["Leakage"].level == AMBER
    assert not any("Looked at" in f.words for f in findings.values())


def test_empty_answers_are_amber_and_red_where_most_are_empty(look):
    _, findings, opened = look(plain(60) + [("Empty?", ""), ("Blank?", "  ")])
    assert findings["Answers"].level == AMBER
    assert len(findings["Answers"].rows) == 2
    _, findings, _ = look(plain(20) + [(f"{n}?", "") for n in range(40)])
    assert findings["Answers"].level == RED


def test_answers_that_are_cut_off_name_the_length_that_keeps_them(look):
    rows = plain(60) + [("Long?", "word " * 400)]
    found, findings, opened = look(rows, max_length=400)
    assert findings["Cut off"].level == AMBER
    assert texts_of(findings["Cut off"], opened) == {"Long?"}
    settings = dict(findings["Cut off"].fixes)
    enough = next(s["max_length"] for s in settings.values() if "max_length" in s)
    _, mended, _ = look(rows, max_length=enough)
    assert mended["Cut off"].level == GREEN
    assert found.parts["train"].lost_learned.count(0) == 60


def test_rows_whose_answer_lies_beyond_the_max_length_are_red_where_they_are_most(look):
    _, findings, _ = look([(q + " word" * 300, a) for q, a in plain(60)], max_length=64)
    assert findings["Teaches something"].level == RED
    assert findings["Teaches something"].fixes


def test_repeated_rows_are_found_with_the_row_that_they_repeat(look):
    near = plain(1)[0][0].replace("What is", "What's")
    _, findings, opened = look([*plain(60), plain(60)[5], plain(60)[6], (near, plain(1)[0][1])])
    assert findings["Repeated rows"].level == AMBER
    assert "3 of 63" in findings["Repeated rows"].words
    assert {near, plain(1)[0][0], plain(6)[5][0]} <= texts_of(findings["Repeated rows"], opened)
    assert findings["Repeated rows"].fixes[0][1] == {"duplicates": "leave near ones out"}


def test_leaks_are_told_in_rows_of_both_parts(look):
    held_out = plain(400)[300:310]
    leak = (held_out[4][0], "Another answer altogether.")
    found, findings, opened = look([*plain(60), held_out[2], leak], held_out)
    assert findings["Leakage"].level == AMBER
    assert findings["Leakage"].words.startswith("2 training rows repeat 2 of the 10")
    assert texts_of(findings["Leakage"], opened) == {held_out[2][0], held_out[4][0]}


def test_uneven_labels_and_contradictions_are_told(look):
    rows = [(q, "no" if n % 20 else "yes") for n, (q, _) in enumerate(plain(60))]
    found, findings, opened = look(rows)
    assert label_counts(found.parts["train"]) == [("no", 57), ("yes", 3)]
    assert findings["Labels"].level == AMBER and len(findings["Labels"].rows) == 3
    even = [(q, "yes" if n % 2 else "no") for n, (q, _) in enumerate(plain(60))]
    _, findings, _ = look(even)
    assert findings["Labels"].level == GREEN
    _, findings, opened = look([*even, (even[0][0], "yes")])
    assert texts_of(findings["Labels"], opened) == {even[0][0]}


def test_personal_data_is_counted_by_kind(look):
    rows = [*plain(60), ("Mail ann@example.org", "Done."), ("Ring 13800138000", "Done.")]
    _, findings, opened = look(rows)
    assert findings["Personal data"].level == AMBER
    assert texts_of(findings["Personal data"], opened) == {r[0] for r in rows[60:]}
    pattern = findings["Personal data"].fixes[0][1]["drop_pattern"]
    _, findings, _ = look(rows, drop_pattern=pattern)
    assert "1 rows" in findings["Personal data"].words


def test_stray_languages_are_told_and_can_be_left_out(look):
    rows = [*plain(60), *[(f"这是第{n}个问题，请回答一下", "好的，没问题。") for n in range(3)]]
    _, findings, opened = look(rows)
    assert findings["Languages"].level == AMBER and len(findings["Languages"].rows) == 3
    label, settings = findings["Languages"].fixes[0]
    assert settings == {"languages": ["en"]}
    _, findings, _ = look(rows, languages=("en",))
    assert findings["Languages"].level == GREEN


def test_marks_of_another_template_and_damaged_characters_are_told(look):
    rows = [*plain(60), ("[INST] Hi? [/INST]", "Hello."), ("Caf\ufffd?", "Yes.")]
    _, findings, opened = look(rows)
    assert texts_of(findings["Template"], opened) == {"[INST] Hi? [/INST]"}
    assert texts_of(findings["Characters"], opened) == {"Caf\ufffd?"}


def test_plain_text_for_a_chat_model_is_told(look):
    _, findings, _ = look(plain(60), layout="text", prompt_column="question", loss_on="all tokens")
    assert findings["Template"].level == AMBER and "plain text" in findings["Template"].words


def test_few_rows_are_told_with_a_remedy(look):
    _, findings, _ = look(plain(25), eval_rows=5)
    assert findings["Amount"].level == AMBER
    fixes = [settings for _, settings in findings["Amount"].fixes]
    assert fixes[0] == {"augment_copies": 2}
    offered = {name for settings in fixes for name in settings}
    assert offered >= {"lora_dropout", "weight_decay", "neftune_noise_alpha", "epochs",
                       "early_stopping_patience"}
    for settings in fixes:  # each can be taken as it is
        Config.parse(Config().to_dict() | settings)


def test_changed_copies_are_no_repeated_rows(look):
    _, findings, _ = look(plain(60), augment_copies=2, typo_rate=0.05)
    assert findings["Repeated rows"].level == GREEN


def test_every_remedy_is_a_valid_setting(look):
    rows = [(q, "no" if n % 20 else "") for n, (q, _) in enumerate(plain(30))] + [
        ("Mail ann@example.org", "word " * 400)] * 3
    _, findings, _ = look(rows, max_length=128)
    fixes = [settings for f in findings.values() for _, settings in f.fixes]
    assert len(fixes) >= 5
    for settings in fixes:
        Config.parse(settings)


def test_the_histogram_counts_every_row_and_those_beyond_the_cut(look):
    found, _, _ = look(plain(60) + [("Long?", "word " * 400)], max_length=300)
    shown = histogram(found.parts["train"], 300)
    assert sum(shown["counts"]) == shown["rows"] == 61
    assert shown["rows_cut"] == 1 and shown["longest"] == max(found.parts["train"].tokens)


# ---- the room --------------------------------------------------------------------------


@pytest.fixture
def data_room(folders) -> DataRoom:
    return DataRoom(folders)


def ask(data_room, config, tokenizer) -> dict:
    return data_room.look(config, lambda report: tokenizer, lambda opened: "")


def test_a_look_grows_from_opening_to_finished(data_room, tokenizer, wait_for, colours):
    config = Config(dataset=str(colours), eval_rows=8)
    assert ask(data_room, config, tokenizer)["state"] in ("opening", "open")
    shown = wait_for(lambda: (s := ask(data_room, config, tokenizer)).get("finished") and s,
                     "the survey finished")
    assert shown["rows"] == {"train": 56, "eval": 8}
    assert dict(shown["facts"])["Training rows"] == "56"
    json.dumps(shown)


def test_pairs_say_what_they_are_made_for(data_room, tokenizer, wait_for, tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Is {n} even?", "chosen": "Look at its end.",
                                        "rejected": "No idea."}) + "\n" for n in range(12)))
    config = Config(dataset=str(path), eval_rows=2)
    shown = wait_for(lambda: (s := ask(data_room, config, tokenizer)).get("finished") and s,
                     "the survey finished")
    assert shown["layout"] == "preference" and "DPO" in shown["notes"][0]


def test_a_problem_is_told_as_two_sentences(data_room, tokenizer, wait_for):
    config = Config(dataset="/nowhere/rows.csv")
    shown = wait_for(lambda: (s := ask(data_room, config, tokenizer))["state"] == "failed" and s,
                     "it failed")
    assert "There is no data set" in shown["problem"] and shown["remedy"]


def test_a_look_that_nobody_asks_for_ends_and_begins_anew(
        data_room, tokenizer, wait_for, colours, monkeypatch):
    monkeypatch.setattr(room, "FORGOTTEN", 0.2)
    begun = []

    def endless(*_):
        begun.append(True)
        while True:
            time.sleep(0.05)
            yield Survey({}, 128)

    monkeypatch.setattr(room, "survey", endless)
    monkeypatch.setattr(room.audit, "audit", lambda *_: [])
    monkeypatch.setattr(room.summary, "shown", lambda *_: {})
    config = Config(dataset=str(colours))

    def rests() -> bool:
        return not any(look.at_work for look in data_room._looks.values())

    ask(data_room, config, tokenizer)
    wait_for(lambda: begun and rests(), "the work ended")
    ask(data_room, config, tokenizer)
    wait_for(lambda: len(begun) == 2, "it began anew")
    wait_for(rests, "it ended again, before the patches do")


def test_a_change_of_the_max_length_opens_nothing_again(data_room, colours, monkeypatch):
    opened = []
    monkeypatch.setattr(room.build, "open_dataset", lambda *_: opened.append(True) or "opened")
    config = Config(dataset=str(colours))
    for length in (64, 128, 64):
        assert data_room.opened(replace(config, max_length=length)) == "opened"
    assert len(opened) == 1


def test_rows_are_found_by_text_in_any_column(folders, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"messages": [
        {"role": "user", "content": f"Where is {n}?"}, {"role": "assistant", "content": "Here"}],
        "topic": "Rivers" if n == 7 else "none"}) + "\n" for n in range(10)))
    rows = open_dataset(Config(dataset=str(path), eval_rows=0), folders).train
    at = search(rows, "rivers", 0)
    assert rows[at["index"]]["topic"] == "Rivers"
    at = search(rows, "where is 3", 0)
    assert "Where is 3?" in str(rows[at["index"]])
    assert search(rows, "rivers", rows["topic"][:].index("Rivers") + 1)["index"] is None
