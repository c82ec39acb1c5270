"""The head of the page says what a run will take, and mends settings that won't fit."""

import json
import shutil

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import App, open_tab


@pytest.mark.slow
def test_a_model_that_is_too_large_is_mended_with_one_click(
        app: App, tiny_model, tmp_path, open_page):
    large = shutil.copytree(tiny_model, tmp_path / "large",
                            ignore=shutil.ignore_patterns("*.safetensors"))
    shape = json.loads((large / "config.json").read_text())
    (large / "config.json").write_text(json.dumps(shape | {
        "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
        "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128}))
    (app.home / "draft.json").write_text(json.dumps({
        "base_model": str(large), "base_weights": "32bit", "precision": "fp32", "lora_r": 64,
        "lora_alpha": 64, "max_length": 8192, "dataset": "sample:film-reviews"}))
    page = open_page()
    summary = page.locator("#summary")
    expect(summary.locator(".td-memory")).to_have_attribute("data-fits", "false")
    remedy = summary.get_by_role("button").filter(has_text="Max length 512")
    expect(summary.get_by_role("button").first).to_contain_text("4 bit")  # costs the least speed
    remedy.click()
    expect(page.locator("#set-max_length textarea, #set-max_length input").first).to_have_value(
        "512")
    expect(remedy).to_have_count(0)


def test_time_and_other_cards_are_told_for_the_starter(app: App, open_page):
    (app.home / "draft.json").unlink(missing_ok=True)
    page = open_page()
    told = page.locator("#summary .td-memory")
    expect(told).to_have_attribute("data-fits", "true")
    expect(told).to_contain_text("tokens a second")
    expect(page.locator(".td-room")).to_have_attribute("data-finished", "true")
    open_tab(page, "Settings")
    expect(told).to_contain_text("Learns for about")
    told.locator("summary").first.click()
    told.locator("details summary").click()
    expect(told.locator(".td-cards tbody tr")).to_have_count(20)
