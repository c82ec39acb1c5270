"""OpenAI's own client talks to the endpoint; without the key, or while it is off, it is refused."""

import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import httpx
import openai
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware

from core.errors import UserError
from core.export import served
from core.export.openai import Refusal, read_request
from ui import endpoint
from ui.guard import Guard

ASKED = [{"role": "user", "content": "Hello"}]


@dataclass
class Chat:
    """Stands for the chat process: answers word by word, and knows what it was asked."""

    words: list[str] = field(default_factory=lambda: ["Snow", " is", " white", "."])
    seconds: float = 0.0
    error: Exception | None = None
    asked: list[dict] = field(default_factory=list)
    said: int = 0
    closed: int = 0
    at_once: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock)

    def stream(self, method, **arguments):
        self.asked.append(arguments)
        try:
            yield {"phase": "Waiting for the model"}
            with self.turn:
                if self.error:
                    raise self.error
                for count in range(1, len(self.words) + 1):
                    time.sleep(self.seconds)
                    self.said += 1
                    yield {"texts": ["".join(self.words[:count])],
                           "answers": [{"tokens": count, "prompt_tokens": 7}],
                           "done": count == len(self.words)}
        finally:
            self.closed += 1


@pytest.fixture
def chat():
    return Chat()


@pytest.fixture
def address(folders, chat):
    services = SimpleNamespace(folders=folders, chat=chat,
                               queue=SimpleNamespace(active=lambda: []))
    app = Starlette(routes=[endpoint.mount(services)], middleware=[Middleware(Guard)])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def key(folders):
    return served.switch_on(folders, "my-run", {})


@pytest.fixture
def client(address, key):
    return openai.OpenAI(base_url=address, api_key=key, max_retries=0, timeout=30)


def ask(client, **options):
    return client.chat.completions.create(
        **{"model": "my-run", "messages": ASKED} | options)


def test_an_answer_comes_whole_with_its_usage(client, chat):
    answer = ask(client, temperature=0.5, top_p=0.9, seed=3, max_tokens=50)
    assert answer.choices[0].message.content == "Snow is white."
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens,
            answer.usage.total_tokens) == (7, 4, 11)
    assert chat.asked[0]["runs"] == ["my-run"] and chat.asked[0]["messages"] == ASKED
    assert chat.asked[0]["sampling"] == {"temperature": 0.5, "top_p": 0.9, "seed": 3,
                                         "max_new_tokens": 50}


def test_an_answer_streams_as_it_grows(client, chat):
    chat.seconds = 0.1
    parts = list(ask(client, stream=True, stream_options={"include_usage": True}))
    pieces = [p.choices[0].delta.content for p in parts if p.choices and p.choices[0].delta.content]
    assert pieces == ["Snow", " is", " white", "."]
    assert parts[-2].choices[0].finish_reason == "stop"
    assert parts[-1].usage.total_tokens == 11
    assert len({part.id for part in parts}) == 1


def test_a_full_answer_says_that_its_length_ended_it(client):
    assert ask(client, max_completion_tokens=4).choices[0].finish_reason == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_text_ends_the_answer_before_it_and_the_work(client, chat, stream, wait_for):
    chat.words = ["one", " tw", "o thr", "ee", *[" more"] * 2000]
    chat.seconds = 0.01
    answer = ask(client, stop=["two three"], stream=stream)
    text = ("".join(p.choices[0].delta.content or "" for p in answer) if stream
            else answer.choices[0].message.content)
    assert text == "one "
    wait_for(lambda: chat.closed == 1, "the model stopped", 20)
    assert chat.said < 200


def test_a_client_that_hangs_up_stops_the_model(client, chat, wait_for):
    chat.words, chat.seconds = ["a"] * 100_000, 0.01
    stream = ask(client, stream=True)
    next(iter(stream))
    stream.close()
    wait_for(lambda: chat.closed == 1, "the model stopped", 20)
    assert chat.said < 5000


def test_a_client_that_waits_for_a_whole_answer_and_leaves_stops_the_model(
        address, key, chat, wait_for):
    chat.words, chat.seconds = ["a"] * 100_000, 0.01
    with pytest.raises(httpx.TimeoutException):
        httpx.post(f"{address}/chat/completions", timeout=1,
                   headers={"Authorization": f"Bearer {key}"},
                   json={"model": "my-run", "messages": ASKED})
    wait_for(lambda: chat.closed == 1, "the model stopped", 20)


