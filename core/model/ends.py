"""The tokens that end an answer, the same ones wherever an answer is written."""

from collections.abc import Collection
from typing import Any

TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Ids that end an answer: the model's own, the tokenizer's, the usual ends of a turn."""
    own = model.generation_config.eos_token_id
    ends = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id}
    ends |= {token_id for token_id, token in tokenizer.added_tokens_decoder.items()
             if token.content in TURN_ENDS}
    return ends - {None}


def until_end(ids: list[int], ends: Collection[int]) -> list[int]:
    """What an answer says before the first token that ends it."""
    return next((ids[:at] for at, token in enumerate(ids) if token in ends), ids)
