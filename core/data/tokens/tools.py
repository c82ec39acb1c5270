"""Dialogues that call tools, in the forms that chat templates read."""

import json
from typing import Any

from core.data.messages.turns import Message

OFFER = ("You can call these tools:\n{}\n\nTo call one, answer with its name and arguments:\n"
         '<tool_call>\n{{"name": ..., "arguments": {{...}}}}\n</tool_call>')


def has_tools(messages: list[Message]) -> bool:
    return any(m["role"] in ("tools", "tool") or m.get("tool_calls") for m in messages)


def apart(messages: list[Message]) -> tuple[list[dict[str, Any]] | None, list[Message]]:
    """The tools that are offered, and the turns."""
    if messages and messages[0]["role"] == "tools":
        return json.loads(messages[0]["content"]), messages[1:]
    return None, messages


def all_written(messages: list[Message], text: str) -> bool:
    """Whether a template's text holds every tool, call and result."""
    offered, turns = apart(messages)
    names = [tool.get("function", tool).get("name", "") for tool in offered or ()
             if isinstance(tool, dict)]
    names += [call["function"]["name"] for turn in turns for call in turn.get("tool_calls", ())]
    results = [turn["content"].strip() for turn in turns if turn["role"] == "tool"]
    return all(part in text for part in (*names, *results)) and \
        all(text.count(name) >= names.count(name) for name in set(names))


def with_text_arguments(messages: list[Message]) -> list[Message]:
    """As DeepSeek's templates want it: a call has no content, and its arguments are JSON text."""
    def changed(turn: Message) -> Message:
        if not turn.get("tool_calls"):
            return turn
        calls = [{**call, "function": {**call["function"],
                                       "arguments": _json(call["function"]["arguments"])}}
                 for call in turn["tool_calls"]]
        return {**turn, "tool_calls": calls, "content": turn["content"] or None}
    return [changed(turn) for turn in messages]


def in_words(messages: list[Message]) -> list[Message]:
    """For a template that knows no tools: everything is written in the turns' own words."""
    offered, turns = apart(messages)
    said = [_in_words(turn) for turn in turns]
    if offered is None:
        return said
    words = OFFER.format("\n".join(_json(tool) for tool in offered))
    if said and said[0]["role"] == "system":
        return [{**said[0], "content": f"{said[0]['content']}\n\n{words}"}, *said[1:]]
    return [{"role": "system", "content": words}, *said]


def _in_words(turn: Message) -> Message:
    if turn["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{turn['content']}\n</tool_response>"}
    calls = [f"<tool_call>\n{_json(call['function'])}\n</tool_call>"
             for call in turn.get("tool_calls", ())]
    kept = {key: value for key, value in turn.items() if key not in ("tool_calls", "tool_call_id")}
    return {**kept, "content": "\n".join(filter(None, [turn["content"], *calls]))}


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
