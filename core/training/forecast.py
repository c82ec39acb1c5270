"""How fast a run will learn and how long it will take, said before it starts."""

import os
import statistics
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from core.config import Config
from core.data.tokens.pack import WORTH_SHARING
from core.data.tokens.tokenize import IGNORED, Example
from core.model.estimate import Sizes, weights_bytes
from core.model.hardware import Device, Formats
from core.training import sharding
from core.training.pace import COMPILED_SAVES, COMPILING_SECONDS, Dial
from core.training.run import FINAL, Run
from core.training.verdict import steps_of

# Shares of a card's matrix rate by its maker's data sheet that learning reached on an H100, its
# layers compiled: nothing recomputed, everything, and everything while what waits is parked; see
# bench/README.md, "How long a run takes".
KEEPING, RECOMPUTING, PARKING, FP8_GAINS = 0.414, 0.307, 0.325, 1.27
ON_PROCESSOR = 0.3  # of the rate of large products measured here; the same page
# Of as many times one device's speed as there are devices; measured with two, zero3 not at all.
TOGETHER = {"ddp": 0.90, "fsdp2": 0.86, "zero3": 0.86}
# No step of a GPU is shorter than its host takes to begin the work; assumed, not measured.
SHORTEST_STEP_SECONDS = 0.1
STREAMED_BYTES_PER_SECOND = 20e9  # PCIe 4.0 with 16 lanes; assumed as well
RUNS_LOOKED_AT, LAST_STEPS = 30, 50
# A processor computes what all rows begin with once, so the data decide its speed as well.
WHAT_ROWS_BEGIN_WITH = ("dataset", "dataset_config", "layout", "instruction", "loss_on",
                        "chat_template")


@dataclass(frozen=True)
class Speed:
    """Tokens a second, and whence that is known: 'run' (a run like it on this machine), 'card'
    (the maker's figures), 'products' (matrix products timed here), 'assumed'. Before that come
    the seconds of compiling."""

    tokens_per_second: float
    basis: str
    compiling: float = 0.0

    def seconds(self, todo: "Work") -> float:
        return self.compiling + todo.tokens / self.tokens_per_second


@dataclass(frozen=True)
class Work:
    """What a run has to learn: optimizer steps, tokens in all of them, and which share of these
    pack.share_opening spares a processor."""

    steps: int
    tokens: float
    spared: float = 0.0


def work(config: Config, rows: int, lengths: list[int], opening: int = 0) -> Work:
    """`lengths` are the tokens of some of the `rows` that are learned, `opening` are those with
    which all begin. The last step of an epoch has the rows that are left."""
    steps = steps_of(config, rows)
    epochs, further = divmod(steps, steps_of(replace(config, epochs=1.0, max_steps=0), rows))
    learned = epochs * rows + min(rows,
                                  further * config.batch_size * config.gradient_accumulation)
    mean = statistics.fmean(lengths) if lengths else 0.0
    return Work(steps, learned * mean, _spared(config, opening, mean))


def _spared(config: Config, opening: int, mean: float) -> float:
    joined = (config.packing and not config.neftune_noise_alpha
              and not config.adversarial_strength)
    share = (1 - 1 / config.batch_size) * opening / mean if mean and joined else 0.0
    return share if share >= WORTH_SHARING else 0.0


def opening_of(rows: list[Example]) -> int:
    """With how many tokens all rows begin, as pack.share_opening finds it: none before a learned
    one, and each row keeps one of its own."""
    if not rows:
        return 0
    most = min(next((at for at, label in enumerate(row.labels) if label != IGNORED), len(row.ids))
               for row in rows) - 1
    return next((at for at in range(most) if len({row.ids[at] for row in rows}) > 1), max(0, most))


