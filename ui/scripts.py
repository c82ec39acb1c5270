"""The scripts of the page's own views; those of one view are joined to one."""

from core.files import Folders

VIEWS = {
    "welcome": ("nodes.js", "welcome.js"),
    "path": ("path.js",),
    "prospect": ("prospect.js",),
    "data_room": ("nodes.js", "data_parts.js", "token_view.js", "data_room.js"),
    "run": ("chart.js", "run_view.js"),
    "runs": ("chart.js", "runs.js"),
    "evaluation": ("nodes.js", "evaluation_view.js"),
}


def script(view: str, folders: Folders) -> str:
    return "".join((folders.assets / name).read_text(encoding="utf-8") for name in VIEWS[view])
