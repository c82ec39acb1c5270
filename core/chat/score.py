"""How likely a model finds a given answer."""

import torch

from core.chat.loaded import Loaded
from core.data.tokens.tokenize import IGNORED, Example


@torch.no_grad()
def log_probability(loaded: Loaded, name: str, example: Example) -> dict[str, float]:
    """The natural logarithm of the probability of the learned tokens, each given all before it, and
    their number: {"log_probability", "tokens"}."""
    labels = torch.tensor(example.labels)
    targets = (labels[1:] != IGNORED).nonzero()[:, 0]  # position p predicts label p + 1
    if not len(targets):
        return {"log_probability": 0.0, "tokens": 0}
    total = 0.0
    for start, logits in _logits(loaded, name, example.ids, targets):
        wanted = targets[(targets >= start) & (targets < start + len(logits))]
        shares = logits[wanted - start].log_softmax(-1).cpu()
        total += float(shares.gather(1, labels[wanted + 1][:, None]).sum())
    return {"log_probability": total, "tokens": len(targets)}


def _logits(loaded: Loaded, name: str, ids: list[int], targets: torch.Tensor):
    """(position of the first, logits in float32) of stretches that hold all targets."""
    if not loaded.runs_together([name]):
        with loaded.using(name) as model:
            yield 0, model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float()
        return
    decoder = loaded.hold([name])
    decoder.reserve(1, len(ids))
    decoder.rows[0].read = []  # every chunk's states are needed, known or not
    start = 0
    for hidden in decoder.read(0, ids):
        if ((targets >= start) & (targets < start + len(hidden))).any():
            yield start, decoder.logits(hidden)
        start += len(hidden)