def test_several_clients_are_answered_and_too_many_sent_away(client, chat, wait_for):
    chat.seconds, chat.words = 0.05, ["a"] * 10
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(client)))
               for _ in range(endpoint.MOST_AT_ONCE)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(chat.asked) == endpoint.MOST_AT_ONCE, "all were asked", 20)
    with pytest.raises(openai.RateLimitError):
        ask(client)
    for thread in threads:
        thread.join(60)
    assert [a.choices[0].message.content for a in answers] == ["a" * 10] * endpoint.MOST_AT_ONCE
    assert ask(client).choices[0].message.content == "a" * 10  # there is room again


def test_without_the_right_key_nobody_is_answered(address, key, chat):
    for wrong in ("td-wrong", "", key[:-1]):
        with pytest.raises(openai.AuthenticationError, match="API key"):
            ask(openai.OpenAI(base_url=address, api_key=wrong or "x", max_retries=0))
    assert httpx.get(f"{address}/models").status_code == 401
    assert chat.asked == []


def test_it_is_off_until_it_is_switched_on_and_off_again(address, folders, chat):
    client = openai.OpenAI(base_url=address, api_key="td-any", max_retries=0)
    with pytest.raises(openai.PermissionDeniedError, match="switched off"):
        client.models.list()
    client.api_key = served.switch_on(folders, "my-run", {})
    assert [model.id for model in client.models.list()] == ["my-run"]
    assert client.models.retrieve("my-run").owned_by == "tunedesk"
    served.switch_off(folders)
    with pytest.raises(openai.PermissionDeniedError):
        ask(client)
    assert chat.asked == []


def test_a_new_key_ends_the_old_one_and_only_a_hash_is_kept(client, folders, key):
    assert key not in (folders.home / "served.json").read_text()
    assert served.switch_on(folders, "my-run", {}) != key
    with pytest.raises(openai.AuthenticationError):
        ask(client)


def test_another_model_than_the_served_one_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="my-run"):
        ask(client, model="gpt-4o")


@pytest.mark.parametrize("wrong", [
    {"temperature": 3}, {"top_p": "high"}, {"max_tokens": 0}, {"n": 2}, {"stop": ["a"] * 5},
    {"messages": []}, {"messages": [{"role": "robot", "content": "x"}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    {"tools": [{"type": "function", "function": {"name": "f"}}]},
    {"response_format": {"type": "json_object"}}, {"response_format": "json"},
    {"extra_body": {"stream_options": [1]}}], ids=str)
def test_what_it_cannot_do_is_refused_with_the_parameters_name(client, chat, wrong):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **wrong)
    assert caught.value.param and caught.value.type == "invalid_request_error"
    assert chat.asked == []


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[" * 200_000, b"[]"], ids=range(4))
def test_a_body_of_rubbish_is_refused(raw):
    with pytest.raises(Refusal) as caught:
        read_request(raw)
    assert caught.value.status == 400


def test_parts_of_text_and_the_developers_turn_are_read(client, chat):
    ask(client, messages=[{"role": "developer", "content": "Be brief."},
                          {"role": "user", "content": [{"type": "text", "text": "Hel"},
                                                       {"type": "text", "text": "lo"}]}])
    assert chat.asked[0]["messages"] == [{"role": "system", "content": "Be brief."}, *ASKED]


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_model_refuses_is_told_in_openais_shape(client, chat, stream):
    chat.error = UserError("The conversation has 900 tokens; this model reads 512.", "Shorten it.")
    with pytest.raises(openai.BadRequestError, match="900 tokens"):
        ask(client, stream=stream)


def test_a_bug_in_the_chat_process_is_a_server_error(client, chat):
    chat.error = RuntimeError("Traceback: boom")
    with pytest.raises(openai.InternalServerError):
        ask(client)


def test_another_web_site_is_refused_even_with_the_key(address, key):
    answer = httpx.get(f"{address}/models", headers={
        "Authorization": f"Bearer {key}", "Origin": "http://evil.test"})
    assert answer.status_code == 403 and "web site" in answer.text


def test_half_a_character_is_held_back(client, chat):
    chat.words = ["a", "\ufffd", ""]
    chat.stream = lambda method, **_: iter(
        {"texts": [text], "done": text == "a电", "answers": [{"tokens": 1, "prompt_tokens": 1}]}
        for text in ("a", "a\ufffd", "a电"))
    pieces = [p.choices[0].delta.content for p in ask(client, stream=True)]
    assert "".join(filter(None, pieces)) == "a电"
