"""The OpenAI-compatible endpoint on this app's port: /v1/models and /v1/chat/completions."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from core.errors import UserError
from core.export import openai, served
from core.export.openai import Refusal
from ui import sampling
from ui.services import Services

MOST_AT_ONCE = 8  # the model answers one after the other; more than these are sent away
LOOK_SECONDS = 0.5  # how soon a client that hung up is noticed


def mount(services: Services) -> Mount:
    """The routes, for the app that serves the page."""
    room = asyncio.Semaphore(MOST_AT_ONCE)
    return Mount("/v1", routes=[
        Route("/models", _guarded(_list_models, services)),
        Route("/models/{name:path}", _guarded(_tell_model, services)),
        Route("/chat/completions", _guarded(_chat(room), services), methods=["POST"])])


def _guarded(answer: Callable, services: Services) -> Callable:
    """An endpoint for who has the key, while it is switched on; refusals in OpenAI's shape."""
    async def endpoint(request: HttpRequest) -> Response:
        try:
            now = served.read(services.folders)
            if not now.is_on:
                raise Refusal(403, "The endpoint is switched off. Switch it on in the Export tab "
                                   "of TuneDesk.", "endpoint_off")
            scheme, _, key = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not now.admits(key.strip()):
                raise Refusal(401, "The API key is missing or isn't the one that TuneDesk showed "
                                   "when the endpoint was switched on.", "invalid_api_key")
            return await answer(request, now, services)
        except Refusal as refusal:
            headers = {"Retry-After": "2"} if refusal.status == 429 else {}
            return JSONResponse(refusal.told(), refusal.status, headers)
    return endpoint


async def _list_models(request: HttpRequest, now: served.Served, services: Services) -> Response:
    return JSONResponse(openai.models(now.model))


async def _tell_model(request: HttpRequest, now: served.Served, services: Services) -> Response:
    _require_model(request.path_params["name"], now)
    return JSONResponse(openai.model(now.model))


def _require_model(name: str, now: served.Served) -> None:
    if name != now.model:
        raise Refusal(404, f"There is no model '{name}' here; '{now.model}' is served.",
                      "model_not_found", "model")


def _chat(room: asyncio.Semaphore) -> Callable:
    async def chat(request: HttpRequest, now: served.Served, services: Services) -> Response:
        asked = openai.read_request(await request.body())
        _require_model(asked.model, now)
        if room.locked():
            raise Refusal(429, f"{MOST_AT_ONCE} requests wait already; ask again in a moment.",
                          "rate_limit_exceeded")
        gpu_is_taken = sampling.gpu_is_taken(services)
        await room.acquire()
        answer = _Answer(services, now, asked, gpu_is_taken, room.release)
        try:
            first = await answer.next(request)  # so that what is wrong has its own HTTP status
        except BaseException:
            answer.leave()
            raise
        if asked.stream:
            return StreamingResponse(_events(answer, asked, first, request),
                                     media_type="text/event-stream",
                                     headers={"Cache-Control": "no-cache"})
        try:
            last = first
            while not last.done:
                last = await answer.next(request)
            return JSONResponse(openai.completion(asked, last.text, last.reason, last.usage))
        finally:
            answer.leave()
    return chat


async def _events(answer: "_Answer", asked: openai.Request, first: "_Part",
                  request: HttpRequest) -> AsyncIterator[str]:
    """The answer as server-sent events. Its end, or the client's, ends the work on it."""
    try:
        yield openai.event(openai.chunk(asked, {"role": "assistant", "content": ""}))
        part, sent = first, 0
        while True:
            if part.text[sent:]:
                yield openai.event(openai.chunk(asked, {"content": part.text[sent:]}))
                sent = len(part.text)
            if part.done:
                break
            part = await answer.next(request)
        yield openai.event(openai.chunk(asked, {}, part.reason))
        if asked.with_usage:
            yield openai.event(openai.usage_chunk(asked, part.usage))
        yield "data: [DONE]\n\n"
    except Refusal as refusal:
        yield openai.event(refusal.told())
    finally:
        answer.leave()


@dataclass(frozen=True)
class _Part:
    """An answer as far as it has grown."""

    text: str
    done: bool
    reason: str
    usage: dict[str, int]


class _Answer:
    """An answer of the chat process, read in a thread of its own: the threads that serve the page
    mustn't wait for a model. Leaving it stops the model at its next token."""

    def __init__(self, services: Services, now: served.Served, asked: openai.Request,
                 gpu_is_taken: bool, on_end: Callable[[], None]):
        self._parts: asyncio.Queue = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._left = threading.Event()
        self._asked, self._gpu_is_taken = asked, gpu_is_taken
        stream = services.chat.stream(
            "answer", settings=now.settings, runs=[now.run], messages=asked.messages,
            sampling=asked.sampling, gpu_is_taken=gpu_is_taken)
        threading.Thread(target=self._read, args=(stream, on_end), daemon=True).start()

    async def next(self, request: HttpRequest) -> _Part:
        """The next part; Refusal for what the chat process refuses, or where the client left."""
        while True:
            if await request.is_disconnected():
                self.leave()
                raise Refusal(400, "The client hung up.")
            with contextlib.suppress(TimeoutError):
                part = await asyncio.wait_for(self._parts.get(), LOOK_SECONDS)
                if isinstance(part, Refusal):
                    raise part
                return part

    def leave(self) -> None:
        self._left.set()

    def _read(self, stream: Iterator[dict[str, Any]], on_end: Callable[[], None]) -> None:
        try:
            for item in stream:
                if self._left.is_set():
                    break
                if "texts" not in item:
                    continue
                part = self._part(item)
                self._put(part)
                if part.done:
                    break
        except UserError as error:
            status = 503 if self._gpu_is_taken else 400
            self._put(Refusal(status, f"{error.problem} {error.remedy}".strip()))
        except RuntimeError as error:  # a bug in the chat process; its traceback goes to the log
            print(error, flush=True)
            self._put(Refusal(500, "The chat process met a bug; TuneDesk's log tells more."))
        finally:
            stream.close()
            self._on_loop(on_end)

    def _part(self, item: dict[str, Any]) -> _Part:
        text, stopped = openai.settled(item["texts"][0], self._asked.stops, item["done"])
        about = item["answers"][0]
        prompt, completion = about["prompt_tokens"], about["tokens"]
        is_full = completion >= self._asked.sampling["max_new_tokens"]
        ended_by = "stop" if stopped else about.get("ended_by", "length" if is_full else "")
        return _Part(text, item["done"] or stopped, "length" if ended_by == "length" else "stop",
                     {"prompt_tokens": prompt, "completion_tokens": completion,
                      "total_tokens": prompt + completion})

    def _put(self, part: _Part | Refusal) -> None:
        self._on_loop(self._parts.put_nowait, part)

    def _on_loop(self, function: Callable, *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return  # the server has ended, and with it everyone who waited
