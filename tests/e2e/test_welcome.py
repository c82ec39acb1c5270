"""The first minutes: the welcome opens once, sets what was chosen, and the path says what is
missing."""

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import fill, open_tab


def test_the_first_start_leads_into_a_sample_project_and_never_asks_again(fresh, first_visit):
    page, welcome = first_visit, first_visit.locator(".td-welcome")
    expect(welcome).to_be_visible()
    expect(welcome).to_have_attribute("data-known", "true")
    rows = welcome.locator("tbody tr")
    expect(rows.first).to_contain_text("SmolLM2 135M")
    expect(rows.first).to_contain_text("Learns well")
    expect(rows.last).to_contain_text("Too large")
    page.locator(".td-forward").click()
    welcome.locator("[value=shopping]").check()
    page.locator(".td-forward").click()
    expect(welcome).to_contain_text("Judge Chinese shopping reviews")
    page.get_by_role("button", name="Open the sample project").click()
    expect(welcome).not_to_be_visible()
    expect(page.locator("#header")).to_contain_text("shopping-reviews-zh")
    expect(page.locator(".td-tokens-box")).to_contain_text("这条评论是好评还是差评")
    assert (fresh.home / "welcomed").is_file()

    # The path: what is ready, what comes next; and what is missing, once it is.
    tab = "[role=tab][data-tab-id={}]".format
    expect(page.locator(tab("data"))).to_have_attribute("data-mark", "done")
    expect(page.locator(tab("settings"))).to_have_attribute("data-mark", "done")
    expect(page.locator(tab("train"))).to_have_attribute("data-mark", "next")
    open_tab(page, "Settings")
    fill(page, "learning_rate", "-1")
    expect(page.locator(tab("settings"))).to_have_attribute("data-mark", "missing")
    expect(page.locator(tab("settings"))).to_have_attribute("title", "A setting needs a change")

    page.reload()
    expect(page.locator("#header")).to_contain_text("shopping-reviews-zh")
    expect(welcome).not_to_be_visible()
    page.locator("#welcome-open").click()
    expect(welcome).to_be_visible()


@pytest.mark.slow
def test_a_welcome_that_is_closed_stays_closed_and_own_data_get_a_model_that_fits(first_visit):
    page, welcome = first_visit, first_visit.locator(".td-welcome")
    expect(welcome).to_be_visible()
    page.keyboard.press("Escape")
    expect(welcome).not_to_be_visible()
    expect(page.locator("#summary")).to_contain_text("parameters")
    page.reload()
    expect(page.locator("#summary")).to_contain_text("parameters")
    expect(welcome).not_to_be_visible()

    page.locator("#welcome-open").click()
    expect(welcome).to_have_attribute("data-known", "true")
    page.locator(".td-forward").click()
    welcome.locator("[value=own]").check()
    page.locator(".td-forward").click()
    suggested = welcome.locator(".td-welcome-lead b").inner_text()
    page.get_by_role("button", name="Open the Data set tab").click()
    expect(page.locator("#header")).to_contain_text(suggested.split(" ")[0])
    expect(page.locator("#upload")).to_be_visible()


@pytest.mark.slow
def test_on_a_phone_the_way_on_is_always_in_sight(first_visit):
    page, welcome = first_visit, first_visit.locator(".td-welcome")
    page.set_viewport_size({"width": 390, "height": 700})
    expect(welcome).to_have_attribute("data-known", "true")
    for step in ("1", "2", "3"):
        expect(welcome).to_have_attribute("data-step", step)
        box = page.locator(".td-forward").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 700
        trail = [item.bounding_box()["y"] for item in welcome.locator(".td-welcome-trail li").all()]
        assert max(trail) - min(trail) < 8, "the steps stand on one line"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        if step != "3":
            page.locator(".td-forward").click()


def test_tabs_that_need_a_run_teach_how_to_get_one_and_show_no_dead_controls(first_visit):
    page = first_visit
    expect(page.locator(".td-welcome")).to_be_visible()
    page.keyboard.press("Escape")
    for tab, shown, told in (
            ("Train", ".td-run", "with the button at the top right"),
            ("Chat", "#chat-who", "start one with the button at the top right"),
            ("Compare", "#compare-status", "Start one with the button at the top right"),
            ("Evaluate", "#evaluate-runs", "start one with the button at the top right"),
            ("Export", "#export-status", "Start one"),
            ("Runs", ".td-runs", "with the button at the top right")):
        open_tab(page, tab)
        expect(page.locator(shown)).to_contain_text(told)
    for hidden in ("#stop", "#stop-now", "#resume", "#compare-examples", "#compare-card-0",
                   "#evaluate-past", "#evaluate-csv", "#runs-search", "#runs-table"):
        expect(page.locator(hidden)).not_to_be_visible()
    for disabled in ("#compare-send", "#evaluate-start", "#export-start"):
        expect(page.locator(disabled)).to_be_disabled()
