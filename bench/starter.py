"""The starter run, from Start to finished, and its effect on rows that it never saw."""

import argparse
import random
import statistics
import time
from dataclasses import replace

import torch

from core.chat.generate import Sampling, stream
from core.chat.loaded import BASE, Loaded
from core.data import build
from core.data.tokens.tokenize import encode, encode_prompt
from core.files import default_folders
from core.model import estimate, hub, load
from core.model.hardware import choose_formats, find_device
from core.presets import DEFAULT, load_preset
from core.training import forecast
from core.training.queue import Queue
from core.training.run import FINAL, Run

LABELS = ("positive 👍", "negative 👎")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-folder", default="build/bench-home")
    parser.add_argument("--rows", type=int, default=200, help="held-out rows to answer")
    parser.add_argument("--loss-on", help="'all tokens': no two rows share their beginning")
    options = parser.parse_args()
    folders = default_folders(options.data_folder).make()
    config = load_preset(DEFAULT, folders)
    config = replace(config, loss_on=options.loss_on or config.loss_on)
    hub.locate(config.base_model, folders)
    queue = Queue(folders)
    queue.start()
    time.sleep(12)  # until the spare trainer stands ready, as it does on a page that was read
    began = time.monotonic()
    run = queue.submit(config)
    first_step = _wait(run, lambda: any("loss" in r for r in run.metrics()), began)
    finished = _wait(run, lambda: run.status().state in FINAL, began)
    queue.close()
    print(f"{run.status().state}: first logged step after {first_step:.1f} s, finished after "
          f"{finished:.1f} s\n{run.status().words}")
    _tell_speed(run, config, folders)
    if options.rows:
        _measure(run, config, folders, options.rows)


def _wait(run: Run, claim, began: float) -> float:
    while not claim():
        time.sleep(0.05)
    return time.monotonic() - began


def _tell_speed(run: Run, config, folders) -> None:
    """What forecast.by_rate takes for a share of the rate of large products."""
    speed = statistics.median(r["tokens_per_second"] for r in run.metrics()
                              if "tokens_per_second" in r)
    formats = choose_formats(config, find_device())
    rate = forecast.matrix_rate(formats.compute_dtype)
    linear = estimate.sizes_of(load.load_shape(config, folders), config, 0).linear
    print(f"{speed:,.0f} tokens a second, {4 * linear * speed / 1e9:,.0f} of {rate / 1e9:,.0f} "
          f"GFLOP/s: {4 * linear * speed / rate:.2f}")


def _measure(run: Run, config, folders, count: int) -> None:
    """Accuracy by the likelier label, and by what the answer says, with a bootstrap interval."""
    device = find_device()
    folder = hub.locate(config.base_model, folders)
    model = load.load_base(folder, choose_formats(config, device), config, device).eval()
    loaded = Loaded(model, load.load_tokenizer(folder))
    loaded.add(run.adapter, run.id)
    opened = build.open_dataset(config, folders)
    everything = build.sources.open_rows(config.dataset, "train", folders)
    learned = set(opened.train["text"])
    rows = [row for row in everything if row["text"] not in learned][:count]
    print(f"{len(rows)} held-out rows, {sum(r['label'] == LABELS[0] for r in rows)} positive")
    print("| model | likelier label is right | answer is the right label, word for word |")
    print("|---|---|---|")
    for title, name in (("base", BASE), ("tuned", run.id)):
        likelier = [_likelier(loaded, name, opened, row) == row["label"] for row in rows]
        said = [_said(loaded, name, opened, row) == row["label"] for row in rows]
        print(f"| {title} | {_share(likelier)} | {_share(said)} |", flush=True)


def _share(right: list[bool]) -> str:
    """Percent with the bootstrap's 95 % interval."""
    draws = random.Random(0)
    means = sorted(sum(draws.choices(right, k=len(right))) / len(right) for _ in range(2000))
    return f"{sum(right) / len(right):.1%} ({means[50]:.0%} to {means[1949]:.0%})"


@torch.inference_mode()
def _likelier(loaded: Loaded, name: str, opened, row: dict) -> str:
    def log_probability(label: str) -> float:
        example = encode(opened.messages({**row, "label": label}), loaded.tokenizer, "answers", 512)
        ids = torch.tensor([example.ids])
        with loaded.using(name) as model:
            logits = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
        return sum(float(logits[at - 1, label_id]) for at, label_id in enumerate(example.labels)
                   if label_id != -100)

    return max(LABELS, key=log_probability)


def _said(loaded: Loaded, name: str, opened, row: dict) -> str:
    prompt = encode_prompt(opened.messages(row)[:-1], loaded.tokenizer)
    for answers in stream(loaded, prompt, [name], Sampling(temperature=0, max_new_tokens=12)):
        ids = answers[0].ids
    return loaded.tokenizer.decode(ids, skip_special_tokens=True)


if __name__ == "__main__":
    main()
