"""Which sizes of model this machine can tune: a known model for each size, from the smallest up."""

from dataclasses import dataclass
from typing import Any

from core.config import Config
from core.errors import UserError
from core.files import Folders
from core.model.catalog import STARTER, Entry, load_catalog
from core.model.estimate import Sizes
from core.model.hardware import Device, choose_formats
from core.training import pace

EXAMPLES = (STARTER, "Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen3-4B",
            "deepseek-ai/deepseek-llm-7b-chat", "Qwen/Qwen3-14B",
            "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
            "deepseek-ai/DeepSeek-R1-Distill-Llama-70B")
# Two processor cores learn some 400 tokens a second with the 135M starter, and the time grows with
# the parameters: a thousand rows of 300 tokens take an hour with a model of the first size, a night
# with one of the second.
SLOW_ON_CPU, TOO_SLOW_ON_CPU = 0.7e9, 4e9


@dataclass(frozen=True)
class Size:
    """A model of that size. `verdict` is 'good', 'slow' or 'no'; `weights` the widest format of the
    base weights that fits, empty where none does; `needs_bytes` the memory with it, or with the
    narrowest."""

    model: str
    name: str
    parameters: int
    verdict: str
    weights: str
    needs_bytes: float


def fitting(folders: Folders, device: Device) -> list[Size]:
    catalog = load_catalog(folders)
    return [_judged(catalog[name], device) for name in EXAMPLES]


def suggested(sizes: list[Size], device: Device) -> Size:
    """For a first try: the starter, which is at hand, where there is no graphics card; else the
    largest that is good here, but none so large that it would take a day."""
    good = [size for size in sizes if size.verdict == "good" and size.parameters < 8e9]
    return good[-1] if good and device.kind != "cpu" else sizes[0]


def _judged(entry: Entry, device: Device) -> Size:
    for weights in ("auto", "4bit") if device.kind == "cuda" else ("auto",):
        config = Config(base_model=entry.id, base_weights=weights, max_length=512, batch_size=4)
        try:
            formats = choose_formats(config, device)
        except UserError:
            break  # what was found for 'auto' stands
        found = pace.fit(config, formats, dense_sizes(entry, config.lora_r), device.memory_bytes,
                         config.batch_size * config.max_length, config.max_length)
        if found.fits:
            break
    verdict = "good" if found.fits else "no"
    if found.fits and device.kind == "cpu" and entry.parameters > SLOW_ON_CPU:
        verdict = "slow" if entry.parameters < TOO_SLOW_ON_CPU else "no"
    return Size(entry.id, entry.name, entry.parameters, verdict,
                formats.weights if found.fits else "", found.needed.total)


def dense_sizes(entry: Entry, lora_r: int) -> Sizes:
    """As estimate.sizes_of with adapters at all linear layers, from the shape alone: building even
    an empty model of 80 layers takes seconds. For models whose layers are all Llama's."""
    shape: dict[str, Any] = entry.config
    hidden, inner, layers = (shape["hidden_size"], shape["intermediate_size"],
                             shape["num_hidden_layers"])
    head = shape.get("head_dim") or hidden // shape["num_attention_heads"]
    query = head * shape["num_attention_heads"]
    key_value = head * shape["num_key_value_heads"]
    matrices = [(hidden, query), (hidden, key_value), (hidden, key_value), (query, hidden),
                (hidden, inner), (hidden, inner), (inner, hidden)]
    linear = layers * sum(rows * columns for rows, columns in matrices)
    learned = layers * lora_r * sum(rows + columns for rows, columns in matrices)
    return Sizes(linear, linear, entry.parameters - linear, learned, layers, hidden, inner, query,
                 key_value, shape["vocab_size"], max(rows * columns for rows, columns in matrices),
                 head="lm_head", by_rows=True)
