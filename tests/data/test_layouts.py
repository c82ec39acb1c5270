"""Row to messages: each layout is recognised from its columns and read as a person would."""

import pytest

from core.data.messages.layouts import label_words, recognise, to_messages
from core.errors import UserError


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def system(content: str) -> dict[str, str]:
    return {"role": "system", "content": content}


DIALOGUE = [system("Be brief."), user("2+2?"), assistant("4")]
SQUAD = {"id": "1", "title": "Rome", "context": "Rome is the capital of Italy.",
         "question": "What is Rome?",
         "answers": {"text": ["the capital of Italy", "capital"], "answer_start": [8, 12]}}
# A row, the layout that it has, and the dialogue that it becomes.
ROWS = {
    "OpenAI messages": ({"messages": DIALOGUE}, "messages", DIALOGUE),
    "ShareGPT": (
        {"conversations": [{"from": "system", "value": "Be brief."},
                           {"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]},
        "conversations", DIALOGUE),
    "Alpaca": ({"instruction": "Translate.", "input": "Hund", "output": "dog"}, "instruction",
               [user("Translate.\nHund"), assistant("dog")]),
    "Alpaca without input": ({"instruction": "Sing.", "input": "", "output": "la"}, "instruction",
                             [user("Sing."), assistant("la")]),
    "Dolly": ({"instruction": "Who?", "context": "Ann did.", "response": "Ann", "category": "qa"},
              "instruction", [user("Who?\nAnn did."), assistant("Ann")]),
    "prompt and completion": ({"prompt": "1, 2,", "completion": "3"}, "completion",
                              [user("1, 2,"), assistant("3")]),
    "GSM8K": ({"question": "2+2?", "answer": "2+2=4 #### 4"}, "question",
              [user("2+2?"), assistant("2+2=4 #### 4")]),
    "SQuAD": (SQUAD, "question", [user("What is Rome?\nRome is the capital of Italy."),
                                     assistant("the capital of Italy")]),
    "answers as a list": ({"question": "Who?", "answers": ["Ann", "Bo"]}, "question",
                          [user("Who?"), assistant("Ann")]),
    "a system column": ({"system": "Be kind.", "question": "Hi?", "response": "Hi!"},
                        "question", [system("Be kind."), user("Hi?"), assistant("Hi!")]),
    "text and label": ({"text": "Great film", "label": "positive"}, "labelled",
                       [user("Great film"), assistant("positive")]),
    "upper-case columns": ({"Sentence": "Great film", "Label": 3}, "labelled",
                           [user("Great film"), assistant("3")]),
    "text": ({"text": "Once upon a time", "id": 7}, "text",
             [{"role": "text", "content": "Once upon a time"}]),
}
each_row = pytest.mark.parametrize("row, name, messages", ROWS.values(), ids=ROWS.keys())


@each_row
def test_a_layout_is_recognised_by_its_columns(row, name, messages):
    assert recognise(row).name == name


@each_row
def test_a_row_becomes_the_dialogue_that_a_person_would_read(row, name, messages):
    assert to_messages(row, recognise(row)) == messages


@each_row
def test_a_layout_chosen_by_name_reads_the_same(row, name, messages):
    assert to_messages(row, recognise(row, name)) == messages


def test_columns_chosen_by_hand_come_before_names_that_are_known():
    row = {"text": "ignored", "label": "ignored", "frage": "Wer?", "antwort": "Ann", "lage": "Hier"}
    layout = recognise(row, prompt="frage", answer="antwort", input="lage")
    assert to_messages(row, layout) == [user("Wer?\nHier"), assistant("Ann")]


def test_the_instruction_stands_before_each_text():
    row = {"text": "Great film", "label": "positive"}
    messages = to_messages(row, recognise(row), "Is it good?")
    assert messages[0] == user("Is it good?\nGreat film")


def test_a_system_turn_of_the_dialogue_itself_is_kept_over_the_column():
    row = {"messages": DIALOGUE, "system": "Another."}
    assert to_messages(row, recognise(row)) == DIALOGUE


@pytest.mark.parametrize("label, word", [(0, "negative"), (1, "very positive")])
def test_label_ids_become_words(label, word):
    row = {"text": "A film", "label": label}
    messages = to_messages(row, recognise(row), "", ["negative", "very positive"])
    assert messages[-1] == assistant(word)


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_id_without_a_word_stays_a_number(label):
    row = {"text": "A film", "label": label}
    assert to_messages(row, recognise(row), "", ["no", "yes"])[-1] == assistant(str(label))


def test_label_ids_become_words_also_in_columns_that_were_chosen_by_hand():
    row = {"text": "A film", "label": 1}
    layout = recognise(row, prompt="text", answer="label")
    assert to_messages(row, layout, "", ["negative", "positive"])[-1] == assistant("positive")


@pytest.mark.parametrize("row", [
    {"messages": []}, {"messages": [user("Hi?")]}, {"messages": [user("Hi?"), assistant(" ")]},
    {"conversations": []}, {"question": "Hi?", "answer": ""}, {"question": "Hi?", "answer": None},
    {"question": "Hi?", "answers": {"text": [], "answer_start": []}},
    {"question": "Hi?", "answers": []}, {"text": "A film", "label": None}, {"text": "  \n"},
], ids=str)
def test_a_row_without_an_answer_holds_nothing_to_learn(row):
    assert to_messages(row, recognise(row)) == []


@pytest.mark.parametrize("row, choices", [
    ({"a": "x", "b": "y"}, {}),
    ({"question": "Hi?"}, {}),
    ({"question": "Hi?", "answer": "Hi!"}, {"name": "messages"}),
    ({"messages": "a text"}, {"name": "messages"}),
    ({"text": "Hi"}, {"name": "labelled"}),
], ids=str)
def test_columns_that_do_not_fit_are_named_in_a_user_error(row, choices):
    with pytest.raises(UserError) as caught:
        recognise(row, **choices)
    assert all(column in caught.value.problem for column in row)
    assert caught.value.remedy


def test_a_chosen_column_that_is_not_there_is_named_in_a_user_error():
    with pytest.raises(UserError, match="'reply'.*question, answer"):
        recognise({"question": "Hi?", "answer": "Hi!"}, answer="reply")


THINKING = "<think>\nTwo and two.\n</think>\n\n4"
ASKED = [user("2+2?"), assistant("4")]
MORE_ROWS = {
    "reasoning column": ({"question": "2+2?", "reasoning": " Two and two.\n", "answer": "4"},
                         "reasoning", [user("2+2?"), assistant(THINKING)]),
    "reasoning of a turn": (
        {"messages": [user("2+2?"), {**assistant("4"), "reasoning_content": "Two and two."}]},
        "messages", [user("2+2?"), assistant(THINKING)]),
    "reasoning in the answer": ({"prompt": "2+2?", "response": THINKING}, "completion",
                                [user("2+2?"), assistant(THINKING)]),
    "empty reasoning": ({"question": "2+2?", "cot": None, "answer": "4"}, "reasoning", ASKED),
    "preference texts": ({"prompt": "2+2?", "chosen": "4", "rejected": "5"}, "preference", ASKED),
    "preference dialogues": (
        {"prompt": "2+2?", "chosen": ASKED, "rejected": [user("2+2?"), assistant("5")]},
        "preference", ASKED),
    "preference answers as turns": (
        {"prompt": [user("2+2?")], "chosen": [assistant("4")], "rejected": [assistant("5")]},
        "preference", ASKED),
    "preference of HH": (
        {"chosen": "\n\nHuman: 2+2?\n\nAssistant: 4",
         "rejected": "\n\nHuman: 2+2?\n\nAssistant: 5"},
        "preference", ASKED),
    "summary": ({"document": "A long one.", "summary": "Long."}, "document",
                [user("A long one."), assistant("Long.")]),
    "article and highlights": ({"article": "News.", "highlights": "New.", "id": "1"}, "document",
                               [user("News."), assistant("New.")]),
    "a dialogue that is text": ({"dialogue": "A: Hi\nB: Hi", "summary": "They greet."}, "document",
                                [user("A: Hi\nB: Hi"), assistant("They greet.")]),
    "ShareGPT in messages": (
        {"messages": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]},
        "conversations", ASKED),
    "OpenAI in conversations": ({"conversations": ASKED}, "messages", ASKED),
    "messages as JSON text": ({"messages": '[{"role": "user", "content": "2+2?"}, '
                                           '{"role": "assistant", "content": "4"}]'},
                              "messages", ASKED),
    "content in parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "2+2"},
                                                   {"type": "text", "text": "?"}]},
                      assistant("4")]}, "messages", ASKED),
    "developer": ({"messages": [{"role": "developer", "content": "Be brief."}, *ASKED]},
                  "messages", [system("Be brief."), *ASKED]),
    "an answer that isn't to be learned": (
        {"messages": [user("Hi?"), {**assistant("Hm."), "weight": 0}, *ASKED]}, "messages",
        [user("Hi?"), {**assistant("Hm."), "weight": 0}, *ASKED]),
    "nothing in further keys": (
        {"messages": [{**user("2+2?"), "name": None, "tool_calls": None},
                      {**assistant("4"), "tool_calls": []}]}, "messages", ASKED),
}


