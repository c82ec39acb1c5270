"""Refuses requests that another web site makes through the person's browser."""

import ipaddress
from collections.abc import Awaitable, Callable, Collection
from typing import Any
from urllib.parse import urlsplit

LOCAL_NAMES = {"127.0.0.1", "localhost", "[::1]"}
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
# In another site's frame the person would click on what they don't see.
UNFRAMED = [(b"content-security-policy", b"frame-ancestors 'self'"),
            (b"x-frame-options", b"SAMEORIGIN")]


class Guard:
    """ASGI middleware. A Host that isn't this machine's is DNS rebinding (421); a request from a
    page of another origin is a forged one (403). Programs send no Origin and pass. No page of
    another origin may show this one in a frame.

    `names` are host names besides the local ones; with them any IP address is let in, too: a name
    can be bound to another address, an address can't."""

    def __init__(self, app: Callable[..., Awaitable[None]], names: Collection[str] = ()):
        self._app, self._names = app, frozenset(name.lower() for name in names)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self._app(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            status, words = refusal
            await send({"type": "http.response.start", "status": status,
                        "headers": [(b"content-type", b"text/plain; charset=utf-8")]})
            await send({"type": "http.response.body", "body": words.encode()})

    def _refusal(self, scope: dict[str, Any]) -> tuple[int, str] | None:
        headers = {name.decode("latin1").lower(): value.decode("latin1")
                   for name, value in scope["headers"]}
        host = headers.get("host", "")
        if not self._is_here(host):
            return 421, ("TuneDesk doesn't answer to this name. It answers to "
                         f"{', '.join(sorted({*LOCAL_NAMES, *self._names}))}; --name adds one.")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if origin is not None and not _is_of(origin, host):
            return 403, "This request comes from another web site."
        is_visit = scope.get("method") in SAFE_METHODS and headers.get(
            "sec-fetch-mode") == "navigate"
        if site not in ("none", "same-origin") and not is_visit:
            return 403, "This request comes from another web site."
        return None

    def _is_here(self, host: str) -> bool:
        name, _, port = host.lower().rpartition(":")
        name = name if name and port.isdigit() else host.lower()
        return name in LOCAL_NAMES or name in self._names or bool(self._names) and _is_address(name)


def _unframed(send: Any) -> Any:
    async def send_unframed(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = message | {"headers": [*message["headers"], *UNFRAMED]}
        await send(message)

    return send_unframed


def _is_of(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc == host
    except ValueError:  # it is no address
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
