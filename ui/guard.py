"""Refuses requests that another web site makes through the person's browser."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

LOCAL_NAMES = {"127.0.0.1", "localhost", "[::1]"}
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class Guard:
    """ASGI middleware. A Host that isn't this machine's is DNS rebinding (421); a request from a
    page of another origin is a forged one (403). Programs send no Origin and pass."""

    def __init__(self, app: Callable[..., Awaitable[None]]):
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        refusal = _refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            status, words = refusal
            await send({"type": "http.response.start", "status": status,
                        "headers": [(b"content-type", b"text/plain; charset=utf-8")]})
            await send({"type": "http.response.body", "body": words.encode()})


def _refusal(scope: dict[str, Any]) -> tuple[int, str] | None:
    headers = {name.decode("latin1").lower(): value.decode("latin1")
               for name, value in scope["headers"]}
    host = headers.get("host", "")
    if host.rpartition(":")[0] not in LOCAL_NAMES and host not in LOCAL_NAMES:
        return 421, "TuneDesk answers to 127.0.0.1 and localhost only."
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if origin is not None and urlsplit(origin).netloc != host:
        return 403, "This request comes from another web site."
    is_visit = scope.get("method") in SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
    if site not in ("none", "same-origin") and not is_visit:
        return 403, "This request comes from another web site."
    return None
