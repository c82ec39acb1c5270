"""Changed copies: questions change, answers, labels, negations and originals don't."""

import json
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import Config
from core.data.build import open_dataset
from core.data.changing import augment, change, paraphrase, synonyms
from core.data.messages import dialogues
from core.errors import UserError

REVIEW = "The teacher was not happy with his automobile, but the hospital in Paris had 3 good beds."
THESAURUS = {"teacher": ["instructor"], "automobile": ["car"], "hospital": ["clinic"],
             "good": ["bad"], "酒店": ["宾馆"]}


def apply(function, text: str, rate: float, seed: int = 0, protected=(), *more) -> str:
    return change.joined(function(change.pieces(text, protected), rate, random.Random(seed), *more))


@pytest.mark.parametrize("function", [change.typing_errors, change.dropped, change.swapped])
def test_a_rate_of_nothing_changes_nothing(function):
    assert apply(function, REVIEW, 0.0) == REVIEW


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=80), seed=st.integers(0, 100))
def test_the_pieces_of_any_text_join_to_it(text, seed):
    assert change.joined(change.pieces(text, ["good", "好"])) == text
    for function in (change.typing_errors, change.dropped, change.swapped):
        apply(function, text, 0.5, seed, ["good"])


@pytest.mark.parametrize("function", [change.typing_errors, change.dropped, change.swapped])
@pytest.mark.parametrize("seed", range(5))
def test_negations_names_numbers_addresses_and_labels_stay(function, seed):
    text = REVIEW + " See http://a.example/teacher or write to ann@example.org."
    after = apply(function, text, 1.0, seed, ["good"])
    assert after != text
    for kept in ("not", "but", "Paris", "3", "good", "http://a.example/teacher", "ann@example.org"):
        assert kept in after


def test_swapping_keeps_every_word():
    words = [re.findall(r"\w+", text) for text in (apply(change.swapped, REVIEW, 0.5), REVIEW)]
    assert sorted(words[0]) == sorted(words[1]) and words[0] != words[1]


def test_chinese_negations_stay_whatever_is_dropped():
    assert "不" in apply(change.dropped, "酒店的房间不干净", 1.0)


def test_synonyms_replace_words_and_words_of_chinese_but_not_labels():
    look = lambda word: THESAURUS.get(word, [])  # noqa: E731
    after = apply(change.with_synonyms, REVIEW, 1.0, 0, ["good"], look)
    assert after == ("The instructor was not happy with his car, but the clinic in Paris had 3 "
                     "good beds.")
    assert apply(change.with_synonyms, "这家酒店很新", 1.0, 0, (), look) == "这家宾馆很新"


@pytest.mark.parametrize(("before", "after", "keeps"), [
    ("It is not good.", "It isn't good.", False),
    ("It is not good.", "It's not good at all.", True),
    ("I paid 30 euros.", "It cost me 30 euros.", True),
    ("I paid 30 euros.", "I paid 13 euros.", False),
    ("good", "good", False), ("A good film", "", False), ("A good film", "A bad movie", False),
    ("short", "a very much longer text than before", False), ("房间不干净", "房间很干净", False)])
def test_a_change_that_touches_the_meaning_is_refused(before, after, keeps):
    assert change.keeps_meaning(before, after, ["good"]) is keeps


@pytest.fixture
def config(tmp_path) -> Config:
    path = tmp_path / "reviews.jsonl"
    path.write_text("".join(json.dumps({
        "text": f"The story of number {n} was rather good and the actors were wonderful people.",
        "label": "good" if n % 2 else "bad"}) + "\n" for n in range(20)))
    return Config(dataset=str(path), instruction="Is it good or bad?", eval_rows=4)


def dialogue_of(opened, change_name: str = "") -> list:
    return [(row, opened.messages(row)) for row in opened.train
            if bool(row[dialogues.CHANGE]) == bool(change_name)]


def test_copies_change_the_question_only_and_originals_stay(config, folders):
    plain = open_dataset(config, folders)
    opened = open_dataset(replace(config, augment_copies=2, typo_rate=0.3, drop_rate=0.1), folders)
    copies, originals = dialogue_of(opened, "changed"), dialogue_of(opened)
    assert sorted(m[0]["content"] for _, m in originals) == sorted(
        plain.messages(row)[0]["content"] for row in plain.train)
    assert len(copies) == 32
    for row, messages in copies:
        before = opened.before(row)
        assert messages[-1] == before[-1] and messages[0] != before[0]
        assert messages[0]["content"].startswith("Is it good or bad?\n")
        assert ("good" in messages[0]["content"].partition("\n")[2]) or before[-1][
            "content"] == "bad"
    assert opened.held_out["text"][:] == plain.held_out["text"][:]


