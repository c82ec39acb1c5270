"""Answers that grow token by token, side by side, from one model with any of its adapters."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from core.chat.in_turn import InTurn
from core.chat.loaded import Loaded
from core.chat.sampling import Sampling
from core.chat.together import Together
from core.data.tokens.template import THINK_CLOSE, THINK_OPEN
from core.errors import UserError
from core.model.ends import end_tokens

YIELD_SECONDS = 0.2  # a page draws the whole text each time; faster, and it falls behind the model
TAIL = 24  # tokens in which the end of reasoning is looked for


@dataclass
class Answer:
    """An answer that grows. `ended_by` is '' while it does, then 'end' (the model's own), 'length',
    'stop' (a stop string) or 'person'."""

    adapter: str
    prompt_tokens: int
    opening: str = ""  # what the prompt began on the answer's behalf, such as '<think>'
    ids: list[int] = field(default_factory=list)
    done: bool = False
    ended_by: str = ""
    text: str = ""  # as far as it is certain: no half character, no beginning of a stop string
    first_seconds: float = 0.0  # until the first token: the prompt is read
    more_seconds: float = 0.0  # for all tokens after it
    thinks: bool = False
    think_tokens: int = 0
    think_seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        return (len(self.ids) - 1) / self.more_seconds if self.more_seconds else 0.0


@dataclass
class Wishes:
    """What a person asks for while answers grow; read before each token."""

    stop: set[int] = field(default_factory=set)  # columns to end where they are
    answer_now: set[int] = field(default_factory=set)  # columns to close their reasoning


def stream(loaded: Loaded, prompt: list[int], adapters: list[str],
           sampling: Sampling) -> Iterator[list[Answer]]:
    """Answers of several adapters to one prompt."""
    yield from stream_each(loaded, [prompt] * len(adapters), adapters, sampling, Wishes())


def stream_each(loaded: Loaded, prompts: list[list[int]], adapters: list[str], sampling: Sampling,
                wishes: Wishes) -> Iterator[list[Answer]]:
    """Answers of each adapter to its own prompt. Yields the growing answers now and then, and once
    more when all are done; before the first token as they are, still empty."""
    most = min(sampling.max_new_tokens, *(_room(loaded, prompt) for prompt in prompts))
    answers = [Answer(name, len(prompt), _opened(prompt, loaded.tokenizer))
               for name, prompt in zip(adapters, prompts, strict=True)]
    for answer in answers:
        answer.thinks = bool(answer.opening)
    began = time.monotonic()
    if loaded.runs_together(adapters):
        way = Together(loaded.hold(adapters), prompts, sampling)
    else:
        way = InTurn(loaded, prompts, adapters, sampling)
    for _ in way.read():
        if len(wishes.stop) < len(answers):
            yield answers
    yield from _grow(loaded, way, answers, sampling, wishes, most, began)


def _grow(loaded: Loaded, way: Any, answers: list[Answer], sampling: Sampling, wishes: Wishes,
          most: int, began: float) -> Iterator[list[Answer]]:
    ends, first = end_tokens(loaded.model, loaded.tokenizer), 0.0
    closing = loaded.tokenizer(f"\n{THINK_CLOSE}\n\n", add_special_tokens=False)["input_ids"]
    shown, hurried = 0.0, set()
    while alive := [i for i, answer in enumerate(answers) if not answer.done]:
        for row in alive:
            answer = answers[row]
            over = sampling.think_budget and answer.think_tokens >= sampling.think_budget
            if answer.thinks and row not in hurried and (over or row in wishes.answer_now):
                way.force(row, closing)
                hurried.add(row)
        tokens = way.step(alive)
        now = time.monotonic()
        first = first or now
        for row, token in zip(alive, tokens, strict=True):
            _take(answers[row], token, ends, most, sampling, loaded.tokenizer)
            answers[row].first_seconds, answers[row].more_seconds = first - began, now - first
            if row in wishes.stop and not answers[row].done:
                _end(answers[row], "person")
            if answers[row].done:
                way.end(row)
        if now - shown > YIELD_SECONDS:
            _write(answers, sampling, loaded.tokenizer)
            yield answers
            shown = time.monotonic()
    _write(answers, sampling, loaded.tokenizer)
    yield answers


def _take(answer: Answer, token: int, ends: set[int], most: int, sampling: Sampling, tokenizer: Any
          ) -> None:
    """One more token into an answer, which may end it."""
    if token in ends:
        _end(answer, "end")
        return
    answer.ids.append(token)
    if answer.thinks or sampling.stop or len(answer.ids) <= 4:
        # No token is empty, so the bytes of a stop string bound the tokens that it may take.
        most_tokens = max([TAIL, *(len(stop.encode()) + 1 for stop in sampling.stop)])
        tail = tokenizer.decode(answer.ids[-most_tokens:], skip_special_tokens=False)
        if len(answer.ids) <= 4 and tail.lstrip().startswith(THINK_OPEN):
            answer.thinks = True
        if answer.thinks:
            answer.think_tokens += 1
            answer.think_seconds = answer.first_seconds + answer.more_seconds
            answer.thinks = THINK_CLOSE not in tail
        if any(stop in tail for stop in sampling.stop):
            _end(answer, "stop")
    if len(answer.ids) >= most and not answer.done:
        _end(answer, "length")


def _end(answer: Answer, by: str) -> None:
    answer.done, answer.ended_by, answer.thinks = True, by, False


def _write(answers: list[Answer], sampling: Sampling, tokenizer: Any) -> None:
    """The answers' texts as they are by now."""
    for answer in answers:
        text = tokenizer.decode(answer.ids, skip_special_tokens=True)
        if answer.ended_by == "stop":
            text = text[:min((at for stop in sampling.stop if (at := text.find(stop)) >= 0),
                             default=len(text))]
        elif not answer.done:
            text = _certain(text, sampling.stop)
        answer.text = answer.opening + text


def _certain(text: str, stops: tuple[str, ...]) -> str:
    """Without an end that more tokens may change: half a character, half a stop string."""
    text = text.rstrip("\ufffd")
    for stop in stops:
        for size in range(min(len(stop) - 1, len(text)), 0, -1):
            if text.endswith(stop[:size]):
                text = text[:-size]
                break
    return text


def _room(loaded: Loaded, prompt: list[int]) -> int:
    """How many tokens may follow the prompt."""
    limit = context_length(loaded.model)
    if limit and len(prompt) + 1 > limit:
        raise UserError(f"The conversation has {len(prompt)} tokens; this model reads {limit}.",
                        "Begin a new conversation or shorten it.")
    return limit - len(prompt) if limit else 1 << 30


def context_length(model: Any) -> int:
    """The tokens that prompt and answer may have together; 0 where the model doesn't say."""
    return getattr(model.config, "max_position_embeddings", None) or 0


def _opened(prompt: list[int], tokenizer: Any) -> str:
    """'<think>' where the chat template has opened the reasoning already, as R1's does."""
    said = tokenizer.decode(prompt[-8:]).rstrip()
    return f"{THINK_OPEN}\n" if said.endswith(THINK_OPEN) else ""
