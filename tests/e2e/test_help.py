"""What a word means is told where it stands: by a click or a key, in the person's language."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import App, open_tab
from ui.concepts import CONCEPTS

BOX = "#td-concept"


@pytest.mark.slow
def test_a_click_explains_and_escape_leads_back(open_page):
    page = open_page()
    open_tab(page, "Settings")
    mark = page.locator("#set-lora_r .td-why")
    mark.click()
    box = page.get_by_role("dialog", name="Rank")
    expect(box).to_be_visible()
    expect(box).to_contain_text("How narrow the small matrices are")
    expect(box.locator("svg")).to_be_visible()
    page.keyboard.press("Escape")
    expect(box).to_be_hidden()
    expect(mark).to_be_focused()
    page.keyboard.press("Enter")  # no mouse is needed
    expect(box).to_be_visible()
    box.get_by_role("button", name="Close").click()
    expect(box).to_be_hidden()


def test_another_mark_takes_its_place_inside_the_window(open_page):
    page = open_page()
    open_tab(page, "Settings")
    for setting, title in (("epochs", "Epoch"), ("target_modules", "LoRA")):
        page.locator(f"#set-{setting} .td-why").click()
        expect(page.locator(f"{BOX} h3")).to_have_text(title)
        assert _is_inside(page)


def test_on_a_small_screen_it_comes_from_below_in_full_width(open_page):
    page = open_page(width=390)
    open_tab(page, "Settings")
    page.locator("#set-epochs .td-why").click()
    expect(page.locator(BOX)).to_be_visible()
    box = page.locator(BOX).bounding_box()
    assert box["x"] == 0 and box["width"] == 390 and box["y"] + box["height"] == 900


def test_every_field_that_has_an_explanation_offers_it(open_page):
    page = open_page()
    for tab in ("Data set", "Model", "Settings", "Chat", "Compare", "Evaluate", "Export"):
        open_tab(page, tab)
        page.evaluate("""() => document.querySelectorAll(".label-wrap:not(.open)").forEach(
            head => head.checkVisibility() && head.click())""")
        page.wait_for_timeout(500)  # drawers slide open
        for selector in (s for concept in CONCEPTS for s in concept.at if " " not in s):
            if page.locator(selector).is_visible():
                expect(page.locator(f"{selector} > .td-why")).to_have_count(1)
    fields = {s for concept in CONCEPTS for s in concept.at if " " not in s}
    marked = {s for s in fields if page.locator(f"{s} > .td-why").count()}
    assert fields - marked == set()


def test_it_speaks_chinese(app: App, browser: Browser):
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="zh-CN")
    page = context.new_page()
    page.goto(app.url)
    expect(page.locator(".td-tokens")).to_have_attribute("data-total", re.compile("[1-9]"))
    page.locator("[role=tab][data-tab-id=settings]").first.click()
    mark = page.locator("#set-epochs .td-why")
    expect(mark).to_have_attribute("aria-label", "解释：训练轮")
    mark.click()
    expect(page.locator(BOX)).to_contain_text("把全部训练行学一遍")
    context.close()


def _is_inside(page: Page) -> bool:
    box, size = page.locator(BOX).bounding_box(), page.viewport_size
    return box["x"] >= 0 and box["y"] >= 0 and box["x"] + box["width"] <= size["width"] \
        and box["y"] + box["height"] <= size["height"]
