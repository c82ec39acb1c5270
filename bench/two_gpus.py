"""One GPU against two of the same machine: speed, memory, losses, and a process that is killed.

Every line is a real run, started as a person starts one without a page, on random weights of the
model's shape and rows with the lengths of film reviews.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from core.config import Config
from core.files import Folders, default_folders
from core.model.catalog import load_catalog
from core.training.queue import Queue
from core.training.run import FINAL, Run, is_alive, list_runs

ROOT = Path(__file__).parents[1]
STEPS, SHORT, WARM = 50, 18, 6
ROWS, MAX_LENGTH = 1600, 512
TINY = {"model_type": "llama", "vocab_size": 1024, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4}
SMALL = TINY | {"hidden_size": 1024, "intermediate_size": 2752, "num_hidden_layers": 8,
                "num_attention_heads": 16, "num_key_value_heads": 16}


@dataclass(frozen=True)
class Contestant:
    """`cards`: which GPUs it sees. `beside` runs at the same time, on other cards."""

    title: str
    cards: str
    seconds: float
    settings: dict

    @property
    def processes(self) -> int:
        return len(self.cards.split(","))


A1 = Contestant("(a) nf4, one GPU", "0", 110, {"base_weights": "4bit"})
A2 = Contestant("(a) nf4, DDP, two GPUs", "0,1", 100, {"base_weights": "4bit"})
B1 = Contestant("(b) bf16, one GPU", "1", 110, {"base_weights": "16bit"})
B2 = Contestant("(b) bf16, FSDP2, two GPUs", "0,1", 90,
                {"base_weights": "16bit", "strategy": "fsdp2"})
C2 = Contestant("(c) nf4 cut up, FSDP2, two GPUs", "0,1", 90,
                {"base_weights": "4bit", "strategy": "fsdp2", "max_steps": SHORT})


def main() -> None:
    options = _arguments()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=roomy()) as place:
        bench = Bench(Path(place), options.device, began + options.seconds, options.steps)
        say(f"torch {torch.__version__}; {bench.machine()}; {options.model}, random weights")
        bench.make(options.model)
        say(f"Weights made after {time.monotonic() - began:.0f} s.\n\n| run | real tokens/s | "
             "peak GiB, each card | loss at step 1, 10, 25, last | started after, whole run |\n"
             "|---|---|---|---|---|")
        one = bench.race(A1, B1)
        two = bench.race(A2) | bench.race(B2)
        _compare("(a) DDP, nf4", one.get(A1.title), two.get(A2.title), 0.9)
        _compare("(b) FSDP2, bf16", one.get(B1.title), two.get(B2.title), 0.8)
        _guarded(bench.kill_one)
        _compare("(c) FSDP2, nf4", one.get(A1.title), bench.race(C2).get(C2.title), 0.0)
        say(f"\nWhole: {time.monotonic() - began:.0f} s.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="deepseek-ai/deepseek-llm-7b-base",
                        help="a model of the catalogue, or tiny")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--seconds", type=float, default=290, help="nothing begins after that")
    parser.add_argument("--steps", type=int, default=STEPS)
    return parser.parse_args()


def say(words: str) -> None:
    print(words, flush=True)


def roomy() -> str | None:
    """Main memory where a 7B model fits into it, else the usual place for temporary files."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage("/dev/shm").free > 2 ** 35:
            return "/dev/shm"
    return None


def _guarded(work) -> None:
    """One thing that fails must not lose the others."""
    try:
        work()
    except Exception as error:
        say(f"{work.__name__}: {type(error).__name__}: {error}")


