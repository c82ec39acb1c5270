"""The page in a window of its own, which asks what becomes of a run when it is closed."""

import shutil
import subprocess
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

BROWSERS = ("chromium", "google-chrome", "chrome", "microsoft-edge", "brave-browser")
WIDTH, HEIGHT = 1440, 900


def open_window(url: str, question: Path, at_work: Callable[[], bool],
                stop: Callable[[], None]) -> bool:
    """With pywebview where it is installed; True when its window was closed. Else False at once,
    and a browser without address bar shows the page, or the browser as it is. `question` is the
    script that asks, `stop` has the run stop and save."""
    try:
        import webview
    except ImportError:
        _in_a_browser(url)
        return False
    show(webview, url, question, at_work, stop)
    return True


def show(webview: ModuleType, url: str, question: Path, at_work: Callable[[], bool],
         stop: Callable[[], None]) -> None:
    """Returns when the window is closed."""
    asked = threading.Event()

    def leave(and_stop: bool) -> None:
        """What the question answers: called from its buttons."""
        if and_stop:
            stop()
        window.destroy()

    def stay() -> None:
        asked.clear()

    def on_closing() -> bool:
        """A second try closes without a word: the run goes on, as it would by itself."""
        if asked.is_set() or not at_work():
            return True
        asked.set()
        # The window's own thread waits for this answer, and a script needs that thread.
        threading.Thread(target=window.evaluate_js, args=[question.read_text(encoding="utf-8")],
                         daemon=True).start()
        return False

    window = webview.create_window("TuneDesk", url, width=WIDTH, height=HEIGHT)
    window.expose(leave, stay)
    window.events.closing += on_closing
    webview.start()


def _in_a_browser(url: str) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser:
        subprocess.Popen([browser, f"--app={url}"], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    else:
        webbrowser.open(url)
