"""The Runs tab in a browser: search, compare, notes, trash, the line; the word of a run's end."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from core.config import Config
from core.training import alive
from core.training.names import name_of
from core.training.run import Run, Status, create
from tests.e2e.conftest import DEADLINE_SECONDS, App, open_tab, wait_until


@pytest.fixture(scope="module")
def kept(app: App) -> list[Run]:
    """Runs of another time, in the app's folder."""
    made = []
    for number, state in enumerate(("finished", "failed", "finished", "stopped")):
        run = create(Config(lora_r=4 + number, train_rows=32), app.aside())
        for step in range(1, 31):
            run.append_metrics({"step": step, "loss": 3.0 / step + number, "learning_rate": 1e-4})
        run.write_status(Status(state=state, words=f"It has {state}.", step=30, total_steps=30,
                                started=time.time() - 99, ended=time.time()))
        made.append(run)
    return [app.take(run) for run in made]


@pytest.fixture
def page(kept, app: App, browser: Browser) -> Iterator[Page]:
    """The Runs tab; it needs nothing of what the other tabs wait for."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(DEADLINE_SECONDS * 1000)
    opened.goto(app.url)
    open_tab(opened, "Runs")
    expect(opened.locator(".td-runs")).to_have_attribute("data-unread", "0")
    yield opened
    context.close()


ASKED_ONCE = """window.told = [];
window.Notification = class {
  static permission = "default";
  static async requestPermission() { return (this.permission = "granted"); }
  constructor(title, options) { window.told.push(`${title} ${options.body}`); }
};"""


def choose(page: Page, run: Run, box: bool = False) -> None:
    row = page.locator(f"#runs-table tr[data-id='{run.id}']")
    row.locator("input").click() if box else row.locator("svg").click()


def test_runs_are_searched_compared_and_their_differences_told(page, kept):
    page.locator("#runs-search").fill(kept[1].id[-12:])
    expect(page.locator(".td-runs")).not_to_have_attribute("data-count", "0")
    page.locator("#runs-search").fill("")
    for run in (kept[0], kept[2]):
        choose(page, run, box=True)
    expect(page.locator(".td-runs")).to_have_attribute("data-compared", "2")
    table = page.locator(".td-differences")
    expect(table).to_contain_text("Rank r")
    expect(table).not_to_contain_text("Learning rate")
    expect(page.locator(".td-runs .td-plot path.td-curve")).to_have_count(2)


def test_a_run_gets_tags_and_a_note_and_lends_its_settings(page, kept):
    choose(page, kept[3])
    page.locator("#runs-tags").fill("wide, second try")
    page.locator("#runs-note").fill("<b>Overfits</b>")
    page.locator("#runs-describe").click()
    row = page.locator(f"#runs-table tr[data-id='{kept[3].id}']")
    expect(row).to_contain_text("second try")
    expect(row).to_contain_text("<b>Overfits</b>")
    page.locator("#runs-use").click()
    expect(page.locator("#runs-said")).to_contain_text("in the tabs now")
    open_tab(page, "Settings")
    expect(page.locator("#set-lora_r textarea, #set-lora_r input").first).to_have_value("7")


def test_a_deleted_run_is_restored_from_the_trash(page, kept):
    choose(page, kept[1])
    page.locator("#runs-delete").click()
    expect(page.locator("#runs-said")).to_contain_text("trash")
    expect(page.locator(f"#runs-table tr[data-id='{kept[1].id}']")).to_have_count(0)
    assert not kept[1].folder.exists()
    page.locator("#runs-trash").check()
    choose(page, kept[1])
    page.locator("#runs-restore").click()
    wait_until(kept[1].folder.exists)


def test_a_run_is_taken_in_from_a_zip_file_and_a_false_one_is_refused(page, kept, tmp_path: Path):
    packed = shutil.make_archive(str(tmp_path / "brought"), "zip", kept[0].folder)
    page.locator("#runs-import-path").fill(packed)
    page.locator("#runs-import").click()
    expect(page.locator("#runs-said")).to_contain_text("Taken in as 'brought'")
    expect(page.locator("#runs-table tr[data-id='brought']")).to_have_count(1)
    page.locator("#runs-import-path").fill(str(tmp_path))
    page.locator("#runs-import").click()
    expect(page.locator(".toast-body").first).to_contain_text("holds no run")


def test_the_browser_tells_the_end_of_a_run_where_that_was_asked_for(app, browser):
    me = os.getpid()  # a worker that is alive
    run = create(Config(), app.aside())
    run.write_status(Status(state="running", words="It trains.", step=3, total_steps=9, pid=me,
                            pid_started=alive.start_time(me), boot=alive.boot_id(),
                            started=time.time()))
    run = app.take(run)
    context = browser.new_context()
    context.add_init_script(ASKED_ONCE)
    page = context.new_page()
    page.set_default_timeout(DEADLINE_SECONDS * 1000)
    page.goto(app.url)
    open_tab(page, "Runs")
    choose(page, run)
    page.locator("#runs-watch").click()
    expect(page.locator(".td-run")).to_have_attribute("data-state", "running")
    page.get_by_label("Notify me").check()
    run.update(state="finished", words="Finished at step 9.", step=9, ended=time.time())
    page.wait_for_function("window.told.length === 1")
    told = page.evaluate("window.told[0]")
    assert "finished" in told.lower() and name_of(run) in told and "step 9" in told
    context.close()


@pytest.mark.slow
def test_a_grid_waits_in_line_is_moved_held_edited_and_cancelled(app, page, kept):
    page.get_by_role("button", name="Several runs in one go").click()
    page.locator("#grid-learning_rate textarea, #grid-learning_rate input").fill("1e-4, 2e-4")
    page.locator("#grid-lora_r textarea, #grid-lora_r input").fill("2, 6")
    page.locator("#grid-start").click()
    line = page.locator(".td-line-list li")
    expect(line).to_have_count(4)
    waiting = line.filter(has_text="queued")
    expect(waiting).to_have_count(3)
    last = waiting.nth(2).locator(".td-link").inner_text()
    waiting.nth(2).get_by_label("Move up").click()
    expect(waiting.nth(1)).to_contain_text(last)
    waiting.nth(1).get_by_role("button", name="Edit").click()
    expect(page.locator("#runs-save-edited")).to_be_visible()
    expect(line.filter(has_text="held")).to_contain_text(last)
    page.locator("#runs-save-edited").click()
    expect(page.locator("#runs-said")).to_contain_text("new settings")
    for left in (3, 2, 1, 0):
        name = "Cancel" if left else "Stop and save"
        line.last.get_by_role("button", name=name).click()
        expect(line).to_have_count(left)
