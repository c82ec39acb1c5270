"""What the browser tests share: a served app in a data folder of its own, and pages on it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from core.config import Config
from core.training.run import Run, Status, create

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
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *flags: str) -> None:
        self.begin(*flags)
        self.wait_for_address()

    def begin(self, *flags: str) -> None:
        # The tests of core forbid the hub; the app of a person doesn't.
        environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
        self.process = subprocess.Popen(
            [sys.executable, "app.py", "--no-browser", "--data-folder", str(self.home), *flags],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment | self.environment)

    def wait_for_address(self) -> None:
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, f"the app didn't start; it said {line!r}"
        self.url = found.group()

    def aside(self) -> Path:
        """Where a test makes a run, so that the app doesn't begin it as one that waits."""
        folder = self.home.parent / "aside"
        folder.mkdir(exist_ok=True)
        return folder

    def take(self, made: Run) -> Run:
        """The same run, in the app's data folder."""
        runs = self.home / "runs"
        runs.mkdir(exist_ok=True)
        return Run(made.folder.rename(runs / made.id))

    def add_ended(self, **status: str) -> Run:
        """A run in the app's data folder that ended at step 30 of 60, with its measurements."""
        made = create(Config(train_rows=32), self.aside())
        for step in range(1, 31):
            made.append_metrics({"step": step, "loss": 3.0 / step, "learning_rate": 1e-4,
                                 "grad_norm": 1.0, "tokens_per_second": 500.0})
        made.write_status(Status(step=30, total_steps=60, started=1, ended=90, **status))
        return self.take(made)

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
    """A fresh data folder in which the starter model lies already, and whose welcome was seen."""
    (folder / "models").mkdir(parents=True)
    (folder / "welcomed").touch()
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


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[App]:
    """A server on a data folder that nobody has used."""
    served = App(make_home(tmp_path / "TuneDesk"))
    (served.home / "welcomed").unlink()
    served.start()
    yield served
    served.end()


@pytest.fixture
def first_visit(fresh: App, browser: Browser) -> Iterator[Page]:
    """The page as it greets a newcomer."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    opened = context.new_page()
    opened.set_default_timeout(DEADLINE_SECONDS * 1000)
    opened.goto(fresh.url)
    yield opened
    context.close()


@pytest.fixture
def open_page(app: App, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens the app as a new visitor; the page is ready when its preview has been drawn. Settings
    are those of a new data folder, whatever the test before has left. No script of ours may break
    down in the test: a view that does stays as it was, and says nothing."""
    contexts, broken = [], []
    (app.home / "draft.json").unlink(missing_ok=True)

    def open_it(width: int = 1440) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: broken.append(f"{error}\n{error.stack}"))
        page.set_default_timeout(DEADLINE_SECONDS * 1000)
        page.goto(app.url)
        expect(page.locator("#summary")).to_contain_text("parameters")
        expect(page.locator(".td-tokens")).to_have_attribute(
            "data-total", re.compile(r"[1-9]"))
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert broken == []


def open_tab(page: Page, name: str) -> None:
    """Click a tab, on a narrow page in the menu of those that didn't fit: that is decided when the
    page is measured, with the width its letters have by then."""
    tab = page.get_by_role("tab", name=name, exact=True)
    folded = page.locator(".overflow-dropdown").get_by_text(name, exact=True)
    expect(tab.or_(folded).first).to_be_attached()
    if folded.count():
        page.locator(".overflow-menu > button").click()
        folded.click()
    else:
        tab.click()


def fill(page: Page, setting: str, value: str) -> None:
    """Type into a setting's field and leave it, as a person does."""
    field = page.locator(f"#set-{setting} textarea, #set-{setting} input").first
    field.fill(value)
    field.blur()


def pick(page: Page, field: str, choice: str | re.Pattern | int) -> None:
    """Choose from a field's list by words, or by place from 0. A closed list fades: the next one
    is opened when it is gone."""
    page.locator(f"{field} input").first.click()
    lists = page.locator("ul[role=listbox]")
    options = lists.get_by_role("option") if isinstance(choice, int) else lists.get_by_role(
        "option", name=choice, exact=isinstance(choice, str))
    options.nth(choice if isinstance(choice, int) else 0).click()
    expect(lists).to_have_count(0)


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
