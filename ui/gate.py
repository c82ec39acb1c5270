"""Asks for the password before anything is served: the page, its files, the endpoints."""

import asyncio
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from core import password
from core.files import Folders

LOGIN = "/login"
# The endpoint for other programs has a key of its own; the server asks the other one when it
# starts, and it tells nothing.
# The manifest and icons of the app, which browsers fetch without a cookie, tell nothing of it.
OPEN = ("/v1/", "/gradio_api/startup-events", "/manifest.json", "/icons/")
SESSION_SECONDS, MOST_SESSIONS = 7 * 86_400, 1000
LONGEST_FORM = 4096  # bytes
FREE_TRIES, LONGEST_WAIT, FORGET_SECONDS, MOST_ADDRESSES = 3, 900, 3600, 10_000

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>TuneDesk</title>
<meta name="viewport" content="width=device-width"><style>
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
form{max-width:20rem;margin:20vh auto;padding:0 1rem;display:grid;gap:.8rem}
h1{margin:0}input,button{font:inherit;padding:.5rem .7rem}</style>
<form method="post" action="/login"><h1>TuneDesk</h1><label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required
 autofocus><button>Log in</button><p role="alert">%s</p></form></html>"""


class Waits:
    """How long an address waits after wrong passwords: nothing for the first, then twice as long
    after each. What it knows is forgotten an hour after the last try."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._tries: OrderedDict[str, tuple[int, float]] = OrderedDict()  # count, when the last was

    def seconds(self, address: str) -> float:
        count, last = self._tries.get(_network(address), (0, 0.0))
        if count < FREE_TRIES:
            return 0.0
        wait = min(2.0 ** min(count - FREE_TRIES, 20), LONGEST_WAIT)
        return max(0.0, last + wait - self._clock())

    def tried(self, address: str) -> None:
        """Counts before the password is looked at, so that tries side by side count as well."""
        now = self._clock()
        count, last = self._tries.pop(_network(address), (0, now))
        self._tries[_network(address)] = (1 if now - last > FORGET_SECONDS else count + 1, now)
        if len(self._tries) > MOST_ADDRESSES:
            self._tries.popitem(last=False)

    def admitted(self, address: str) -> None:
        self._tries.pop(_network(address), None)


def _network(address: str) -> str:
    """An IPv6 address's network of 64 bits: a whole one is handed to each subscriber."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(found if found.version == 4 else ipaddress.ip_network((int(found) >> 64 << 64, 64)))


class Gate:
    """ASGI middleware. Who knows the password gets a cookie that no script and no other site can
    use; a restart of the server ends all of them. Wrong passwords make their address wait."""

    def __init__(self, app: Callable[..., Awaitable[None]], folders: Folders,
                 waits: Waits | None = None):
        self._app, self._folders = app, folders
        self._waits = waits or Waits()
        self._turn = asyncio.Lock()  # a hash takes 32 MiB; a crowd of guesses mustn't take more
        self._sessions: OrderedDict[str, float] = OrderedDict()  # cookie: when it ends

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        if scope["type"] == "http" and scope["path"] == LOGIN:
            answer = await self._log_in(Request(scope, receive))
            return await answer(scope, receive, send)
        if scope["path"].startswith(OPEN) or self._is_known(scope):
            return await self._app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        await _asks(Request(scope))(scope, receive, send)

    def _is_known(self, scope: dict[str, Any]) -> bool:
        given = b"; ".join(value for name, value in scope["headers"] if name.lower() == b"cookie")
        try:
            cookie = SimpleCookie(given.decode("latin1")).get(_cookie_name(scope))
        except CookieError:
            return False
        return cookie is not None and self._sessions.get(cookie.value, 0) > time.monotonic()

    async def _log_in(self, request: Request) -> Response:
        if request.method != "POST":
            return HTMLResponse(PAGE % "")
        address = request.client.host if request.client else ""
        if wait := self._waits.seconds(address):
            return _refused(request, 429, f"Too many wrong passwords: wait {int(wait) + 1} s, then "
                            "try again.", {"Retry-After": str(int(wait) + 1)})
        self._waits.tried(address)
        given = await _password(request)
        async with self._turn:
            is_right = await run_in_threadpool(password.admits, given, self._folders)
        if not is_right:
            return _refused(request, 401, "That isn't the password.")
        self._waits.admitted(address)
        return self._welcome(request)

    def _welcome(self, request: Request) -> Response:
        token = secrets.token_urlsafe(32)
        self._sessions[token] = time.monotonic() + SESSION_SECONDS
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        answer = Response(status_code=303, headers={"Location": "/"}) if _is_browser(request) \
            else JSONResponse({"success": True})
        answer.set_cookie(_cookie_name(request.scope), token, max_age=SESSION_SECONDS,
                          httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return answer


async def _password(request: Request) -> str:
    """From the form as browsers and gradio_client send it; empty for anything else."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_FORM:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0]


def _asks(request: Request) -> Response:
    if request.method == "GET" and _is_browser(request):
        return HTMLResponse(PAGE % "", 401)
    return PlainTextResponse("A password is needed: POST it to /login as the form field "
                             "'password', then send the cookie.", 401)


def _refused(request: Request, status: int, words: str, headers: dict | None = None) -> Response:
    if _is_browser(request):
        return HTMLResponse(PAGE % words, status, headers)
    return PlainTextResponse(words, status, headers)


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _cookie_name(scope: dict[str, Any]) -> str:
    """Browsers share cookies between the ports of a host; two servers mustn't."""
    return f"tunedesk-{scope['server'][1]}" if scope.get("server") else "tunedesk"
