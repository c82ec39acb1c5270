"""How much memory learning will take on one device, part by part, from the model's shape alone.

Figures were fitted to runs on an H100, see bench/README.md. Sizes are bytes.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch

from core.config import Config
from core.model.attention import KNOWN
from core.model.hardware import Formats
from core.model.lora import linear_names, resolve_targets

BYTES_PER_WEIGHT = {"32bit": 4.0, "16bit": 2.0, "8bit": 1.0, "fp8": 1.0, "4bit": 0.5}
# One scale in 32 bits for 64 weights; with double quantization in 8 bits, whose own scales are few.
SCALES, DOUBLE_SCALES = 4 / 64, 1 / 64 + 4 / (64 * 256)
# Bytes that the optimizer keeps for each learned weight; paged ones give way to main memory.
OPTIMIZER = {"adamw_torch": 8, "adamw_torch_fused": 8, "adamw_8bit": 2, "paged_adamw_8bit": 2,
             "paged_adamw_32bit": 8, "adafactor": 0.1, "lion_32bit": 4, "sgd": 0}
LOGITS_AT_ONCE = 2 ** 27  # numbers: 256 MiB in 16 bits
NORMS = 5


@dataclass(frozen=True)
class Estimate:
    """The peak, by what it is made of."""

    weights: float
    adapter: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    overhead: float
    loading: float  # before anything is learned, weights not yet in their last form; not added

    @property
    def learning(self) -> float:
        return sum(getattr(self, f.name) for f in fields(self) if f.name != "loading")

    @property
    def total(self) -> float:
        return max(self.learning, self.loading)


@dataclass(frozen=True)
class Sizes:
    """What of a model's shape decides the memory: `linear` weights can be quantized, `other` ones
    (embeddings, head, norms) can't; `adapted` are the linear ones that get an adapter and could be
    held in fp8, `learned` those of the adapter. `head` is the name of the output head where it is
    a plain matrix of a known architecture, else empty; `by_rows` says that attention needs no mask
    of the whole square."""

    linear: int
    adapted: int
    other: int
    learned: int
    layers: int
    hidden: int
    inner: int
    query: int
    key_value: int
    vocabulary: int
    largest: int
    head: str
    by_rows: bool


def sizes_of(model: Any, settings: Config, learned: int) -> Sizes:
    """From a model, on the meta device or not, that has no adapter yet."""
    config = model.config.get_text_config()
    linear = _linear(model)
    total = sum(p.numel() for p in model.parameters())
    known = model.config.model_type in KNOWN
    heads = getattr(config, "num_attention_heads", None) or 1
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    groups = getattr(config, "num_key_value_heads", None) or heads
    return Sizes(
        sum(linear.values()), _adapted(model, settings, linear), total - sum(linear.values()),
        learned, config.num_hidden_layers, config.hidden_size, inner, head * heads, head * groups,
        config.vocab_size, max(linear.values(), default=0), _plain_head(model) if known else "",
        known)


def _linear(model: Any) -> dict[str, int]:
    """The weights of each linear layer, by its path."""
    names, head = linear_names(model), model.get_output_embeddings()
    return {path: module.weight.numel() for path, module in model.named_modules()
            if path.rpartition(".")[2] in names and module is not head
            and getattr(module, "weight", None) is not None}


def _adapted(model: Any, settings: Config, linear: dict[str, int]) -> int:
    """The linear weights that get an adapter. Where biases are learned, layers that have one keep
    peft's own form."""
    targets = resolve_targets(settings.target_modules, model)
    return sum(size for path, size in linear.items()
               if any(f".{path}".endswith(f".{target}") for target in targets)
               and (settings.lora_bias == "none"
                    or getattr(model.get_submodule(path), "bias", None) is None))


def _plain_head(model: Any) -> str:
    """The path of an output head that is nothing but a matrix, as loss.plain_head wants it."""
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or head.bias is not None:
        return ""
    return next(path for path, module in model.named_modules() if module is head)


