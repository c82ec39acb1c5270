"""A person asks whether a run was worth it, reads the numbers, and finds the rows behind them."""

import json
import re

import pytest
from playwright.sync_api import expect

from core.config import Config
from core.evaluation import saved
from core.files import Folders
from core.training import engine, run
from core.training.names import name_of
from tests.conftest import ROOT
from tests.e2e.chinese import left_in_english
from tests.e2e.conftest import App, open_tab


@pytest.fixture(scope="module")
def tuned(app: App, tiny_model) -> run.Run:
    """A run of the tiny model in the app's data folder, with a checkpoint."""
    folders = Folders(app.home, ROOT / "assets")
    rows = app.home / "data" / "verdicts.jsonl"
    rows.write_text("".join(json.dumps({"text": f"he is {n % 2 and 'good' or 'bad'} {n}",
                                        "label": n % 2 and "yes" or "<b>no</b>"}) + "\n"
                            for n in range(64)))
    made = run.create(Config(
        dataset=str(rows), base_model=str(tiny_model), base_weights="32bit", precision="fp32",
        eval_rows=16, max_length=128, batch_size=16, epochs=4, learning_rate=1e-2,
        lora_dropout=0.0, save_every="epoch", save_total_limit=1), app.aside())
    engine.train(made, folders)
    return app.take(made)


def test_an_evaluation_is_made_read_and_taken_away(app, tuned, open_page):
    page = open_page()
    open_tab(page, "Evaluate")
    expect(page.locator("#evaluation-view")).to_contain_text("Was it worth it?")
    expect(page.locator("#evaluate-runs")).to_contain_text(name_of(tuned))
    page.locator("#evaluate-runs input").click()
    expect(page.get_by_role("option", name=f"{name_of(tuned)} · tiny · step 12")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#evaluate-written input, #evaluate-written textarea").fill("4")
    page.locator("#evaluate-rows input, #evaluate-rows textarea").fill("16")
    page.locator("#evaluate-start").click()
    view = page.locator(".td-eval-root")
    expect(view).to_have_attribute("data-state", "working")
    # The work doesn't notice a reload; it ends between the new page's look at what there is and its
    # first look at the work.
    held, folders = [], Folders(app.home, ROOT / "assets")
    page.route(re.compile("component_server"), lambda route: held.append(route)
               if "read_evaluation" in route.request.post_data else route.continue_())
    page.reload()
    open_tab(page, "Evaluate")
    expect(page.locator("#evaluate-runs")).to_contain_text(name_of(tuned))
    while not (held and saved.list_all(folders)):
        page.wait_for_timeout(200)  # requests are only seen while the page is waited for
    page.unroute_all()  # lets those go that are held
    expect(view).to_have_attribute("data-state", "done")
    expect(view).to_contain_text("Accuracy")
    expect(view).to_contain_text("Perplexity of general text")
    # Rows: text from data is text, and the search finds it.
    expect(page.locator(".td-eval-row b")).to_have_count(0)
    page.locator(".td-eval input[type=search]").fill("no such words")
    expect(view).to_contain_text("No row fits.")
    page.locator(".td-eval input[type=search]").fill("<b>no</b>")
    expect(page.locator(".td-eval-row").first).to_contain_text("<b>no</b>")
    for kind, holds in (("csv", "log_probability"), ("html", tuned.id), ("md", "| Accuracy")):
        with page.expect_download() as download:
            page.locator(f"#evaluate-{kind}").click()
        assert holds in download.value.path().read_text(encoding="utf-8")


def test_what_was_found_is_read_in_chinese(tuned, open_page):
    page = open_page()
    open_tab(page, "Evaluate")
    view = page.locator(".td-eval")
    expect(view).to_contain_text("Macro F1")  # the evaluation that was made above
    page.locator("[data-language=zh]").click()
    expect(view).to_contain_text("宏 F1")
    expect(view).to_contain_text("verdicts.jsonl 的 16 行")
    expect(view).to_contain_text("通用文本的困惑度")
    expect(page.locator(".td-eval-answer").first).to_contain_text("答")
    assert left_in_english(page, name_of(tuned), "tiny") == []
    expect(page.locator("#evaluate-past input")).to_have_value(re.compile("16 行"))


def test_a_saved_report_speaks_its_readers_language(tuned, open_page, browser, tmp_path):
    page = open_page()
    open_tab(page, "Evaluate")
    expect(page.locator(".td-eval")).to_contain_text("Macro F1")
    with page.expect_download() as download:
        page.locator("#evaluate-html").click()
    download.value.save_as(tmp_path / "report.html")
    reader = browser.new_context(locale="zh-CN", offline=True).new_page()
    reader.goto((tmp_path / "report.html").as_uri())
    expect(reader.locator("body")).to_contain_text("通用文本的困惑度")
    names = name_of(tuned), tuned.id, "tiny", tuned.config().base_model
    assert left_in_english(reader, *names) == []
    reader.locator("[data-language=en]").click()
    expect(reader.locator("body")).to_contain_text("Perplexity of general text")
    reader.context.close()


def test_what_cannot_be_judged_is_said_on_the_page(tuned, open_page):
    page = open_page()
    open_tab(page, "Evaluate")
    expect(page.locator("#evaluate-runs")).to_contain_text(name_of(tuned))
    page.locator("#evaluate-rows input, #evaluate-rows textarea").fill("many")
    page.locator("#evaluate-start").click()
    expect(page.locator(".toast-body")).to_contain_text("needs a whole number")
