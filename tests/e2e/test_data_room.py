"""The data room, clicked through: upload, columns, walk, warnings, remedies, start."""

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import DEADLINE_SECONDS, App, fill, open_tab, pick, wait_for_state

PATIENT = DEADLINE_SECONDS * 1000
LONG = "It is a long story. " * 40
NEEDLE = "a needle in the hay"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """60 rows under headings that nobody can guess; row 0 is too long, rows 1 and 2 are equal, row
    3 holds an address."""
    rows = [(f"Which city is number {n} of the {'north' if n % 3 else 'south'}?",
             f"City {n * n} by the {'sea' if n % 2 else 'river'}.", f"seen {n}") for n in range(60)]
    rows[0] = (rows[0][0], LONG, "long")
    rows[2] = rows[1]
    rows[3] = (f"Where is {NEEDLE}?", "Ask ann@example.org about it.", "needle")
    path = tmp_path / "cities.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("inquiry", "reply", "remark"), *rows])
    return path


def room(page: Page):
    return page.locator(".td-room")


def wait_for_rows(page: Page) -> None:
    expect(room(page)).to_have_attribute("data-finished", "true", timeout=PATIENT)


def take_column(page: Page, role: str, column: str) -> None:
    pick(page, f"#set-{role}_column", column)


def finding(page: Page, check: str):
    return page.locator(f'.td-finding[data-check="{check}"]')


def test_a_persons_table_is_read_walked_mended_and_learned(app: App, open_page, table):
    page = open_page()
    with page.expect_file_chooser() as chooser:
        page.locator("#upload").click()
    chooser.value.set_files(table)
    expect(page.locator("#data-status")).to_contain_text("weren't recognised", timeout=PATIENT)

    # Columns by role, with their effect at once.
    page.locator("#columns button").first.click()
    take_column(page, "prompt", "inquiry")
    take_column(page, "answer", "remark")
    expect(page.locator("#data-status")).to_contain_text("inquiry, reply, remark", timeout=PATIENT)
    page.get_by_role("button", name="As text").click()
    expect(page.locator(".td-pane-learned")).to_contain_text(re.compile("seen|long|needle"))
    take_column(page, "answer", "reply")
    expect(page.locator(".td-pane-learned")).to_contain_text(re.compile("City|story|Ask"),
                                                             timeout=PATIENT)
    fill(page, "train_rows", "0")
    fill(page, "eval_rows", "0")
    wait_for_rows(page)
    expect(page.locator(".td-facts")).to_contain_text("60", timeout=PATIENT)

    walk_the_rows(page)
    mend_what_is_cut_off(page)
    refuse_and_start(app, page)


@pytest.mark.slow
def test_several_files_are_uploaded_at_once(open_page, table, tmp_path):
    second = tmp_path / "more cities.csv"
    second.write_text(table.read_text(encoding="utf-8"), encoding="utf-8")
    page = open_page()
    with page.expect_file_chooser() as chooser:
        page.locator("#upload").click()
    assert chooser.value.is_multiple()
    chooser.value.set_files([table, second])
    expect(page.locator("#data-status")).to_contain_text("weren't recognised", timeout=PATIENT)
    page.locator("#columns button").first.click()
    take_column(page, "prompt", "inquiry")
    take_column(page, "answer", "reply")
    fill(page, "train_rows", "0")
    fill(page, "eval_rows", "0")
    wait_for_rows(page)
    expect(page.locator(".td-facts")).to_contain_text("120", timeout=PATIENT)


def walk_the_rows(page: Page) -> None:
    title = page.locator(".td-tokens-title")
    page.locator("#row-number").fill("1")
    page.locator("#row-number").press("Enter")
    expect(title).to_have_text("Training row 1 of 60")
    page.locator("#row-next").click()
    expect(title).to_have_text("Training row 2 of 60")
    page.locator("#row-back").click()
    expect(title).to_have_text("Training row 1 of 60")
    page.locator("#row-search").fill("NEEDLE IN")
    page.locator("#row-search").press("Enter")
    expect(page.locator(".td-row-body")).to_contain_text(NEEDLE, timeout=PATIENT)
    page.locator("#row-search").fill("nowhere to be found")
    page.locator("#row-search").press("Enter")
    expect(page.locator(".td-trail")).to_contain_text("No row holds", timeout=PATIENT)

    # A token says what it is when the keyboard reaches it.
    page.get_by_role("button", name="Tokens", exact=True).click()
    page.locator(".td-tok").first.focus()
    page.keyboard.press("End")
    expect(page.locator(".td-tokens-detail")).to_contain_text(re.compile(r"Position \d+ · id \d+"))
    expect(page.locator(".td-tokens-detail")).to_contain_text("learned")


