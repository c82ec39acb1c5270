"""All answers in one batch of the decoder: one pass over the weights for a token of each."""

from collections.abc import Iterator

import torch

from core.chat.decoder import CHUNK, Decoder
from core.chat.decoder import which as index_of
from core.chat.joined import can_pack
from core.chat.sampling import Sampler, Sampling

SPARE = 4  # places behind an answer: a step ahead, and what a capture tries out


class Together:
    """Reads the prompts, then gives one token a step for each row that is still alive."""

    @torch.no_grad()
    def __init__(self, decoder: Decoder, prompts: list[list[int]], sampling: Sampling):
        self._decoder, self._prompts = decoder, prompts
        most = max(map(len, prompts))
        decoder.reserve(len(prompts), most + sampling.max_new_tokens + SPARE)
        self._steps = None
        if decoder.device.type == "cuda" and can_pack():
            from core.chat.graph import steps_of

            self._steps = steps_of(decoder, len(prompts))
        self._sampler = self._steps.sampler if self._steps else Sampler(
            len(prompts), decoder.config.vocab_size, decoder.device)
        self._sampler.load(sampling, prompts)
        self._tokens: torch.Tensor | None = None
        self._forced: dict[int, list[int]] = {}

    def read(self) -> Iterator[float]:
        """Read all prompts; yields the share that is done."""
        total = sum(map(len, self._prompts))
        last, done = [], 0
        for row, prompt in enumerate(self._prompts):
            done += self._decoder.known(row, prompt)
            for hidden in self._decoder.read(row, prompt):
                last[row:] = [hidden[-1:]]
                done = min(done + CHUNK, total)
                yield done / total
        self._hidden = torch.cat(last)

    @torch.no_grad()
    def step(self, alive: list[int]) -> list[int]:
        """The next tokens of the rows `alive`, in their order."""
        for row, tokens in list(self._forced.items()):
            self._sampler.force(row, tokens.pop(0))
            if not tokens:
                del self._forced[row]
        if self._tokens is None:
            self._tokens = self._sampler.draw(self._decoder.logits(self._hidden),
                                              slice(0, len(self._prompts)))
            first = self._tokens.tolist()
            if self._steps:
                self._steps.start(self._tokens)
            return [first[row] for row in alive]
        if self._steps:
            told = self._steps.next()
            return [told[row] for row in alive]
        rows = index_of(alive)
        drawn = self._sampler.draw(self._decoder.step(alive, self._tokens[rows]), rows)
        self._tokens[rows] = drawn
        return drawn.tolist()

    def force(self, row: int, tokens: list[int]) -> None:
        """Let the row say these tokens next."""
        self._forced[row] = list(tokens)

    def end(self, row: int) -> None:
        if self._steps:
            self._steps.end(row)
