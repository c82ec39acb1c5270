"""Which files the server gives out and takes in: its temporary ones only; none too large."""

import hashlib
import os
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.responses import PlainTextResponse

from core.confine import is_inside
from core.files import write_whole

# Gradio's routes that read a file by its path, an address of another server, or write program code
# or files that the page has no use for.
FILE = re.compile(r"(?:/gradio_api)?/file[=/](.*)", re.DOTALL)
NEVER = re.compile(r"(?:/gradio_api)?/(?:proxy=|vibe-|undo-vibe-|dev/|process_recording"
                   r"|custom_component/|profiling/|deep_link|stream/|run-history/)")
UPLOAD = re.compile(r"(?:/gradio_api)?/upload/?")
# What a form adds around a file; what a disk must keep for runs at work.
FORM_BYTES, RESERVE_BYTES = 1 << 16, 1 << 30

# A file that somebody uploaded may be a page with scripts; in this app's origin none may run.
AS_DATA = [(b"content-security-policy", b"sandbox; default-src 'none'"),
           (b"x-content-type-options", b"nosniff")]

# Files to save, kept for pages which may still link to them. Each change of settings makes one.
MOST_OFFERED = 1000


def offer(temporary: Path, name: str, text: str) -> str:
    """A file of this name to save, by its path. Each text has a folder of its own: Gradio gives out
    what lies in `temporary` as it is by then, and another page may have written by then."""
    offered = temporary / "offered"
    folder = offered / hashlib.sha256(text.encode()).hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / name, text, durable=False)
    os.utime(folder)
    for old in sorted(offered.iterdir(), key=_time)[:-MOST_OFFERED]:
        shutil.rmtree(old, ignore_errors=True)
    return str(folder / name)


def _time(folder: Path) -> float:
    return folder.stat().st_mtime if folder.exists() else 0.0


class Files:
    """ASGI middleware. The page offers downloads from `temporary`, where Gradio puts uploads too;
    nothing else is given out, whatever Gradio or its environment variables would allow."""

    def __init__(self, app: Callable[..., Awaitable[None]], temporary: Path, limit_bytes: int):
        self._app, self._temporary, self._limit_bytes = app, temporary, limit_bytes

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            return await self._app(scope, receive, _as_data(send) if _is_file(scope) else send)
        status, words = refusal
        await PlainTextResponse(words, status, {"Connection": "close"})(scope, receive, send)

    def _refusal(self, scope: dict[str, Any]) -> tuple[int, str] | None:
        path = scope["path"]
        if NEVER.match(path):
            return 404, "There is nothing here."
        asked = FILE.fullmatch(path)
        if asked and not is_inside(asked[1], self._temporary):
            return 403, "Only files that this page offers are given out."
        if UPLOAD.fullmatch(path) and scope["method"] == "POST":
            return self._upload_refusal(dict(scope["headers"]).get(b"content-length", b""))
        return None

    def _upload_refusal(self, length: bytes) -> tuple[int, str] | None:
        if not length.isdigit():
            return 411, "An upload has to say how long it is."
        if int(length) > self._limit_bytes + FORM_BYTES:
            return 413, (f"This is more than {self._limit_bytes / 1e6:,.0f} MB. Put the file on "
                         "the computer of TuneDesk and type its path, or start with a larger "
                         "--upload-limit.")
        if int(length) > shutil.disk_usage(self._temporary).free - RESERVE_BYTES:
            return 507, "The disk of TuneDesk's data folder is nearly full."
        return None


def _is_file(scope: dict[str, Any]) -> bool:
    return scope["type"] == "http" and FILE.fullmatch(scope["path"]) is not None


def _as_data(send: Any) -> Any:
    async def send_as_data(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = message | {"headers": [*message["headers"], *AS_DATA]}
        await send(message)

    return send_as_data
