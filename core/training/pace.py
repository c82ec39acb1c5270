"""How fast and in how much memory a run learns: fused layers, recomputed or compiled blocks."""

import time
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
from transformers.trainer_callback import TrainerCallback

from core.config import Config
from core.errors import UserError
from core.model import load, lora
from core.model.attention import KNOWN
from core.model.estimate import (
    Estimate,
    Sizes,
    estimate,
    parked_bytes,
    sizes_of,
    weights_bytes,
)
from core.model.fused.blocks import Blocks, decoder_layers, let_inputs_have_gradients
from core.model.fused.layers import fuse
from core.model.fused.parked import Parking, Streamed, copied_while
from core.model.hardware import Device, Formats, find_device
from core.training import ranks, sharding
from core.training.loss import LearnedLoss

# Measured on an H100 with a 7B model, see bench/README.md: compiled layers take this share of the
# time less, and so many seconds until they are made.
COMPILED_SAVES, COMPILING_SECONDS = 0.3, 60.0
WARM_STEPS, MEASURED_STEPS = 3, 4


@dataclass(frozen=True)
class Dial:
    """One point between speed and memory: the share of the blocks whose activations are computed
    twice, the most tokens in one pass, whether what such blocks keep waits in main memory, and
    whether the blocks' weights do."""

    recomputed: float
    pass_tokens: int
    parks: bool = False
    streams: bool = False


# From the fastest to that which takes the least.
BY_SPEED = (Dial(0.0, 16384), Dial(0.0, 8192), Dial(0.0, 4096), Dial(0.5, 8192),
            Dial(1.0, 8192, parks=True), Dial(1.0, 8192), Dial(1.0, 4096, parks=True),
            Dial(1.0, 4096), Dial(1.0, 2048), Dial(1.0, 1024),
            Dial(1.0, 8192, parks=True, streams=True), Dial(1.0, 1024, parks=True, streams=True))
SPARE = 0.08  # share of the memory that is left for what an estimate can't know
DIALS = {"fastest": Dial(0.0, 16384), "balanced": Dial(0.5, 8192),
         "least": Dial(1.0, 4096, parks=True),
         "streamed": Dial(1.0, 8192, parks=True, streams=True)}
ALL_TWICE = Dial(1.0, 4096)
# bitsandbytes keeps a second copy of 8-bit weights; fp8 is made of 16-bit ones on the device.
NEVER_STREAMED = ("8bit", "fp8")
PARKS = 0.6  # the share of free main memory in which activations and weights may wait


@dataclass(frozen=True)
class Fit:
    """A point of the dial and the memory that is expected there, of that which there is."""

    dial: Dial
    needed: Estimate
    memory_bytes: int

    @property
    def fits(self) -> bool:
        return self.needed.total <= self.memory_bytes * (1 - SPARE)


def splits_batches(config: Config, processes: int | None = None) -> bool:
    """Whether a batch goes through the model in passes of bounded size."""
    return (config.packing and not config.neftune_noise_alpha
            and not sharding.cuts_up(config, processes))


def fit(config: Config, formats: Formats, sizes: Sizes, memory_bytes: int, batch_tokens: int,
        row_tokens: int, processes: int = 1, main_memory: int = 0) -> Fit:
    """Where the dial stands, with the person's own number of tokens where there is one; where it
    stands at auto, the fastest point that fits, or the last. `batch_tokens` are those of one
    process in the largest batch, `row_tokens` those of the longest row, which is never split;
    `main_memory` is what there is for parking, in bytes."""
    cut_among = processes if sharding.cuts_up(config, processes) else 1
    for dial in _dials(config, cut_among > 1):
        most = (config.pass_tokens or dial.pass_tokens) if splits_batches(config, processes) \
            else batch_tokens
        tokens = min(max(most, row_tokens), batch_tokens)
        dial = replace(dial, pass_tokens=most)
        if not _has_room(dial, formats, sizes, tokens, main_memory, config):
            if config.memory == "auto":
                continue
            dial = replace(dial, parks=False, streams=False)
        found = Fit(dial, estimate(config, formats, sizes, pass_tokens=tokens, compiled=False,
                                   recomputed=dial.recomputed, parks=dial.parks,
                                   streams=dial.streams, cut_among=cut_among), memory_bytes)
        if found.fits:
            break
    return found


def _has_room(dial: Dial, formats: Formats, sizes: Sizes, tokens: int, main_memory: int,
              config: Config) -> bool:
    """Whether what waits in main memory on this point of the dial can do so."""
    waits = tokens * sizes.layers * parked_bytes(sizes, formats, 0.0) if dial.parks else 0.0
    if dial.streams:
        waits += weights_bytes(config, formats, sizes)
    return waits <= main_memory and not (dial.streams and formats.weights in NEVER_STREAMED)


def _dials(config: Config, cut_up: bool) -> tuple[Dial, ...]:
    """Layers that are cut up are recomputed all or none, by FSDP itself."""
    if config.memory == "auto":
        return (DIALS["fastest"], ALL_TWICE) if cut_up else BY_SPEED
    if cut_up and config.memory != "fastest":
        return (ALL_TWICE,)
    return (DIALS[config.memory],)


def memory_of_each(device: Device, processes: int) -> int:
    """What one of several processes has: a GPU of its own, or its share of main memory."""
    return device.memory_bytes if device.kind == "cuda" else device.memory_bytes // processes


