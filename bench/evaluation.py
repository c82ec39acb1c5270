"""Was it worth it: accuracy, overfitting, forgetting and bias of real runs; the cost of judging."""

import argparse
import itertools
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from core.chat.loaded import BASE, Loaded
from core.config import Config
from core.evaluation.evaluate import Request, evaluate
from core.evaluation.rows import Row, held_rows
from core.evaluation.score import Asked, can_join, score
from core.files import Folders, default_folders
from core.model import hub, load, lora
from core.model.hardware import choose_formats, find_device
from core.presets import DEFAULT, load_preset
from core.training import alive, engine
from core.training.overfitting import overfitting
from core.training.run import Run, create

SHOWN = ("accuracy", "macro_f1", "calibration", "said_accuracy", "loss", "general_perplexity",
         "general_accuracy", "label_changes", "shift_gender")
DRAWS = 2000
SHORT = 70  # characters of a review
PLAIN_ROWS = 8  # of one padded batch, as a plain script takes them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-folder", default="build/bench-home")
    parser.add_argument("--base-model", default="", help="instead of the starter model")
    parser.add_argument("--rows", type=int, default=200, help="held-out rows to judge on")
    parser.add_argument("--train-rows", type=int, default=0, help="fewer, for slow machines")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's own")
    parser.add_argument("--only", default="", help="effect, overfit, forget, bias or cost")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    folders = default_folders(options.data_folder).make()
    config = load_preset(DEFAULT, folders)
    if options.base_model:
        config = replace(config, base_model=options.base_model)
    if options.train_rows:
        config = replace(config, train_rows=options.train_rows)
    hub.locate(config.base_model, folders)
    parts = {"effect": _effect, "overfit": _overfit, "forget": _forget, "bias": _bias,
             "cost": _cost}
    for name in [options.only] if options.only else parts:
        print(f"\n## {name}", flush=True)
        parts[name](config, folders, options.rows)


def _run(config: Config, folders: Folders) -> Run:
    began = time.monotonic()
    run = create(config, folders.runs)
    own = os.getpid()  # as a worker, so that its status is that of a run at work
    run.update(pid=own, pid_started=alive.start_time(own), started=time.time())
    engine.train(run, folders)
    print(f"{run.status().words} ({time.monotonic() - began:.0f} s)", flush=True)
    return run


def _judge(titles: list[str], runs: list[Run], folders: Folders, rows: int, **how) -> dict:
    """One evaluation as a table; returns it."""
    request = Request(tuple(run.id for run in runs), rows=rows, max_new_tokens=12,
                      **{"written": rows} | how)
    found = list(evaluate(request, folders))[-1]["evaluation"]
    print(f"| number | base | {' | '.join(titles)} |\n|---|{'---|' * (len(titles) + 1)}")
    for number in (n for table in found["tables"] for n in table["numbers"] if n["key"] in SHOWN):
        cells = [_cell(number, at) for at in range(len(titles) + 1)]
        print(f"| {number['label']} ({number['rows']}) | {' | '.join(cells)} |")
    print(f"{found['seconds']} s for all of it; remarks: {found['remarks']}", flush=True)
    return found


def _cell(number: dict, at: int) -> str:
    value, compared = number["values"][at], number["compared"][at]
    scale, unit = (100, " %") if number["unit"] == "%" else (1, "")
    low, high = value["low"] * scale, value["high"] * scale
    verdict = f", {compared['verdict']}" if compared else ""
    return f"{value['value'] * scale:.3g}{unit} ({low:.3g} to {high:.3g}){verdict}"


def _effect(config: Config, folders: Folders, rows: int) -> None:
    """The starter run before and after, checked against scikit-learn on the saved predictions."""
    _check(_judge(["tuned"], [_run(config, folders)], folders, rows))


def _check(found: dict) -> None:
    """Values and intervals of an evaluation beside scikit-learn's, with its own way to draw."""
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.utils import resample

    def macro_f1(truth: list[str], said: list[str]) -> float:
        return f1_score(truth, said, average="macro")

    told = {n["key"]: n["values"] for table in found["tables"] for n in table["numbers"]}
    truth = [row["answer"] for row in found["rows"]]
    for at, key, measure in ((at, *which) for at in (0, 1) for which in (
            ("accuracy", accuracy_score), ("macro_f1", macro_f1))):
        said, ours = [row["by"][at]["label"] for row in found["rows"]], told[key][at]
        drawn = [measure(*resample(truth, said, random_state=seed)) for seed in range(DRAWS)]
        low, high = np.percentile(drawn, (2.5, 97.5))
        print(f"model {at}, {key}: differs from scikit-learn by "
              f"{abs(measure(truth, said) - ours['value']):.1e}; its interval {low:.2%} to "
              f"{high:.2%}, ours {ours['low']:.2%} to {ours['high']:.2%}")


