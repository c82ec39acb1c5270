"""Row to messages: which layout a data set has, and the dialogue that one row becomes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.data.messages import pairs, turns
from core.data.messages.turns import Message
from core.errors import UserError

# Column names that data sets in the wild use for each role, the usual one first.
PROMPT = ("instruction", "prompt", "question", "query", "problem", "human", "user")
INPUT = ("input", "context")
ANSWER = ("output", "completion", "response", "answer", "answers", "summary", "assistant",
          "target")
SYSTEM = ("system", "system_prompt")
TEXT = ("text", "sentence", "content", "review", "document", "article")
LABEL = ("label", "labels", "sentiment", "category", "verdict", "class")
REASONING = ("reasoning", "reasoning_content", "thinking", "thought", "thoughts", "rationale",
             "cot", "complex_cot", "chain_of_thought")
DIALOGUE = ("messages", "conversations", "conversation", "dialogue")
TOOLS = ("tools", "functions")
Names = list[str] | dict[str, str] | None


@dataclass(frozen=True)
class Layout:
    """A recognised layout: its name, and the column that plays each role ('' for none)."""

    name: str
    prompt: str
    input: str = ""
    answer: str = ""
    system: str = ""
    reasoning: str = ""
    tools: str = ""

    @property
    def about(self) -> str:
        """A sentence on what such rows are for."""
        return KINDS[self.name].about


@dataclass(frozen=True)
class Kind:
    """What a layout looks like: names of its prompt and answer columns, and what a row becomes.
    `roles` are the further roles that its rows can have."""

    prompt: tuple[str, ...]
    answer: tuple[str, ...]
    read: Callable[[dict[str, Any], "Layout", str, dict[str, str]], list[Message]]
    about: str
    roles: tuple[str, ...] = ("input", "system")


# Looked for in this order.
KINDS: dict[str, Kind] = {
    "messages": Kind(DIALOGUE, (), turns.from_messages,
                     "Dialogues with roles; answers are learned.", ("system", "tools")),
    "conversations": Kind(DIALOGUE, (), turns.from_conversations,
                          "Dialogues as ShareGPT writes them; answers are learned.",
                          ("system", "tools")),
    "preference": Kind(PROMPT, ("chosen",), turns.from_preference,
                       "Preference pairs are made for preference training (DPO). Here the chosen "
                       "answer is learned; the rejected one is not used.", ("system",)),
    "reasoning": Kind(PROMPT, ANSWER, pairs.from_pair,
                      "Questions with reasoning and answer; both are learned.",
                      ("input", "system", "reasoning")),
    "instruction": Kind(("instruction",), ANSWER, pairs.from_pair,
                        "Instructions, some with an input; outputs are learned."),
    "question": Kind(("question", "query", "problem", "human", "user"), ANSWER, pairs.from_pair,
                     "Questions, some with a context; answers are learned."),
    "completion": Kind(("prompt",), ANSWER, pairs.from_pair,
                       "Prompts and their completions; completions are learned."),
    "document": Kind(("document", "article", "dialogue", "text"), ("summary", "highlights"),
                     pairs.from_pair, "Documents and their summaries; summaries are learned.",
                     ("system",)),
    "labelled": Kind(TEXT, LABEL, pairs.from_label,
                     "Texts with labels; the label is learned as a word.", ("system",)),
    "text": Kind(TEXT, (), pairs.from_text, "Plain text; all of it is learned.", ()),
}
LAYOUTS = tuple(KINDS)


def recognise(row: dict[str, Any], name: str = "auto", *, prompt: str = "", input: str = "",
              answer: str = "", system: str = "", reasoning: str = "") -> Layout:
    """The layout of a data set, from one of its rows. A person's choices come first; what they
    leave open is found by column names. UserError where it can't be told."""
    for column in filter(None, (prompt, input, answer, system, reasoning)):
        if column not in row:
            raise UserError(f"There is no column '{column}'.", f"Found: {', '.join(row)}.")
    chosen = {"prompt": prompt, "input": input, "answer": answer, "system": system,
              "reasoning": reasoning}
    for candidate in [name] if name != "auto" else _candidates(chosen):
        found = _with_columns(row, candidate, chosen, named=name != "auto")
        if found:
            return found
    wanted = "" if name == "auto" else f" of the layout '{name}'"
    raise UserError(f"The columns{wanted} weren't recognised. Found: {', '.join(row)}.",
                    "Choose the layout, and the column of the prompt and of the answer.")


def _candidates(chosen: dict[str, str]) -> list[str]:
    """With both columns given by hand, a row is a question and its answer."""
    if chosen["prompt"] and chosen["answer"]:
        return ["reasoning" if chosen["reasoning"] else "question"]
    return list(KINDS)


def _with_columns(row: dict[str, Any], name: str, chosen: dict[str, str], named: bool
                  ) -> Layout | None:
    """The layout `name` over this row's columns; None where it lacks one."""
    kind = KINDS[name]
    prompts = (*kind.prompt, *(PROMPT if named and kind.answer == ANSWER else ()))
    columns = {"prompt": chosen["prompt"] or _find(row, prompts)}
    if kind.answer:
        columns["answer"] = chosen["answer"] or _find(row, kind.answer)
    by_name = {"input": INPUT, "system": SYSTEM, "reasoning": REASONING, "tools": TOOLS}
    for role in kind.roles:
        columns[role] = chosen.get(role) or _find(row, by_name[role])
    for role in ("input", "system", "reasoning") if kind.answer else ():
        columns[role] = chosen[role] or columns.get(role, "")  # by hand any role can be given
    if name == "preference" and columns["answer"]:
        return Layout(name, **columns)  # the chosen answer may hold the whole dialogue
    missing = not columns["prompt"] or kind.answer and not columns["answer"] \
        or name == "reasoning" and not columns["reasoning"]
    if missing or name in ("messages", "conversations") and not turns.is_dialogue(
            row[columns["prompt"]], "from" if name == "conversations" else "role"):
        return None
    return Layout(name, **columns)


def _find(row: dict[str, Any], names: tuple[str, ...]) -> str:
    by_lower = {column.lower(): column for column in row}
    return next((by_lower[n] for n in names if n in by_lower), "")


def to_messages(row: dict[str, Any], layout: Layout, instruction: str = "",
                label_names: Names = None) -> list[Message]:
    """The dialogue of one row, as role/content messages; plain text is one message of the role
    'text', the tools that a dialogue may call are a first message of the role 'tools'. Empty when
    the row holds nothing to learn. `label_names` turns label ids into words."""
    words = label_names if isinstance(label_names, dict) else {
        str(number): word for number, word in enumerate(label_names or ())}
    messages = KINDS[layout.name].read(row, layout, instruction, words)
    if layout.system and row.get(layout.system) and messages and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": str(row[layout.system])}, *messages]
    if not any(_teaches(message) for message in messages):
        return []
    tools = turns.tools_text(row.get(layout.tools)) if layout.tools else ""
    return [{"role": "tools", "content": tools}, *messages] if tools else messages


def _teaches(message: Message) -> bool:
    return message["role"] in ("assistant", "text") and bool(
        message["content"].strip() or message.get("tool_calls"))


def label_words(text: str) -> dict[str, str]:
    """What a person wrote as words of labels: 'negative, positive' counts from 0, '1=bad, 5=good'
    names the labels."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    pairs_of = [part.partition("=") if "=" in part else (str(number), "", part)
                for number, part in enumerate(parts)]
    return {label.strip(): word.strip() for label, _, word in pairs_of}
