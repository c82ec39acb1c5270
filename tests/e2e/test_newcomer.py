"""A newcomer's walk, without one word of documentation: from the welcome to a report in hand. It
leaves a picture of each station in build/walk."""

import csv
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import (
    DEADLINE_SECONDS,
    ROOT,
    fill,
    open_tab,
    pick,
    wait_for_state,
    wait_for_step,
)

PICTURES = ROOT / "build" / "walk"
REVIEWS = ROOT / "assets/samples/shopping-reviews-zh/train.jsonl"
MANY = 80


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Chinese reviews as an office saves them: headings that say nothing, and GB 18030."""
    rows = [json.loads(line) for line in REVIEWS.read_text(encoding="utf-8").splitlines()]
    short = sorted(rows, key=lambda row: len(row["text"]))[:MANY]
    path = tmp_path / "评论.csv"
    with path.open("w", newline="", encoding="gb18030") as file:
        csv.writer(file).writerows([("字段一", "字段二", "字段三"), *(
            (number, row["text"], row["label"].split()[0]) for number, row in enumerate(short))])
    return path


def picture(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")


@pytest.mark.slow
@pytest.mark.timeout(3 * DEADLINE_SECONDS)
def test_a_newcomer_tunes_on_chinese_reviews_and_takes_a_report_home(first_visit, reviews):
    be_welcomed(first_visit)
    bring_a_table(first_visit, reviews)
    start_and_watch(first_visit)
    compare_and_take_the_report(first_visit)


def be_welcomed(page: Page) -> None:
    welcome = page.locator(".td-welcome")
    expect(welcome).to_have_attribute("data-known", "true")
    picture(page, "1-welcome")
    page.locator(".td-forward").click()
    welcome.get_by_text("Tune on my data").click()
    picture(page, "2-goal")
    page.locator(".td-forward").click()
    page.get_by_role("button", name="Open the Data set tab").click()
    expect(page.locator("#summary")).to_contain_text("parameters")


def bring_a_table(page: Page, reviews: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator("#upload").click()
    chooser.value.set_files(reviews)
    expect(page.locator("#data-status")).to_contain_text("weren't recognised")
    tab = page.locator("[role=tab][data-tab-id=data]")
    expect(tab).to_have_attribute("data-mark", "missing")
    picture(page, "3-columns-unknown")

    page.locator("#columns button").first.click()
    for role, column in (("prompt", "字段二"), ("answer", "字段三")):
        pick(page, f"#set-{role}_column", column)
    fill(page, "instruction", "这条评论是好评还是差评？")
    for setting, value in (("train_rows", "16"), ("eval_rows", "4")):
        fill(page, setting, value)
    tokens = page.locator(".td-tokens-box")
    expect(tokens).to_contain_text("这条评论是好评还是差评？")
    expect(page.locator(".td-pane-learned, .td-tok-learned").first).to_be_visible()
    expect(page.locator(".td-room")).to_have_attribute("data-finished", "true")
    expect(tab).to_have_attribute("data-mark", "done")
    picture(page, "4-preview")


def start_and_watch(page: Page) -> None:
    open_tab(page, "Settings")
    for setting, value in (("epochs", "1"), ("batch_size", "4"), ("gradient_accumulation", "1")):
        if not page.locator(f"#set-{setting}").is_visible():
            page.get_by_role("button", name="More on training").click()
        fill(page, setting, value)
    page.locator("#start").click()
    wait_for_step(page, 1)
    picture(page, "5-at-work")
    wait_for_state(page, "finished")
    expect(page.locator(".td-run")).to_contain_text("Loss on held-out rows")
    picture(page, "6-finished")


def compare_and_take_the_report(page: Page) -> None:
    open_tab(page, "Compare")
    pick(page, "#compare-examples", 0)
    expect(page.locator("#compare-prompt textarea")).to_have_value(re.compile("好评还是差评"))
    page.locator("#compare-send").click()
    expect(page.locator("#compare-card-1 .td-said")).not_to_be_empty()
    expect(page.locator("#compare-stop")).to_be_disabled()
    picture(page, "7-compared")
    with page.expect_download() as download:
        page.locator("#report-html").click()
    told = download.value.path().read_text(encoding="utf-8")
    assert "好评还是差评" in told
    assert "Base model" in told
