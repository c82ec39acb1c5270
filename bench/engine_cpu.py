"""Training speed without a GPU: the starter model, plain Trainer with padding against ours."""

import argparse
import statistics
import tempfile
from types import SimpleNamespace

import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments

from core.config import Config
from core.data import build
from core.data.tokens.pack import padded
from core.data.tokens.token_rows import TrainingRows
from core.files import default_folders
from core.model import hub, load, lora
from core.model.attention import attend_by_rows
from core.model.hardware import choose_formats, find_device
from core.training import engine, pace, run
from core.training.passes import heaviest_batch

STEPS, WARM = 10, 2
CONFIG = Config(dataset="sample:film-reviews", max_steps=STEPS, eval_every="never",
                save_every="never", eval_rows=0, lora_dropout=0.0, batch_size=16, max_length=256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-folder", default="build/bench-home", help="holds the starter model")
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    folders = default_folders(options.data_folder).make()
    device = find_device()
    formats = choose_formats(CONFIG, device)
    folder = hub.locate(CONFIG.base_model, folders)
    tokenizer = load.load_tokenizer(folder)
    opened = build.open_dataset(CONFIG, folders)
    examples, _ = build.tokenize_rows(opened, opened.train, CONFIG, tokenizer)
    rows = TrainingRows(examples)
    print(f"{device.words}, torch {torch.__version__}, {formats.precision}\n| contestant | real "
          "tokens/s |\n|---|---|", flush=True)
    for _ in range(options.turns):
        for title, measure in (("plain Trainer, padded, peft", _plain), ("ours", _ours)):
            with tempfile.TemporaryDirectory() as home:
                work = run.create(CONFIG, default_folders(home).make().runs)
                model = load.load_base(folder, formats, CONFIG, device)
                trainer = measure(work, model, rows, tokenizer, formats, device)
                trainer.train()
                speeds = [r["tokens_per_second"] for r in work.metrics()[WARM:]]
            print(f"| {title} | {statistics.median(speeds):,.0f} |", flush=True)


def _plain(work, model, rows, tokenizer, formats, device) -> Trainer:
    model = get_peft_model(model, LoraConfig(
        r=CONFIG.lora_r, lora_alpha=CONFIG.lora_alpha, target_modules="all-linear",
        task_type="CAUSAL_LM"))
    trainer = Trainer(
        model=model, train_dataset=rows,
        data_collator=lambda part: padded(part, tokenizer.pad_token_id),
        args=TrainingArguments(
            output_dir=str(work.folder), report_to=[], disable_tqdm=True, max_steps=STEPS,
            per_device_train_batch_size=CONFIG.batch_size, use_cpu=True, save_strategy="no",
            bf16=formats.precision == "bf16", remove_unused_columns=False, logging_steps=1,
            include_num_input_tokens_seen="non_padding", seed=CONFIG.seed))
    trainer.add_callback(engine.Recorder(work, device))
    return trainer


def _ours(work, model, rows, tokenizer, formats, device) -> Trainer:
    assert attend_by_rows(model)
    model = lora.attach(CONFIG, model, None)
    heaviest = heaviest_batch(rows, CONFIG.batch_size)
    dial = pace.choose_dial(load.meta_model(model.get_base_model().config), CONFIG, formats, device,
                            [len(row["input_ids"]) for row in heaviest])
    parts = engine.Parts(
        model, SimpleNamespace(pad_token_id=tokenizer.pad_token_id), rows, TrainingRows([]),
        formats, device, True, [], heaviest, dial,
        pace.speed_up(model, CONFIG, formats, dial))
    return engine.make_trainer(work, CONFIG, parts)


if __name__ == "__main__":
    main()