@pytest.mark.parametrize("row, name, messages", MORE_ROWS.values(), ids=MORE_ROWS.keys())
def test_further_layouts_are_recognised_and_read(row, name, messages):
    layout = recognise(row)
    assert (layout.name, to_messages(row, layout)) == (name, messages)
    assert to_messages(row, recognise(row, name)) == messages
    assert layout.about.endswith(".")


def test_preference_pairs_say_what_they_are_for():
    assert "preference training" in recognise({"prompt": "?", "chosen": "!", "rejected": "."}).about


def test_a_reasoning_column_can_be_chosen_by_hand():
    row = {"q": "2+2?", "why": "Two and two.", "a": "4"}
    layout = recognise(row, prompt="q", answer="a", reasoning="why")
    assert to_messages(row, layout) == [user("2+2?"), assistant(THINKING)]


def test_a_turn_with_a_picture_is_refused():
    row = {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, assistant("4")]}
    with pytest.raises(ValueError, match="image_url"):
        to_messages(row, recognise(row))


@pytest.mark.parametrize("text, words", [
    ("negative, positive", {"0": "negative", "1": "positive"}),
    ("1=bad, 5 = very good", {"1": "bad", "5": "very good"}), ("", {})])
def test_words_of_labels_are_read_as_a_person_writes_them(text, words):
    assert label_words(text) == words


@pytest.mark.parametrize("label", [1, "1"])
def test_words_of_labels_stand_for_numbers_and_for_digits_of_a_table(label):
    row = {"text": "A film", "label": label}
    assert to_messages(row, recognise(row), "", {"1": "good"})[-1] == assistant("good")
