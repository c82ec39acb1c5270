"""Training speed and memory on one GPU: random weights of a real shape, IMDB-like lengths."""

import argparse
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy
import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    Trainer,
    TrainingArguments,
)

from core.config import Config, load_yaml
from core.data.tokens.pack import padded
from core.data.tokens.token_rows import TrainingRows
from core.files import default_folders
from core.model import load, lora
from core.model.attention import attend_by_rows
from core.model.catalog import load_catalog
from core.model.hardware import choose_formats, find_device
from core.training import engine, pace, run

ROOT = Path(__file__).parents[1]
STEPS, WARM = 14, 6
ROWS = 512
OURS = Config(loss_on="all tokens", base_weights="4bit", precision="bf16", lora_r=16,
              lora_alpha=32, max_steps=STEPS, eval_every="never", save_every="never",
              lora_dropout=0.0, learning_rate=1e-4, batch_size=64, pass_tokens=10240,
              memory="fastest",
              compile_layers="always", optimizer="adamw_torch_fused")
USUAL = replace(OURS, packing=False, batch_size=32)
TUTORIAL = replace(load_yaml(ROOT / "assets/presets/tutorial.yaml"), packing=False,
                   max_steps=STEPS, eval_every="never", save_every="never")
CONTESTANTS = {
    "tutorial": ("the tutorial's script: padded to the longest row there may be, 8 passes a step",
                 TUTORIAL),
    "usual": ("usual stack: padded, checkpointing", USUAL),
    "plain": ("fastest, not compiled", replace(OURS, compile_layers="never")),
    "fastest": ("fastest", OURS),
    "balanced": ("balanced", replace(OURS, memory="balanced")),
    "least": ("least, passes of up to 8,704 tokens",
              replace(OURS, memory="least", pass_tokens=8704, batch_size=56)),
    "unparked": ("least, nothing parked, passes of up to 8,704 tokens",
                 replace(OURS, memory="least", pass_tokens=8704, batch_size=56)),
    "streamed": ("weights streamed too, passes of up to 8,704 tokens",
                 replace(OURS, memory="streamed", pass_tokens=8704, batch_size=56)),
    "least4k": ("least, passes of up to 4,096 tokens",
                replace(OURS, memory="least", pass_tokens=4096)),
    "bf16": ("fastest, base in bf16", replace(OURS, base_weights="16bit")),
    "fp8": ("fastest, base in fp8", replace(OURS, base_weights="fp8")),
    "fp8least": ("least, base in fp8, passes of up to 8,704 tokens",
                 replace(OURS, base_weights="fp8", memory="least", pass_tokens=8704,
                         batch_size=56)),
    "dropout": ("fastest, dropout 0.05", replace(OURS, lora_dropout=0.05)),
}

UNPARKED = {"unparked"}
PAD = partial(padded, pad_token_id=0)


def main() -> None:
    parse = parser(__doc__, "usual,plain,fastest,balanced,least,bf16,fp8,fp8least")
    parse.add_argument("--profile", action="store_true", help="show where a step's time goes")
    options = parse.parse_args()
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # as the worker
    with tempfile.TemporaryDirectory(dir=options.place) as home:
        folders = default_folders(home).make()
        folder = random_model(options.model, folders)
        print_heading(options)
        for name in options.only.split(","):
            title, config = CONTESTANTS[name]
            config = replace(config, batch_size=options.batch or config.batch_size)
            print_row(title, config, partial(_measure, name, config, folder, folders, options))


def print_heading(options) -> None:
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.model}, rows "
          f"of up to {options.length}\n| contestant | real tokens/s | peak GiB | loss at the "
          "end | first step after, s |\n|---|---|---|---|---|", flush=True)


def print_row(title: str, config: Config, measure: Callable[[], str]) -> None:
    try:
        told = measure()
    except Exception as error:  # one that fails must not lose the others
        told = f"{type(error).__name__}: {str(error)[:300]} | | | "
    print(f"| {title}, batch {config.batch_size} | {told} |", flush=True)
    gc.collect()
    torch.cuda.empty_cache()
    torch._dynamo.reset()


def parser(about: str | None, contestants: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=about)
    made.add_argument("--model", default="deepseek-ai/deepseek-llm-7b-base")
    made.add_argument("--only", default=contestants)
    made.add_argument("--length", type=int, default=512, help="longest row")
    made.add_argument("--median", type=float, default=245, help="of the rows' lengths")
    made.add_argument("--batch", type=int, help="rows a step")
    made.add_argument("--place", help="where the model's folder is made, such as /dev/shm")
    return made


def random_model(name: str, folders) -> Path:
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(**load_catalog(folders)[name].config), dtype=torch.bfloat16)
    model.save_pretrained(folders.models / "random")
    del model
    torch.cuda.empty_cache()
    return folders.models / "random"


def make_rows(vocabulary: int, median: float, longest: int) -> list[dict[str, list[int]]]:
    """Lengths as of IMDB reviews: lognormal, cut at `longest`."""
    draw = numpy.random.default_rng(0)
    lengths = numpy.minimum(
        numpy.exp(draw.normal(numpy.log(median), 0.62, ROWS)).astype(int) + 8, longest)
    rows = [draw.integers(0, vocabulary, length).tolist() for length in lengths]
    return [{"input_ids": ids, "labels": ids} for ids in rows]


