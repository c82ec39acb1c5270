"""Serves the page on this machine, in a browser tab or in a window of its own."""

import os
import shutil
import socket
import subprocess
import threading
import webbrowser
from collections.abc import Callable
from typing import Any

# Gradio reads these when it is imported. Each queued event would run a summary of all events so
# far; and its temporary folder, which uploads pass through, would be readable by every user.
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from starlette.middleware import Middleware

from core.errors import UserError
from ui import endpoint, page, theme
from ui.guard import Guard
from ui.services import Services

HOST = "127.0.0.1"
TRIES = 100
UPLOAD_LIMIT = "2gb"
BROWSERS = ("chromium", "google-chrome", "chrome", "microsoft-edge", "brave-browser")


def start(services: Services, port: int) -> tuple[gr.Blocks, str]:
    """The running server and its address. Long-lived work starts with it."""
    os.environ["GRADIO_TEMP_DIR"] = str(services.folders.temporary)
    blocks = page.build(services)
    blocks.queue(default_concurrency_limit=8)
    services.desk.start()
    _, url, _ = on_free_port(port, lambda free: blocks.launch(
        server_name=HOST, server_port=free, prevent_thread_lock=True, quiet=True,
        share=False, run_history=False, enable_monitoring=False, ssr_mode=False, mcp_server=False,
        pwa=True, max_file_size=UPLOAD_LIMIT, theme=theme.theme(), footer_links=["settings"],
        css_paths=[services.folders.assets / name for name in ("style.css", "runs.css")],
        favicon_path=services.folders.assets / "logo.svg",
        app_kwargs={"middleware": [Middleware(Guard)], "routes": [endpoint.mount(services)]},
        # Else Gradio asks for the page itself, and gives up when a busy machine takes 3 s for it.
        _frontend=False))
    services.queue.start()
    return blocks, url


def serve(services: Services, port: int, window: bool, open_browser: bool) -> None:
    """Serve until interrupted. Runs that are at work go on by themselves."""
    blocks = None
    try:
        blocks, url = start(services, port)
        print(f"TuneDesk is at {url} (Ctrl+C ends it; a run at work goes on).", flush=True)
        if window:
            open_window(url)
        elif open_browser:
            webbrowser.open(url)
        threading.Event().wait()
    except KeyboardInterrupt:
        print("\nTuneDesk ends.")
    finally:
        if blocks is not None:
            blocks.close(verbose=False)
        services.queue.close()
        services.exports.close()
        services.desk.stop()
        services.chat.stop()
        services.examiner.stop()


def on_free_port(wanted: int, listen: Callable[[int], Any]) -> Any:
    """What `listen` returns for `wanted`, or for the next port that is free. Another program may
    take a port between the look and the use; then the next is tried."""
    while True:
        port = free_port(wanted)
        try:
            return listen(port)
        except OSError:
            if free_port(port) == port:
                raise  # it wasn't for the port


def free_port(wanted: int) -> int:
    """`wanted`, or the next port that nothing listens on."""
    for port in range(wanted, min(wanted + TRIES, 65_536)):
        with socket.socket() as probe:
            if os.name != "nt":  # there it would mean: share the port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise UserError(f"The ports {wanted} to {wanted + TRIES - 1} are all in use.",
                    "Choose another with --port.")


def open_window(url: str) -> None:
    """The page in a window of its own: pywebview where it is installed, else a browser without
    address bar, else the browser as it is. With pywebview, returns when the window is closed."""
    try:
        import webview
    except ImportError:
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser:
            subprocess.Popen([browser, f"--app={url}"], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        else:
            webbrowser.open(url)
        return
    webview.create_window("TuneDesk", url, width=1440, height=900)
    webview.start()
    raise KeyboardInterrupt
