"""How soon a person can work: page after start, first step after Start, clicks while it trains."""

import argparse
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from core.files import default_folders
from core.model import hub
from core.training.run import list_runs
from tests.browser import install

TABS = ("Runs", "Data set", "Settings", "Model", "Train")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-folder", default="build/bench-home")
    parser.add_argument("--clicks", type=int, default=30)
    options = parser.parse_args()
    folders = default_folders(options.data_folder).make()
    hub.locate("starter:SmolLM2-135M-Instruct", folders)
    shutil.rmtree(folders.runs)
    (folders.home / "draft.json").unlink(missing_ok=True)
    gradio_seconds = _timed([sys.executable, "-c", "import gradio"])
    print("| what | seconds |\n|---|---|")
    print(f"| import gradio, alone | {gradio_seconds:.1f} |", flush=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=install(), args=[
            "--no-sandbox", "--disable-background-networking"])
        for title, wait_seconds in (("cold", 0), ("a trainer stands ready", 15)):
            began = time.monotonic()
            server, url = serve(folders.home)
            try:
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                page.goto(url)
                page.locator("#start").wait_for()
                usable = time.monotonic() - began
                print(f"| program start to page usable, less the import of gradio | "
                      f"{usable - gradio_seconds:.1f} |", flush=True)
                time.sleep(wait_seconds)
                _first_step(page, title)
                if wait_seconds:
                    _clicks(page, options.clicks)
                page.get_by_role("tab", name="Train", exact=True).click()
                page.locator("#stop-now").click()
                page.locator(".td-run[data-state=stopped]").wait_for()
                page.close()
            finally:
                for run in list_runs(folders.runs):  # where a measure failed, it would train on
                    run.ask_to_stop(at_once=True)
                server.send_signal(signal.SIGTERM)
                server.wait()


def _timed(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - began


def serve(home: Path) -> tuple[subprocess.Popen, str]:
    """The app on a data folder whose welcome was seen, and its address."""
    (home / "welcomed").touch()
    server = subprocess.Popen([sys.executable, "app.py", "--no-browser", "--data-folder",
                               str(home), "--port", "7950"], stdout=subprocess.PIPE, text=True)
    return server, re.search(r"http://[\d.:]+", server.stdout.readline()).group()


def _first_step(page: Page, title: str) -> None:
    began = time.monotonic()
    page.locator("#start").click()
    page.wait_for_function("Number(document.querySelector('.td-run')?.dataset.loss) > 0",
                           timeout=120_000)
    print(f"| Start to first logged step on the page, {title} | {time.monotonic() - began:.1f} |",
          flush=True)


def _clicks(page: Page, count: int) -> None:
    """From a click on a tab until its content is drawn and the browser is idle again."""
    took = []
    for number in range(count):
        name = TABS[number % len(TABS)]
        began = time.monotonic()
        page.get_by_role("tab", name=name, exact=True).click()
        page.locator("[role=tabpanel]:visible").first.wait_for()
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => "
                      "requestAnimationFrame(done)))")
        took.append(time.monotonic() - began)
    began = time.monotonic()
    page.get_by_role("tab", name="Data set", exact=True).click()
    shown = page.locator(".td-room-card")
    index = int(shown.get_attribute("data-index"))
    page.locator("#row-next").click()
    page.locator(f".td-room-card[data-index='{index + 1}']").wait_for()
    print(f"| a click on a tab while it trains: median, longest of {count} | "
          f"{statistics.median(took):.2f}, {max(took):.2f} |")
    print(f"| next row of the preview while it trains | {time.monotonic() - began:.2f} |",
          flush=True)


if __name__ == "__main__":
    main()
