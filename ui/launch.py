"""Serves the page on this machine, in a browser tab or in a window of its own."""

import ipaddress
import os
import signal
import socket
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

# Gradio reads these when it is imported. Each queued event would run a summary of all events so
# far; and its temporary folder, which uploads pass through, would be readable by every user.
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# The server would believe whoever connects from this machine, a tunnel above all, when it names
# another address; each guess at the password would come from an address of its own.
os.environ.setdefault("FORWARDED_ALLOW_IPS", "")

import gradio as gr
from starlette.middleware import Middleware

from core import password
from core.errors import UserError
from core.files import Folders
from ui import concepts, endpoint, language, manifest, page, theme, window
from ui.files import Files
from ui.gate import Gate
from ui.guard import Guard
from ui.services import Services

TRIES = 100
UPLOAD_MEGABYTES = 2000


@dataclass(frozen=True)
class Listening:
    """Where the server listens, by which names it is reached besides this machine's own, and how
    much it takes in at once."""

    port: int = 7860
    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    upload_megabytes: int = UPLOAD_MEGABYTES

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it, and nobody from elsewhere by a tunnel's name."""
        try:
            is_loopback = ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            is_loopback = self.host == "localhost"
        return is_loopback and not self.names

    def own_address(self, url: str) -> str:
        """Where this machine's browser finds it: one that listens at all addresses is at none of
        that name."""
        own = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host.strip("[]"))
        return f"http://{own}:{urlsplit(url).port}/" if own else url

    def middleware(self, folders: Folders) -> list[Middleware]:
        """What each request goes through. UserError where it would be open to others."""
        if not self.is_local and not password.is_set(folders):
            raise UserError("Others could reach this server, and it has no password.",
                            "Set one with: python app.py password. Or leave out --host and --name.")
        names = () if self.is_local else (socket.gethostname(), *self.names)
        gate = [Middleware(Gate, folders=folders)] if password.is_set(folders) else []
        files = Middleware(Files, temporary=folders.temporary,
                           limit_bytes=self.upload_megabytes * 10**6)
        return [Middleware(Guard, names=names), *gate, files]


def start(services: Services, listening: Listening) -> tuple[gr.Blocks, str]:
    """The running server and its address. Long-lived work starts with it."""
    middleware = listening.middleware(services.folders)
    os.environ["GRADIO_TEMP_DIR"] = str(services.folders.temporary)
    os.environ["GRADIO_ALLOWED_PATHS"] = ""  # what lies under them would open in the browser
    blocks = page.build(services)
    blocks.queue(default_concurrency_limit=8)
    services.desk.start()
    _, url, _ = on_free_port(listening.port, lambda free: blocks.launch(
        server_name=listening.host, server_port=free, prevent_thread_lock=True, quiet=True,
        share=False, run_history=False, enable_monitoring=False, ssr_mode=False, mcp_server=False,
        pwa=True, max_file_size=listening.upload_megabytes * 10**6, theme=theme.theme(),
        footer_links=["settings"],
        css_paths=[services.folders.assets / name
                   for name in ("style.css", "runs.css", "language.css", "concepts.css")],
        favicon_path=services.folders.assets / "logo.svg",
        head=language.head(services.folders) + concepts.head(services.folders),
        app_kwargs={"middleware": middleware, "routes": [
            endpoint.mount(services), language.route(services.folders),
            *manifest.routes(services.folders)]},
        # Else Gradio asks for the page itself, and gives up when a busy machine takes 3 s for it.
        _frontend=False), listening.host)
    url = listening.own_address(url)
    services.queue.start(url)
    return blocks, url


def _asked_to_end() -> SimpleQueue[int]:
    """Where Ctrl+C and a service manager's SIGTERM leave a note. An exception raised out of a
    signal's handler is lost when it falls into a finalizer. The second time it isn't waited for.
    Other than an event's, this queue's methods may interrupt each other."""
    asked: SimpleQueue[int] = SimpleQueue()

    def note(number: int, _: Any) -> None:
        asked.put(number)
        signal.signal(number, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return asked


def serve(services: Services, listening: Listening, own_window: bool, open_browser: bool) -> None:
    """Serve until interrupted. Runs that are at work go on by themselves."""
    blocks, asked = None, _asked_to_end()
    try:
        blocks, url = start(services, listening)
        print(f"TuneDesk is at {url} (Ctrl+C ends it; a run at work goes on).", flush=True)
        if not listening.is_local:
            print("Others reach it by this machine's name or address, with the password.",
                  flush=True)
        if elsewhere := services.queue.elsewhere():
            print(elsewhere, flush=True)
        if own_window and window.open_window(url, services.folders.assets / "leave.js",
                                             at_work=lambda: bool(services.queue.active()),
                                             stop=lambda: _stop_all(services)):
            return
        if open_browser and not own_window:
            webbrowser.open(url)
        asked.get()
    except KeyboardInterrupt:
        print("\nAsked twice: nothing is waited for.")
    finally:
        print("\nTuneDesk ends.", flush=True)
        if blocks is not None:
            blocks.close(verbose=False)
        services.queue.close()
        services.exports.close()
        services.desk.stop()
        services.chat.stop()
        services.examiner.stop()


def _stop_all(services: Services) -> None:
    for run in services.queue.active():
        if run.status().state != "queued":
            services.queue.stop(run.id)


def on_free_port(wanted: int, listen: Callable[[int], Any], host: str = "127.0.0.1") -> Any:
    """What `listen` returns for `wanted`, or for the next port that is free. Another program may
    take a port between the look and the use; then the next is tried."""
    while True:
        port = free_port(wanted, host)
        try:
            return listen(port)
        except OSError:
            if free_port(port, host) == port:
                raise  # it wasn't for the port


def free_port(wanted: int, host: str) -> int:
    """`wanted`, or the next port that nothing listens on."""
    for port in range(wanted, min(wanted + TRIES, 65_536)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            if os.name != "nt":  # there it would mean: share the port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), port))
            except OSError:
                continue
            return port
    raise UserError(f"The ports {wanted} to {wanted + TRIES - 1} are all in use.",
                    "Choose another with --port.")
