"""Many rows at once say the same as each row alone; kept in a cache; stopped when that is asked."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import Config
from core.data import build
from core.data.build import open_dataset, tokenize_rows
from core.data.tokens import bulk
from core.data.tokens.frames import frames_of
from core.data.tokens.template import segments
from core.data.tokens.tokenize import IGNORED, Marks, encode, laid_out

WORDS = ["snow", "Schnee", "雪是白的", "👍🏽", "def f(x):\n\treturn x", "</think>", "<|im_end|>",
         "  ", "\n", "[INST]", "user", "{{ x }}", "é"]
contents = st.lists(st.sampled_from(WORDS) | st.text("ab \n<>雪", max_size=8), max_size=4).map(
    "".join)
turns = st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), contents), min_size=1,
                 max_size=5).map(lambda pairs: [{"role": r, "content": c} for r, c in pairs])
NAMES = sorted(path.stem for path in (Path(__file__).parent / "templates").glob("*.jinja"))
TOO_LONG = ["cut", "cut left", "cut context", "drop", "split"]


def dialogues(count: int, seed: int = 0) -> list[dict]:
    draw = random.Random(seed)
    rows = [{"messages": [
        {"role": ["user", "assistant"][n % 2],
         "content": " ".join(draw.choice(WORDS) for _ in range(draw.randint(0, 30)))}
        for n in range(draw.choice([1, 2, 2, 2, 4]))]} for _ in range(count)]
    return rows


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in dialogues(70)), encoding="utf-8")
    return Config(dataset=str(path), eval_rows=0, max_length=64)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(messages=turns)
def test_a_frame_writes_what_the_template_writes(name, tokenizers, messages):
    tokenizer = tokenizers[name]
    framed = frames_of(tokenizer).framed(messages)
    assert framed is None or framed == segments(messages, tokenizer)


def test_a_turn_that_a_template_puts_elsewhere_is_written_there(tokenizers):
    messages = [{"role": role, "content": words} for role, words in (
        ("user", "Is snow white?"), ("system", "Be brief."), ("assistant", "Yes."))]
    tokenizer = tokenizers["glm4_0414"]  # it puts system turns first
    assert frames_of(tokenizer).framed(messages) == segments(messages, tokenizer)


def test_usual_dialogues_of_each_family_need_no_rendering(family, tokenizers):
    messages = [{"role": "user", "content": "Is snow white?"},
                {"role": "assistant", "content": "Yes, it is."}]
    frames = frames_of(tokenizers[family.name])
    assert frames.framed(messages) == segments(messages, tokenizers[family.name])


def test_a_template_that_does_what_its_frame_does_not_show_is_rendered(tokenizers, monkeypatch):
    """Here one that looks at a character by its place."""
    monkeypatch.setattr(tokenizers["smollm2"], "chat_template", (
        "{% for m in messages %}{% if m.content[1] == '!' %}BANG{% endif %}{{ m.content }}"
        "{{ eos_token }}{% endfor %}"))
    batch = [[{"role": "user", "content": f"a!{n}"}, {"role": "assistant", "content": "yes"}]
             for n in range(3)]
    work = bulk._Work(Marks(tokenizers["smollm2"]), frames_of(tokenizers["smollm2"]),
                      bulk.Plan("answers", 100, "cut"))
    assert [row[0].text[:4] for row in work.segments(batch)] == ["BANG"] * 3


@pytest.mark.parametrize("loss_on", ["answers", "last answer", "all tokens"])
@pytest.mark.parametrize("too_long", TOO_LONG)
def test_all_rows_at_once_are_what_each_row_is_alone(
        dataset, folders, tokenizer, too_long, loss_on, monkeypatch):
    monkeypatch.setattr(bulk, "BATCH_ROWS", 20)
    config = replace(dataset, too_long=too_long, loss_on=loss_on)
    opened = open_dataset(config, folders)
    found, report = tokenize_rows(opened, opened.train, config, tokenizer)
    alone = [opened.example(row, config, tokenizer) for row in opened.train]
    if too_long == "drop":
        alone = [example for example in alone if not len(example.lost[0])]
    if too_long == "split":
        assert sum(e.learned for e in found) == sum(e.learned for e in alone)
    else:
        taught = [example for example in alone if example.learned]
        assert [(list(e.ids), list(e.labels)) for e in found] == [
            (e.ids, e.labels) for e in taught]
    assert all(len(e.ids) <= 64 and e.learned for e in found)
    assert report.tokens == sum(found.lengths)
    assert report.learned_tokens == sum(e.learned for e in found)


def test_what_each_row_lost_is_kept_by_row(dataset, folders, tokenizer):
    opened = open_dataset(dataset, folders)
    found, report = tokenize_rows(opened, opened.train, dataset, tokenizer)
    whole = [laid_out(opened.messages(row), Marks(tokenizer), "answers") for row in opened.train]
    assert list(found.row_lengths) == [len(row.ids) for row in whole]
    assert report.longest_row == max(found.row_lengths)
    lost = [opened.example(row, dataset, tokenizer).lost_learned for row in opened.train]
    assert list(found.row_lost) == lost and sum(lost) == report.lost_learned_tokens
    assert report.rows_losing_answer == sum(count > 0 for count in lost) > 0
    sources = [opened.train[int(index)] for index in found.sources]
    assert [opened.example(row, dataset, tokenizer).ids for row in sources] == [
        list(example.ids) for example in found]


def test_rows_lie_on_disk_and_are_read_one_by_one(dataset, folders, tokenizer):
    opened = open_dataset(dataset, folders)
    found, _ = tokenize_rows(opened, opened.train, dataset, tokenizer)
    assert list(found[-1].ids) == list(found[len(found) - 1].ids)
    with pytest.raises(IndexError):
        found[len(found)]


def test_the_second_time_nothing_is_tokenized(dataset, folders, tokenizer, monkeypatch):
    opened = open_dataset(dataset, folders)
    first = tokenize_rows(opened, opened.train, dataset, tokenizer)
    monkeypatch.setattr(build, "tokenize", lambda *_: pytest.fail("tokenized again"))
    again = open_dataset(dataset, folders)
    second = tokenize_rows(again, again.train, dataset, tokenizer)
    assert second[1] == first[1]
    assert [list(e.labels) for e in second[0]] == [list(e.labels) for e in first[0]]


@pytest.mark.parametrize("change", [
    {"max_length": 32}, {"loss_on": "all tokens"}, {"too_long": "drop"}, {"instruction": "Be!"},
    {"label_words": "no, yes"}, {"data_seed": 7}, {"train_rows": 20}], ids=str)
def test_other_settings_are_tokenized_anew(dataset, folders, tokenizer, monkeypatch, change):
    opened = open_dataset(dataset, folders)
    tokenize_rows(opened, opened.train, dataset, tokenizer)
    called = []
    monkeypatch.setattr(build, "tokenize", lambda *work: called.append(1) or bulk.tokenize(*work))
    changed = replace(dataset, **change)
    opened = open_dataset(changed, folders)
    tokenize_rows(opened, opened.train, changed, tokenizer)
    assert called


def test_work_that_is_cancelled_leaves_nothing_half_done(dataset, folders, tokenizer, monkeypatch):
    monkeypatch.setattr(bulk, "BATCH_ROWS", 10)
    opened = open_dataset(dataset, folders)
    seen = []

    class Cancelled(Exception):
        pass

    def on_progress(done: int, total: int) -> None:
        seen.append(done / total)
        if done > total / 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        tokenize_rows(opened, opened.train, dataset, tokenizer, on_progress)
    assert seen == sorted(seen) and len(seen) > 3
    assert not list((folders.home / "cache" / "tokens").glob("*"))
    assert len(tokenize_rows(opened, opened.train, dataset, tokenizer)[0])


def test_a_tokenizer_without_the_rust_library_gives_the_same(dataset, folders, tokenizer,
                                                            monkeypatch):
    opened = open_dataset(dataset, folders)
    quick = [list(e.ids) for e in tokenize_rows(opened, opened.train, dataset, tokenizer)[0]]
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    slow = [list(e.ids) for e in tokenize_rows(opened, opened.train, dataset, tokenizer)[0]]
    assert slow == quick


def test_a_dialogue_that_the_template_refuses_is_told_in_words(tokenizers, folders):
    rows = Dataset.from_dict({"messages": [[{"role": "user", "content": "?"},
                                            {"role": "assistant", "content": "!"}]]})
    opened = replace(open_dataset(Config(train_rows=1, eval_rows=0), folders), train=rows)
    opened = replace(opened, layout=build.layouts.recognise(rows[0]))
    tokenizer = build_refusing(tokenizers["smollm2"])
    with pytest.raises(build.UserError, match="dialogue of user.*never"):
        tokenize_rows(opened, rows, Config(), tokenizer)


def build_refusing(tokenizer):
    import copy

    refusing = copy.copy(tokenizer)
    refusing.chat_template = "{{ raise_exception('never') }}"
    return refusing


@pytest.mark.parametrize("too_long", TOO_LONG)
@settings(max_examples=15, deadline=None)
@given(question=contents, answer=contents, max_length=st.integers(16, 80))
def test_labels_are_the_ids_themselves_and_never_context(tokenizers, too_long, question, answer,
                                                         max_length):
    tokenizer = tokenizers["smollm2"]
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    example = encode(messages, tokenizer, "answers", max_length, too_long)
    assert len(example.ids) == len(example.labels)
    assert all(label in (IGNORED, token) for token, label in
               zip(example.ids, example.labels, strict=True))
    whole = encode(messages, tokenizer, "answers", 100_000)
    # What is left behind a cut on the left begins with a token that nothing predicts.
    assert whole.learned - example.learned - example.lost_learned in (
        (0, 1) if too_long == "cut left" else (0,))
    if too_long != "split":
        assert len(example.ids) <= max_length
