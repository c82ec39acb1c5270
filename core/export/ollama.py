"""An Ollama Modelfile whose template writes what the model's own chat template writes."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import TemplateError

from core.data.tokens import bounds
from core.data.tokens.template import PLAIN_TEMPLATE, learned_end

Talk = list[tuple[str, str]]  # role and words of each turn
SYSTEM, ASKED, SAID, AGAIN = "SYSTEM-5e1d", "ASKED-5e1d", "SAID-5e1d", "AGAIN-5e1d"
# Conversations on which the pieces must give the template's very text.
TALKS = ([("user", "a b")], [("system", "s"), ("user", "q")],
         [("user", "q"), ("assistant", "x y"), ("user", "r")],
         [("system", "s"), ("user", "q"), ("assistant", "x"), ("user", "r"), ("assistant", "y"),
          ("user", "z")],
         [("user", "q"), ("assistant", "x"), ("user", "r"), ("assistant", "y"), ("user", "z")])


@dataclass(frozen=True)
class Pieces:
    """What a chat template writes before and behind each turn. `alone` stands before the first
    turn where there is no system turn, `opening` before the answer that is to come. `system` is
    None where the template has no place of its own for it."""

    alone: str
    system: tuple[str, str] | None
    user: tuple[str, str]
    assistant: tuple[str, str]
    opening: str


def modelfile(tokenizer: Any, source: str, plain_text: bool) -> str:
    """`source` is the GGUF file or the folder, relative to the Modelfile; `plain_text` means that
    the model goes on with a text and knows no turns."""
    if plain_text:
        return f'FROM {source}\nTEMPLATE """{{{{ .Prompt }}}}"""\n'
    pieces = take_apart(tokenizer)
    template = _go_template(pieces, tokenizer) if pieces else ""
    if not pieces or '"""' in template:
        told = ("# This chat template can't be told in Ollama's language. Ollama takes the one in "
                "the model's file\n# if it knows it: compare an answer before you rely on it.")
    else:
        told = f'TEMPLATE """{template}"""'
    return "\n".join([f"FROM {source}", told, *(f'PARAMETER stop "{stop}"'
                                                for stop in _stops(tokenizer))]) + "\n"


def take_apart(tokenizer: Any) -> Pieces | None:
    """The pieces of a chat template, found by what it writes around marked turns; None where they
    don't give the same text as the template, put together again."""
    end = _end_text(tokenizer)
    try:
        once = _render(tokenizer, [("user", ASKED)])
        twice = _render(tokenizer, [("user", ASKED), ("assistant", SAID), ("user", AGAIN)])
    except (TemplateError, ValueError):
        return None
    try:
        guided = _render(tokenizer, [("system", SYSTEM), ("user", ASKED)])
        pieces = _pieces(once, twice, guided, end, tokenizer.bos_token or "")
        if _are_right(pieces, TALKS, tokenizer):
            return pieces
    except (TemplateError, ValueError):
        guided = ""  # such as Gemma's, which refuses a system turn
    pieces = _pieces(once, twice, "", end, tokenizer.bos_token or "")
    return pieces if _are_right(pieces, TALKS[::2], tokenizer) else None


def _are_right(pieces: Pieces, talks: Iterable[Talk], tokenizer: Any) -> bool:
    return all(put_together(pieces, talk) == _render(tokenizer, talk) for talk in talks)


def _pieces(once: str, twice: str, guided: str, end: str, bos: str) -> Pieces:
    """From one question, from two with an answer between, and from one after a system turn."""
    begin, _, behind = once.partition(ASKED)
    _, _, rest = twice.partition(ASKED)
    to_answer, _, rest = rest.partition(SAID)
    to_question = rest.partition(AGAIN)[0]
    before_system, _, rest = guided.partition(SYSTEM)
    behind_system = rest.partition(ASKED)[0]
    befores = [begin.removeprefix(bos), to_question, *([behind_system] if guided else [])]
    before_user = _after(end, os.path.commonprefix([text[::-1] for text in befores])[::-1])
    behind_user = _until(end, os.path.commonprefix([behind, to_answer]))
    return Pieces(
        alone=begin.removesuffix(before_user),
        system=(before_system, behind_system.removesuffix(before_user)) if guided else None,
        user=(before_user, behind_user),
        assistant=(to_answer.removeprefix(behind_user), to_question.removesuffix(before_user)),
        opening=behind.removeprefix(behind_user))


def _after(end: str, text: str) -> str:
    """What follows the end of a turn in `text`, so that each piece begins with its own turn."""
    return text.rpartition(end)[2].lstrip() if end and end in text else text


def _until(end: str, text: str) -> str:
    """`text` up to the end of a turn with the white space behind it."""
    if not end or end not in text:
        return text
    rest = text.partition(end)[2]
    return text[:len(text) - len(rest.lstrip())]


def put_together(pieces: Pieces, talk: Talk) -> str:
    """What the pieces make of a conversation, as Ollama will."""
    system = dict(talk).get("system")
    text = pieces.alone if system is None else system.join(pieces.system)
    for role, words in talk:
        if role != "system":
            before, behind = pieces.user if role == "user" else pieces.assistant
            text += before + words + behind
    return text + pieces.opening


def _go_template(pieces: Pieces, tokenizer: Any) -> str:
    """The pieces in Go's template language. A begin-of-text token is Ollama's own to add."""
    opened = tokenizer("", add_special_tokens=True)["input_ids"][:1] == [tokenizer.bos_token_id]
    bos = tokenizer.bos_token if opened and tokenizer.bos_token else ""
    alone = pieces.alone.removeprefix(bos)
    begin = alone if pieces.system is None else (
        "{{ if .System }}" + pieces.system[0].removeprefix(bos) + "{{ .System }}"
        + pieces.system[1] + "{{ else }}" + alone + "{{ end }}")
    return (begin + '{{ range .Messages }}{{ if eq .Role "user" }}' + pieces.user[0]
            + "{{ .Content }}" + pieces.user[1] + '{{ else if eq .Role "assistant" }}'
            + pieces.assistant[0] + "{{ .Content }}" + pieces.assistant[1]
            + "{{ end }}{{ end }}" + pieces.opening)


def _end_text(tokenizer: Any) -> str:
    end = learned_end(tokenizer)
    return "" if end is None else tokenizer.convert_ids_to_tokens(end)


def _stops(tokenizer: Any) -> list[str]:
    """Where an answer ends: the end of a turn, and of a text."""
    return [stop for stop in dict.fromkeys((_end_text(tokenizer), tokenizer.eos_token or ""))
            if stop]


def _render(tokenizer: Any, talk: Talk) -> str:
    bounds.require()
    return tokenizer.apply_chat_template(
        [{"role": role, "content": words} for role, words in talk], tokenize=False,
        add_generation_prompt=True, chat_template=tokenizer.chat_template or PLAIN_TEMPLATE)
