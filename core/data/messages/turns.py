"""Rows that hold a dialogue, as OpenAI, ShareGPT or preference data write it, to messages."""

import json
import re
from typing import Any

# "role" and "content" always; "tool_calls", "name" and the like where a dialogue has them; "weight"
# 0 marks an answer that isn't to be learned.
Message = dict[str, Any]

SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
            "chatgpt": "assistant", "bing": "assistant", "bard": "assistant", "model": "assistant",
            "system": "system", "developer": "system", "tool": "tool", "function": "tool",
            "observation": "tool", "function_call": "assistant"}
KEPT = ("tool_calls", "tool_call_id", "name", "weight")
THINK = "<think>\n{}\n</think>\n\n{}"
SPOKEN = re.compile(r"\n\n(Human|Assistant):")  # how Anthropic's HH rows write turns


def is_dialogue(value: Any, key: str) -> bool:
    """Whether a cell holds a list of turns whose speaker is told by `key`, 'role' or 'from'. An
    empty list may, and one whose turns have neither: it is told when it is read."""
    value = _listed(value)
    if not isinstance(value, list):
        return False
    first = value[0] if value else {}
    other = "from" if key == "role" else "role"
    return isinstance(first, dict) and (key in first or other not in first)


def from_messages(row: dict, layout: Any, _instruction: str, _words: dict) -> list[Message]:
    return [_turn(turn) for turn in _listed(row[layout.prompt]) or []]


def from_conversations(row: dict, layout: Any, _instruction: str, _words: dict) -> list[Message]:
    return [_said(turn) for turn in _listed(row[layout.prompt]) or []]


def from_preference(row: dict, layout: Any, instruction: str, _words: dict) -> list[Message]:
    """The dialogue that leads to the chosen answer."""
    chosen = _listed(row[layout.answer])
    asked = _listed(row[layout.prompt]) if layout.prompt else ""
    before = [_turn(turn) for turn in asked] if isinstance(asked, list) else []
    if isinstance(chosen, list):
        answer = [_turn(turn) for turn in chosen]
    elif isinstance(chosen, dict):
        answer = [_turn(chosen)]
    elif SPOKEN.match(str(chosen or "")):
        answer = _spoken(str(chosen))
    else:
        answer = [{"role": "assistant", "content": str(chosen or "")}]
    if asked and not before and answer[0]["role"] == "assistant":
        words = "\n".join(part for part in (instruction, str(asked)) if part)
        before = [{"role": "user", "content": words}]
    return answer if answer[: len(before)] == before else [*before, *answer]


def tools_text(value: Any) -> str:
    """The list of tools as JSON; empty where there are none."""
    tools = _listed(value)
    return json.dumps(tools, ensure_ascii=False) if isinstance(tools, list) and tools else ""


def with_reasoning(reasoning: Any, answer: str) -> str:
    """The answer behind its reasoning, as reasoning models write it."""
    text = "" if reasoning is None else str(reasoning).strip()
    return THINK.format(text, answer) if text and "</think>" not in answer else answer


def _turn(turn: dict[str, Any]) -> Message:
    role = SPEAKERS.get(str(turn["role"]), str(turn["role"]))
    content = _content(turn.get("content"))
    if role == "assistant":
        content = with_reasoning(turn.get("reasoning_content"), content)
    message = {"role": role, "content": content}
    message |= {key: turn[key] for key in KEPT if turn.get(key) not in (None, [], "")}
    if "tool_calls" in message:
        message["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    return message


def _said(turn: dict[str, Any]) -> Message:
    """A turn of ShareGPT; what its models call is JSON in a turn of its own."""
    speaker = str(turn["from"])
    message = {"role": SPEAKERS.get(speaker, speaker), "content": _content(turn["value"])}
    if speaker == "function_call":
        calls = _listed(message["content"])
        calls = calls if isinstance(calls, list) else [calls]
        if all(isinstance(call, dict) and "name" in call for call in calls):
            message |= {"content": "", "tool_calls": [_call(call) for call in calls]}
    return message


def _call(call: dict[str, Any]) -> dict[str, Any]:
    """As templates read it: arguments are an object, not text."""
    function = dict(call.get("function") or call)
    if isinstance(function.get("arguments"), str):
        parsed = _parsed(function["arguments"])
        function["arguments"] = parsed if isinstance(parsed, dict) else function["arguments"]
    outer = {k: v for k, v in call.items() if k != "function" and v is not None} \
        if "function" in call else {}
    return {"type": "function", **outer, "function": {
        "name": str(function.get("name", "")), "arguments": function.get("arguments") or {}}}


def _content(value: Any) -> str:
    """The text of a turn; of several parts those that are text. ValueError for pictures and the
    like, which a language model can't read."""
    if isinstance(value, list):
        kinds = {part.get("type", "text") for part in value if isinstance(part, dict)}
        if kinds - {"text"}:
            raise ValueError(f"a turn holds {', '.join(sorted(map(str, kinds)))}, and only text "
                             "can be learned")
        value = "".join(str(p.get("text", "")) if isinstance(p, dict) else str(p) for p in value)
    return "" if value is None else str(value)


def _spoken(text: str) -> list[Message]:
    parts = SPOKEN.split(text)[1:]
    return [{"role": "user" if who == "Human" else "assistant", "content": words.strip()}
            for who, words in zip(parts[::2], parts[1::2], strict=True)]


def _listed(value: Any) -> Any:
    """A list or object that a table holds as JSON text; other values as they are."""
    return _parsed(value) if isinstance(value, str) and value.lstrip()[:1] in ("[", "{") else value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
