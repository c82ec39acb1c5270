"""The README's pictures: every tab, from a data folder with a starter run, made where none is."""

import argparse
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from bench.start_up import serve
from core.presets import DEFAULT
from core.training.run import list_runs
from tests.browser import install

PATIENT = 300_000  # milliseconds, for what a model answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-folder", default="build/bench-home")
    parser.add_argument("--into", default="docs")
    parser.add_argument("--only", nargs="*", choices=list(TABS), default=list(TABS))
    options = parser.parse_args()
    into = Path(options.into)
    into.mkdir(exist_ok=True)
    if not list_runs(Path(options.data_folder) / "runs"):
        subprocess.run([sys.executable, "app.py", "--data-folder", options.data_folder, "train",
                        DEFAULT], check=True)
    server, url = serve(Path(options.data_folder))
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=install(), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(60_000)
            page.goto(url)
            expect(page.locator(".td-audit")).to_have_attribute("data-finished", "true",
                                                                timeout=PATIENT)
            for name in options.only:
                TABS[name](page)
                page.wait_for_timeout(1000)  # charts are drawn in the next frames
                page.screenshot(path=into / f"{name}.png", full_page=name not in AS_SEEN)
                print(name, flush=True)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def _open(tab: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("tab", name=tab, exact=True).click()


def _welcome(page: Page) -> None:
    page.locator("#welcome-open").click()
    page.locator(".td-welcome[data-known=true]").wait_for()


def _data_set(page: Page) -> None:
    page.keyboard.press("Escape")
    _open("Data set")(page)


def _train(page: Page) -> None:
    _open("Train")(page)
    page.locator(".td-run[data-state=finished]").wait_for()


def _chat(page: Page) -> None:
    _open("Chat")(page)
    page.locator("#chat-who input").click()
    page.get_by_role("option").nth(1).click()
    page.locator("#chat-message textarea").fill(
        "Is this film review positive or negative?\nA dull, lifeless and boring mess.")
    page.locator("#chat-send").click()
    expect(page.locator("#chat")).to_contain_text(re.compile("positive|negative .$"),
                                                  timeout=PATIENT)
    expect(page.locator("#chat-stop")).to_be_disabled(timeout=PATIENT)


def _compare(page: Page) -> None:
    _open("Compare")(page)
    page.locator("#compare-examples input").click()
    page.get_by_role("option").nth(2).click()
    expect(page.locator("#compare-prompt textarea")).not_to_have_value("")
    page.locator("#compare-send").click()
    expect(page.locator("#compare-card-1 .td-said")).to_contain_text(
        re.compile("positive|negative"), timeout=PATIENT)
    expect(page.locator("#compare-stop")).to_be_disabled(timeout=PATIENT)


def _runs(page: Page) -> None:
    _open("Runs")(page)
    page.locator("#runs-table tbody .td-spark").first.click()
    expect(page.locator(".td-runs .td-plot path.td-curve")).to_have_count(1)


def _export(page: Page) -> None:
    _open("Export")(page)
    expect(page.locator("#export-start")).to_be_enabled()
    if page.locator(".td-proof[data-state=none]").count():
        page.locator("#export-start").click()
    expect(page.locator(".td-proof")).to_have_attribute("data-state", "finished",
                                                        timeout=2 * PATIENT)


def _evaluate(page: Page) -> None:
    _open("Evaluate")(page)
    view = page.locator(".td-eval-root")
    page.locator("#evaluate-runs .token").first.wait_for()
    if view.get_attribute("data-state") != "done":
        page.locator("#evaluate-rows input, #evaluate-rows textarea").fill("60")
        page.locator("#evaluate-start").click()
    expect(view).to_have_attribute("data-state", "done", timeout=2 * PATIENT)
    expect(view).to_contain_text("Accuracy", timeout=PATIENT)
    page.locator("#evaluate-past").evaluate("field => field.scrollIntoView()")


TABS: dict[str, Callable[[Page], None]] = {
    "welcome": _welcome, "data-set": _data_set, "model": _open("Model"),
    "settings": _open("Settings"), "train": _train, "chat": _chat, "compare": _compare,
    "evaluate": _evaluate, "export": _export, "runs": _runs}
AS_SEEN = set(TABS) - {"train", "chat", "compare"}  # these are shown down to their end


if __name__ == "__main__":
    main()
