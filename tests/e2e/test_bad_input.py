"""What a person can get wrong: each gets its sentence, and nothing typed is lost."""

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import App, choose, fill, open_tab, pick


@pytest.mark.parametrize(("tab", "setting", "typed", "sentence"), [
    ("Settings", "learning_rate", "abc", "found 'abc'"),
    ("Settings", "learning_rate", "-1", "found -1"),
    ("Settings", "lora_r", "0", "needs at least 1"),
    ("Settings", "epochs", "NaN", "needs a number"),
    ("Data set", "max_length", "3", "needs at least 16"),
])
def test_a_wrong_number_is_named_at_once_and_start_refuses(app: App, open_page, tab, setting,
                                                           typed, sentence):
    page = open_page()
    open_tab(page, tab)
    fill(page, setting, typed)
    expect(page.locator("#summary")).to_contain_text(sentence)
    page.locator("#start").click()
    expect(page.locator(".toast-body")).to_contain_text(sentence)
    start, toast = (page.locator(at).bounding_box() for at in ("#start", ".toast-body"))
    assert toast["y"] > start["y"] + start["height"], "the notice lies over Start"
    assert not list((app.home / "runs").glob("2*"))
    page.reload()
    open_tab(page, tab)
    field = page.locator(f"#set-{setting} textarea")
    expect(field).to_have_value(typed)
    fill(page, setting, {"learning_rate": "1e-3", "lora_r": "8", "epochs": "1",
                         "max_length": "256"}[setting])
    expect(page.locator("#summary")).to_contain_text("parameters")


@pytest.mark.parametrize(("setting", "typed", "sentence"), [
    ("base_model", "nobody/no-such-model-7b", "nobody/no-such-model-7b"),
    ("base_model", "/no/such/folder", "There is no model"),
    ("dataset", "/no/such/file.csv", "There is no data set"),
])
def test_a_name_that_leads_nowhere_is_said_soon(open_page, setting, typed, sentence):
    page = open_page()
    open_tab(page, "Model" if setting == "base_model" else "Data set")
    before = page.locator(f"#set-{setting} input").input_value()
    choose(page, setting, typed)
    open_tab(page, "Data set")
    expect(page.locator("#data-status")).to_contain_text(sentence)
    page.locator("#start").click()
    expect(page.locator(".toast-body")).to_contain_text(sentence)
    open_tab(page, "Model" if setting == "base_model" else "Data set")
    pick(page, f"#set-{setting}", before)
    expect(page.locator("#summary")).to_contain_text("parameters")


def test_targets_that_match_nothing_name_the_layers_that_there_are(open_page):
    page = open_page()
    open_tab(page, "Settings")
    field = page.locator("#set-target_modules input")
    field.fill("no_such_layer")
    field.press("Enter")
    field.blur()
    expect(page.locator("#summary")).to_contain_text("q_proj")
    page.locator("#set-target_modules .token", has_text="no_such_layer").locator(
        ".token-remove").click()
    field.blur()
    expect(page.locator("#summary")).to_contain_text("parameters")
