"""How the next token is picked: the settings, and the draw, the same on CPU and in a graph."""

from dataclasses import dataclass

import torch

from core.errors import UserError

MOST_NEW_TOKENS = 32_768


@dataclass(frozen=True)
class Sampling:
    """How tokens are picked and when an answer ends. Temperature 0 always takes the likeliest;
    `seed` makes the rest repeatable, and two answers with one seed draw the same numbers.
    `think_budget` are the tokens after which reasoning is closed; 0 lets it go on."""

    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_new_tokens: int = 256
    seed: int = 42
    stop: tuple[str, ...] = ()
    think_budget: int = 0

    def __post_init__(self) -> None:
        problems = [
            f"{label}: found {value}, needs {low:g} to {high:g}." for label, value, low, high in (
                ("Temperature", self.temperature, 0, 5), ("Top-p", self.top_p, 0.01, 1),
                ("Top-k", self.top_k, 0, 1_000_000), ("Min-p", self.min_p, 0, 1),
                ("Repetition penalty", self.repetition_penalty, 0.5, 3),
                ("Seed", self.seed, -2**63, 2**63 - 1),
                ("Max new tokens", self.max_new_tokens, 1, MOST_NEW_TOKENS),
                ("Thinking budget", self.think_budget, 0, MOST_NEW_TOKENS))
            if not low <= value <= high]
        if problems:
            raise UserError("\n".join(problems), "Change it, then send again.")
        object.__setattr__(self, "stop", tuple(s for s in self.stop if s))


class Sampler:
    """Draws one token for each row of logits. Everything that a draw reads lies in tensors of fixed
    places, so that a captured CUDA graph draws with what `load` wrote last."""

    def __init__(self, rows: int, vocabulary: int, device: torch.device | str):
        self._temperature, self._top_p, self._min_p, self._penalty = torch.ones(
            4, 1, device=device)
        self._top_k = torch.ones(1, dtype=torch.long, device=device)
        self._uniform = torch.zeros(MOST_NEW_TOKENS + 2, device=device)
        self._drawn = torch.zeros(1, dtype=torch.long, device=device)
        self._seen = torch.zeros(rows, vocabulary, dtype=torch.bool, device=device)
        self._forced = torch.full((rows,), -1, dtype=torch.long, device=device)
        self.is_greedy = self.is_penalised = False
        self._cpu_k = 0

    def load(self, sampling: Sampling, prompts: list[list[int]]) -> None:
        """Settings for the answers to `prompts`, row by row. One row of random numbers serves all:
        the n-th token of each answer is drawn with the n-th number."""
        self.is_greedy = sampling.temperature == 0
        self.is_penalised = sampling.repetition_penalty != 1
        vocabulary = self._seen.shape[1]
        self._temperature.fill_(sampling.temperature or 1.0)
        self._top_p.fill_(sampling.top_p)
        self._min_p.fill_(sampling.min_p)
        self._penalty.fill_(sampling.repetition_penalty)
        self._top_k.fill_(sampling.top_k or vocabulary)
        self._cpu_k = min(sampling.top_k, vocabulary)
        count = sampling.max_new_tokens + 2
        numbers = torch.rand(count, generator=torch.Generator().manual_seed(sampling.seed))
        self._uniform[:count].copy_(numbers)
        self._drawn.zero_()
        self._forced.fill_(-1)
        self._seen.zero_()
        if self.is_penalised:
            for row, prompt in enumerate(prompts):
                self._seen[row, torch.tensor(prompt, device=self._seen.device)] = True

    def changed(self) -> list[torch.Tensor]:
        """The tensors that a draw writes to."""
        return [self._drawn, self._seen, self._forced]

    def force(self, row: int, token: int) -> None:
        """The next token of this row, whatever its logits say."""
        self._forced[row] = token

    def draw(self, logits: torch.Tensor, rows: slice | torch.Tensor = slice(None)) -> torch.Tensor:
        """Tokens (rows,) for logits (rows, vocabulary) in float32; `rows` says which they are."""
        if self.is_penalised:
            punished = torch.where(logits > 0, logits / self._penalty, logits * self._penalty)
            logits = torch.where(self._seen[rows], punished, logits)
        picked = logits.argmax(-1) if self.is_greedy else self._pick(logits / self._temperature)
        forced = self._forced[rows]
        tokens = torch.where(forced >= 0, forced, picked)
        self._forced[rows] = -1
        if self.is_penalised:
            self._seen[rows] = self._seen[rows].scatter(1, tokens[:, None], True)
        self._drawn += 1
        return tokens

    def _pick(self, logits: torch.Tensor) -> torch.Tensor:
        """The token at which the summed probabilities, the likeliest first, pass a random number,
        of those that top-k, top-p and min-p leave. In the order in which transformers applies
        them."""
        if logits.device.type == "cpu" and self._cpu_k:
            ordered, order = logits.topk(self._cpu_k)
        else:
            ordered, order = logits.sort(-1, descending=True)
        shares = ordered.softmax(-1)
        rank = torch.arange(shares.shape[-1], device=shares.device)
        shares = torch.where(rank < self._top_k, shares, 0.0)
        shares = shares / shares.sum(-1, keepdim=True)
        kept = (shares.cumsum(-1) - shares < self._top_p) & (
            shares >= self._min_p * shares[..., :1])
        summed = torch.where(kept, shares, 0.0).cumsum(-1)
        wanted = self._uniform.gather(0, self._drawn) * summed[..., -1:]
        at = (summed < wanted).sum(-1, keepdim=True)
        return order.gather(-1, at)[..., 0]
