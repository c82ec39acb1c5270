"""A person tries a tenth first, reads what the whole will take, and starts it with one click."""

import json

import pytest
from playwright.sync_api import expect

from core.config import Config
from core.files import Folders
from core.training.names import name_of
from core.training.run import list_runs
from tests.conftest import ROOT
from tests.e2e.conftest import App, open_tab, wait_for_state, wait_until


@pytest.mark.slow
def test_the_long_run_follows_the_quick_test_with_one_click(app: App, tiny_model, open_page):
    rows = app.home / "data" / "colours.jsonl"
    rows.write_text("".join(json.dumps({"question": f"What is {n}?", "answer": f"It is {n}."})
                            + "\n" for n in range(120)))
    wanted = Config(dataset=str(rows), base_model=str(tiny_model), base_weights="32bit",
                    precision="fp32", eval_rows=20, max_length=128, batch_size=2, epochs=2,
                    learning_rate=5e-3, save_every="never")
    (app.home / "draft.json").write_text(json.dumps(wanted.to_dict()))
    page = open_page()
    open_tab(page, "Train")
    expect(page.locator("#long")).to_be_hidden()
    page.locator("#quick").click()
    wait_for_state(page, "finished")
    expect(page.locator(".td-run")).to_contain_text("learned 10 of 100 rows")
    expect(page.locator(".td-run")).to_contain_text("100 steps in place of 5")
    page.locator("#long").click()
    runs = Folders(app.home, ROOT / "assets").runs
    long = wait_until(lambda: len(list_runs(runs)) == 2 and list_runs(runs)[0])
    assert long.config() == wanted
    expect(page.locator(".td-run-name")).to_have_text(name_of(long))
    expect(page.locator(".td-run-name")).to_have_attribute("title", long.id)
    expect(page.locator("#long")).to_be_hidden()
    wait_for_state(page, "finished")
