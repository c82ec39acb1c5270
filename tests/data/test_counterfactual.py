"""Groups are exchanged as words, both ways, and rows that name none stay single."""

import json

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from core.config import Config
from core.data.build import open_dataset
from core.data.changing.counterfactual import KINDS, augment, load_groups, swap
from core.data.choosing.balance import balanced
from core.errors import UserError

PAIRS = [("he", "she"), ("man", "woman"), ("his", "her"), ("him", "her"), ("他", "她"),
         ("儿子", "女儿"), ("男", "女")]


@pytest.mark.parametrize("text, other", [
    ("He met a man.", "She met a woman."), ("the woman", "the man"), ("SHE SAID", "HE SAID"),
    ("her coat", "his coat"), ("other", "other"), ("mankind", "mankind"), ("", ""),
    ("他的儿子", "她的女儿"), ("男生", "女生"), ("a man's", "a woman's")])
def test_words_of_a_group_are_exchanged_and_nothing_else(text, other):
    assert swap(text, PAIRS) == other


@given(st.lists(st.sampled_from(["he", "she", "He", "man", "woman", "the", "他", "女儿", "!"])))
def test_exchanging_twice_gives_the_text_back(words):
    text = " ".join(words)
    assert swap(swap(text, PAIRS), PAIRS) == text


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_lists_hold_every_kind_in_both_languages(kind, folders):
    lists = load_groups(kind, folders)
    assert {each.language for each in lists} == {"en", "zh"}
    for each in lists:
        assert each.pairs and each.people and each.templates
        assert all("{}" in sentence for sentence in each.templates)
        assert all(first != second for first, second in [*each.pairs, *each.people])


def test_a_list_of_ones_own_replaces_the_shipped_one(folders):
    (folders.home / "fairness").mkdir()
    (folders.home / "fairness" / "en.json").write_text(json.dumps({
        "language": "en", "templates": ["{} came."], "groups": {
            "age": {"swap": [["junior", "senior"]], "people": [["A junior", "A senior"]]}}}))
    assert load_groups("age", folders)[0].pairs == [("junior", "senior")]


def test_a_list_that_cannot_be_read_is_named(folders):
    (folders.home / "fairness").mkdir()
    (folders.home / "fairness" / "en.json").write_text("[]")
    with pytest.raises(UserError, match=r"en\.json"):
        load_groups("all", folders)


def test_rows_that_name_a_group_are_learned_both_ways():
    rows = Dataset.from_list([{"text": "he ran", "label": "man"},
                              {"text": "it ran", "label": "no"}])
    more = augment(rows, PAIRS, keep="label")
    assert more["text"] == ["he ran", "it ran", "she ran"]
    assert more["label"] == ["man", "no", "man"]
    assert augment(rows.select([1]), PAIRS).num_rows == 1


def test_dialogues_are_swapped_inside():
    rows = Dataset.from_list([{"messages": [{"role": "user", "content": "Is he a man?"},
                                            {"role": "assistant", "content": "He is."}]}])
    turned = augment(rows, PAIRS)[1]["messages"]
    assert [turn["content"] for turn in turned] == ["Is she a woman?", "She is."]
    assert [turn["role"] for turn in turned] == ["user", "assistant"]


def test_the_settings_change_training_rows_only(folders, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"he saw {n}", "label": "a" if n % 4 else "b"})
                            + "\n" for n in range(40)))
    plain = Config(dataset=str(path), eval_rows=8)
    both = open_dataset(Config.parse(plain.to_dict() | {
        "counterfactual": "gender", "balance_answers": True}), folders)
    assert both.held_out["text"] == open_dataset(plain, folders).held_out["text"]
    answers = both.train["label"]
    assert list(answers).count("a") == list(answers).count("b") > 24
    assert sum(text.startswith("she") for text in both.train["text"]) > 20


def test_rarer_answers_are_repeated_until_all_are_even():
    places = balanced(["a", "a", "a", "b"], seed=0)
    assert places[:4] == [0, 1, 2, 3] and places[4:] == [3, 3]
    assert balanced([], seed=0) == []
    with pytest.raises(UserError, match="no labels"):
        balanced(range(500), seed=0)
