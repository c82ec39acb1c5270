"""Many runs, long runs, many watchers: what they cost. `python -m bench.runs`."""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
from playwright.sync_api import Page, sync_playwright

from bench.start_up import serve
from core.config import Config
from core.files import default_folders
from core.training.run import FINAL, Run, Status, create, list_runs
from tests.browser import install


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--watchers", type=int, default=20)
    parser.add_argument("--steps", type=int, default=40, help="with watchers, and as many without")
    parser.add_argument("--parts", default="list,watch")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="tunedesk-bench-"))
    try:
        if "list" in options.parts:
            print("| what | seconds |\n|---|---|")
            _opening(home, options)
        if "watch" in options.parts:
            _watching(home, options)
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
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=install(), args=["--no-sandbox"])
        for title in ("never listed before", "listed by an earlier server"):
            server, url = serve(home)
            try:
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                page.goto(url)
                page.locator("#start").wait_for()
                page.wait_for_timeout(3000)
                first, whole = _open_list(page, options.runs)
                print(f"| {options.runs:,} runs, {title}: click to the first lines, to all | "
                      f"{first:.2f}, {whole:.2f} |", flush=True)
                if title.startswith("listed"):
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
    page.locator(f".td-runs[data-count='{count}'][data-unread='0']").wait_for()
    return first, time.monotonic() - began


def _open_long(page: Page) -> float:
    """In a server that has listed it; its curve wasn't read since the server started."""
    page.locator("#runs-table tbody tr svg").first.click()
    page.locator("#runs-watch").wait_for()
    began = time.monotonic()
    page.locator("#runs-watch").click()
    page.locator("#run-view path.td-line-raw").wait_for()
    return time.monotonic() - began


def _watching(home: Path, options: argparse.Namespace) -> None:
    """Seconds a step of a run of the starter model, in turns with watchers and without."""
    folders = default_folders(home).make()
    shutil.rmtree(folders.runs)
    folders.runs.mkdir()
    starter = Path("build/test-home/models/SmolLM2-135M-Instruct").resolve()
    if not (folders.models / starter.name).exists():
        os.symlink(starter, folders.models / starter.name)
    server, url = serve(home)
    try:
        config = Config(max_steps=10_000, batch_size=2, max_length=64, eval_rows=0,
                        save_every="never")
        (home / "settings.yaml").write_text(config.to_yaml())
        run = _begin(home, folders)
        alone, watched = [], []
        for turn in range(4):
            alone.append(_seconds_a_step(run, options.steps // 4))
            with _Watchers(url, run.id, options.watchers):
                time.sleep(2)
                watched.append(_seconds_a_step(run, options.steps // 4))
            print(f"turn {turn + 1}: {alone[-1]:.3f} alone, {watched[-1]:.3f} watched", flush=True)
        ratio = statistics.median(w / a for w, a in zip(watched, alone, strict=True))
        print(f"\n{options.watchers} pages that watch: a step takes {ratio - 1:+.1%} "
              f"(median of 4 turns of {options.steps // 4} steps)")
        run.ask_to_stop(at_once=True)
        while run.status().state not in FINAL:
            time.sleep(0.1)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def _begin(home: Path, folders) -> Run:
    subprocess.run([sys.executable, "-c", (
        "import sys; from core.training import run, line; from core.config import load_yaml; "
        "from core.files import default_folders; from pathlib import Path; "
        "f = default_folders(sys.argv[1]); "
        "r = run.create(load_yaml(Path(sys.argv[1]) / 'settings.yaml'), f.runs)"), str(home)],
        check=True)
    run = list_runs(folders.runs)[0]
    while len(run.metrics()) < 3:
        assert run.status().state not in FINAL, run.status()
        time.sleep(0.2)
    return run


def _seconds_a_step(run: Run, steps: int) -> float:
    """Mean over `steps` logged steps from now on."""
    first = run.metrics()[-1]
    while (last := run.metrics()[-1])["step"] < first["step"] + steps:
        time.sleep(0.5)
    return (last["time"] - first["time"]) / (last["step"] - first["step"])


class _Watchers:
    """Sessions that ask as the live view does: with the revision they show, when they are told."""

    def __init__(self, url: str, run_id: str, count: int):
        self._ends = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch(url, run_id, count)))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_) -> None:
        self._ends.set()
        self._thread.join()

    async def _watch(self, url: str, run_id: str, count: int) -> None:
        async with httpx.AsyncClient(base_url=url, headers={"Origin": url}, timeout=30) as client:
            page = (await client.get("/config")).json()
            view = next(c["id"] for c in page["components"]
                        if c["props"].get("elem_id") == "run-view")

            async def one(number: int) -> None:
                await asyncio.sleep(number / count)
                revision = ""
                while not self._ends.is_set():
                    answer = await client.post("/gradio_api/component_server", json={
                        "data": [run_id, revision, f"watcher{number}"], "component_id": view,
                        "fn_name": "read_run", "session_hash": f"watcher{number}"})
                    answer.raise_for_status()
                    revision = answer.json()["revision"]
                    await asyncio.sleep(answer.json()["wait"])

            await asyncio.gather(*(one(number) for number in range(count)))


if __name__ == "__main__":
    main()
