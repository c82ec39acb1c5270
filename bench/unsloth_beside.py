"""Unsloth on the rows, the random weights and the Trainer of bench.engine, in a process of its own.

    python -m bench.unsloth_beside --place /dev/shm

It changes transformers, peft and torch as soon as it is imported, so nothing else is measured here.
"""

import os
import tempfile

# It asks the hub at each load, among others to count who uses it; without a network that waits.
os.environ |= {"UNSLOTH_DISABLE_STATISTICS": "1", "HF_HUB_OFFLINE": "1",
               "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
               "UNSLOTH_COMPILE_LOCATION": os.path.join(  # else the folder that one stands in
                   tempfile.gettempdir(), "unsloth_compiled_cache")}

from unsloth import FastLanguageModel  # isort: skip  # before all that it changes

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from bench.engine import (
    USUAL,
    make_rows,
    parser,
    plain_trainer,
    print_heading,
    print_row,
    random_model,
    tell,
)
from bench.two_gpus import small_tokenizer
from core.config import Config
from core.data.tokens.pack import joined
from core.files import Folders, default_folders
from core.training import run

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Contestant:
    """`joins`: rows end to end, as Unsloth's own trainer has them on this kind of GPU."""

    title: str
    checkpointing: str | bool
    joins: bool = False


CONTESTANTS = {
    "checkpointing": Contestant("Unsloth, padded, its checkpointing", "unsloth"),
    "kept": Contestant("Unsloth, padded, no checkpointing", False),
    "joined": Contestant("Unsloth, padding-free, its checkpointing", "unsloth", joins=True),
    "joinedkept": Contestant("Unsloth, padding-free, no checkpointing", False, joins=True),
}


def main() -> None:
    options = parser(__doc__, "checkpointing,kept,joined,joinedkept").parse_args()
    config = replace(USUAL, batch_size=options.batch or USUAL.batch_size)
    with tempfile.TemporaryDirectory(dir=options.place) as home:
        folders = default_folders(home).make()
        folder = random_model(options.model, folders)
        small_tokenizer().save_pretrained(folder)  # Unsloth loads no model without one
        print_heading(options)
        for name in options.only.split(","):
            contestant = CONTESTANTS[name]
            print_row(contestant.title, config,
                      partial(_measure, contestant, config, folder, folders, options))


def _measure(contestant: Contestant, config: Config, folder: Path, folders: Folders,
             options) -> str:
    torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    model, _ = FastLanguageModel.from_pretrained(
        str(folder), max_seq_length=options.length, dtype=torch.bfloat16, load_in_4bit=True,
        use_gradient_checkpointing=contestant.checkpointing, use_exact_model_name=True,
        local_files_only=True)
    assert model.is_loaded_in_4bit  # where bitsandbytes finds no CUDA it goes on in 16 bits
    rows = make_rows(model.config.vocab_size, options.median, options.length)
    model = FastLanguageModel.get_peft_model(
        model, r=config.lora_r, lora_alpha=config.lora_alpha, lora_dropout=config.lora_dropout,
        target_modules=LINEAR, use_gradient_checkpointing=contestant.checkpointing)
    work = run.create(config, folders.runs)
    if contestant.joins:
        trainer = plain_trainer(model, config, rows, work, _joined,
                                include_num_input_tokens_seen="all")
    else:
        trainer = plain_trainer(model, config, rows, work)
    trainer.train()
    return tell(work, began)


def _joined(rows: list[dict[str, list[int]]]) -> dict:
    """As `joined`, with the lengths by the name under which Unsloth's attention looks for them."""
    batch = joined(rows)
    return {name: batch[name] for name in ("input_ids", "labels", "position_ids")} | {
        "packed_seq_lengths": batch["cu_seq_lens_q"].diff()}


if __name__ == "__main__":
    main()
