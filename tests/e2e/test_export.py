"""A tuned model is carried away: exported and proven in the browser, and served to programs."""

import re

import openai
import pytest
from playwright.sync_api import expect

from core.files import default_folders
from core.training.names import name_of
from core.training.run import Run
from tests.conftest import make_model
from tests.e2e.chinese import left_in_english
from tests.e2e.conftest import DEADLINE_SECONDS, App, open_tab
from tests.export.made import finished_run


@pytest.fixture(scope="module")
def run(app: App, colours) -> str:
    """A finished run of a tiny model in the app's data folder."""
    base = make_model(app.home / "tiny")
    return finished_run(default_folders(app.home), base, colours).id


def called(app: App, run: str) -> str:
    """What the page calls the run."""
    return name_of(Run(app.home / "runs" / run))


@pytest.fixture
def page(app: App, run, browser):
    """The Export tab with the run chosen; it needs no preview."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(DEADLINE_SECONDS * 1000)
    page.goto(app.url)
    open_export(page, called(app, run))
    yield page
    context.close()


def open_export(page, name: str) -> None:
    """Clicked until it is drawn: a click before the page is wired is lost."""
    tab = page.get_by_role("tab", name="Export", exact=True)
    chosen = page.locator("#export-run input")
    expect(tab).to_be_visible()
    for _ in range(20):
        page.get_by_role("tab", name="Runs", exact=True).click()
        open_tab(page, "Export")
        page.wait_for_timeout(1500)
        if name in chosen.input_value():
            break
    expect(chosen).to_have_value(re.compile(re.escape(name)))


@pytest.mark.slow
def test_a_person_exports_a_run_and_sees_the_proof_pass(app: App, run, page, browser):
    expect(page.locator("#export-proof .td-proof")).to_have_attribute("data-state", "none")
    page.locator("#export-start").click()
    expect(page.locator("#export-status .td-card")).to_have_attribute(
        "data-state", "working")
    page.reload()  # the export doesn't notice
    open_export(page, called(app, run))
    proof = page.locator("#export-proof .td-proof")
    expect(proof).to_have_attribute("data-state", "finished")
    expect(proof.locator(".td-pill")).to_have_attribute("data-passed", "true")
    expect(proof).to_contain_text("Mean KL divergence")
    expect(page.locator("#export-vllm")).to_contain_text("vllm serve")
    made = app.home / "exports" / run / "merged"
    assert (made / "model.safetensors").is_file() and (made / "Modelfile").is_file()

    read_in_chinese(app, browser)

    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("#export-delete").click()
    expect(proof).to_have_attribute("data-state", "none")
    assert not made.exists()


def read_in_chinese(app: App, browser) -> None:
    """From the beginning: the editor's own styles must not hold the translation up."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="zh-CN")
    page = context.new_page()
    page.set_default_timeout(DEADLINE_SECONDS * 1000)
    page.goto(app.url)
    expect(page.locator("#summary")).to_contain_text("参数")
    page.get_by_role("tab", name="导出", exact=True).click()
    proof = page.locator("#export-proof .td-proof")
    expect(proof).to_contain_text("至多")
    expect(proof).to_contain_text("个 token")
    assert left_in_english(page, "float32", "Python", "vLLM", "llama.cpp") == []
    context.close()


@pytest.mark.slow
def test_the_endpoint_is_switched_on_and_called(app: App, run, page):
    page.locator("#export-serve button").first.click()
    expect(page.locator("#serve-status")).to_contain_text("off")
    page.locator("#serve-on").click()
    key = page.locator("#serve-key").inner_text()
    client = openai.OpenAI(base_url=f"{app.url}/v1", api_key=key, max_retries=0,
                           timeout=DEADLINE_SECONDS)
    assert [model.id for model in client.models.list()] == [run]
    asked = {"model": run, "max_tokens": 12, "temperature": 0, "seed": 1,
             "messages": [{"role": "user", "content": "What colour has snow?"}]}
    whole = client.chat.completions.create(**asked)
    parts = list(client.chat.completions.create(**asked, stream=True))
    streamed = "".join(part.choices[0].delta.content or "" for part in parts)
    assert streamed == whole.choices[0].message.content
    assert 0 < whole.usage.completion_tokens <= 12 and whole.usage.prompt_tokens > 5
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{app.url}/v1", api_key="td-no", max_retries=0).models.list()

    page.reload()  # the key was shown once
    open_export(page, called(app, run))
    page.locator("#export-serve button").first.click()
    expect(page.locator("#serve-status")).to_contain_text("It is on")
    expect(page.locator("#serve-key")).to_have_count(0)
    page.locator("#serve-off").click()
    expect(page.locator("#serve-status")).to_contain_text("off")
    with pytest.raises(openai.PermissionDeniedError):
        client.models.list()
