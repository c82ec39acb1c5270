"""Training speed and memory on one GPU: 7B shape, random weights, IMDB-like lengths."""

import argparse
import gc
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from core.config import Config
from core.files import default_folders
from core.model import load, lora
from core.model.attention import use_varlen
from core.model.catalog import load_catalog
from core.model.hardware import choose_formats, find_device
from core.training import engine, run

STEPS, WARM = 12, 4
COMMON = Config(loss_on="all tokens", base_weights="4bit", precision="bf16", lora_r=16,
                lora_alpha=32, max_steps=STEPS, eval_every="never", save_every="never",
                lora_dropout=0.0, learning_rate=1e-4)
CONTESTANTS = [
    ("usual stack: padded, checkpointing, batch 32",
     replace(COMMON, packing=False, gradient_checkpointing=True, batch_size=32), False),
    ("joined rows, mask of the whole square (sdpa), batch 16",
     replace(COMMON, batch_size=16), False),
    ("joined rows, varlen, checkpointing, batch 32",
     replace(COMMON, batch_size=32, gradient_checkpointing=True), True),
    ("joined rows, varlen, batch 16", replace(COMMON, batch_size=16), True),
    ("joined rows, varlen, batch 32", replace(COMMON, batch_size=32), True),
    ("joined rows, varlen, batch 32, answers of 8 % learned",
     replace(COMMON, batch_size=32, loss_on="answers"), True),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="deepseek-ai/deepseek-llm-7b-base")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folders = default_folders(home).make()
        folder = _random_model(options.model, folders)
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.model}")
        print("| contestant | real tokens/s | peak GiB | loss at the end |\n|---|---|---|---|")
        for title, config, varlen in CONTESTANTS:
            try:
                print(f"| {title} | {_measure(config, varlen, folder, folders)} |", flush=True)
            except torch.OutOfMemoryError:
                print(f"| {title} | out of memory | | |", flush=True)
            gc.collect()
            torch.cuda.empty_cache()


def _random_model(name: str, folders) -> Path:
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(**load_catalog(folders)[name].config), dtype=torch.bfloat16)
    model.save_pretrained(folders.models / "random")
    del model
    torch.cuda.empty_cache()
    return folders.models / "random"


def _rows(config: Config, vocabulary: int) -> list[dict[str, list[int]]]:
    """Lengths as of IMDB reviews cut at 512: lognormal, median about 245."""
    draw = numpy.random.default_rng(0)
    lengths = numpy.minimum(numpy.exp(draw.normal(5.5, 0.62, 512)).astype(int) + 8, 512)
    rows = []
    for length in lengths:
        ids = draw.integers(0, vocabulary, length).tolist()
        first = int(length * 0.92) if config.loss_on == "answers" else 0
        rows.append({"input_ids": ids, "labels": [-100] * first + ids[first:]})
    return rows


def _measure(config: Config, varlen: bool, folder: Path, folders) -> str:
    device = find_device()
    formats = choose_formats(config, device)
    torch.cuda.reset_peak_memory_stats()
    model = load.load_base(folder, formats, config, device)
    if varlen:
        assert use_varlen(model, device, formats)
    work = run.create(config, folders.runs)
    parts = engine.Parts(lora.attach(config, model, None), SimpleNamespace(pad_token_id=0),
                         _rows(config, model.config.vocab_size), [], formats, device,
                         config.packing, [])
    engine.make_trainer(work, config, parts).train()
    records = work.metrics()[WARM:]
    speed = statistics.median(r["tokens_per_second"] for r in records)
    return (f"{speed:,.0f} | {torch.cuda.max_memory_allocated() / 2**30:.1f} | "
            f"{records[-1]['loss']:.2f}")


if __name__ == "__main__":
    main()
