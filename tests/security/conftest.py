"""A server that is reached from elsewhere, and one that isn't, as the attacks meet them."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from core import password
from core.files import Folders
from tests.e2e.conftest import App

ROOT = Path(__file__).parents[2]
PASSWORD = "four words of mine"


def locked_home(folder: Path) -> Path:
    password.keep(PASSWORD, Folders(folder, ROOT / "assets").make())
    return folder


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Open to this machine, as it starts by default."""
    served = App(tmp_path_factory.mktemp("open") / "TuneDesk")
    served.start()
    yield served
    served.end()


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Reached by the name of a tunnel."""
    served = App(locked_home(tmp_path_factory.mktemp("locked") / "TuneDesk"))
    served.start("--name", "tunnel.test")
    yield served
    served.end()


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Listens at all addresses of the machine; the tests reach it at 127.0.0.1."""
    served = App(locked_home(tmp_path_factory.mktemp("everywhere") / "TuneDesk"))
    served.start("--host", "0.0.0.0", "--port", "7880")
    yield served
    served.end()


@pytest.fixture
def inside(locked: App) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=locked.url, timeout=60) as client:
        client.post("/login", data={"password": PASSWORD}).raise_for_status()
        yield client


def started_alone(*arguments: str, given: str = "") -> subprocess.CompletedProcess:
    """The program, to its end."""
    return subprocess.run([sys.executable, "app.py", *arguments], cwd=ROOT, input=given,
                          capture_output=True, text=True, timeout=120)


def ask(app: App, name: str, *data: Any) -> str:
    """All that the server says when it is asked as the page asks: a named endpoint, or the upload
    of the button with this id. Inputs that aren't given keep the page's values."""
    page = httpx.get(f"{app.url}/config", timeout=60).json()
    by_id = {each["id"]: each["props"] for each in page["components"]}
    for event in page["dependencies"]:
        target = event["targets"][0] if event["targets"] else (None, "")
        is_button = target[1] == "upload" and by_id[target[0]].get("elem_id") == name
        if event["api_name"] == name or is_button:
            break
    else:
        raise AssertionError(f"the page has no {name}")
    rest = [by_id[each].get("value") for each in event["inputs"][len(data):]]
    session = secrets.token_hex(5)
    httpx.post(f"{app.url}/gradio_api/queue/join", timeout=60, json={
        "data": [*data, *rest], "fn_index": event["id"], "session_hash": session,
        "event_data": None}).raise_for_status()
    told = ""
    with httpx.stream("GET", f"{app.url}/gradio_api/queue/data?session_hash={session}",
                      timeout=60) as answer:
        for line in answer.iter_lines():
            told += line + "\n"
            if "process_completed" in line:
                return told
    return told