def by_rate(config: Config, formats: Formats, sizes: Sizes, dial: Dial, matrix_rate: float,
            on_processor: bool, todo: Work | None = None, processes: int = 1) -> Speed:
    """From one device's matrix rate (FLOP/s): frozen weights cost two products with each token.
    Several processes have a device each, on processors they share the one."""
    turns = 2 if config.adversarial_strength else 1  # each batch is learned so many times
    operations = 4.0 * (sizes.linear + sizes.learned) * turns
    if on_processor:
        computed = 1 - todo.spared if todo and sizes.by_rows else 1
        return Speed(ON_PROCESSOR * matrix_rate / operations / computed, "products")
    share = KEEPING + dial.recomputed * ((PARKING if dial.parks else RECOMPUTING) - KEEPING)
    share *= FP8_GAINS if formats.weights == "fp8" else 1.0
    share *= processes * TOGETHER[config.strategy] if processes > 1 else 1
    fast = share * matrix_rate / operations
    slow = fast * (1 - COMPILED_SAVES)
    compiled = not sharding.cuts_up(config, processes) and _compiles(config, slow, todo)
    speed, basis = fast if compiled else slow, "card"
    most = todo.tokens / (todo.steps * turns * SHORTEST_STEP_SECONDS) if todo else speed
    if dial.streams:  # each pass brings all weights twice
        most = min(most, dial.pass_tokens * STREAMED_BYTES_PER_SECOND
                   / (2 * turns * weights_bytes(config, formats, sizes)))
    if most < speed or (processes > 1 and config.strategy == "zero3"):
        speed, basis = min(speed, most), "assumed"
    return Speed(speed, basis, COMPILING_SECONDS if compiled else 0.0)


def _compiles(config: Config, slow: float, todo: Work | None) -> bool:
    """Whether layers will be compiled, as pace.Compiling decides it; `slow` is the speed (tokens a
    second) without."""
    earns = todo is not None and todo.tokens / slow * COMPILED_SAVES > COMPILING_SECONDS
    return config.compile_layers == "always" or (config.compile_layers == "auto" and earns)


def as_before(config: Config, formats: Formats, device: Device, folder: Path, processes: int = 1
              ) -> Speed | None:
    """The speed of the newest run like it on this machine; None where there is none. `folder` is
    that of the runs."""
    words = device.words if processes == 1 else f"{processes} × {device.words}"
    newest = sorted(os.listdir(folder), reverse=True)[:RUNS_LOOKED_AT]
    for run in (Run(folder / name) for name in newest):
        if not (run.folder / "config.yaml").is_file():
            continue
        status, made = run.status(), run.facts("environment")
        if (status.state in FINAL and made.get("device") == words
                and made.get("base_weights") == formats.weights
                and made.get("precision") == formats.precision and _alike(run, config)):
            told = [r["tokens_per_second"] for r in run.metrics()[-LAST_STEPS:]
                    if r.get("tokens_per_second")]
            if len(told) > 2:
                return Speed(statistics.median(told), "run")
    return None


def _alike(run: Run, config: Config) -> bool:
    """Whether what decides the speed, beside the machine, is the same."""
    ran = run.config()
    return all(getattr(ran, name) == getattr(config, name) for name in (
        "base_model", "memory", "pass_tokens", "packing", "lora_r", "target_modules", "use_dora",
        "modules_to_save", "adversarial_strength", "neftune_noise_alpha", "compile_layers",
        "strategy", "batch_size", "max_length", *WHAT_ROWS_BEGIN_WITH))


@lru_cache(4)
def matrix_rate(dtype: torch.dtype, side: int = 512, for_seconds: float = 0.15) -> float:
    """FLOP/s of matrix products on this machine's processors, timed once. While others are at work
    threads wait for each other, and all together are slower than one alone."""
    threads = torch.get_num_threads()
    together = _product_rate(dtype, side, for_seconds)
    torch.set_num_threads(1)
    try:
        return max(together, _product_rate(dtype, side, for_seconds))
    finally:
        torch.set_num_threads(threads)


def _product_rate(dtype: torch.dtype, side: int, for_seconds: float) -> float:
    left, right = torch.randn(side, side, dtype=dtype), torch.randn(side, side, dtype=dtype)
    left @ right
    least, until = float("inf"), time.perf_counter() + for_seconds
    while (began := time.perf_counter()) < until:
        left @ right
        least = min(least, time.perf_counter() - began)  # others at work only make it longer
    return 2.0 * side ** 3 / least
