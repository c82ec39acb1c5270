"""How fast rows become tokens, beside the tokenizers library alone on the same texts."""

import argparse
import csv
import json
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil

from core.config import Config
from core.data import build
from core.data.looking import preview
from core.data.tokens.plain import with_template
from core.files import Folders, default_folders
from core.model import hub
from core.model.load import load_tokenizer

ROWS, BATCH = 100_000, 1000
TEXT = Config(train_rows=0, eval_rows=0, layout="text", prompt_column="review")
LABELLED = replace(TEXT, layout="labelled", answer_column="sentiment",
                   instruction="Is this film review positive or negative?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-folder", default="build/bench-home")
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args()
    folders = default_folders(options.data_folder).make()
    folder = hub.locate("starter:SmolLM2-135M-Instruct", folders)
    tokenizer = with_template(load_tokenizer(folder), "")
    path = folders.temporary / f"reviews-{options.rows}.csv"
    if not path.exists():
        write_reviews(path, options.rows, folders)
    shutil.rmtree(folders.home / "cache", ignore_errors=True)
    for title, config in (("plain text", TEXT), ("text and label as a dialogue", LABELLED)):
        _compare(title, replace(config, dataset=str(path)), folders, tokenizer)


def write_reviews(path: Path, rows: int, folders: Folders) -> None:
    """Reviews as long as those of IMDB (lognormal, about 230 words in the mean), put together from
    the sentences of the film-reviews sample."""
    draw = random.Random(0)
    with (folders.assets / "samples/film-reviews/train.jsonl").open(encoding="utf-8") as lines:
        sentences = [json.loads(line)["text"] for line in lines]
    aside = path.with_suffix(".part")
    with aside.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["review", "sentiment"])
        for number in range(rows):
            wanted, parts = draw.lognormvariate(5.25, 0.6), [f"{number}."]
            while sum(part.count(" ") + 1 for part in parts) < wanted:
                parts.append(draw.choice(sentences))
            table.writerow([" ".join(parts), draw.choice(["positive", "negative"])])
    aside.rename(path)


def _compare(title: str, config: Config, folders: Folders, tokenizer) -> None:
    began = time.monotonic()
    opened = build.open_dataset(config, folders)
    opening = time.monotonic() - began
    texts = list(_framed(opened, tokenizer))
    # Half before and half after: what else the machine does falls on both.
    raw = _raw_seconds(texts[::2], tokenizer)
    memory = psutil.Process().memory_info().rss
    began = time.monotonic()
    rows, report = build.tokenize_rows(opened, opened.train, config, tokenizer)
    whole = time.monotonic() - began
    raw += _raw_seconds(texts[1::2], tokenizer)
    grown = psutil.Process().memory_info().rss - memory
    began = time.monotonic()
    build.tokenize_rows(build.open_dataset(config, folders), opened.train, config, tokenizer)
    again = time.monotonic() - began
    began = time.monotonic()
    for index in range(20):
        example = opened.example(opened.train[index], config, tokenizer)
        preview.tokens(example, tokenizer)
    shown = (time.monotonic() - began) / 20
    print(f"\n{title}: {report.rows:,} rows, {sum(rows.row_lengths):,} tokens\n")
    print("| what | seconds |\n|---|---|")
    print(f"| open the data set and draw its rows | {opening:.1f} |")
    print(f"| tokenizers' encode_batch on the same texts, alone | {raw:.1f} |")
    print(f"| rows to ids and labels on disk | {whole:.1f} ({raw / whole:.0%} of its speed) |")
    print(f"| a second time, from the cache | {again:.2f} |")
    print(f"| one row as the preview shows it | {shown:.3f} |")
    print(f"\nMemory grew by {grown / 2**20:,.0f} MiB.", flush=True)


def _framed(opened, tokenizer) -> Iterator[str]:
    from core.data.tokens.frames import frames_of

    frames = frames_of(tokenizer)
    for row in opened.train:
        yield from (part.text for part in frames.segments(opened.messages(row)))


def _raw_seconds(texts: list[str], tokenizer) -> float:
    library = tokenizer.backend_tokenizer
    began = time.monotonic()
    for start in range(0, len(texts), BATCH):
        library.encode_batch(texts[start: start + BATCH], add_special_tokens=False)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
