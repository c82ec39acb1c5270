"""Answers token by token from one model in memory, with any of its adapters or none."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache
from transformers.generation import logits_process

from core.chat.loaded import Loaded
from core.errors import UserError

YIELD_SECONDS = 0.05


@dataclass(frozen=True)
class Sampling:
    """How tokens are picked. Temperature 0 always takes the likeliest; `seed` makes the rest
    repeatable, and two answers with one seed draw the same numbers."""

    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    max_new_tokens: int = 256
    seed: int = 42

    def __post_init__(self) -> None:
        problems = [
            f"{label}: found {value}, needs {low:g} to {high:g}." for label, value, low, high in (
                ("Temperature", self.temperature, 0, 5), ("Top-p", self.top_p, 0.01, 1),
                ("Top-k", self.top_k, 0, 100_000),
                ("Max new tokens", self.max_new_tokens, 1, 32_768))
            if not low <= value <= high]
        if problems:
            raise UserError("\n".join(problems), "Change it, then send again.")


@dataclass
class Answer:
    """An answer that grows. `logits` are those of the token to come, of shape (1, vocabulary)."""

    adapter: str
    cache: DynamicCache
    ids: list[int] = field(default_factory=list)
    done: bool = False
    first_seconds: float = 0.0  # until the first token: the prompt is read
    more_seconds: float = 0.0  # for all tokens after it


def stream(loaded: Loaded, prompt: list[int], adapters: list[str],
           sampling: Sampling) -> Iterator[list[Answer]]:
    """Answers of several adapters to one prompt, side by side, a token each in turn. Yields the
    growing answers now and then, and once more when all are done."""
    model = loaded.model
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit and len(prompt) + 1 > limit:
        raise UserError(f"The conversation has {len(prompt)} tokens; this model reads {limit}.",
                        "Begin a new conversation or shorten it.")
    ends = end_tokens(model, loaded.tokenizer)
    most = min(sampling.max_new_tokens, limit - len(prompt)) if limit else sampling.max_new_tokens
    answers = [Answer(adapter, DynamicCache(config=model.config)) for adapter in adapters]
    generators = [torch.Generator().manual_seed(sampling.seed) for _ in adapters]
    inputs = {id(answer): prompt for answer in answers}
    shown = 0.0
    while not all(answer.done for answer in answers):
        for answer, generator in zip(answers, generators, strict=True):
            if not answer.done:
                token = _step(loaded, answer, inputs[id(answer)], sampling, generator)
                inputs[id(answer)] = [token]
                answer.done = token in ends
                if not answer.done:
                    answer.ids.append(token)
                    answer.done = len(answer.ids) >= most
        if time.monotonic() - shown > YIELD_SECONDS:
            yield answers
            shown = time.monotonic()
    yield answers


@torch.inference_mode()
def _step(loaded: Loaded, answer: Answer, ids: list[int], sampling: Sampling,
          generator: torch.Generator) -> int:
    began = time.monotonic()
    with loaded.using(answer.adapter) as model:
        logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=True,
                       past_key_values=answer.cache, logits_to_keep=1).logits[:, -1]
    token = pick(logits.float().cpu(), sampling, generator)
    spent = time.monotonic() - began
    if answer.ids:
        answer.more_seconds += spent
    else:
        answer.first_seconds = spent
    return token


def pick(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token from logits of shape (1, vocabulary)."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    warpers = [logits_process.TemperatureLogitsWarper(float(sampling.temperature))]
    if sampling.top_k:
        warpers.append(logits_process.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(logits_process.TopPLogitsWarper(sampling.top_p))
    for warper in warpers:
        logits = warper(None, logits)
    return int(torch.multinomial(logits.softmax(-1), 1, generator=generator))


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Ids that end an answer: the model's own, the tokenizer's, the usual ends of a turn."""
    own = model.generation_config.eos_token_id
    ends = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id}
    for token_id, token in tokenizer.added_tokens_decoder.items():
        if token.content in ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"):
            ends.add(token_id)
    return ends - {None}
