"""Nothing that was said is lost: branches, files, and the way back to data."""

import json

import pytest

from core.chat import conversation as talks
from core.chat.conversation import Conversation
from core.config import Config
from core.data.build import open_dataset
from core.errors import UserError
from core.files import read_json_lines


def user(text):
    return {"role": "user", "content": text}


def model(text):
    return {"role": "assistant", "content": text}


FIRST = [user("a"), model("b"), user("c"), model("d")]


def test_a_branch_grows_while_the_talk_goes_on():
    grown = Conversation().shown_as(FIRST[:2]).shown_as(FIRST)
    assert grown.branches == [FIRST]


def test_another_answer_begins_a_branch_and_the_old_one_stays():
    other = [*FIRST[:3], model("e")]
    branched = Conversation([FIRST]).shown_as(other)
    assert branched.branches == [FIRST, other] and branched.turns == other
    assert branched.shown_as(FIRST).at == 0


def test_going_back_begins_a_branch_that_is_tidied_away_once_nothing_came_of_it():
    back = Conversation([FIRST]).shown_as(FIRST[:2])
    assert back.turns == FIRST[:2] and FIRST in back.branches
    again = back.shown_as(FIRST)
    assert again.tidied().branches == [FIRST]


def test_a_conversation_comes_back_from_its_file(tmp_path):
    kept = Conversation([FIRST, FIRST[:2]], 1, "Be kind.")
    path = tmp_path / "chat.json"
    path.write_text(json.dumps(kept.to_json()), encoding="utf-8")
    assert talks.read(path) == kept


@pytest.mark.parametrize("raw", [{"messages": [{"role": "system", "content": "s"}, *FIRST]},
                                 [{"role": "system", "content": "s"}, *FIRST]],
                         ids=["dict", "list"])
def test_messages_of_other_programs_are_read_too(raw):
    assert talks.from_json(raw) == Conversation([FIRST], 0, "s")


@pytest.mark.parametrize("raw", [{}, 3, {"messages": [{"role": "wizard", "content": "x"}]},
                                 {"messages": [{"role": "user", "content": 4}]}], ids=str)
def test_what_is_no_conversation_is_refused_in_words(raw):
    with pytest.raises(UserError, match="no conversation"):
        talks.from_json(raw)


def test_what_was_taught_is_a_data_set_in_the_messages_layout(folders):
    for answer in ("snow is white", "snow is cold"):
        path = talks.teach(folders.uploads, "my answers", "Be short.",
                           [user("What is snow?"), model(answer) | {"note": "3 tokens"}])
    opened = open_dataset(Config(dataset=str(path), eval_rows=0), folders)
    assert opened.layout.name == "messages"
    assert sorted(opened.messages(row)[-1]["content"] for row in opened.train) == [
        "snow is cold", "snow is white"]
    assert opened.messages(opened.train[0])[0] == {"role": "system", "content": "Be short."}


def test_other_line_ends_in_a_text_make_no_rows_of_their_own(folders):
    for answer in ("one\u2028two", "three\x85four", "five"):
        path = talks.teach(folders.uploads, "lines", "", [user("x"), model(answer)])
    assert [row["messages"][-1]["content"] for row in read_json_lines(path)] == [
        "one\u2028two", "three\x85four", "five"]


def test_nothing_is_taught_twice_nor_among_rows_of_another_layout(folders):
    path = talks.teach(folders.uploads, "mine", "", FIRST)
    with pytest.raises(UserError, match="already"):
        talks.teach(folders.uploads, "mine", "", FIRST)
    other = folders.uploads / "reviews.jsonl"
    other.write_text('{"prompt": "x", "completion": "y"}\n', encoding="utf-8")
    with pytest.raises(UserError, match="another layout"):
        talks.teach(folders.uploads, "reviews", "", FIRST)
    assert [len(read_json_lines(each)) for each in (path, other)] == [1, 1]


@pytest.mark.parametrize("text", ["", "\x00\xff", "[" * 200_000, '{"branches": [[{}]]}',
                                  '{"branches": 3}', "null"], ids=range(6))
def test_a_file_of_rubbish_is_refused_in_words(text, tmp_path):
    path = tmp_path / "chat.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="no conversation"):
        talks.read(path)


def test_half_a_character_in_a_file_is_replaced(tmp_path):
    path = tmp_path / "chat.json"
    path.write_text('[{"role": "user", "content": "a\\ud800b"}]', encoding="ascii")
    assert talks.read(path).turns == [user("a?b")]


@pytest.mark.parametrize("turns, name", [([user("x")], "a"), ([], "a"),
                                         ([user("x"), model(" ")], "a"), (FIRST, "///")], ids=str)
def test_there_must_be_an_answer_and_a_name_to_teach(turns, name, folders):
    with pytest.raises(UserError):
        talks.teach(folders.uploads, name, "", turns)
    assert not list(folders.uploads.iterdir())


def test_a_data_set_stays_in_its_folder(folders):
    path = talks.teach(folders.uploads, "../../out", "", FIRST)
    assert path.parent == folders.uploads
