"""The estimate of memory against what learning took, on one GPU: a pass forward and back each."""

import argparse
import gc
import os
import tempfile
from dataclasses import replace

import torch

from bench.engine import OURS, random_model
from core.data.tokens.pack import joined, keep_learned
from core.files import default_folders
from core.model import load, lora
from core.model.attention import attend_by_rows
from core.model.estimate import estimate, sizes_of
from core.model.hardware import choose_formats, find_device
from core.training import pace
from core.training.loss import LearnedLoss, plain_head

ROW = 512
# Weights, share of layers recomputed (by the dial), tokens a pass, compiled.
WAYS = [
    ("4bit", "fastest", 2048, False), ("4bit", "fastest", 8192, False),
    ("4bit", "balanced", 8192, False), ("4bit", "least", 8192, False),
    ("16bit", "fastest", 4096, False), ("16bit", "least", 4096, False),
    ("fp8", "least", 8192, True), ("4bit", "fastest", 2048, True), ("4bit", "fastest", 8192, True),
    ("4bit", "balanced", 8192, True), ("4bit", "least", 8192, True), ("4bit", "least", 4096, True),
    ("16bit", "fastest", 8192, True), ("16bit", "balanced", 4096, True),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="deepseek-ai/deepseek-llm-7b-base")
    parser.add_argument("--place", help="where the model's folder is made, such as /dev/shm")
    options = parser.parse_args()
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    with tempfile.TemporaryDirectory(dir=options.place) as home:
        folders = default_folders(home).make()
        folder = random_model(options.model, folders)
        print(f"{torch.cuda.get_device_name()}, {options.model}\n| weights | dial | tokens a pass "
              "| compiled | estimate, GiB | measured, GiB | off by |\n|---|---|---|---|---|---|"
              "---|", flush=True)
        for weights, memory, tokens, compiled in WAYS:
            config = replace(OURS, base_weights=weights, memory=memory, pass_tokens=tokens)
            try:
                told = _measure(config, folder, compiled)
            except torch.OutOfMemoryError:
                told = "out of memory | | "
            print(f"| {weights} | {memory} | {tokens:,} | {'yes' if compiled else 'no'} | {told} |",
                  flush=True)


def _measure(config, folder, compiled: bool) -> str:
    gc.collect()
    torch.cuda.empty_cache()
    device = find_device()
    formats = choose_formats(config, device)
    model = load.load_base(folder, formats, config, device)
    meta = load.meta_model(model.config)
    assert attend_by_rows(model)
    model = lora.attach(config, model, None)
    learned = [p for p in model.parameters() if p.requires_grad]
    dial = replace(pace.DIALS[config.memory], pass_tokens=config.pass_tokens)
    blocks = pace.speed_up(model, config, formats, dial)
    losses = LearnedLoss(plain_head(model))
    if compiled:
        pace.compile_blocks(model, blocks, losses)
    optimizer = torch.optim.AdamW(learned, fused=True)
    row = {"input_ids": list(range(ROW)), "labels": list(range(ROW))}
    batch = {name: value.cuda() if torch.is_tensor(value) else value for name, value in
             keep_learned(joined([row] * (config.pass_tokens // ROW))).items()}
    labels = batch.pop("labels")

    def learn(model, batch):
        with torch.autocast("cuda", torch.bfloat16):
            losses.learned(model(**batch), labels, config.pass_tokens).backward()

    model.train()
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        losses.headless(learn)(model, batch)
        optimizer.step()
    measured = torch.cuda.max_memory_allocated()
    told = estimate(config, formats, sizes_of(meta, config, sum(p.numel() for p in learned)),
                    pass_tokens=config.pass_tokens, compiled=compiled,
                    recomputed=dial.recomputed, parks=dial.parks).learning
    return (f"{told / 2**30:.2f} | {measured / 2**30:.2f} | "
            f"{(told - measured) / measured:+.1%}")


if __name__ == "__main__":
    main()