def estimate(config: Config, formats: Formats, sizes: Sizes, *, pass_tokens: int,
             recomputed: float, compiled: bool, parks: bool = False, streams: bool = False,
             cut_among: int = 1) -> Estimate:
    """The peak of learning passes of `pass_tokens`, with the activations of a share of the layers
    `recomputed`, what these keep in main memory if it `parks`, and the layers' weights there if it
    `streams`, on one of as many devices as the weights are cut among."""
    number = 4 if formats.precision == "fp32" else 2
    linear, other = _weights(config, formats, sizes)
    kept = _kept(sizes, compiled) * number
    thrifty = round(sizes.layers * recomputed)
    layers = (sizes.layers - thrifty) * kept
    layers += 0 if parks else thrifty * sizes.hidden * number
    # Either logits are there, or one layer's gradients and what it computes anew.
    logits = (14 * pass_tokens * sizes.vocabulary if _makes_all_logits(config, sizes, cut_among)
              else min(LOGITS_AT_ONCE, pass_tokens * sizes.vocabulary) * (6 if compiled else 14))
    working = pass_tokens * ((kept if thrifty else 0) + _working(sizes) * number)
    if parks:  # the last two are on their way out, or the next comes back
        moving = pass_tokens * parked_bytes(sizes, formats, 1.0)
        logits, working = logits + 2 * moving, working + moving
    learned = sizes.learned / cut_among
    return Estimate(
        weights=(other + linear * min(1, 2 / sizes.layers) if streams
                 else _held(linear, other, sizes.layers, cut_among)),
        adapter=4.0 * learned, gradients=4.0 * learned,
        optimizer=float(OPTIMIZER[config.optimizer] * learned),
        activations=float(pass_tokens * layers),
        logits=float(max(logits, working)),
        overhead=float(2 * sizes.largest * number + 2 * pass_tokens * sizes.hidden * number
                       + _mask(config, sizes, pass_tokens, number)),
        loading=0.0 if streams else _loading(config, formats, sizes, linear + other, cut_among))


def parked_bytes(sizes: Sizes, formats: Formats, share: float) -> float:
    """Of one token: a layer's input, and the MLP's inner products of a share of the layers."""
    number = 4 if formats.precision == "fp32" else 2
    return number * (sizes.hidden + share * 2 * sizes.inner)


def weights_bytes(config: Config, formats: Formats, sizes: Sizes) -> float:
    """Of all layers, as they are held."""
    linear, _ = _weights(config, formats, sizes)
    return linear


def _weights(config: Config, formats: Formats, sizes: Sizes) -> tuple[float, float]:
    """Bytes of the linear weights in the form in which they are held, and of the others."""
    each = BYTES_PER_WEIGHT[formats.weights]
    if formats.weights == "4bit":
        each += DOUBLE_SCALES if config.double_quantization else SCALES
    as_it_was = sizes.linear - sizes.adapted if formats.weights == "fp8" else 0
    return ((sizes.linear - as_it_was) * each + as_it_was * BYTES_PER_WEIGHT["16bit"],
            sizes.other * (4.0 if formats.weight_dtype == torch.float32 else 2.0))


def _held(linear: float, other: float, layers: int, cut_among: int) -> float:
    """Weights on one device: its part, and where they are cut up two whole layers, that at work
    and the next, and all that belongs to no layer, which stays whole while a pass lasts."""
    if cut_among == 1:
        return linear + other
    return (linear + other) / cut_among + linear * min(1, 2 / layers) + other


def _loading(config: Config, formats: Formats, sizes: Sizes, held: float, cut_among: int) -> float:
    """fp8 is made of 16-bit weights on the device. What is cut up comes there whole, but for plain
    weights under fsdp2, see load.load_base."""
    if formats.weights == "fp8":
        return BYTES_PER_WEIGHT["16bit"] * (sizes.linear + sizes.other)
    in_main_memory = config.strategy == "fsdp2" and formats.weights in ("16bit", "32bit")
    return 0.0 if cut_among > 1 and in_main_memory else held


def _makes_all_logits(config: Config, sizes: Sizes, cut_among: int) -> bool:
    """Whether the logits of all learned tokens are there at once. How many are learned isn't
    known, so all are counted."""
    learns_head = any(f".{sizes.head}".endswith(f".{name}")
                      for name in (*config.modules_to_save, *config.target_modules))
    return not sizes.head or learns_head or cut_among > 1


def _mask(config: Config, sizes: Sizes, pass_tokens: int, number: int) -> float:
    """The square that keeps joined rows apart where attention knows no rows: of truths, and of
    numbers that are added."""
    joined = config.packing and not config.neftune_noise_alpha
    return float((1 + number) * pass_tokens ** 2) if joined and not sizes.by_rows else 0.0


def _kept(sizes: Sizes, compiled: bool) -> float:
    """Numbers that one layer keeps of one token: its input, what the norms, the attention and the
    products were given. Without compiling the norms keep more, in 32 bits."""
    numbers = 5 * sizes.hidden + sizes.query + 2 * sizes.key_value + 3 * sizes.inner
    return numbers if compiled else numbers + NORMS * sizes.hidden


def _working(sizes: Sizes) -> float:
    """Numbers of one token that the backward pass holds beside those that were kept."""
    return 2 * sizes.hidden + 3 * sizes.inner
