"""How a person reads a data set is remembered for it."""

import pytest

from core.data.messages import mapping
from core.data.messages.mapping import load_mapping, save_mapping

MINE = {"layout": "question", "prompt_column": "frage", "answer_column": "antwort"}


def test_a_mapping_is_set_again_for_its_data_set_alone(folders):
    save_mapping("a.csv", MINE | {"lora_r": 8}, folders)
    assert load_mapping(" a.csv", folders) == MINE
    assert load_mapping("b.csv", folders) == {}


def test_the_mapping_used_longest_ago_is_forgotten_first(folders, monkeypatch):
    monkeypatch.setattr(mapping, "MOST", 2)
    for name in ("a", "b", "a", "c"):
        save_mapping(name, MINE, folders)
    assert [bool(load_mapping(name, folders)) for name in "abc"] == [True, False, True]


@pytest.mark.parametrize("content", ["", "[1]", '{"a.csv": 5}', '{"a.csv": {"layout": [1]}}',
                                     '{"a.csv": {"lora_r": "8"}}', "\ufeff{"])
def test_a_damaged_memory_is_worth_nothing_and_stops_nobody(content, folders):
    (folders.home / "mappings.json").write_text(content, encoding="utf-8")
    assert load_mapping("a.csv", folders) == {}
    save_mapping("a.csv", MINE, folders)
    assert load_mapping("a.csv", folders) == MINE
