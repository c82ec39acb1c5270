"""The page in Chinese in a browser: chosen by it, complete, switched at once, remembered."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.chinese import left_in_english
from tests.e2e.conftest import DEADLINE_SECONDS, App, pick

TABS = ("data", "model", "settings", "train", "chat", "compare", "evaluate", "export", "runs")


@pytest.fixture(scope="module")
def kept(app: App) -> str:
    """A run of another time, so that the tabs that show runs have something to say."""
    return app.add_ended(state="stopped", words="Stopped at once at step 30; the last checkpoint "
                         "is kept.").id


@pytest.fixture
def open_in(kept, app: App, browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    contexts = []

    def open_it(locale: str) -> BrowserContext:
        context = browser.new_context(viewport={"width": 1440, "height": 900}, locale=locale)
        contexts.append(context)
        context.set_default_timeout(DEADLINE_SECONDS * 1000)
        return context

    yield open_it
    for context in contexts:
        context.close()


def visit(context: BrowserContext, app: App) -> Page:
    page = context.new_page()
    page.goto(app.url)
    expect(page.locator(".td-tokens")).to_have_attribute("data-total", re.compile(r"[1-9]"))
    return page


def open_tab(page: Page, name: str) -> None:
    """By the tab's own name, as its label is in another language; on a narrow page it may be in the
    menu, so the button is clicked where it is."""
    page.locator(f"[role=tab][data-tab-id={name}]").first.click()


@pytest.mark.parametrize("tab", TABS)
def test_a_tab_says_nothing_in_english_to_a_chinese_browser(open_in, app, kept, tab):
    page = visit(open_in("zh-CN"), app)
    open_tab(page, tab)
    page.evaluate("""() => document.querySelectorAll(".label-wrap:not(.open)").forEach(
        head => head.checkVisibility() && head.click())""")
    if tab == "runs":
        page.locator("#runs-table tbody tr svg").first.click()
        expect(page.locator(".td-runs")).to_have_attribute("data-compared", "1")
    expect(page.locator("#summary")).to_contain_text("参数")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.wait_for_timeout(1500)  # drawers slide open, facts arrive
    assert left_in_english(page, kept) == []


def test_a_notice_of_what_is_wrong_is_in_chinese(open_in, app):
    page = visit(open_in("zh-CN"), app)
    open_tab(page, "settings")
    field = page.locator("#set-learning_rate textarea, #set-learning_rate input").first
    field.fill("-1")
    field.blur()
    expect(page.locator("#summary")).to_contain_text("学习率：填的是 -1.0，需要大于 0。")


def test_a_choice_is_shown_in_chinese_and_kept_in_english(open_in, app):
    page = visit(open_in("zh-CN"), app)
    field = page.locator("#set-loss_on input").first
    expect(field).to_have_value("仅回答")
    pick(page, "#set-loss_on", "全部 token")
    field.blur()
    expect(field).to_have_value("全部 token")
    page.locator("[data-language=en]").click()
    expect(field).to_have_value("all tokens")


def test_a_text_of_any_length_keeps_no_page_waiting(open_in, app):
    page = visit(open_in("zh-CN"), app)
    for long in ("a: b; c, d. " * 200, "a: b; c, d. " * 20_000):
        assert page.evaluate("text => window.tunedeskTranslate(text)", long).startswith("a")
    for english, chinese in {"12 rows": "12 行", "Tokens so far": "Token（目前）",
                             "Tokens an epoch so far": "每轮 token（目前）"}.items():
        assert page.evaluate("text => window.tunedeskTranslate(text)", english) == chinese


def test_the_language_is_switched_at_once_and_remembered(open_in, app):
    context = open_in("en-GB")
    page = visit(context, app)
    start = page.locator("#start")
    expect(start).to_have_text("Start training")
    page.locator("[data-language=zh]").click()
    expect(start).to_have_text("开始训练")
    expect(page.locator("#set-instruction")).to_contain_text("加在每条文本或提示之前")
    again = visit(context, app)
    expect(again.locator("#start")).to_have_text("开始训练")
    again.locator("[data-language=en]").click()
    expect(again.locator("#start")).to_have_text("Start training")
    expect(again.locator("html")).to_have_attribute("lang", "en")
    assert "Put before each text or prompt" in again.locator("#set-instruction").inner_text()


def test_rows_are_never_translated(open_in, app):
    page = visit(open_in("zh-CN"), app)
    row = page.locator(".td-tokens-box").inner_text()
    assert "Is this film review positive or negative?" in row