def mend_what_is_cut_off(page: Page) -> None:
    fill(page, "max_length", "128")
    expect(page.locator(".td-room")).to_contain_text("longer than the max length of 128",
                                                     timeout=PATIENT)
    cut = finding(page, "Cut off")
    expect(cut).to_contain_text("1 of 60", timeout=PATIENT)
    cut.get_by_role("button", name="Show these rows").click()
    expect(page.locator(".td-cut-line")).to_be_visible(timeout=PATIENT)
    expect(page.locator(".td-row-body")).to_contain_text("long story")
    page.locator("#show-longest").click()
    expect(page.locator(".td-trail")).to_contain_text("longest", timeout=PATIENT)
    expect(page.locator(".td-cut-line")).to_be_visible(timeout=PATIENT)
    cut.get_by_role("button", name="Raise Max length").click()
    expect(page.locator("#set-max_length textarea")).not_to_have_value("128", timeout=PATIENT)
    expect(page.locator('.td-fine .td-finding[data-check="Cut off"]')).to_have_count(
        1, timeout=PATIENT)
    expect(finding(page, "Personal data")).to_contain_text("e-mail in 1", timeout=PATIENT)
    finding(page, "Repeated rows").get_by_role("button", name="Leave repeated rows out").click()
    expect(page.locator("#data-status")).to_contain_text("1 rows that repeat", timeout=PATIENT)


def refuse_and_start(app: App, page: Page) -> None:
    wait_for_rows(page)
    enough = page.locator("#set-max_length textarea").input_value()
    fill(page, "max_length", "16")
    expect(page.locator('.td-audit[data-level="red"]')).to_be_visible(timeout=PATIENT)
    page.locator("#start").click()
    expect(page.locator(".toast-body")).to_contain_text("teach nothing", timeout=PATIENT)
    assert not list((app.home / "runs").glob("2*"))
    page.locator(".toast-close").click()
    finding(page, "Teaches something").locator(".td-fix").click()
    expect(page.locator("#set-max_length textarea")).to_have_value(enough, timeout=PATIENT)
    wait_for_rows(page)
    page.locator("#start").click()
    expect(page.locator(".td-run")).to_have_attribute(
        "data-state", re.compile("queued|starting|running|stopping|finished"), timeout=PATIENT)
    page.locator("#stop-now").click()
    wait_for_state(page, "stopped", seconds=60)


@pytest.mark.slow
def test_changed_copies_show_before_and_after(open_page):
    page = open_page()
    page.locator("#change-rows button").first.click()
    fill(page, "typo_rate", "0.3")
    fill(page, "augment_copies", "1")
    status = page.locator("#data-status")
    expect(status).to_contain_text("changed copies are added", timeout=PATIENT)
    wait_for_rows(page)
    page.locator("#show-changed").click()
    expect(page.locator(".td-row-mark")).to_contain_text("typing errors", timeout=PATIENT)
    page.get_by_role("button", name="Dialogue").click()
    expect(page.locator(".td-before mark").first).to_be_visible()
    expect(page.locator(".td-after mark").first).to_be_visible()


def test_general_data_is_one_slider(open_page):
    page = open_page()
    page.locator("#mix-in button").first.click()
    page.locator("#set-general_share input[type=number]").fill("0.2")
    page.locator("#set-general_share input[type=number]").press("Enter")
    page.locator("#set-general_share input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#data-status")).to_contain_text("'general' adds", timeout=PATIENT)
    wait_for_rows(page)
    expect(page.locator(".td-groups")).to_contain_text("general", timeout=PATIENT)


def test_the_room_fits_a_phone(open_page):
    page = open_page(width=390)
    wait_for_rows(page)
    open_tab(page, "Data set")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_data_set_is_mixed_in_by_choosing_it(open_page):
    page = open_page()
    page.locator("#mix-in button").first.click()
    pick(page, "#mix-add", re.compile("购物评论"))
    expect(page.locator("#set-mix textarea")).to_have_value(
        "shopping-reviews-zh = sample:shopping-reviews-zh * 0.5")
    expect(page.locator("#mix-add input")).to_have_value("")
    expect(page.locator(".td-room")).to_contain_text(
        "'shopping-reviews-zh' adds", timeout=PATIENT)


def test_rows_come_though_the_page_lost_the_answer_that_names_them(app: App, browser):
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENT)
    lost = []

    def lose_first(route):
        if "sample:" in (route.request.post_data or "") and not lost:
            lost.append(route.request.url)
            route.fulfill(status=500, json={"error": "It broke."})
        else:
            route.continue_()

    page.route(re.compile(r"/gradio_api/run/"), lose_first)
    page.goto(app.url)
    expect(page.locator(".td-tokens")).to_have_attribute("data-total", re.compile("[1-9]"))
    assert lost
    context.close()
