"""Many runs, and long ones: how soon the page shows and finds them. `python -m bench.runs`."""

import argparse
import json
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, Response, sync_playwright

from bench.start_up import serve
from core.config import Config
from core.files import default_folders
from core.training.archive import describe
from core.training.run import Run, Status, create
from tests.browser import install

NEEDLE = "needle"
WHOLE_SECONDS = 400  # ten thousand runs that were never listed take a minute or more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--records", type=int, default=100_000)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="tunedesk-bench-"))
    try:
        print("| what | seconds |\n|---|---|")
        _opening(home, options)
    finally:
        shutil.rmtree(home)


def make_runs(home: Path, count: int, records: int) -> None:
    """`count` finished runs of 200 records, the newest with `records` of them."""
    folders, draw = default_folders(home).make(), random.Random(0)
    for number in range(count):
        run = create(Config(lora_r=8 + number % 8), folders.runs)
        length = records if number == count - 1 else 200
        with (run.folder / "metrics.jsonl").open("w") as file:
            for step in range(1, length + 1):
                file.write(json.dumps({
                    "time": 1.8e9, "step": step, "epoch": step / length,
                    "loss": 3 / step + draw.random(), "learning_rate": 1e-4, "grad_norm": 1.0,
                    "tokens_per_second": 90.0, "ram_bytes": 2**30}) + "\n")
        run.write_status(Status(
            state="finished", words=f"Finished at step {length}.", step=length,
            total_steps=length, created=1.8e9 + number, started=1.8e9 + number,
            ended=1.8e9 + number + 60))


def _opening(home: Path, options: argparse.Namespace) -> None:
    make_runs(home, options.runs, options.records)
    oldest = min(path.name for path in (home / "runs").iterdir())
    describe(Run(home / "runs" / oldest), note=NEEDLE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=install(), args=["--no-sandbox"])
        for title in ("never listed before", "listed by an earlier server"):
            server, url = serve(home)
            try:
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                page.goto(url)
                page.locator("#start").wait_for()
                page.wait_for_timeout(3000)
                sizes: list[int] = []
                page.on("response", lambda answer, sizes=sizes: sizes.append(_size(answer)))
                first, whole = _open_list(page, options.runs)
                print(f"| {options.runs:,} runs, {title}: click to the first lines, to all | "
                      f"{first:.2f}, {whole:.2f} |", flush=True)
                if title.startswith("listed"):
                    print(f"| of these: kB that came to the page | {sum(sizes) / 1e3:,.0f} |")
                    print("| the oldest run: a word of its note typed, to its line | "
                          f"{_find(page, oldest):.2f} |", flush=True)
                    print(f"| a run of {options.records:,} records: click to its drawn curve | "
                          f"{_open_long(page):.2f} |", flush=True)
                page.close()
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait()


def _open_list(page: Page, count: int) -> tuple[float, float]:
    began = time.monotonic()
    page.get_by_role("tab", name="Runs", exact=True).click()
    page.locator("#runs-table tbody tr").first.wait_for()
    first = time.monotonic() - began
    page.locator(f".td-runs[data-count='{count}'][data-unread='0']").wait_for(
        timeout=WHOLE_SECONDS * 1000)
    return first, time.monotonic() - began


def _size(answer: Response) -> int:
    """Bytes of what a view asked the server for; 0 of all else."""
    asked = answer.request.post_data or "" if "component_server" in answer.url else ""
    return len(answer.body()) if "list_runs" in asked else 0


def _find(page: Page, run_id: str) -> float:
    began = time.monotonic()
    page.locator("#runs-search").fill(NEEDLE)
    page.locator(".td-runs[data-count='1']").wait_for()
    page.locator(f"#runs-table tr[data-id='{run_id}']").wait_for()
    took = time.monotonic() - began
    page.locator("#runs-search").fill("")
    page.locator(".td-runs:not([data-count='1'])").wait_for()
    return took


def _open_long(page: Page) -> float:
    """In a server that has listed it; its curve wasn't read since the server started."""
    page.locator("#runs-table tbody tr svg").first.click()
    page.locator("#runs-watch").wait_for()
    began = time.monotonic()
    page.locator("#runs-watch").click()
    page.locator("#run-view path.td-line-raw").wait_for()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
