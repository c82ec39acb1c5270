"""The window of its own asks what becomes of a run; the app is installable."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core.files import Folders
from tests.conftest import ROOT
from ui import manifest, window

QUESTION = ROOT / "assets/leave.js"


class Window:
    """What pywebview's window offers, as far as it is used."""

    def __init__(self):
        self.events = SimpleNamespace(closing=Handlers())
        self.asked, self.destroyed = threading.Event(), False

    def expose(self, *functions) -> None:
        self.api = {function.__name__: function for function in functions}

    def evaluate_js(self, script: str) -> None:
        self.script = script
        self.asked.set()

    def destroy(self) -> None:
        self.destroyed = True


class Handlers(list):
    def __iadd__(self, handler):
        self.append(handler)
        return self


@pytest.fixture
def opened():
    """Opens a window; `at_work` and `stopped` are lists, so that a test can change and read them.
    """
    made = Window()

    def open_it(at_work: list, stopped: list) -> Window:
        webview = SimpleNamespace(create_window=lambda *_, **__: made, start=lambda: None)
        window.show(webview, "http://127.0.0.1:1", QUESTION, lambda: bool(at_work),
                    lambda: stopped.append(True))
        return made
    return open_it


def test_a_window_closes_at_once_where_no_run_is_at_work(opened):
    assert opened([], []).events.closing[0]() is True


def test_a_window_with_a_run_asks_and_each_answer_is_kept(opened):
    stopped: list[bool] = []
    made = opened([1], stopped)
    assert made.events.closing[0]() is False
    assert made.asked.wait(10)
    assert "A run is at work" in made.script
    made.api["leave"](False)
    assert made.destroyed and not stopped
    made.api["leave"](True)
    assert stopped == [True]


def test_who_closes_twice_is_not_held_and_who_stays_is_asked_again(opened):
    made = opened([1], [])
    closing = made.events.closing[0]
    assert closing() is False
    made.api["stay"]()
    assert closing() is False
    assert closing() is True


def test_the_app_is_installable(tmp_path: Path):
    client = TestClient(Starlette(routes=manifest.routes(Folders(tmp_path, ROOT / "assets"))))
    about = json.loads(client.get("/manifest.json").text)
    assert (about["name"], about["display"], about["start_url"]) == ("TuneDesk", "standalone", "./")
    assert {icon["sizes"] for icon in about["icons"]} == {"192x192", "512x512"}
    assert "maskable" in [icon["purpose"] for icon in about["icons"]]
    for icon in about["icons"]:
        picture = client.get(f"/{icon['src']}").content
        width = int(icon["sizes"].partition("x")[0])
        assert picture[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(picture[16:20], "big") == width
    assert client.get("/icons/..%2Fstyle.css").status_code == 404
