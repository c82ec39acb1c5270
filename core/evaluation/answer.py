"""Answers that a model writes to many prompts, several at a time, always the likeliest token."""

from collections.abc import Iterator
from typing import Any

import torch

from core.model.ends import end_tokens, until_end

ROWS_ON_CPU, ROWS_ON_GPU = 8, 32


@torch.inference_mode()
def answers(model: Any, tokenizer: Any, prompts: list[list[int]], max_new_tokens: int
            ) -> Iterator[dict[int, str]]:
    """{number of the prompt: its answer}, a batch at a time. Prompts of like length go together,
    so that little is padded."""
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    size = ROWS_ON_GPU if model.device.type == "cuda" else ROWS_ON_CPU
    ends = sorted(end_tokens(model, tokenizer))
    for start in range(0, len(order), size):
        numbers = order[start:start + size]
        longest = max(len(prompts[n]) for n in numbers)
        padding = [longest - len(prompts[n]) for n in numbers]
        ids = torch.tensor([[tokenizer.pad_token_id] * gap + prompts[n]
                            for n, gap in zip(numbers, padding, strict=True)])
        attention = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in padding])
        written = model.generate(
            input_ids=ids.to(model.device), attention_mask=attention.to(model.device),
            do_sample=False, temperature=None, top_p=None, top_k=None, use_cache=True,
            max_new_tokens=max_new_tokens, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
        yield {n: tokenizer.decode(until_end(line[longest:].tolist(), ends),
                                   skip_special_tokens=True)
               for n, line in zip(numbers, written, strict=True)}
