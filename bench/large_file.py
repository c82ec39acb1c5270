"""How much memory a run on a CSV file of 1 GB needs beyond the same run on a small file."""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil

from bench.tokenize import LABELLED, write_reviews
from core.files import Folders
from core.model import hub

ROOT = Path(__file__).parents[1]
STARTER = "starter:SmolLM2-135M-Instruct"
ROWS = 730_000  # 1.0 GB
SMALL = 1000
CONFIG = replace(LABELLED, max_steps=4, batch_size=2, max_length=256, eval_rows=16,
                 save_every="never", sample_answers=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="build/test-home/models", help="where the starter lies")
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args()
    print("| rows | file, GB | seconds to the end | peak of all processes, GiB | of it their own |")
    print("|---|---|---|---|---|")
    peaks = [_train(rows, Path(options.models).resolve()) for rows in (SMALL, options.rows)]
    print(f"\nThe large file takes {(peaks[1] - peaks[0]) / 2**30:.2f} GiB more.")


def _train(rows: int, models: Path) -> int:
    """Bytes of resident memory at the highest, mapped files included."""
    with tempfile.TemporaryDirectory(prefix="tunedesk-bench-") as place:
        folders = Folders(Path(place), ROOT / "assets").make()
        folders.models.rmdir()
        folders.models.symlink_to(models)
        hub.locate(STARTER, folders)
        path = folders.uploads / "reviews.csv"
        write_reviews(path, rows, folders)
        settings = Path(place) / "settings.yaml"
        settings.write_text(replace(CONFIG, base_model=STARTER, dataset=str(path)).to_yaml())
        began = time.monotonic()
        work = subprocess.Popen([sys.executable, "app.py", "--data-folder", place, "train",
                                 str(settings)], cwd=ROOT)
        peak, own = 0, 0
        while work.poll() is None:
            used = [_memory(each) for each in _family(work.pid)]
            peak, own = max(peak, sum(a for a, _ in used)), max(own, sum(b for _, b in used))
            time.sleep(0.25)
        print(f"| {rows:,} | {path.stat().st_size / 1e9:.2f} | {time.monotonic() - began:.0f} | "
              f"{peak / 2**30:.2f} | {own / 2**30:.2f} |", flush=True)
        return peak


def _family(pid: int) -> list[psutil.Process]:
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory(process: psutil.Process) -> tuple[int, int]:
    """Resident bytes, and those that aren't shared with a file or another process."""
    try:
        found = process.memory_info()
        return found.rss, found.rss - found.shared
    except psutil.NoSuchProcess:
        return 0, 0


if __name__ == "__main__":
    main()
