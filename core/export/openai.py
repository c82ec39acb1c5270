"""OpenAI's chat completions in our words and back: requests, answers, chunks, errors."""

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

MOST_STOPS = 4
DEFAULT_MAX_TOKENS = 2048
UNDECODED = "\ufffd"  # the tokenizer's mark for a character whose bytes aren't all there yet
TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
         404: "invalid_request_error", 429: "rate_limit_error", 500: "server_error",
         503: "server_error"}
Json = dict[str, Any]


class Refusal(Exception):
    """A request that isn't answered, with its HTTP status and OpenAI's name for why."""

    def __init__(self, status: int, problem: str, code: str | None = None,
                 parameter: str | None = None):
        super().__init__(problem)
        self.status, self.problem, self.code, self.parameter = status, problem, code, parameter

    def told(self) -> Json:
        return {"error": {"message": self.problem, "type": TYPES[self.status],
                          "param": self.parameter, "code": self.code}}


@dataclass(frozen=True)
class Request:
    """A checked request. `sampling` is what the chat process takes."""

    model: str
    messages: list[dict[str, str]]
    sampling: Json
    stops: tuple[str, ...] = ()
    stream: bool = False
    with_usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))


def read_request(raw: bytes) -> Request:
    """Refusal where the body isn't a request that can be answered."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):  # the second: brackets without end
        raise Refusal(400, "The body is no JSON.") from None
    if not isinstance(body, dict):
        raise Refusal(400, "The body needs to be a JSON object.")
    _refuse_unknown(body)
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    seed = body.get("seed")
    return Request(
        model=str(body.get("model", "")), messages=_messages(body.get("messages")),
        sampling={
            "temperature": _number(body, "temperature", 1.0, 0, 2),
            "top_p": max(0.01, _number(body, "top_p", 1.0, 0, 1)),
            "max_new_tokens": DEFAULT_MAX_TOKENS if most is None else int(_number(
                {"max_tokens": most}, "max_tokens", 1, 1, 32_768)),
            "seed": secrets.randbelow(2**31) if seed is None else int(_number(
                body, "seed", 0, -2**63, 2**64 - 1)) % 2**63},
        stops=_stops(body.get("stop")), stream=bool(body.get("stream")),
        with_usage=bool(_object(body, "stream_options").get("include_usage")))


def _refuse_unknown(body: Json) -> None:
    """What can't be done is refused: a client that asked for it would take the answer wrongly."""
    answers = body.get("n")
    for name, asked in (("n", answers not in (None, 1)), ("tools", body.get("tools")),
                        ("functions", body.get("functions")), ("logprobs", body.get("logprobs")),
                        ("response_format",
                         _object(body, "response_format").get("type", "text") != "text")):
        if asked:
            raise Refusal(400, f"'{name}' isn't supported here.", "unsupported_parameter", name)


def _object(body: Json, name: str) -> Json:
    found = body.get(name)
    if found is None or isinstance(found, dict):
        return found or {}
    raise Refusal(400, f"'{name}' needs to be a JSON object.", parameter=name)


def _messages(found: Any) -> list[dict[str, str]]:
    if not isinstance(found, list) or not found:
        raise Refusal(400, "'messages' needs to be a list with at least one message.",
                      parameter="messages")
    return [_message(each, f"messages[{number}]") for number, each in enumerate(found)]


def _message(found: Any, name: str) -> dict[str, str]:
    roles = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
    role = roles.get(found.get("role")) if isinstance(found, dict) else None
    if role is None:
        raise Refusal(400, f"{name} needs a role of {', '.join(roles)}.", parameter=name)
    content = found.get("content")
    if isinstance(content, list):
        if any(not isinstance(part, dict) or part.get("type") != "text" for part in content):
            raise Refusal(400, f"{name} holds something else than text, which this model can't "
                               "read.", parameter=name)
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise Refusal(400, f"{name} needs 'content' as text.", parameter=name)
    return {"role": role, "content": content}


def _number(body: Json, name: str, default: float, low: float, high: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise Refusal(400, f"'{name}' is {json.dumps(value)}, needs a number of {low:g} to "
                           f"{high:g}.", parameter=name)
    return value


def _stops(found: Any) -> tuple[str, ...]:
    stops = [found] if isinstance(found, str) else found or []
    if not isinstance(stops, list) or len(stops) > MOST_STOPS or not all(
            isinstance(stop, str) and stop for stop in stops):
        raise Refusal(400, f"'stop' needs one text or a list of at most {MOST_STOPS}.",
                      parameter="stop")
    return tuple(stops)


def settled(text: str, stops: tuple[str, ...], done: bool) -> tuple[str, bool]:
    """The part of a growing answer that won't change any more, and whether a stop text ended it.
    What may be the beginning of a stop text or of a character is held back until it is known."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    if found:
        return text[:min(found)], True
    if done:
        return text, False
    text = text.rstrip(UNDECODED)
    for length in range(max(map(len, stops), default=1) - 1, 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops if length <= len(text)):
            return text[:-length], False
    return text, False


def completion(request: Request, text: str, reason: str, usage: Json) -> Json:
    return {"id": request.id, "object": "chat.completion", "created": request.created,
            "model": request.model, "usage": usage, "choices": [{
                "index": 0, "finish_reason": reason, "logprobs": None,
                "message": {"role": "assistant", "content": text, "refusal": None}}]}


def chunk(request: Request, delta: Json, reason: str | None = None) -> Json:
    made = {"id": request.id, "object": "chat.completion.chunk", "created": request.created,
            "model": request.model, "choices": [
                {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]}
    return made | ({"usage": None} if request.with_usage else {})


def usage_chunk(request: Request, usage: Json) -> Json:
    return chunk(request, {}) | {"choices": [], "usage": usage}


def models(name: str) -> Json:
    return {"object": "list", "data": [model(name)]}


def model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "tunedesk"}


def event(value: Json) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
