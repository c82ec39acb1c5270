"""Whatever is sent to whatever the server listens to, it answers, tells nothing of itself and goes
on serving."""

import json
import secrets
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.conftest import DEADLINE_SECONDS, App

DEEP = "[" * 100_000 + "]" * 100_000
RUBBISH = [
    None, 7, -1, 10**400, "", "\ud800", "a\0b", "../../etc/passwd", "x" * 200_000, [], {}, [[]],
    [None], ["", None], ["", {"count": -1, "chosen": 7}], ["", {"count": "x", "sort": ["id"]}],
    ["", {"search": "a " * 200_000, "chosen": [None, {}, []]}], [[[]] * 3, {"a": 1}],
    [{"__class__": 1}, "train", "x"], [None, None, None, None, None], {"lora_r": "\ud800"},
    ["\ud800", "\ud800", "\ud800"], {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]
TOLD = ("Traceback", "site-packages", 'File "', "root:x:")


@pytest.fixture(scope="module")
def client(app: App) -> Iterator[httpx.Client]:
    # The server closes a connection on which something went wrong.
    with httpx.Client(base_url=app.url, timeout=DEADLINE_SECONDS,
                      limits=httpx.Limits(max_keepalive_connections=0)) as made:
        yield made


@pytest.fixture(scope="module")
def page(client) -> dict:
    return client.get("/config").json()


@pytest.fixture(autouse=True)
def still_serves(client) -> Iterator[None]:
    yield
    assert client.get("/config").status_code == 200
    asked = client.post("/gradio_api/call/list_choices", json={"data": []}).json()
    answer = client.get(f"/gradio_api/call/list_choices/{asked['event_id']}").text
    assert "event: complete" in answer and "presets" in answer


def raw(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def post(client: httpx.Client, path: str, body: bytes) -> httpx.Response:
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert not [words for words in TOLD if words in answer.text], answer.text[:500]
    return answer


def test_the_views_questions_take_any_rubbish(client, page):
    asked = 0
    for component in page["components"]:
        for name in component["props"].get("server_fns") or []:
            for value in RUBBISH:
                post(client, "/gradio_api/component_server", raw({
                    "data": value, "component_id": component["id"], "fn_name": name,
                    "session_hash": "a page"}))
                asked += 1
    assert asked > 100
    for component_id, name in ((10**9, "list_runs"), (-1, "x"), ("a", "b"), (1, "__init__"),
                               (page["components"][0]["id"], "__class__")):
        answer = post(client, "/gradio_api/component_server", raw({
            "data": [], "component_id": component_id, "fn_name": name, "session_hash": "a"}))
        assert answer.status_code >= 400


@pytest.mark.parametrize("path", [
    "/gradio_api/component_server", "/gradio_api/queue/join", "/gradio_api/run/list_runs",
    "/gradio_api/call/run_status", "/gradio_api/call/v2/run_status", "/gradio_api/cancel",
    "/gradio_api/reset", "/gradio_api/upload", "/gradio_api/stream/x", "/v1/chat/completions",
    "/gradio_api/api/list_runs", "/gradio_api/run-history/connect", "/login", "/"])
def test_no_body_makes_the_server_stumble(client, path):
    for body in (b"", b"{", b"\xff\xfe", b"null", b"7", b'"x"', DEEP.encode(),
                 b'{"data": 1e999}', b'{"data": NaN}', b'{"data":' + DEEP.encode() + b"}",
                 b'{"data": ["\xed\xa0\x80"]}',
                 b'{"fn_index": 99999999999999999999, "data": [], "session_hash": []}',
                 b'{"event_id": ["x"], "session_hash": {}, "fn_index": "x"}',
                 b'{"data": [], "session_hash": "' + b"x" * 100_000 + b'"}'):
        post(client, path, body)


def events_of(client: httpx.Client, session: str) -> str:
    told = ""
    with client.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as answer:
        for line in answer.iter_lines():
            told += line
            if "process_completed" in line or "unexpected_error" in line:
                break
    return told


def some_of(events: list[dict]) -> Iterator[dict]:
    """All that do something, but of the hundred that follow a setting's change, which are one
    function, a few."""
    followers = 0
    for event in events:
        follows = str(event["api_name"]).startswith("answer")
        followers += follows
        if event["backend_fn"] and not (follows and followers > 5):
            yield event


@pytest.mark.slow
def test_every_event_of_the_page_ends_whatever_it_is_given(client, page):
    """Each gets one kind of rubbish, each kind goes to many."""
    shapes = ([None], ["\ud800"], [{"a": [1]}], [10**400, 1], [])
    events = list(some_of(page["dependencies"]))
    assert len(events) > 50
    for event in events:
        session = secrets.token_hex(5)
        answer = post(client, "/gradio_api/queue/join", raw({
            "data": shapes[event["id"] % len(shapes)] * len(event["inputs"]),
            "fn_index": event["id"], "session_hash": session,
            "event_data": {"what": "rubbish", "run_id": "../x", "run_ids": None}}))
        if answer.status_code == 200:
            told = events_of(client, session)
            assert not [words for words in TOLD if words in told], told[:500]


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//", "\xe9", "http://a]b", ""])
def test_an_origin_that_is_no_address_is_refused(client, origin):
    answer = client.get("/config", headers={b"Origin": origin.encode("latin1")})
    assert answer.status_code == 403


def speak(app: App, words: bytes) -> bytes:
    place = urlsplit(app.url)
    with socket.create_connection((place.hostname, place.port), timeout=DEADLINE_SECONDS) as line:
        said = b""
        try:
            line.sendall(words)
            line.shutdown(socket.SHUT_WR)
            while part := line.recv(65536):
                said += part
        except TimeoutError:
            raise
        except OSError:  # it hangs up before it has heard all
            pass
        return said


@pytest.mark.parametrize("words", [
    b"\0\1\2\3\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\nHost:\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: evil.test\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET http://evil.test/config HTTP/1.1\r\nHost: evil.test\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"],
    ids=lambda words: ascii(words)[:40])
def test_what_is_no_proper_request_gets_no_page(app: App, words):
    said = speak(app, words)
    assert b"gradio" not in said.lower() and b"Traceback" not in said


def test_connections_that_say_nothing_keep_nobody_out(app: App, client):
    place = urlsplit(app.url)
    idle = [socket.create_connection((place.hostname, place.port)) for _ in range(200)]
    try:
        for line in idle:
            line.sendall(b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                         b"Content-Length: 100\r\n\r\n{")
        assert client.get("/config").status_code == 200
    finally:
        for line in idle:
            line.close()
