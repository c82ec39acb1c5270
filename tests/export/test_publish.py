"""A proven export is uploaded, private unless told; what isn't proven stays here."""

import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

import huggingface_hub.constants
import pytest

from core.errors import UserError
from core.export import publish

PASSED, FAILED = {"passed": True}, {"passed": False}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload of small files asks for; `asked` is what came."""

    asked: list[tuple[str, dict]] = []
    files: dict[str, bytes] = {}

    def do_HEAD(self):
        self._say({})

    def do_GET(self):
        self._say({"id": "me/tiny", "sha": "0" * 40, "siblings": [], "private": True})

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
        lines = [json.loads(line) for line in raw.splitlines() if line]
        Hub.asked.append((self.path, {**lines[0], "token": self.headers["Authorization"]}))
        if self.path.endswith("/preupload/main"):
            self._say({"files": [{"path": file["path"], "uploadMode": "regular",
                                  "shouldIgnore": False} for file in lines[0]["files"]]})
        elif "/commit/" in self.path:
            Hub.files |= {line["value"]["path"]: base64.b64decode(line["value"]["content"])
                          for line in lines if line["key"] == "file"}
            self._say({"commitUrl": f"{self._address()}/commit/{'1' * 40}", "commitOid": "1" * 40,
                       "success": True})
        else:
            self._say({"url": self._address(), "id": "1", "name": "me/tiny"})

    def _address(self):
        return f"http://127.0.0.1:{self.server.server_port}/me/tiny"

    def _say(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", address)
    yield Hub
    server.shutdown()


@pytest.fixture
def record(tmp_path):
    for name in ("README.md", "adapter_config.json", "export.json"):
        (tmp_path / name).write_text(f"{name} of mine")
    return {"folder": str(tmp_path), "proof": PASSED}


def says_private(asked: dict) -> bool:
    """Older versions of the hub's client say `private`, newer ones `visibility`."""
    return asked.get("private") is True or asked.get("visibility") == "private"


def test_an_export_is_uploaded_to_the_hub_as_private(hub, record):
    *_, last = publish.push(record, "me/tiny", "huggingface", private=True)
    assert "me/tiny" in last["done"]["address"]
    path, asked = hub.asked[0]
    assert path == "/api/repos/create" and says_private(asked)
    assert asked["token"] == "Bearer hf_test"
    assert hub.files["README.md"] == b"README.md of mine"
    assert "export.json" not in hub.files


def test_what_did_not_pass_its_proof_is_not_given_away(record):
    with pytest.raises(UserError, match="proof"):
        list(publish.push(record | {"proof": FAILED}, "me/tiny", "huggingface", True))


@pytest.mark.parametrize("name", ["tiny", "me/tiny/x", "", "me/ti ny"])
def test_a_name_that_is_no_repository_is_told(name, record):
    with pytest.raises(UserError, match="owner/name"):
        list(publish.push(record, name, "huggingface", True))


def test_without_a_token_the_way_to_one_is_told(record, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="hf auth login"):
        list(publish.push(record, "me/tiny", "huggingface", True))


def test_modelscope_is_asked_in_its_own_words(record, monkeypatch):
    asked = []

    class HubApi:
        def __getattr__(self, name):
            return lambda *args, **options: asked.append((name, args, options))

    api = ModuleType("modelscope.hub.api")
    api.HubApi = HubApi
    for name, module in (("modelscope", ModuleType("modelscope")),
                         ("modelscope.hub", ModuleType("modelscope.hub")),
                         ("modelscope.hub.api", api)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms_test")
    *_, last = publish.push(record, "me/tiny", "modelscope", private=True)
    assert last["done"]["address"].endswith("/me/tiny")
    assert [name for name, _, _ in asked] == ["login", "create_repo", "upload_folder"]
    assert asked[1][2]["visibility"] == "private"
    assert asked[2][2]["folder_path"] == record["folder"]


def test_without_modelscopes_package_its_command_is_told(record, monkeypatch):
    monkeypatch.setitem(sys.modules, "modelscope.hub.api", None)
    with pytest.raises(UserError, match="pip install modelscope"):
        list(publish.push(record, "me/tiny", "modelscope", True))