def main_memory_of_each(device: Device, processes: int) -> int:
    """What one of several processes may use to park activations of a GPU."""
    if device.kind != "cuda":
        return 0
    return int(PARKS * psutil.virtual_memory().available / processes)


def choose_dial(shape: Any, config: Config, formats: Formats, device: Device, lengths: list[int]
                ) -> Dial:
    """For a model on the meta device, which is changed by it, and the lengths of the rows of the
    heaviest batch; says what is expected. Processes that cut the weights up all go by the smallest
    GPU, since they must recompute alike."""
    sizes = sizes_of(shape, config, 0)
    sizes = replace(sizes, learned=lora.describe(config, shape).trainable)
    memory = memory_of_each(device, ranks.count())
    if sharding.cuts_up(config):
        memory = int(min(ranks.gather(memory)))
    found = fit(config, formats, sizes, memory, sum(lengths), max(lengths, default=0),
                ranks.count(), main_memory_of_each(device, ranks.count()))
    print(f"Passes of up to {found.dial.pass_tokens:,} tokens, {found.dial.recomputed:.0%} of the "
          f"layers recomputed: about {found.needed.total / 2**30:.1f} of "
          f"{found.memory_bytes / 2**30:.0f} GiB expected.", flush=True)
    if config.memory == "streamed" and device.kind == "cuda" and not found.dial.streams:
        print("Weights stay on the device: they can't wait in main memory here.", flush=True)
    return found.dial


def speed_up(model: Any, config: Config, formats: Formats, dial: Dial) -> Blocks:
    """Put fused layers in, and have the dial's share of the blocks recomputed. Returns the blocks;
    none where several processes cut the weights up: FSDP recomputes and ZeRO-3 gathers by hooks
    of their own."""
    base = model.get_base_model()
    kind = base.config.model_type
    if sharding.cuts_up(config) and config.strategy == "zero3":
        return Blocks([])
    if kind in KNOWN:
        print(f"{fuse(model, formats.weights == 'fp8')} layers are fused with their adapter.",
              flush=True)
    elif formats.weights == "fp8":
        raise UserError(f"Base weights: fp8 isn't known to fit a {kind}.", "Choose 4bit or 16bit.")
    else:
        print(f"Layers of a {kind} learn in peft's own way: the fused one isn't known to fit them.",
              flush=True)
    if sharding.cuts_up(config):
        return Blocks([])
    layers, device = decoder_layers(base), torch.device(find_device().kind)
    streamed = None
    if dial.streams:
        streamed = Streamed(layers, device)
        model.to(device)
        base.hf_device_map = {"": torch.cuda.current_device()}  # accelerate believes it
        print("Weights of the layers wait in main memory, each until its layer is next.",
              flush=True)
    return Blocks(layers, kind, dial.recomputed, _parked(model, config, formats, dial),
                  Parking(device) if dial.parks and layers else None, streamed)


def _parked(model: Any, config: Config, formats: Formats, dial: Dial) -> float:
    """Of how many blocks the widest products are parked too: as many as are copied in the time in
    which the blocks compute, and as main memory has room for."""
    if not dial.parks:
        return 0.0
    sizes = sizes_of(load.meta_model(model.get_base_model().config), config, 0)
    inputs, wide = (parked_bytes(sizes, formats, share) for share in (0.0, 1.0))
    wide -= inputs
    in_time = copied_while(2.0 * sizes.linear / sizes.layers)
    room = main_memory_of_each(find_device(), ranks.count()) / dial.pass_tokens / sizes.layers
    share = max(0.0, min(1.0, (min(in_time, room) - inputs) / wide))
    print("Inputs of recomputed layers wait in main memory, and the widest products of "
          f"{share:.0%} of them.", flush=True)
    return share


class Compiling(TrainerCallback):
    """Compiles the blocks as soon as a run is seen to be long enough to earn it."""

    def __init__(self, model: Any, blocks: Blocks, losses: LearnedLoss, config: Config,
                 device: Device):
        self._model, self._blocks, self._losses = model, blocks, losses
        self._wanted = config.compile_layers
        self._may = bool(blocks.layers) and (device.kind == "cuda"
                                             or config.compile_layers == "always")
        self._since, self._steps = 0.0, 0

    def on_train_begin(self, args, state, control, **_):
        if self._may and self._wanted == "always":
            self._compile("as the settings say")

    def on_step_end(self, args, state, control, **_):
        if not self._may or self._wanted != "auto":
            return
        self._steps += 1
        if self._steps == WARM_STEPS:
            self._since = time.monotonic()
        elif self._steps == WARM_STEPS + MEASURED_STEPS:
            seconds = (time.monotonic() - self._since) / MEASURED_STEPS
            left = seconds * (state.max_steps - state.global_step)
            if left * COMPILED_SAVES > COMPILING_SECONDS:
                self._compile(f"{left / 60:.0f} minutes are left")
            self._may = False

    def _compile(self, reason: str) -> None:
        print(f"Layers are compiled: {reason}.", flush=True)
        compile_blocks(self._model, self._blocks, self._losses)
        self._may = False


def compile_blocks(model: Any, blocks: Blocks, losses: LearnedLoss) -> None:
    """From the next pass on the blocks and the loss run compiled."""
    let_inputs_have_gradients(model)
    blocks.run(compiled=True)
    losses.compile()
