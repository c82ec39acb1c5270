"""Messages to text, by the tokenizer's own chat template: the one way for training and for chat."""

from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import TemplateError

from core.data.messages.layouts import Message
from core.data.tokens import bounds, tools
from core.data.tokens.plain import PLAIN_TEMPLATE
from core.errors import UserError

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
REFUSALS = (TemplateError, ValueError, TypeError, KeyError, AttributeError)  # inside a template


@dataclass(frozen=True)
class Segment:
    """A piece of the text that the model reads; `learned` is True where it is the model's own."""

    text: str
    learned: bool


@dataclass(frozen=True)
class Dropped:
    """A part of the turn `index` that isn't in the text, or an answer that is there, but only to be
    read (`read_only`)."""

    index: int
    role: str
    text: str
    read_only: bool = False


def prompt_text(messages: list[Message], tokenizer: Any) -> str:
    """What the model reads before it answers. A single 'text' message is continued as it is."""
    if messages and messages[-1]["role"] == "text":
        return messages[-1]["content"]
    return _render(_fitted(messages, tokenizer), tokenizer, for_answer=True)


def segments(messages: list[Message], tokenizer: Any) -> list[Segment]:
    """A dialogue as context and answers in turn, joined exactly as chat would have joined them.

    Some templates rewrite earlier turns (DeepSeek-R1's drops their reasoning), so that the turns
    can't stand in one text as each was generated; then only the last answer is learned.
    """
    if messages and messages[0]["role"] == "text":
        return [Segment(messages[0]["content"], True)]
    messages = _fitted(messages, tokenizer)
    parts: list[Segment] = []
    done = ""
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or not _asked(messages[:index]):
            continue  # what the model says before it was asked anything is context
        prompt = _render(messages[:index], tokenizer, for_answer=True)
        without_end = done.removesuffix(tokenizer.eos_token or "").rstrip()
        if parts and not prompt.startswith(done) and prompt.startswith(without_end):
            # Phi-3's template ends a dialogue, not each answer, with the end token.
            parts[-1] = Segment(parts[-1].text[: len(without_end) - len(done)], parts[-1].learned)
            done = without_end
        if not prompt.startswith(done):
            parts, done = [], ""
        full = _render(messages[: index + 1], tokenizer, for_answer=False)
        answer, done = _answer(message["content"] or "", prompt, full, done, parts, tokenizer)
        parts.append(Segment(answer, message.get("weight") != 0))
    return parts


def dropped(messages: list[Message], tokenizer: Any) -> list[Dropped]:
    """What of a dialogue the template leaves out, and which answers can't be learned: reasoning of
    earlier turns mostly. It only looks, for showing it; nothing is decided by it."""
    parts = segments(messages, tokenizer)
    text = "".join(part.text for part in parts)
    learned = "".join(part.text for part in parts if part.learned)
    found = []
    for index, message in enumerate(messages):
        role, (thought, said) = message["role"], _thought_and_said(message)
        lost = [piece for piece in (thought, said) if piece and piece not in text]
        found += [Dropped(index, role, piece) for piece in lost]
        meant = message.get("weight", 1)  # an answer of weight 0 is only read because it says so
        if role == "assistant" and meant and said and said in text and said not in learned:
            found.append(Dropped(index, role, said, read_only=True))
    return found


def _thought_and_said(message: Message) -> tuple[str, str]:
    if message["role"] == "tools":
        return "", ""
    before, closed, after = (message["content"] or "").partition(THINK_CLOSE)
    return (before.replace(THINK_OPEN, "").strip(), after.strip()) if closed else (
        "", before.strip())


def _asked(messages: list[Message]) -> bool:
    return any(message["role"] != "tools" for message in messages)


