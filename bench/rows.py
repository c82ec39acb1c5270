"""How soon a row of a large data set shows, while all rows are looked at and afterwards.

    python -m bench.rows [rows]

Makes rows as long as IMDB's reviews from the sample's sentences, in a temporary data folder.
"""

import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from core.config import Config
from core.desk import Desk
from core.files import Folders

ROOT = Path(__file__).parents[1]
SENTENCES = 17  # about 1,300 characters, IMDB's mean
PREVIEWS = 30


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(prefix="tunedesk-bench-") as place:
        folders = Folders(Path(place), ROOT / "assets").make()
        folders.models.rmdir()
        folders.models.symlink_to(ROOT / "build" / "test-home" / "models")
        path = write_rows(Path(place) / "rows.jsonl", count)
        measure(Desk(folders), Config(dataset=str(path), max_length=512).to_dict(), count)


def write_rows(path: Path, count: int) -> Path:
    draw = random.Random(0)
    sample = ROOT / "assets" / "samples" / "film-reviews" / "train.jsonl"
    lines = [json.loads(line) for line in sample.open(encoding="utf-8")]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            text = " ".join(line["text"] for line in draw.choices(lines, k=SENTENCES))
            file.write(json.dumps({"text": text, "label": draw.choice(lines)["label"]}) + "\n")
    return path


def measure(desk: Desk, settings: dict, count: int) -> None:
    began = time.monotonic()
    list(desk.preview(settings, "train", 0))
    print(f"{count:,} rows open, first row shown: {time.monotonic() - began:.2f} s")
    desk.look(settings)
    previews(desk, settings, count, "while rows are looked at")
    began = time.monotonic()
    while not (shown := desk.look(settings)).get("finished"):
        assert shown["state"] != "failed", shown
        time.sleep(0.2)
    print(f"audit finished {time.monotonic() - began:.1f} s later")
    previews(desk, settings, count, "afterwards")


def previews(desk: Desk, settings: dict, count: int, when: str) -> None:
    draw, seconds = random.Random(1), []
    for _ in range(PREVIEWS):
        began = time.monotonic()
        list(desk.preview(settings, "train", draw.randrange(count - 100)))
        seconds.append(time.monotonic() - began)
    print(f"a row, {when}: median {statistics.median(seconds) * 1000:.0f} ms, "
          f"slowest of {PREVIEWS} {max(seconds) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
