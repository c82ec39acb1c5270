"""Numbers, times and small pieces of HTML as a person reads them."""

import html
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from core.errors import UserError


def count(number: float) -> str:
    """1234 -> '1,234', 6910365696 -> '6.91 B', 0.123 -> '0.12'."""
    for size, unit in ((1e9, "B"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.2g}"


def memory(size_bytes: float) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"


def duration(seconds: float) -> str:
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def when(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(timestamp)) if timestamp else ""


def model_name(base_model: str) -> str:
    """The last part of a model's id or path, as people call it."""
    return base_model.rstrip("/").rpartition("/")[2].removeprefix("starter:")


def data_name(dataset: str) -> str:
    return dataset.rstrip("/").rpartition("/")[2].removeprefix("sample:")


def opened(folder: Path) -> str:
    """Show a folder in this machine's file manager, where it has one; says where it is."""
    if sys.platform == "win32":
        os.startfile(folder)
        return f"Opened {folder}."
    opener = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    if opener and (sys.platform == "darwin" or os.environ.get("DISPLAY")
                   or os.environ.get("WAYLAND_DISPLAY")):
        subprocess.Popen([opener, str(folder)], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, start_new_session=True)
        return f"Opened {folder}."
    return f"The folder is {folder}."


def note(text: str, level: str = "info") -> str:
    """A line with an icon; `level` is info, warning or error. Text is escaped."""
    lines = "<br>".join(html.escape(line) for line in text.splitlines())
    return f'<div class="td-note td-note-{level}" role="status"><div>{lines}</div></div>'


def line(text: str) -> str:
    """A quiet line of text, escaped."""
    return f'<p class="td-line" role="status">{html.escape(text)}</p>'


def error_note(error: UserError) -> str:
    return note(f"{error.problem}\n{error.remedy}".strip(), "error")


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of label over value."""
    cards = "".join(f"<div><dt>{html.escape(label)}</dt><dd>{html.escape(value)}</dd></div>"
                    for label, value in pairs)
    return f'<dl class="td-facts">{cards}</dl>'


def phase(report: dict) -> str:
    """A note on a phase with the share that is done, where it is known."""
    share = report.get("share")
    return line(report["phase"] + ("…" if share is None else f", {share:.0%}"))
