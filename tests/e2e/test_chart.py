"""The chart of a run: zoomed by dragging and by keys, and taken home as picture and values."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from core.config import Config
from core.training.run import Status, create
from tests.e2e.conftest import DEADLINE_SECONDS, App, open_tab

LAST = 400


@pytest.fixture(scope="module")
def kept(app: App) -> str:
    run = create(Config(train_rows=32), app.aside())
    for step in range(1, LAST + 1):
        run.append_metrics({"step": step, "loss": 3.0 / step, "learning_rate": 1e-4,
                            "grad_norm": 1.0})
    run.write_status(Status(state="finished", words="Finished.", step=LAST, total_steps=LAST,
                            started=1, ended=90))
    return app.take(run).id


@pytest.fixture
def page(kept, app: App, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, locale="en-GB")
    opened = context.new_page()
    opened.set_default_timeout(DEADLINE_SECONDS * 1000)
    opened.goto(app.url)
    open_tab(opened, "Train")
    expect(opened.locator(".td-run")).to_have_attribute("data-state", "finished")
    expect(opened.locator(".td-plot path").first).to_be_attached()
    yield opened
    context.close()


def steps_shown(page: Page) -> tuple[int, int]:
    """The first and the last step at the axis below."""
    texts = page.locator(".td-plot svg > text[text-anchor=middle]").all_text_contents()
    return int(texts[0].replace(",", "")), int(texts[-1].replace(",", ""))


def test_a_drag_zooms_in_and_a_button_or_a_double_click_leads_back(page):
    plot = page.locator(".td-run .td-plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    whole = steps_shown(page)
    for back in ("button", "click"):
        page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 120)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 120, steps=4)
        page.mouse.up()
        first, last = steps_shown(page)
        assert last - first < whole[1] - whole[0]
        if back == "button":
            page.get_by_role("button", name="Whole run").click()
        else:
            plot.dblclick()
        assert steps_shown(page) == whole


def test_keys_zoom_around_the_middle(page):
    plot = page.locator(".td-run .td-plot")
    whole = steps_shown(page)
    plot.focus()
    page.keyboard.press("+")
    first, last = steps_shown(page)
    assert last - first < whole[1] - whole[0]
    page.keyboard.press("-")
    assert steps_shown(page) == whole


def test_picture_and_values_are_saved(page):
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as PNG").click()
    assert download.value.suggested_filename == "loss.png"
    picture = download.value.path().read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(picture) > 10_000  # a curve and its axes, not an empty sheet
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith('step,"train"')
    assert lines[1].startswith("1,3,")
    assert len(lines) == 1 + LAST