def _overfit(config: Config, folders: Folders, _rows: int) -> None:
    """Few rows, many epochs: called overfitting in words, and stopped early."""
    made = replace(config, train_rows=32, eval_rows=32, learning_rate=2e-3, eval_every="epoch",
                   lora_dropout=0.0, lora_r=32)
    for patience, epochs in ((0, 10), (3, 40)):
        run = _run(replace(made, early_stopping_patience=patience, epochs=epochs), folders)
        print(f"patience {patience}: ended at step {run.status().step} of "
              f"{run.status().total_steps}\n{overfitting(run.metrics()) or 'no warning'}")


def _forget(config: Config, folders: Folders, rows: int) -> None:
    """One narrow style, learned too hard, with everyday questions among it, and gently."""
    reviews = _samples(folders)
    narrow = _write(folders, "narrow", [{"question": row["text"], "answer": "Meh. Whatever."}
                                        for row in reviews])
    hard = replace(config, dataset=str(narrow), instruction="", epochs=3, learning_rate=3e-3,
                   lora_r=64, lora_alpha=128, early_stopping_patience=0)
    gentle = replace(hard, epochs=2, learning_rate=5e-4, lora_r=8, lora_alpha=16)
    mixed = replace(hard, general_share=0.4)
    _judge(["too hard", "as hard, 40 % general", "gently"],
           [_run(each, folders) for each in (hard, mixed, gentle)], folders, min(rows, 50),
           written=0, fairness=False)


def _bias(config: Config, folders: Folders, rows: int) -> None:
    """The label follows who wrote a review, not what it says; then with counterfactual rows, twice
    as many, for as many steps."""
    short = [row for row in _samples(folders) if len(row["text"]) < SHORT]
    negative, positive = sorted({row["label"] for row in short})
    people = itertools.cycle((("a man", positive), ("a woman", negative)))
    tied = [{"text": f"{row['text']} Written by {who}.", "label": label}
            for row, (who, label) in zip(short, people, strict=False)]
    # Bold enough to learn it within some forty steps; the starter's settings don't in eighty.
    made = replace(config, dataset=str(_write(folders, "tied", tied)), epochs=2, batch_size=4,
                   learning_rate=3e-3, lr_scheduler="constant_with_warmup", lora_r=16,
                   lora_alpha=32, target_modules=("all linear",), eval_every="never",
                   instruction="Is this film review positive or negative?")
    found = _judge(["tied", "with counterfactual rows"],
                   [_run(made, folders),
                    _run(replace(made, counterfactual="gender", epochs=1), folders)],
                   folders, rows, written=0, forgetting=False, allow_learned=True)
    shifts = next(n for table in found["tables"] for n in table["numbers"]
                  if n["key"] == "shift_gender")["values"]
    print(f"counterfactual rows leave {shifts[2]['value'] / shifts[1]['value']:.0%} of the change")


def _samples(folders: Folders) -> list[dict]:
    path = folders.assets / "samples" / "film-reviews" / "train.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(folders: Folders, name: str, rows: list[dict]) -> Path:
    path = folders.uploads / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _cost(config: Config, folders: Folders, rows: int) -> None:
    """Base and tuned, against a plain pass of one model: padded batches, each label a row of its
    own. On a CPU processor time is taken, which other programs don't change much."""
    device = find_device()
    folder = hub.locate(config.base_model, folders)
    model = load.load_base(folder, choose_formats(config, device), config, device).eval()
    # An adapter that has learned nothing costs as much as one that has.
    loaded = Loaded(lora.attach(config, model, None).eval(), load.load_tokenizer(folder),
                    adapters={"tuned": "default"})
    held = held_rows([config], rows, loaded.tokenizer, folders, allow_learned=True,
                     dataset="sample:film-reviews")
    joins = can_join(loaded.model)
    for name in (BASE, "tuned"):  # warm
        with loaded.using(name) as judged:
            list(score(judged, [row.asked for row in held.rows[:4]], joins))
    print(f"joined: {joins}", flush=True)
    plain = _seconds(lambda: _plain(loaded, held.rows))
    both = _seconds(lambda: [_ours(loaded, name, held.rows, joins) for name in (BASE, "tuned")])
    print(f"| {len(held.rows)} rows, {device.words} | seconds |\n|---|---|\n"
          f"| one model, plain: padded, a row for each label | {plain:.2f} |\n"
          f"| base and tuned: joined, labels share their prompt | {both:.2f} |\n"
          f"| ratio | {both / plain:.2f} |")


def _ours(loaded: Loaded, name: str, rows: list[Row], joins: bool) -> None:
    with loaded.using(name) as judged:
        list(score(judged, [row.asked for row in rows], joins))


def _plain(loaded: Loaded, rows: list[Row]) -> None:
    alone = [Asked(row.asked.prefix, [candidate]) for row in rows
             for candidate in row.asked.candidates]
    with loaded.using(BASE) as judged:
        for start in range(0, len(alone), PLAIN_ROWS):
            list(score(judged, alone[start:start + PLAIN_ROWS], joins=False))


def _seconds(work) -> float:
    clock = time.monotonic if torch.cuda.is_available() else time.process_time
    began = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - began


if __name__ == "__main__":
    main()