def _measure(name: str, config: Config, folder: Path, folders, options) -> str:
    device = find_device()
    formats = choose_formats(config, device)
    torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    shape = load.meta_model(load.load_config(folder))
    rows = make_rows(shape.config.vocab_size, options.median, options.length)
    work = run.create(config, folders.runs)
    if name == "tutorial":
        trainer = plain_trainer(_tutorial_model(folder, config), config, rows, work,
                                partial(_padded_and_learned, length=options.length))
    elif name == "usual":
        model = load.load_base(folder, formats, config, device)
        trainer = plain_trainer(
            _usual_model(model, config), config, rows, work, gradient_checkpointing=True,
            gradient_checkpointing_kwargs={"use_reentrant": False})
    else:
        heaviest = sorted(rows, key=lambda row: -len(row["input_ids"]))[:config.batch_size]
        dial = pace.choose_dial(shape, config, formats, device,
                                [len(row["input_ids"]) for row in heaviest])
        dial = replace(dial, parks=dial.parks and name not in UNPARKED)
        model = load.load_base(folder, formats, config, device, dial.streams)
        assert attend_by_rows(model)
        model = lora.attach(config, model, None)
        parts = engine.Parts(
            model, SimpleNamespace(pad_token_id=0), rows, TrainingRows([]), formats, device,
            config.packing, [], heaviest, dial, pace.speed_up(model, config, formats, dial))
        trainer = engine.make_trainer(work, config, parts)
    trainer.train()
    if options.profile:
        _profile(trainer)
    return tell(work, began)


def tell(work: run.Run, began: float) -> str:
    """The cells of a run's row in the table; `began` by the monotonic clock, before it loaded."""
    records = work.metrics()
    speed = statistics.median(r["tokens_per_second"] for r in records[WARM:])
    first = work.status().stepping_since and records[0]["time"] - time.time() + (
        time.monotonic() - began)
    return (f"{speed:,.0f} | {torch.cuda.max_memory_allocated() / 2**30:.1f} | "
            f"{records[-1]['loss']:.2f} | {first:.0f}")


def _usual_model(model, config: Config):
    """peft and bitsandbytes as their own guides put them together."""
    model = prepare_model_for_kbit_training(
        model, gradient_checkpointing_kwargs={"use_reentrant": False})
    return get_peft_model(model, LoraConfig(
        r=config.lora_r, lora_alpha=config.lora_alpha, target_modules="all-linear",
        task_type="CAUSAL_LM"))


def _tutorial_model(folder: Path, config: Config):
    """With the script's own arguments: bitsandbytes' defaults compute in 32 bits where autocast
    doesn't say otherwise, which `load.load_base` never does."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=BitsAndBytesConfig(load_in_4bit=True), device_map="auto")
    return get_peft_model(model, lora.lora_config(config, model))


def _padded_and_learned(rows: list[dict[str, list[int]]], length: int) -> dict:
    """All rows of one length, and the padding a label like any other: the script's labels are a
    copy of the ids."""
    ids, real = torch.zeros(2, len(rows), length, dtype=torch.long)
    for at, row in enumerate(rows):
        ids[at, :len(row["input_ids"])] = torch.tensor(row["input_ids"])
        real[at, :len(row["input_ids"])] = 1
    return {"input_ids": ids, "attention_mask": real, "labels": ids.clone()}


def plain_trainer(model, config: Config, rows, work: run.Run,
                  collate: Callable = PAD, **arguments) -> Trainer:
    """transformers' Trainer as its guides use it; only what it tells goes to `work`."""
    trainer = Trainer(model=model, train_dataset=rows, data_collator=collate,
                      args=TrainingArguments(**{
                          "output_dir": str(work.folder), "report_to": [], "disable_tqdm": True,
                          "max_steps": STEPS, "per_device_train_batch_size": config.batch_size,
                          "gradient_accumulation_steps": config.gradient_accumulation,
                          "bf16": config.precision == "bf16", "fp16": config.precision == "fp16",
                          "remove_unused_columns": False, "learning_rate": config.learning_rate,
                          "weight_decay": config.weight_decay, "save_strategy": "no",
                          "logging_steps": 1, "include_num_input_tokens_seen": "non_padding",
                      } | arguments))
    trainer.add_callback(engine.Recorder(work, find_device()))
    return trainer


def _profile(trainer: Trainer) -> None:
    from torch.profiler import ProfilerActivity, profile

    batch = next(iter(trainer.get_train_dataloader()))
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        began = time.monotonic()
        trainer.training_step(trainer.model_wrapped, batch, 1000)
        queued = time.monotonic() - began
        torch.cuda.synchronize()
        print(f"queued after {queued:.3f} s, done after {time.monotonic() - began:.3f} s")
    kernels = [e for e in seen.key_averages() if e.self_device_time_total > 0]
    total = sum(e.self_device_time_total for e in kernels)
    print(f"kernels: {total / 1000:.0f} ms")
    for e in sorted(kernels, key=lambda e: -e.self_device_time_total)[:22]:
        print(f"{e.self_device_time_total / 1000:8.1f} ms {e.count:5d} x {e.key[:110]}")


if __name__ == "__main__":
    main()
