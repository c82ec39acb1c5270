"""What the browser tests share: a served app in a data folder of its own, and pages on it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests import browser as chromium

ROOT = Path(__file__).parents[2]
TEST_HOME = ROOT / "build" / "test-home"
STARTER = "SmolLM2-135M-Instruct"
# A deadline ends what hangs; how fast it goes is for bench/, on a machine that does nothing else.
DEADLINE_SECONDS = 300
expect.set_options(timeout=DEADLINE_SECONDS * 1000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in Path(item.fspath).parts:
            item.add_marker("e2e")


@dataclass
class App:
    """A server in a process of its own, as a person starts it."""

    home: Path
    url: str = ""
    process: subprocess.Popen | None = None

    def start(self, *flags: str) -> None:
        self.begin(*flags)
        self.wait_for_address()

    def begin(self, *flags: str) -> None:
        # The tests of core forbid the hub; the app of a person doesn't.
        environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
        self.process = subprocess.Popen(
            [sys.executable, "app.py", "--no-browser", "--data-folder", str(self.home), *flags],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)

    def wait_for_address(self) -> None:
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, f"the app didn't start; it said {line!r}"
        self.url = found.group()

    def end(self, how: int = signal.SIGTERM) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(timeout=DEADLINE_SECONDS)


def starter_model() -> Path:
    """The starter model's folder, fetched if `make test` hasn't done it."""
    folder = TEST_HOME / "models" / STARTER
    if not folder.is_dir():
        subprocess.run([sys.executable, "app.py", "--data-folder", str(TEST_HOME), "fetch"],
                       cwd=ROOT, check=True)
    return folder


def make_home(folder: Path) -> Path:
    """A fresh data folder in which the starter model lies already."""
    (folder / "models").mkdir(parents=True)
    os.symlink(starter_model(), folder / "models" / STARTER)
    return folder


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    home = make_home(tmp_path_factory.mktemp("home") / "TuneDesk")
    served = App(home)
    served.start()
    yield served
    served.end()
    shutil.rmtree(home / "runs", ignore_errors=True)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium.find()
    if path is None:
        pytest.fail("The browser tests need Chromium; run `make test`, which installs one.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=[
            "--no-sandbox", "--disable-background-networking", "--disable-component-update"])
        yield started
        started.close()


@pytest.fixture
def open_page(app: App, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens the app as a new visitor; the page is ready when its preview has been drawn."""
    contexts = []

    def open_it(width: int = 1440) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(DEADLINE_SECONDS * 1000)
        page.goto(app.url)
        expect(page.locator("#summary")).to_contain_text("parameters")
        expect(page.locator(".td-tokens")).to_have_attribute(
            "data-total", re.compile(r"[1-9]"))
        return page

    yield open_it
    for context in contexts:
        context.close()


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def fill(page: Page, setting: str, value: str) -> None:
    """Type into a setting's field and leave it, as a person does."""
    field = page.locator(f"#set-{setting} textarea, #set-{setting} input").first
    field.fill(value)
    field.blur()


def choose(page: Page, setting: str, value: str) -> None:
    """Type a value into a setting's dropdown."""
    field = page.locator(f"#set-{setting} input")
    field.fill(value)
    field.press("Enter")
    field.blur()


def wait_for_state(page: Page, state: str, seconds: float = DEADLINE_SECONDS) -> None:
    expect(page.locator(".td-run")).to_have_attribute("data-state", state, timeout=seconds * 1000)


def wait_for_step(page: Page, step: int, seconds: float = DEADLINE_SECONDS) -> None:
    page.wait_for_function(
        "step => Number(document.querySelector('.td-run')?.dataset.step) >= step", arg=step,
        timeout=seconds * 1000)


def wait_until(claim: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> object:
    deadline = time.monotonic() + seconds
    while not (found := claim()):
        assert time.monotonic() < deadline, "it didn't come true in time"
        time.sleep(0.1)
    return found
