"""Answers by transformers' own forward pass, row by row: for what the decoder doesn't know."""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import DynamicCache

from core.chat.decoder import CHUNK
from core.chat.sampling import Sampler, Sampling


class InTurn:
    """The same steps as Together, one pass over the weights for each row."""

    def __init__(self, loaded: Any, prompts: list[list[int]], names: list[str],
                 sampling: Sampling):
        self._loaded, self._names, self._prompts = loaded, names, prompts
        self._caches = [DynamicCache(config=loaded.model.config) for _ in names]
        self._logits: list[torch.Tensor] = []
        self._tokens: dict[int, int] = {}
        self._forced: dict[int, list[int]] = {}
        vocabulary = loaded.model.get_output_embeddings().weight.shape[0]
        self._sampler = Sampler(len(names), vocabulary, "cpu")
        self._sampler.load(sampling, prompts)

    def read(self) -> Iterator[float]:
        """Read all prompts; yields the share that is done."""
        total, done = sum(map(len, self._prompts)), 0
        for row, prompt in enumerate(self._prompts):
            for start in range(0, len(prompt), CHUNK):
                logits = self._pass(row, prompt[start:start + CHUNK])
                done += min(CHUNK, len(prompt) - start)
                yield done / total
            self._logits.append(logits)

    def step(self, alive: list[int]) -> list[int]:
        """The next tokens of the rows `alive`, in their order."""
        for row, tokens in list(self._forced.items()):
            self._sampler.force(row, tokens.pop(0))
            if not tokens:
                del self._forced[row]
        if self._tokens:
            logits = [self._pass(row, [self._tokens[row]]) for row in alive]
        else:
            logits = [self._logits[row] for row in alive]
        drawn = self._sampler.draw(torch.cat(logits), torch.tensor(alive)).tolist()
        self._tokens.update(zip(alive, drawn, strict=True))
        return drawn

    def force(self, row: int, tokens: list[int]) -> None:
        """Let the row say these tokens next."""
        self._forced[row] = list(tokens)

    def end(self, row: int) -> None:
        self._caches[row] = None

    @torch.no_grad()
    def _pass(self, row: int, ids: list[int]) -> torch.Tensor:
        """Logits (1, vocabulary) of the token to come."""
        with self._loaded.using(self._names[row]) as model:
            logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=True,
                           past_key_values=self._caches[row], logits_to_keep=1).logits[:, -1]
        return logits.float().cpu()
