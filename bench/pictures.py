"""The README's pictures, from a data folder in which the starter run has finished."""

import argparse
import re
import signal
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from bench.start_up import serve
from tests.browser import install


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-folder", default="build/bench-home")
    parser.add_argument("--into", default="docs")
    options = parser.parse_args()
    into = Path(options.into)
    into.mkdir(exist_ok=True)
    server, url = serve(Path(options.data_folder))
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=install(), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(url)
            expect(page.locator(".td-tokens")).to_have_attribute(
                "data-total", re.compile("[1-9]"), timeout=60_000)
            page.screenshot(path=into / "data-set.png")
            page.get_by_role("tab", name="Train", exact=True).click()
            page.locator(".td-run[data-state=finished]").wait_for()
            page.wait_for_timeout(1000)  # the chart is drawn in the next frames
            page.screenshot(path=into / "train.png", full_page=True)
            page.get_by_role("tab", name="Compare", exact=True).click()
            page.locator("#compare-examples input").click()
            page.get_by_role("option").nth(2).click()
            expect(page.locator("#compare-prompt textarea")).not_to_have_value("")
            page.locator("#compare-send").click()
            expect(page.locator("#compare-card-1 .td-said")).to_contain_text(
                re.compile("positive|negative"), timeout=90_000)
            expect(page.locator("#compare-stop")).to_be_disabled(timeout=90_000)
            page.screenshot(path=into / "compare.png")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


if __name__ == "__main__":
    main()