class Bench:
    """The model, the rows and the runs of one measurement, in a folder of their own."""

    def __init__(self, place: Path, device: str, deadline: float, steps: int):
        self.place, self.device, self.deadline, self.steps = place, device, deadline, steps
        self.patience = 5 if device == "cpu" else 1
        self.rows = place / "rows.jsonl"
        self.model, self.small = place / "model", place / "small"

    def machine(self) -> str:
        if self.device == "cpu":
            return f"{os.cpu_count()} CPU cores"
        return ", ".join(torch.cuda.get_device_name(at)
                         for at in range(torch.cuda.device_count()))

    def make(self, name: str) -> None:
        """Weights on the device (a 7B model on the CPU would take minutes), tokenizer, rows."""
        shape = TINY if name == "tiny" else load_catalog(self.folders("shapes"))[name].config
        tokenizer = make_model(self.model, shape, self.device)
        make_model(self.small, TINY if self.device == "cpu" else SMALL, self.device)
        if self.device == "cuda":
            torch.cuda.empty_cache()
        self.rows.write_text("".join(json.dumps({"text": text}) + "\n"
                                     for text in _texts(tokenizer)))

    def config(self, **settings) -> Config:
        """32 rows a step: two passes of 16 on one GPU, one on each of two. On a CPU, which only
        tries the script, as little as there can be."""
        common = Config(
            dataset=str(self.rows), base_model=str(self.model), layout="text", eval_rows=0,
            loss_on="all tokens", precision="bf16", max_length=MAX_LENGTH, lora_r=16,
            lora_alpha=32, lora_dropout=0.0, learning_rate=3e-4, max_steps=self.steps,
            batch_size=16, gradient_accumulation=2, eval_every="never", save_every="never")
        config = replace(common, **settings)
        return config if self.device == "cuda" else replace(
            config, max_length=32, batch_size=2, max_steps=min(config.max_steps, 12))

    def race(self, *contestants: Contestant) -> dict[str, list[dict]]:
        """Runs at the same time, each on cards of its own; prints a line for each that ends, and
        returns its measurements by its title."""
        begun = [(each, self._begin(each)) for each in contestants
                 if time.monotonic() + 30 < self.deadline]
        found = {}
        for each, (process, home, since) in begun:
            try:
                process.wait(max(1.0, since + self.patience * each.seconds - time.monotonic()))
            except subprocess.TimeoutExpired:
                say(f"| {each.title} | not ended after {time.monotonic() - since:.0f} s | | | |")
            run = next(iter(list_runs(home / "runs")), None)
            if run is not None:
                end(process, run)
                records = [r for r in run.metrics() if "loss" in r]
                _report(each, run, records, time.monotonic() - since)
                if len(records) > WARM:
                    found[each.title] = records
            else:
                say(f"| {each.title} | did not begin: {(home / 'out').read_text()[-300:]} | | | |")
        for each in contestants[len(begun):]:
            say(f"| {each.title} | left out: no time | | | |")
        return found

    def _begin(self, each: Contestant) -> tuple[subprocess.Popen, Path, float]:
        home = self.folders(f"home-{each.title[1]}{each.processes}").home
        settings = home / "settings.yaml"
        settings.write_text(self.config(**{"processes": each.processes} | each.settings).to_yaml())
        cards = "" if self.device == "cpu" else each.cards
        with (home / "out").open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "app.py", "--data-folder", str(home), "train", str(settings)],
                cwd=ROOT, env=os.environ | {"CUDA_VISIBLE_DEVICES": cards}, stdout=out, stderr=out)
        return process, home, time.monotonic()

    def folders(self, name: str) -> Folders:
        return default_folders(self.place / name).make()

    def kill_one(self) -> None:
        """A run of two processes, of which the second is killed in the middle; then resumed."""
        queue = Queue(self.folders("killed"), keep_spare=False)
        queue.start()
        try:
            run = queue.submit(self.config(base_model=str(self.small), processes=2, save_steps=5,
                                           save_every="steps", base_weights="4bit",
                                           max_steps=150))
            _wait(run, lambda: run.last_checkpoint() and run.status().step > 6, 60 * self.patience)
            before = run.status()
            all_of_it = psutil.Process(before.pid).children(recursive=True)
            second = next(p for p in all_of_it if p.environ().get("RANK") == "1")
            os.kill(second.pid, signal.SIGKILL)
            began = time.monotonic()
            _wait(run, lambda: run.status().state in FINAL, 60 * self.patience)
            say(f"\nKilled process 2 of 2: '{run.status().state}' after "
                 f"{time.monotonic() - began:.1f} s: {run.status().words}")
            _, left = psutil.wait_procs(all_of_it, timeout=10)
            say(f"Processes left behind: {len(left)}. Resumes from {run.last_checkpoint().name}.")
            queue.resume(run.id)
            _wait(run, lambda: run.status().state in FINAL, 60 * self.patience)
            steps = [r["step"] for r in run.metrics() if "loss" in r]
            say(f"Resumed: '{run.status().state}': {run.status().words} Each step measured once: "
                 f"{steps == list(range(1, run.status().total_steps + 1))}.")
        finally:
            for each in queue.active():
                queue.stop(each.id, at_once=True)
                _wait(each, lambda each=each: each.status().state in FINAL, 20 * self.patience)
            queue.close()