def test_the_seed_decides_the_changes(config, folders):
    def texts(seed):
        opened = open_dataset(replace(config, augment_copies=1, typo_rate=0.3, augment_seed=seed),
                              folders)
        return Counter(m[0]["content"] for _, m in dialogue_of(opened, "changed"))
    assert texts(1) == texts(1) != texts(2)


def test_general_rows_are_never_changed(config, folders):
    opened = open_dataset(replace(config, augment_copies=1, typo_rate=0.5, general_share=0.5),
                          folders)
    assert {row[dialogues.ORIGIN] for row, _ in dialogue_of(opened, "changed")} == {"reviews.jsonl"}


def test_plain_text_is_told_to_have_no_question(config, folders):
    with pytest.raises(UserError, match="Plain text"):
        open_dataset(replace(config, layout="text", augment_copies=1), folders)


def test_paraphrases_that_were_written_are_added_and_the_others_named(config, folders):
    wanted = replace(config, paraphrase_share=1.0)
    opened = open_dataset(wanted, folders)
    missing = augment.unwritten(opened.train, opened.instruction, wanted, folders)
    assert len(missing) == len(opened.train) == 16
    for text, protected in missing[:2]:
        number = "".join(filter(str.isdigit, text))
        told = f"Story number {number} is good; its actors are such wonderful people!"
        assert paraphrase.keep(text, told, protected, wanted, folders)
    assert not paraphrase.keep(missing[2][0], "Something else.", missing[2][1], wanted, folders)
    again = open_dataset(wanted, folders)
    added = dialogue_of(again, "paraphrase")
    assert len(added) == 2
    assert all(m[0]["content"].startswith("Is it good or bad?\nStory number") for _, m in added)
    assert len(augment.unwritten(again.train, again.instruction, wanted, folders)) == 13


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_questions_is_picked_for_paraphrases(share):
    texts = [f"question {n}" for n in range(1000)]
    picked = paraphrase.wanted(texts, Config(paraphrase_share=share))
    assert len(picked) == pytest.approx(1000 * share, abs=60)
    assert paraphrase.wanted(texts, Config(paraphrase_share=share)) == picked


WORDNET = {
    "data.noun": "00000001 18 n 02 teacher 0 instructor 0 001 @ 00000009 n 0000 | one who teaches\n"
                 "00000002 18 n 02 friend 0 ally 0 001 ! 00000003 n 0101 | a person you like\n",
    "data.verb": "00000001 30 v 02 purchase 0 buy 0 000 01 + 08 00 | obtain\n",
    "data.adv": "00000001 02 r 02 rapidly 0 apace 0 000 | fast\n",
    "data.adj": "00000001 00 a 02 superb 0 brilliant 0 000 | very good\n",
    "index.noun": "  1 licence\nteacher n 1 1 @ 1 1 00000001\nfriend n 1 1 ! 1 1 00000002\n",
    "index.verb": "purchase v 1 0 1 1 00000001\n", "index.adv": "rapidly r 1 0 1 1 00000001\n",
    "index.adj": "superb a 1 0 1 1 00000001\n"}


def test_wordnet_gives_words_without_an_opposite(tmp_path: Path):
    for name, text in WORDNET.items():
        (tmp_path / name).write_text(text)
    assert synonyms.read_wordnet(tmp_path) == {
        "teacher": ["instructor"], "purchase": ["buy"], "rapidly": ["apace"]}


def test_the_chinese_dictionary_gives_words_of_one_meaning(tmp_path: Path):
    lines = ["Aa01= 宾馆 旅馆 馆", "Aa02# 宾客 旅人", "Aa03= 打算 计划", "Aa04= 打算 计算"]
    (tmp_path / "同义词.txt").write_text("\n".join(lines), encoding="utf-8")
    assert synonyms.read_cilin(tmp_path) == {"宾馆": ["旅馆"], "旅馆": ["宾馆"]}
