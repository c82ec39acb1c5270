"""Every tab as axe-core judges it, light and dark, English and Chinese; and by keyboard alone."""

from collections.abc import Iterator
from dataclasses import fields
from importlib.resources import files

import pytest
from playwright.sync_api import Browser, Page, expect

from core.config import Config
from tests.e2e.conftest import DEADLINE_SECONDS, App

TABS = ("data", "model", "settings", "train", "chat", "compare", "evaluate", "export", "runs")
AXE = files("axe_playwright_python") / "axe.min.js"
HELP = {f.name: " ".join(f.metadata["help"].split()) for f in fields(Config)}
GRAVE = ("serious", "critical")
JUDGE = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations.flatMap(
  found => found.nodes.map(node => [found.impact, found.id, node.target.join(" "),
                                    node.html.slice(0, 200), node.failureSummary]))"""


@pytest.fixture(scope="module")
def kept(app: App) -> str:
    return app.add_ended(state="failed", words="The memory ran out at step 30.",
                         remedy="Choose a smaller batch.", detail="Traceback").id


@pytest.fixture(scope="module")
def page(kept, app: App, browser: Browser) -> Iterator[Page]:
    """One page for all: what is judged is how it looks, and each look is set first."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB",
                                  reduced_motion="reduce")
    opened = context.new_page()
    opened.set_default_timeout(DEADLINE_SECONDS * 1000)
    opened.goto(app.url)
    expect(opened.locator("#summary")).to_contain_text("parameters")
    expect(opened.locator(".td-audit")).to_have_attribute("data-finished", "true")
    opened.add_script_tag(path=str(AXE))
    yield opened
    context.close()


def show(page: Page, tab: str) -> None:
    page.locator(f"[role=tab][data-tab-id={tab}]").click()
    expect(page.locator(f"[role=tab][data-tab-id={tab}]")).to_have_attribute(
        "aria-selected", "true")
    page.evaluate("""() => document.querySelectorAll(".label-wrap:not(.open)").forEach(
        head => head.checkVisibility() && head.click())""")
    page.wait_for_timeout(700)  # drawers slide open; what is half faded in has half the contrast


def dress(page: Page, language: str, theme: str) -> None:
    page.locator(f".td-language [data-language={language}]").click()
    page.evaluate("dark => document.body.classList.toggle('dark', dark)", theme == "dark")


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("look", [("en", "light"), ("en", "dark"), ("zh", "light"),
                                  ("zh", "dark")], ids="-".join)
def test_axe_finds_nothing_grave_in_a_tab(page, look, tab):
    dress(page, *look)
    show(page, tab)
    found = page.evaluate(JUDGE)
    assert not [each for each in found if each[0] in GRAVE], found


def test_axe_finds_nothing_grave_in_the_welcome(page):
    for look in (("en", "light"), ("zh", "dark")):
        dress(page, *look)
        page.locator("#welcome-open").click()
        expect(page.locator(".td-welcome")).to_have_attribute("data-known", "true")
        for _ in range(3):
            found = page.evaluate(JUDGE)
            assert not [each for each in found if each[0] in GRAVE], found
            if page.locator(".td-welcome").get_attribute("data-step") != "3":
                page.locator(".td-forward").click()
        page.keyboard.press("Escape")
        expect(page.locator(".td-welcome")).not_to_be_visible()


def test_every_field_is_named_and_every_setting_is_explained(page):
    dress(page, "en", "light")
    unnamed, unexplained, explained = [], [], set()
    for tab in TABS:
        show(page, tab)
        unnamed += page.evaluate("""() => [...document.querySelectorAll(
            "input:not([type=hidden]):not([type=file]), textarea, select, button")]
            .filter(field => field.checkVisibility() && !field.closest("label") && !(
                field.labels?.length || field.ariaLabel || field.title || field.innerText.trim()
                || field.getAttribute("aria-labelledby") || field.placeholder))
            .map(field => field.outerHTML.slice(0, 200))""")
        told = page.evaluate("""() => Object.fromEntries(
            [...document.querySelectorAll("[id^=set-]")].filter(block => block.checkVisibility())
            .map(block => [block.id.slice(4), block.innerText]))""")
        unexplained += [name for name, text in told.items()
                        if HELP[name] not in " ".join(text.split())]
        explained |= told.keys()
    assert unnamed == []
    assert unexplained == []
    assert explained == HELP.keys()


@pytest.mark.slow
def test_tabs_start_and_fields_are_reached_with_the_keyboard(page):
    dress(page, "en", "light")
    page.locator("[role=tab][data-tab-id=data]").click()
    page.locator("#welcome-open").focus()
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("""() => {
            const at = document.activeElement;
            return [at.id, at.dataset.tabId ?? "", at.closest("[id^=set-]")?.id ?? "",
                    getComputedStyle(at).outlineStyle !== "none"
                    || getComputedStyle(at).boxShadow !== "none"
                    || getComputedStyle(at).borderColor !== ""];
        }"""))
    assert "start" in [each[0] for each in reached]
    assert "settings" in [each[1] for each in reached]
    assert "set-dataset" in [each[2] for each in reached]
    assert all(each[3] for each in reached)
    page.locator("[role=tab][data-tab-id=settings]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#set-lora_r")).to_be_visible()


def test_no_tab_is_wider_than_a_phone(page):
    dress(page, "en", "light")
    for tab in TABS:
        page.set_viewport_size({"width": 1440, "height": 900})
        show(page, tab)
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
    page.set_viewport_size({"width": 1440, "height": 900})
