"""Dialogues that call tools, in every template: nothing is lost, and the call is learned."""

import json

import pytest

from core.data.messages.layouts import recognise, to_messages
from core.data.tokens.template import prompt_text, segments

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
CALL = {"id": "call12345", "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}
ROW = {"messages": [
    {"role": "user", "content": "Is it warm in Rome?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "31 degrees", "tool_call_id": "call12345", "name": "get_weather"},
    {"role": "assistant", "content": "Yes, very."}], "tools": json.dumps([WEATHER])}
SHAREGPT = {"conversations": [
    {"from": "human", "value": "Is it warm in Rome?"},
    {"from": "function_call", "value": '{"name": "get_weather", "arguments": {"city": "Rome"}}'},
    {"from": "observation", "value": "31 degrees"}, {"from": "gpt", "value": "Yes, very."}],
    "tools": [WEATHER]}
EVERY = pytest.mark.parametrize("row", [ROW, SHAREGPT], ids=["OpenAI", "ShareGPT"])


@EVERY
def test_a_call_and_its_tools_are_read(row):
    offered, asked, called, result, answer = to_messages(row, recognise(row))
    assert (offered["role"], json.loads(offered["content"])) == ("tools", [WEATHER])
    assert called["tool_calls"][0]["function"] == {"name": "get_weather",
                                                   "arguments": {"city": "Rome"}}
    assert (result["role"], result["content"]) == ("tool", "31 degrees")
    assert answer == {"role": "assistant", "content": "Yes, very."}


@EVERY
def test_every_template_writes_the_tools_the_call_and_the_result(family, tokenizers, row):
    messages = to_messages(row, recognise(row))
    parts = segments(messages, tokenizers[family.name])
    text = "".join(part.text for part in parts)
    for words in ("get_weather", "Rome", "31 degrees", "Yes, very."):
        assert words in text
    assert parts[-1].learned and "Yes, very." in parts[-1].text
    assert not any("31 degrees" in part.text for part in parts if part.learned)


@EVERY
def test_the_call_is_learned_where_earlier_answers_can_be(family, tokenizers, row):
    parts = segments(to_messages(row, recognise(row)), tokenizers[family.name])
    learned = [part.text for part in parts if part.learned]
    if len(learned) == 2:
        assert "get_weather" in learned[0] and "Rome" in learned[0]


def test_what_is_asked_of_chat_with_tools_is_how_the_row_begins(family, tokenizers):
    messages = to_messages(ROW, recognise(ROW))[:2]
    answered = [*messages, {"role": "assistant", "content": "It is."}]
    parts = segments(answered, tokenizers[family.name])
    assert parts[0].text == prompt_text(messages, tokenizers[family.name])
