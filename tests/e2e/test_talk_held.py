"""The Chat tab while answers are late: a server in this process, whose model the test holds."""

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from core.export.exports import Exports
from core.files import default_folders
from core.presets import DEFAULT, load_preset
from core.process import Process
from core.training.archive import Archive
from core.training.metrics import Reader
from core.training.queue import Queue
from tests.e2e.conftest import DEADLINE_SECONDS, open_tab
from ui import launch
from ui.services import Services


class HeldModel:
    """Stands for the chat process: an answer begins when it may, and goes on until it is told to
    end or its reader is gone."""

    def __init__(self):
        self.may_begin, self.may_end, self.reader_is_gone = (threading.Event() for _ in range(3))
        self.may_begin.set()

    def stream(self, method: str, **_: Any) -> Iterator[dict[str, Any]]:
        assert self.may_begin.wait(DEADLINE_SECONDS)
        told, done = 0, False
        try:
            while not done:
                told, done = told + 1, self.may_end.wait(0.05)
                yield {"context": 512, "answers": [{
                    "text": "word " * told, "tokens": told, "prompt_tokens": 5, "done": done,
                    "ended_by": "end" if done else "", "first_seconds": 0.1, "thinks": False,
                    "tokens_per_second": 20.0, "think_tokens": 0, "think_seconds": 0.0}]}
        finally:
            if not done:
                self.reader_is_gone.set()


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model) -> Iterator[SimpleNamespace]:
    """The app, served as a person starts it, but for its chat process."""
    folders = default_folders(tmp_path_factory.mktemp("home") / "TuneDesk").make()
    config = replace(load_preset(DEFAULT, folders), base_model=str(tiny_model))
    (folders.home / "draft.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    (folders.home / "welcomed").touch()
    reader, held = Reader(), SimpleNamespace(stream=None)
    desk = Process("core.desk:Desk", folders, "desk process")
    services = Services(folders, desk, held, Queue(folders), reader, Archive(folders.runs, reader),
                        Archive(folders.trash, reader), Process("", folders, ""),
                        Exports(folders, Process("", folders, "")))
    with pytest.MonkeyPatch.context() as patched, ThreadPoolExecutor(1) as apart:
        for name in ("GRADIO_TEMP_DIR", "GRADIO_ALLOWED_PATHS"):
            patched.setenv(name, "")  # `start` sets them; they are put back
        # Playwright has an event loop at work in this thread, where Gradio wants to be the one.
        blocks, url = apart.submit(launch.start, services, launch.Listening(7860)).result()
        yield SimpleNamespace(url=url, services=services)
        blocks.close(verbose=False)
        services.queue.close()
        desk.stop()


@pytest.fixture
def model(server) -> Iterator[HeldModel]:
    """A model for one test; whatever it still says ends with the test."""
    made = HeldModel()
    server.services.chat.stream = made.stream
    yield made
    made.may_end.set()
    made.may_begin.set()


@pytest.fixture
def context(browser):
    made = browser.new_context(viewport={"width": 1440, "height": 1000})
    made.set_default_timeout(DEADLINE_SECONDS * 1000)
    yield made
    made.close()


def open_chat(server, context) -> Page:
    page = context.new_page()
    page.goto(server.url)
    expect(page.locator("#summary")).to_contain_text("parameters")
    open_tab(page, "Chat")
    return page


def send(page: Page, text: str) -> None:
    page.locator("#chat-message textarea").fill(text)
    page.locator("#chat-send").click()


def expect_whole_answer(page: Page, model: HeldModel, question: str) -> None:
    """It is at work and can be stopped; then it comes to its end."""
    expect(page.locator("#chat")).to_contain_text("word word")
    expect(page.locator("#chat-stop")).to_be_enabled()
    model.may_end.set()
    expect(page.locator("#chat-send")).to_be_enabled()
    expect(page.locator("#chat .user.message")).to_have_text(re.compile(question))


def test_a_message_sent_before_new_conversation_is_answered_keeps_its_answer(
        server, context, model):
    page, held = open_chat(server, context), []
    model.may_end.set()
    send(page, "Before")
    expect(page.locator("#chat-status")).to_contain_text("tokens")
    expect(page.locator("#chat-send")).to_be_enabled()
    model.may_end.clear()
    page.route("**/queue/join*", lambda route: route.continue_() if held else held.append(route))
    page.locator("#chat-clear").click()  # its call is held back on its way
    send(page, "After")
    expect(page.locator("#chat")).to_contain_text("word word")
    with page.expect_response("**/queue/join*"):
        held[0].continue_()
    said = len(page.locator("#chat").inner_text())
    page.wait_for_function(  # more has come since: so has the late answer
        "said => document.querySelector('#chat').innerText.length > said + 100", arg=said)
    expect_whole_answer(page, model, "After")


def test_stop_before_the_first_word_gives_the_message_back(server, context, model):
    page = open_chat(server, context)
    model.may_begin.clear()
    send(page, "Never mind")
    expect(page.locator("#chat .user.message")).to_have_text(re.compile("Never mind"))
    page.locator("#chat-stop").click()
    expect(page.locator("#chat-status")).to_contain_text("Stopped")
    expect(page.locator("#chat-message textarea")).to_have_value("Never mind")
    expect(page.locator("#chat .user.message")).to_have_count(0)
    model.may_begin.set()
    assert model.reader_is_gone.wait(DEADLINE_SECONDS)
    expect(page.locator("#chat .user.message")).to_have_count(0)


def test_a_page_closed_in_the_middle_of_an_answer_ends_it_and_another_chats_on(
        server, context, model):
    closed, other = open_chat(server, context), open_chat(server, context)
    send(closed, "Nobody will read this")
    expect(closed.locator("#chat")).to_contain_text("word word")
    closed.close()
    assert model.reader_is_gone.wait(DEADLINE_SECONDS)
    send(other, "Still there?")
    expect_whole_answer(other, model, "Still there?")
