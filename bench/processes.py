"""The losses of one process and of several, step by step, at the same settings: a tiny model with
random weights on the sample of film reviews, on this machine's processors."""

import argparse
import importlib.util
import tempfile
import time
from dataclasses import replace

from bench.two_gpus import TINY, make_model
from core.config import Config
from core.files import Folders, default_folders
from core.training.queue import Queue
from core.training.run import FINAL, create
from tests.ranks import train_together

CONTESTANTS = {
    "one": {},
    "two, DDP": {"processes": 2},
    "three, DDP": {"processes": 3},
    "two, FSDP2": {"processes": 2, "strategy": "fsdp2"},
    "two, Ray": {"processes": 2, "cluster": "local"},
}


# 26 rows don't divide into steps of eight, nor steps of eight into three shares.
SETTINGS = Config(layout="text", loss_on="all tokens", train_rows=26, eval_rows=9, epochs=3.0,
                  batch_size=8, lora_dropout=0.0, learning_rate=5e-3, save_every="never",
                  base_weights="32bit", precision="fp32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help=f"some of: {'; '.join(CONTESTANTS)}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folders = default_folders(home).make()
        make_model(folders.models / "tiny", TINY)
        found = {}
        for title, settings in CONTESTANTS.items():
            if options.only and title not in ("one", *options.only):
                continue
            if "cluster" in settings and importlib.util.find_spec("ray") is None:
                continue
            config = replace(SETTINGS, **settings, base_model=str(folders.models / "tiny"))
            found[title] = _measure(config, folders)
            print(f"{title}: {len(found[title])} measurements", flush=True)
    _print_table(found)


def _measure(config: Config, folders: Folders) -> list[dict]:
    """Forked processes stand for those that the launcher starts; Ray starts its own."""
    if config.cluster:
        queue = Queue(folders, keep_spare=False)
        queue.start()
        run = queue.submit(config)
        while run.status().state not in FINAL:
            time.sleep(0.5)
        queue.close()
    else:
        run = create(config, folders.runs)
        train_together(run, folders, config.processes)
    if run.status().state != "finished":
        print(run.status().state, run.status().words, run.status().detail[-1000:], sep="\n")
    return run.metrics()


def _print_table(found: dict[str, list[dict]]) -> None:
    losses = {title: {r["step"]: r["loss"] for r in records if "loss" in r}
              for title, records in found.items()}
    held_out = {title: {r["step"]: r["eval_loss"] for r in records if "eval_loss" in r}
                for title, records in found.items()}
    print(f"\n| step | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for words, values in (("", losses), ("held-out rows, ", held_out)):
        for step in values["one"]:
            cells = [f"{values[title].get(step, float('nan')):.5f}" for title in found]
            print(f"| {words}{step} | {' | '.join(cells)} |")
    apart = {title: max(abs(values[title].get(step, float("inf")) - loss)
                        for values in (losses, held_out) for step, loss in values["one"].items())
             for title in found}
    print("| farthest from one | " + " | ".join(f"{value:.1e}" for value in apart.values()) + " |")


if __name__ == "__main__":
    main()
