"""A judge behind an address grades answers; what it can't do is said in words."""

import http.server
import json
import threading

import pytest

from core.errors import UserError
from core.evaluation.judge import KEY_NAMES, grades, read_grade


@pytest.fixture
def judge():
    """A server that gives 5 to answers that hold "right"; its address, and what it was asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({**body, "key": self.headers.get("Authorization")})
            order = body["messages"][0]["content"].partition("Answer to grade:")[2]
            grade = "<think>2 or 3?</think> 5" if "right" in order else "no idea"
            reply = json.dumps({"choices": [{"message": {"content": grade}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_):
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked
    server.shutdown()
    server.server_close()


def test_answers_are_graded_with_the_key_of_the_environment(judge, monkeypatch):
    address, asked = judge
    monkeypatch.setenv(KEY_NAMES[0], "secret")
    found = list(grades(address, "m", "Be strict.", [("q", "r", "right"), ("q", "r", "bad")]))
    assert found == [5.0, None]
    assert asked[0]["key"] == "Bearer secret" and asked[0]["model"] == "m"
    assert "Be strict." in asked[0]["messages"][0]["content"]


@pytest.mark.parametrize("reply, grade", [
    ("4", 4), ("Grade: 3/5", 3), ("<think>1</think>5", 5), ("10", None), ("", None)])
def test_a_reply_is_read_as_a_grade(reply, grade):
    assert read_grade(reply) == grade


@pytest.mark.parametrize("address", ["file:///etc/hosts", "no address", "http://127.0.0.1:9/v1"])
def test_an_address_that_does_not_answer_is_named(address):
    with pytest.raises(UserError, match="[Jj]udge"):
        list(grades(address, "m", "", [("q", "r", "t")]))
