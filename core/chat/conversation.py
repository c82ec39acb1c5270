"""A conversation with its branches, as a file, and as rows to learn from."""

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.data.messages.layouts import Message
from core.errors import UserError
from core.files import append_json_line, read_json_lines

KIND = "tunedesk-chat"
ROLES = ("system", "user", "assistant")
LONGEST_FILE_BYTES = 20_000_000


@dataclass(frozen=True)
class Conversation:
    """`branches` are whole dialogues from the first turn on; `at` is the one that is shown. Going
    back and saying something else begins a branch, so nothing that was said is lost."""

    branches: list[list[Message]] = field(default_factory=lambda: [[]])
    at: int = 0
    system: str = ""

    @property
    def turns(self) -> list[Message]:
        return self.branches[self.at]

    def shown_as(self, turns: list[Message]) -> "Conversation":
        """The same with these turns shown: the branch grows where they go on from it; where they
        differ, or stop before its end, a new one begins."""
        if turns in self.branches:
            return replace(self, at=self.branches.index(turns))
        if turns[:len(self.turns)] == self.turns:
            branches = [*self.branches]
            branches[self.at] = turns
            return replace(self, branches=branches)
        return replace(self, branches=[*self.branches, turns], at=len(self.branches))

    def tidied(self) -> "Conversation":
        """Without branches that others begin with."""
        kept = [branch for i, branch in enumerate(self.branches) if i == self.at or not any(
            other[:len(branch)] == branch for j, other in enumerate(self.branches)
            if j != i and (len(other) > len(branch) or j < i))]
        return replace(self, branches=kept, at=kept.index(self.turns))

    def to_json(self) -> dict[str, Any]:
        return {"kind": KIND, "system": self.system, "at": self.at, "branches": self.branches}


def from_json(raw: Any) -> Conversation:
    """A conversation from what to_json gave, from {"messages": [...]}, or from a list of
    messages."""
    if isinstance(raw, list):
        raw = {"branches": [raw]}
    if isinstance(raw, dict) and "messages" in raw:
        raw = {"branches": [raw["messages"]]}
    if not isinstance(raw, dict) or not isinstance(raw.get("branches"), list):
        raise _not_a_chat("it has neither branches nor messages")
    branches = [[_turn(turn) for turn in branch] for branch in raw["branches"]
                if isinstance(branch, list)] or [[]]
    system = str(raw.get("system") or "")
    if branches[0] and branches[0][0]["role"] == "system":
        system = system or branches[0][0]["content"]
    branches = [[turn for turn in branch if turn["role"] != "system"] for branch in branches]
    at = raw.get("at", 0)
    return Conversation(branches, at if isinstance(at, int) and 0 <= at < len(branches) else 0,
                        system)


def read(path: Path) -> Conversation:
    if path.stat().st_size > LONGEST_FILE_BYTES:
        raise _not_a_chat("it is larger than 20 MB")
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, OSError, RecursionError) as error:
        raise _not_a_chat(f"it can't be read as JSON ({error})") from error


def _turn(turn: Any) -> Message:
    if (not isinstance(turn, dict) or turn.get("role") not in ROLES
            or not isinstance(turn.get("content"), str)):
        raise _not_a_chat(f"found {str(turn)[:80]!r} where a turn with role and content was wanted")
    note = {"note": turn["note"]} if isinstance(turn.get("note"), str) else {}
    # Half of a surrogate pair, which JSON can hold, is no character that a tokenizer could read.
    content = turn["content"].encode(errors="replace").decode()
    return {"role": turn["role"], "content": content, **note}


def _not_a_chat(found: str) -> UserError:
    return UserError(f"This file holds no conversation: {found}.",
                     "Choose one that was exported here, or a list of messages.")


def teach(uploads: Path, name: str, system: str, turns: list[Message]) -> Path:
    """Append the dialogue, which must end with an answer, to the data set of that name, in the
    messages layout; returns its file."""
    if not turns or turns[-1]["role"] != "assistant" or not turns[-1]["content"].strip():
        raise UserError("There is no answer to teach yet.",
                        "Send a message first; then save the answer, corrected if need be.")
    stem = re.sub(r"[^\w.-]+", "-", name.strip()).strip("-.")
    if not stem:
        raise UserError(f"'{name}' can't be the name of a data set.", "Use letters or digits.")
    path = uploads / f"{stem.removesuffix('.jsonl')}.jsonl"
    opening = [{"role": "system", "content": system}] if system.strip() else []
    said = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    row, known = {"messages": opening + said}, read_json_lines(path)
    if any("messages" not in each for each in known):
        raise UserError(f"The data set '{path.stem}' holds rows of another layout.",
                        "Choose another name.")
    if row in known:
        raise UserError(f"The data set '{path.stem}' holds this conversation already.",
                        "Correct the answer, or go on talking, then teach it.")
    append_json_line(path, row)
    return path
