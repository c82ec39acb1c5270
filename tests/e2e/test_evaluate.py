"""A person asks whether a run was worth it, reads the numbers, and finds the rows behind them."""

import json

import pytest
from playwright.sync_api import expect

from core.config import Config
from core.files import Folders
from core.training import engine, run
from tests.conftest import ROOT
from tests.e2e.conftest import App, open_tab


@pytest.fixture(scope="module")
def tuned(app: App, tiny_model) -> run.Run:
    """A run of the tiny model in the app's data folder."""
    folders = Folders(app.home, ROOT / "assets")
    rows = app.home / "data" / "verdicts.jsonl"
    rows.write_text("".join(json.dumps({"text": f"he is {n % 2 and 'good' or 'bad'} {n}",
                                        "label": n % 2 and "yes" or "<b>no</b>"}) + "\n"
                            for n in range(64)))
    made = run.create(Config(
        dataset=str(rows), base_model=str(tiny_model), base_weights="32bit", precision="fp32",
        eval_rows=16, max_length=128, batch_size=16, epochs=4, learning_rate=1e-2,
        lora_dropout=0.0, save_every="never"), folders.runs)
    engine.train(made, folders)
    return made


def test_an_evaluation_is_made_read_and_taken_away(tuned, open_page):
    page = open_page()
    open_tab(page, "Evaluate")
    expect(page.locator("#evaluation-view")).to_contain_text("Was it worth it?")
    expect(page.locator("#evaluate-runs")).to_contain_text(tuned.id)
    page.locator("#evaluate-written input, #evaluate-written textarea").fill("4")
    page.locator("#evaluate-rows input, #evaluate-rows textarea").fill("16")
    page.locator("#evaluate-start").click()
    view = page.locator(".td-eval-root")
    expect(view).to_have_attribute("data-state", "working")
    page.reload()  # the work doesn't notice
    open_tab(page, "Evaluate")
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


def test_what_cannot_be_judged_is_said_on_the_page(tuned, open_page):
    page = open_page()
    open_tab(page, "Evaluate")
    expect(page.locator("#evaluate-runs")).to_contain_text(tuned.id)
    page.locator("#evaluate-rows input, #evaluate-rows textarea").fill("many")
    page.locator("#evaluate-start").click()
    expect(page.locator(".toast-body")).to_contain_text("needs a whole number")
