"""Row to messages: which layout a data set has, and the dialogue that one row becomes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.errors import UserError

Message = dict[str, str]

# Column names that data sets in the wild use for each role, the usual one first.
PROMPT = ("instruction", "prompt", "question", "query", "problem", "human", "user")
INPUT = ("input", "context")
ANSWER = ("output", "completion", "response", "answer", "answers", "chosen", "summary", "assistant")
TEXT = ("text", "sentence", "content", "review", "document", "article")
LABEL = ("label", "labels", "sentiment", "category", "verdict")
MESSAGES = ("messages", "conversation", "dialogue")
CONVERSATIONS = ("conversations",)
SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
            "chatgpt": "assistant", "bing": "assistant", "bard": "assistant", "model": "assistant",
            "system": "system"}


@dataclass(frozen=True)
class Layout:
    """A recognised layout: its name, and the column that plays each role ('' for none)."""

    name: str
    prompt: str
    input: str = ""
    answer: str = ""
    system: str = ""


def recognise(row: dict[str, Any], name: str = "auto", *, prompt: str = "", input: str = "",
              answer: str = "", system: str = "") -> Layout:
    """The layout of a data set, from one of its rows. A person's choices come first; what they
    leave open is found by column names. UserError where it can't be told."""
    for column in filter(None, (prompt, input, answer, system)):
        if column not in row:
            raise UserError(f"There is no column '{column}'.", f"Found: {', '.join(row)}.")
    names = [name] if name != "auto" else _candidates(prompt, answer)
    for candidate in names:
        first, second = ROLES[candidate]
        prompt_column = prompt or _find(row, first)
        answer_column = answer or _find(row, second)
        if not prompt_column or (second and not answer_column):
            continue
        if candidate in ("messages", "conversations") and not isinstance(row[prompt_column], list):
            continue
        return Layout(candidate, prompt_column, input or _input_column(row, candidate),
                      answer_column if second else "",
                      "" if candidate == "text" else system or _find(row, ("system",)))
    wanted = "" if name == "auto" else f" of the layout '{name}'"
    raise UserError(f"The columns{wanted} weren't recognised. Found: {', '.join(row)}.",
                    "Choose the layout, and the column of the prompt and of the answer.")


ROLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "messages": (MESSAGES, ()),
    "conversations": (CONVERSATIONS, ()),
    "instruction": (PROMPT, ANSWER),
    "question": (PROMPT, ANSWER),
    "labelled": (TEXT, LABEL),
    "text": (TEXT, ()),
}


def _candidates(prompt: str, answer: str) -> list[str]:
    """With both columns given by hand, a row is a question and its answer."""
    return ["question"] if prompt and answer else list(ROLES)


def _find(row: dict[str, Any], names: tuple[str, ...]) -> str:
    by_lower = {column.lower(): column for column in row}
    return next((by_lower[n] for n in names if n in by_lower), "")


def _input_column(row: dict[str, Any], layout: str) -> str:
    return _find(row, INPUT) if layout in ("instruction", "question") else ""


def to_messages(row: dict[str, Any], layout: Layout, instruction: str = "",
                label_names: list[str] | None = None) -> list[Message]:
    """The dialogue of one row, as role/content messages; plain text is one message of the role
    'text'. Empty when the row holds nothing to learn. `label_names` turns label ids into words."""
    messages = READ[layout.name](row, layout, instruction, label_names)
    if layout.system and row.get(layout.system) and messages and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": str(row[layout.system])}, *messages]
    return messages if any(m["content"].strip() and m["role"] in ("assistant", "text")
                           for m in messages) else []


def _from_messages(row: dict, layout: Layout, _instruction: str, _names: list | None
                   ) -> list[Message]:
    turns = row[layout.prompt] or []
    return [{"role": str(turn["role"]), "content": str(turn["content"] or "")} for turn in turns]


def _from_conversations(row: dict, layout: Layout, _instruction: str, _names: list | None
                        ) -> list[Message]:
    turns = row[layout.prompt] or []
    return [{"role": SPEAKERS.get(str(turn["from"]), str(turn["from"])),
             "content": str(turn["value"] or "")} for turn in turns]


def _from_pair(row: dict, layout: Layout, instruction: str, names: list | None) -> list[Message]:
    parts = [instruction, row[layout.prompt], row[layout.input] if layout.input else ""]
    prompt = "\n".join(str(part) for part in parts if part)
    return [{"role": "user", "content": prompt},
            {"role": "assistant", "content": _answer_text(_label_word(row[layout.answer], names))}]


def _from_label(row: dict, layout: Layout, instruction: str, names: list | None) -> list[Message]:
    label = _label_word(row[layout.answer], names)
    prompt = "\n".join(str(part) for part in (instruction, row[layout.prompt]) if part)
    return [{"role": "user", "content": prompt},
            {"role": "assistant", "content": "" if label is None else str(label)}]


def _label_word(value: Any, names: list[str] | None) -> Any:
    is_id = names and isinstance(value, int) and 0 <= value < len(names)
    return names[value] if is_id else value


def _from_text(row: dict, layout: Layout, _instruction: str, _names: list | None) -> list[Message]:
    return [{"role": "text", "content": str(row[layout.prompt] or "")}]


def _answer_text(value: Any) -> str:
    """Answers may be lists (the first counts) or SQuAD's {'text': [...]}."""
    if isinstance(value, dict):
        value = value.get("text", "")
    if isinstance(value, (list, tuple)):
        value = value[0] if value else ""
    return "" if value is None else str(value)


READ: dict[str, Callable[..., list[Message]]] = {
    "messages": _from_messages,
    "conversations": _from_conversations,
    "instruction": _from_pair,
    "question": _from_pair,
    "labelled": _from_label,
    "text": _from_text,
}
