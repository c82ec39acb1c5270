"""Chat and Compare in a browser, on a tiny model whose template opens the reasoning, as R1's."""

import json
import re
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from playwright.sync_api import expect
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.files import default_folders
from core.model.ends import end_tokens
from core.presets import DEFAULT, load_preset
from core.training import run as runs
from tests.conftest import make_model
from tests.e2e.chinese import left_in_english
from tests.e2e.conftest import DEADLINE_SECONDS, App, open_tab


def reasoning_model(folder):
    """Random weights that never end a turn by themselves, a template that begins '<think>'."""
    make_model(folder, tie_word_embeddings=False, max_position_embeddings=8192)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight.mul_(4)  # some token is always far above the zero of an end
        model.lm_head.weight[list(end_tokens(model, tokenizer))] = 0
    model.save_pretrained(folder)
    tokenizer.chat_template += "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    home = tmp_path_factory.mktemp("home") / "TuneDesk"
    folders = default_folders(home).make()
    model = reasoning_model(tmp_path_factory.mktemp("models") / "reasons")
    config = replace(load_preset(DEFAULT, folders), base_model=str(model))
    (home / "draft.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    run = runs.create(config, folders.runs)
    torch.manual_seed(0)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model),
                             LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    adapted.save_pretrained(run.adapter)
    run.update(state="finished", words="Done.")
    served = App(home)
    served.start()
    yield served
    served.end()


def send(page, text: str) -> None:
    page.locator("#chat-message textarea").fill(text)
    page.locator("#chat-send").click()


def begin_anew(page) -> None:
    """New conversation, and wait until it is there."""
    page.locator("#chat-clear").click()
    expect(page.locator("#chat .user.message")).to_have_count(0)
    expect(page.locator("#chat-status")).to_have_text("")


def set_slider(page, name: str, value: str) -> None:
    field = page.locator(f"#{name} input[type=number]")
    field.fill(value)
    field.blur()


@pytest.fixture(scope="module")
def chat(app, browser):
    """One page for all: a visitor who talks on."""
    page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    page.set_default_timeout(DEADLINE_SECONDS * 1000)
    page.goto(app.url)
    expect(page.locator("#summary")).to_contain_text("parameters")
    yield page
    page.context.close()


def test_an_answer_streams_its_reasoning_folds_and_stop_keeps_what_was_said(chat):
    open_tab(chat, "Chat")
    chat.get_by_role("button", name="How to answer").first.click()
    set_slider(chat, "chat-max-new-tokens", "8000")
    send(chat, "What colour has snow?")
    expect(chat.locator("#chat")).to_contain_text("Reasoning")
    chat.locator("#chat-answer-now").click()
    expect(chat.locator("#chat-answer-now")).to_be_hidden()
    expect(chat.locator("#chat")).to_contain_text(re.compile(r"\d+ tokens, [\d.]+ s"))
    chat.locator("#chat-stop").click()
    expect(chat.locator("#chat-status")).to_contain_text("Stopped")
    expect(chat.locator("#chat-meter")).to_contain_text("of 8,192 tokens of context")
    expect(chat.locator("#chat")).to_contain_text("What colour has snow?")


def test_an_answer_is_taught_with_one_click(app, chat):
    open_tab(chat, "Chat")
    chat.locator("#chat-teach").click()
    expect(chat.locator("#chat-status")).to_contain_text("row 1 of the data set 'taught'")
    row = json.loads((app.home / "data" / "taught.jsonl").read_text(encoding="utf-8"))
    assert [m["role"] for m in row["messages"]] == ["user", "assistant"]
    open_tab(chat, "Data set")
    chat.locator("#set-dataset input").click()
    expect(chat.get_by_role("option", name="taught.jsonl")).to_be_visible()
    chat.keyboard.press("Escape")


def test_a_retry_begins_a_branch_and_undo_gives_the_message_back(chat):
    open_tab(chat, "Chat")
    begin_anew(chat)
    set_slider(chat, "chat-max-new-tokens", "16")
    send(chat, "Hello")
    expect(chat.locator("#chat-status")).to_contain_text("cut at its length")
    chat.locator("#chat").get_by_role("button", name="Retry").last.click()
    expect(chat.locator("#chat-branch")).to_be_visible()
    expect(chat.locator("#chat-stop")).to_be_disabled()
    chat.locator("#chat").get_by_role("button", name="Undo").last.click()
    expect(chat.locator("#chat-message textarea")).to_have_value("Hello")


