"""Rows that hold a text, or a prompt and its answer, to messages."""

from typing import Any

from core.data.messages.turns import Message, with_reasoning


def from_pair(row: dict, layout: Any, instruction: str, words: dict[str, str]) -> list[Message]:
    parts = [instruction, row[layout.prompt], row[layout.input] if layout.input else ""]
    answer = _answer_text(_word(row[layout.answer], words))
    if layout.reasoning and answer:
        answer = with_reasoning(row[layout.reasoning], answer)
    return [{"role": "user", "content": _joined(parts)}, {"role": "assistant", "content": answer}]


def from_label(row: dict, layout: Any, instruction: str, words: dict[str, str]) -> list[Message]:
    label = _word(row[layout.answer], words)
    return [{"role": "user", "content": _joined([instruction, row[layout.prompt]])},
            {"role": "assistant", "content": "" if label is None else str(label)}]


def from_text(row: dict, layout: Any, _instruction: str, _words: dict) -> list[Message]:
    return [{"role": "text", "content": str(row[layout.prompt] or "")}]


def _joined(parts: list[Any]) -> str:
    return "\n".join(str(part) for part in parts if part)


def _word(value: Any, words: dict[str, str]) -> Any:
    return words.get(str(value), value) if words and isinstance(value, (int, str)) else value


def _answer_text(value: Any) -> str:
    """Answers may be lists (the first counts) or SQuAD's {'text': [...]}."""
    if isinstance(value, dict):
        value = value.get("text", "")
    if isinstance(value, (list, tuple)):
        value = value[0] if value else ""
    return "" if value is None else str(value)