def make_model(folder: Path, shape: dict, device: str = "cpu") -> PreTrainedTokenizerFast:
    """A model folder with random weights, made on `device`; its tokenizer."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape),
                                                 dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer = small_tokenizer()
    tokenizer.save_pretrained(folder)
    return tokenizer


def small_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of 1,000 tokens, learned from the shipped film reviews."""
    lines = [row["text"] for row in _reviews()]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=1000, special_tokens=["<s>", "</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>",
                                   pad_token="</s>")


def _reviews() -> list[dict]:
    path = ROOT / "assets/samples/film-reviews/train.jsonl"
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def _texts(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Words of real reviews, as many as make lengths like those of IMDB: lognormal, median about
    245 tokens, the longest cut at 512."""
    draw = random.Random(0)
    words = sorted({word for row in _reviews() for word in row["text"].split()})
    costs = dict(zip(words, map(len, tokenizer(words).input_ids), strict=True))
    texts = []
    for _ in range(ROWS):
        left, text = draw.lognormvariate(5.5, 0.62), []
        while left > 0:
            text.append(draw.choice(words))
            left -= costs[text[-1]]
        texts.append(" ".join(text))
    return texts


def end(process: subprocess.Popen, run: Run) -> None:
    """The command stops its run when it is interrupted; what doesn't listen is killed."""
    status = run.status()
    if process.poll() is None:
        run.ask_to_stop(at_once=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
    if is_alive(status.pid, status.pid_started):
        os.killpg(status.pid, signal.SIGKILL)


def _wait(run: Run, claim, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {run.status().state}: {run.status().words} "
                               f"{run.status().detail[-300:]}")
        time.sleep(0.05)


def _report(each: Contestant, run: Run, records: list[dict], seconds: float) -> None:
    status = run.status()
    if status.state != "finished":
        say(f"\n{each.title}: {status.state}: {status.words}\n{status.detail[-1500:]}\n")
    if len(records) <= WARM:
        return
    last = records[-1]
    peaks = [last[name] for name in sorted(last) if name.startswith("gpu_") and name[4].isdigit()]
    peaks = peaks or [last.get("gpu_bytes", last["ram_bytes"])]
    losses = [records[at - 1]["loss"] for at in (1, 10, 25) if at <= len(records)]
    say(f"| {each.title} | {_speed(records):,.0f} | "
         f"{' and '.join(f'{peak / 2**30:.1f}' for peak in peaks)} | "
         f"{', '.join(f'{loss:.3f}' for loss in [*losses, last['loss']])} | "
         f"{status.stepping_since - status.started:.0f} s, {seconds:.0f} s |")


def _speed(records: list[dict]) -> float:
    """Tokens a second of all cards together: the median step after the first few."""
    return statistics.median(r["tokens_per_second"] for r in records[WARM:])


def _compare(title: str, one: list[dict] | None, two: list[dict] | None, wanted: float) -> None:
    if not one or not two:
        say(f"{title}: nothing to compare.")
        return
    efficiency = _speed(two) / _speed(one) / 2
    apart = [abs(a["loss"] - b["loss"]) for a, b in zip(one, two, strict=False)]
    steps = [abs(a["loss"] - b["loss"]) for a, b in zip(one, one[1:], strict=False)]
    goal = f" (wanted: {wanted})" if wanted else ""
    say(f"{title}: {efficiency:.3f} of twice one GPU's speed{goal}. Losses of {len(apart)} steps "
         f"differ by {statistics.mean(apart):.4f} on average, {max(apart):.4f} at most; from one "
         f"step to the next they change by {statistics.mean(steps):.4f}.")


if __name__ == "__main__":
    main()
