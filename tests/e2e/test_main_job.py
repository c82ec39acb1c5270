"""The main job, clicked through: from the first page to two answers side by side."""

import re

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import (
    DEADLINE_SECONDS,
    App,
    open_tab,
    pick,
    wait_for_state,
    wait_for_step,
)


@pytest.mark.timeout(5 * DEADLINE_SECONDS)  # a real run, beside other tests
def test_a_person_tunes_the_starter_model_and_sees_the_difference(app: App, open_page):
    page = open_page()
    # What you see is what is learned: the answer and its end, nothing else.
    tokens = page.locator(".td-tokens")
    expect(tokens).to_have_attribute("data-learned", "5")
    expect(tokens).to_contain_text(re.compile("positive|negative"))

    page.locator("#start").click()
    wait_for_step(page, 1)
    run = page.locator(".td-run")
    first_loss = float(run.get_attribute("data-loss"))
    wait_for_step(page, 5)
    expect(page.locator("#stop")).to_be_enabled()

    # The same view after a reload and in a second browser; the run doesn't notice.
    page.reload()
    second = open_page()
    for each in (page, second):
        open_tab(each, "Train")
        wait_for_step(each, 5)
    wait_for_state(page, "finished", seconds=2 * DEADLINE_SECONDS)
    last_loss = float(run.get_attribute("data-loss"))
    assert last_loss < first_loss / 4
    expect(run).to_contain_text(re.compile(r"Loss on held-out rows: [\d.]+ before, 0\.\d+ after"))
    wait_for_state(second, "finished")

    open_tab(page, "Compare")
    pick(page, "#compare-examples", 1)
    expect(page.locator("#compare-prompt textarea")).to_have_value(re.compile("review"))
    expected = page.locator("#compare-expected .td-said").inner_text()
    page.locator("#compare-send").click()
    tuned = page.locator("#compare-card-1 .td-said")
    expect(tuned).to_have_text(re.compile("^(positive 👍|negative 👎)$"))
    base = page.locator("#compare-card-0 .td-said")
    expect(page.locator("#compare-stop")).to_be_disabled()
    assert "👍" not in base.inner_text() and "👎" not in base.inner_text()
    assert expected in ("positive 👍", "negative 👎")

    open_tab(page, "Chat")
    pick(page, "#chat-who", 1)
    page.locator("#chat-message textarea").fill(
        "Is this film review positive or negative?\nA dull, lifeless and boring mess.")
    page.locator("#chat-send").click()
    expect(page.locator("#chat")).to_contain_text("negative 👎")

    open_tab(page, "Runs")
    expect(page.locator("#runs-table")).to_contain_text("finished")
    adapter = next((app.home / "runs").glob("*/adapter/adapter_model.safetensors"))
    assert adapter.stat().st_size > 100_000