def test_one_answer_at_a_time_whatever_is_clicked(chat):
    open_tab(chat, "Chat")
    begin_anew(chat)
    expect(chat.locator("#chat")).not_to_contain_text("Hello")
    set_slider(chat, "chat-max-new-tokens", "8000")
    field = chat.locator("#chat-message textarea")
    field.fill("Only once")
    chat.evaluate("""() => { const button = document.querySelector('#chat-send');
        button.click(); button.click(); }""")
    field.press("Enter")
    expect(chat.locator("#chat")).to_contain_text("Reasoning")
    expect(chat.locator("#chat-send")).to_be_disabled()
    chat.locator("#chat-teach").click()
    expect(chat.locator(".toast-body").first).to_contain_text("An answer is at work")
    chat.locator("#chat-stop").click()
    expect(chat.locator("#chat-send")).to_be_enabled()
    assert chat.locator("#chat .user.message").count() == 1
    expect(field).to_have_value("")


def test_the_bin_begins_anew_as_new_conversation_does(chat):
    open_tab(chat, "Chat")
    begin_anew(chat)
    set_slider(chat, "chat-max-new-tokens", "16")
    for said in ("First", "Second"):
        send(chat, said)
        expect(chat.locator("#chat .user.message")).to_have_text(re.compile(said))
        expect(chat.locator("#chat-status")).to_contain_text("cut at its length")
        chat.locator("#chat").get_by_role("button", name="Clear").click()
        expect(chat.locator("#chat .user.message")).to_have_count(0)
        expect(chat.locator("#chat-status")).not_to_contain_text("cut")


def test_two_models_are_compared_blind_voted_on_and_reported(app, chat, tmp_path):
    open_tab(chat, "Compare")
    chips = chat.locator("#compare-models .token")
    expect(chips).to_have_text([re.compile("Base model"), re.compile(r"film-reviews · \d\d-\d\d")])
    chat.get_by_role("button", name="How to answer").last.click()
    set_slider(chat, "compare-max-new-tokens", "16")
    chat.locator("#compare-prompt textarea").fill("What colour has coal?")
    chat.locator("#compare-blind input").check()
    chat.locator("#compare-send").click()
    cards = [chat.locator(f"#compare-card-{i}") for i in (0, 1)]
    for card, letter in zip(cards, "AB", strict=True):
        expect(card.locator(".td-answer")).to_have_attribute("data-state", "done")
        expect(card.locator("h3")).to_have_text(letter)
    chat.locator("#vote-a").click()
    expect(chat.locator("#compare-votes")).to_contain_text("may still be chance")
    expect(cards[0].locator("h3")).to_have_text(re.compile("A is (Base model|.*film-reviews.*)"))
    assert json.loads((app.home / "votes.jsonl").read_text(encoding="utf-8"))["winner"] != "tie"
    with chat.expect_download() as download:
        chat.locator("#report-html").click()
    page = download.value.path().read_text(encoding="utf-8")
    assert "What colour has coal?" in page and "temperature" in page
    assert "Blind votes" in page and "may still be chance" in page
    download.value.save_as(tmp_path / "comparison.html")
    reader = chat.context.browser.new_context(locale="zh-CN", offline=True).new_page()
    reader.goto((tmp_path / "comparison.html").as_uri())
    expect(reader.locator("body")).to_contain_text("盲评投票")
    assert left_in_english(reader, "reasons", chips.last.inner_text().strip()) == []
    reader.context.close()


def test_one_column_is_stopped_while_the_other_goes_on(chat):
    open_tab(chat, "Compare")
    chat.locator("#compare-blind input").uncheck()
    set_slider(chat, "compare-max-new-tokens", "8000")
    chat.locator("#compare-send").click()
    expect(chat.locator("#compare-end-0")).to_be_visible()
    # The words that stream move the buttons about; Playwright's click would wait until it rests.
    chat.locator("#compare-end-0").dispatch_event("click")
    expect(chat.locator("#compare-card-0")).to_contain_text("stopped")
    chat.locator("#compare-stop").dispatch_event("click")
    expect(chat.locator("#compare-stop")).to_be_disabled()


def test_many_prompts_fill_a_table(app, chat):
    open_tab(chat, "Compare")
    set_slider(chat, "compare-max-new-tokens", "16")
    chat.get_by_role("button", name="Many prompts in one go").click()
    chat.locator("#many-prompts textarea").fill("one\ntwo\nthree")
    chat.locator("#many-start").click()
    expect(chat.locator("#many-status")).to_contain_text("3 prompts answered")
    assert chat.locator("#many-table tbody tr").count() == 3
    with chat.expect_download() as download:
        chat.locator("#report-markdown").click()
    assert "three" in download.value.path().read_text(encoding="utf-8")
    chat.locator("[data-language=zh]").click()
    expect(chat.locator("#compare-send")).to_have_text("对比")
    assert left_in_english(chat, "reasons") == []