def _answer(content: str, prompt: str, full: str, done: str, parts: list[Segment],
            tokenizer: Any) -> tuple[str, str]:
    """Appends the context before an answer to `parts`; returns the answer and the text so far."""
    parts.append(Segment(prompt[len(done):], False))
    if full.startswith(prompt) and not prompt.rstrip().endswith(THINK_OPEN):
        # White space behind the end-of-turn token belongs to the template, not to the answer.
        answer = full[len(prompt):]
        stripped = answer.rstrip()
        ends_with_token = stripped != answer and _ends_with_special(stripped, tokenizer)
        answer = stripped if ends_with_token else answer
        return answer, prompt + answer
    if prompt.rstrip().endswith(THINK_OPEN):
        content = _after_opened_think(content)
    answer = content + _turn_end(tokenizer)
    return answer, prompt + answer


def _after_opened_think(content: str) -> str:
    """What is left to say when the prompt has opened the reasoning already."""
    if content.lstrip().startswith(THINK_OPEN):
        return content.lstrip().removeprefix(THINK_OPEN).lstrip("\n")
    if THINK_CLOSE in content:
        return content
    return f"\n{THINK_CLOSE}\n\n{content}"


def _turn_end(tokenizer: Any) -> str:
    """What the template writes behind an answer, for example '<|im_end|>'."""
    mark = "ANSWER-7f3c"
    text = _render([{"role": "user", "content": "?"}, {"role": "assistant", "content": mark}],
                   tokenizer, for_answer=False)
    return text.rpartition(mark)[2].rstrip()


def learned_end(tokenizer: Any) -> int | None:
    """The token that ends an answer as training teaches it: the template's end of a turn where it
    is one token, else the tokenizer's end of a text."""
    try:
        ids = tokenizer(_turn_end(tokenizer), add_special_tokens=False)["input_ids"]
    except (TemplateError, ValueError):
        ids = []
    return ids[0] if len(ids) == 1 else tokenizer.eos_token_id


def _ends_with_special(text: str, tokenizer: Any) -> bool:
    return any(text.endswith(token) for token in special_texts(tokenizer))


def special_texts(tokenizer: Any) -> list[str]:
    """Texts of the tokens that never are a person's words."""
    return [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]


def _fitted(messages: list[Message], tokenizer: Any) -> list[Message]:
    """The dialogue in the form of tools and calls that this template writes; in words where it
    writes none."""
    if not tools.has_tools(messages):
        return messages
    for form in (messages, tools.with_text_arguments(messages)):
        try:
            text = _render(form, tokenizer, for_answer=False)
        except UserError:
            continue
        if tools.all_written(messages, text):
            return form
    return tools.in_words(messages)


def _render(messages: list[Message], tokenizer: Any, for_answer: bool) -> str:
    """UserError where the template can't write such a dialogue, in no form that is tried."""
    adapted = _in_pairs(messages)
    try:
        return _apply(messages, tokenizer, for_answer)
    except REFUSALS as error:
        refused = error
    try:
        if adapted != messages:
            return _apply(adapted, tokenizer, for_answer)
    except REFUSALS as error:
        refused = error
    turns = ", ".join(message["role"] for message in messages)
    raise UserError(f"This model's chat template refuses a dialogue of {turns}: {refused}",
                    "Choose another model or chat template, or leave such rows out.") from refused


def _apply(messages: list[Message], tokenizer: Any, for_answer: bool) -> str:
    bounds.require()
    offered, said = tools.apart(messages)
    return tokenizer.apply_chat_template(
        said, tokenize=False, add_generation_prompt=for_answer, tools=offered,
        chat_template=tokenizer.chat_template or PLAIN_TEMPLATE)


def _in_pairs(messages: list[Message]) -> list[Message]:
    """The same words for a template that knows no system turn, or wants user and assistant in
    turn: system becomes the beginning of the user's turn, turns of one role become one."""
    adapted: list[Message] = []
    for message in messages:
        role = "user" if message["role"] == "system" else message["role"]
        if adapted and adapted[-1]["role"] == role:
            adapted[-1] = {**message, "role": role,
                           "content": f"{adapted[-1]['content']}\n\n{message['content']}"}
        else:
            adapted.append({**message, "role": role})
    return adapted
