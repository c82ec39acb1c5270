"""The welcome of the first start, and what its three goals set; its button stays in the header."""

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from core.errors import UserError
from core.presets import load_preset
from core.projects import PROJECTS, project_settings
from core.training.names import name_of
from ui import words
from ui.form import Form
from ui.scripts import script
from ui.services import Services, friendly

BUTTON = ('<button type="button" class="td-help-button" id="welcome-open" title="First steps" '
          'aria-label="First steps">?</button>')
OWN_PRESET = "Balanced"


def draw(services: Services) -> gr.HTML:
    """The dialog with its button, for the header."""
    return gr.HTML({"show": False}, html_template=BUTTON,
                   js_on_load=script("welcome", services.folders),
                   server_functions=[_reader(services)], apply_default_css=False,
                   elem_id="welcome")


def connect(view: gr.HTML, form: Form, services: Services, page: gr.Blocks, tabs: gr.Tabs,
            after: list[dict[str, Any]]) -> None:
    """Wires the dialog; `after` are events that follow when settings were replaced."""
    done = services.folders.home / "welcomed"

    def on_load() -> dict[str, Any]:
        return {"show": not done.exists() and not services.runs()}

    def on_closed() -> None:
        done.touch()

    def on_chosen(event: gr.EventData, *values: Any) -> list[Any]:
        done.touch()
        if event.goal == "continue":
            return [gr.skip()] * len(form.widgets) + [gr.update(selected="runs")]
        raw = project_settings(event.project, services.folders) if event.goal == "try" \
            else _own(form.raw(values), event.model, services)
        return [*form.show(raw), gr.update(selected="data")]

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    page.load(on_load, None, view, **quiet)
    view.closed(friendly(on_closed), None, None, **quiet)
    chosen = view.chosen(friendly(on_chosen), form.widgets, [*form.widgets, tabs], **quiet)
    for event in after:
        chosen = chosen.success(**event)


def _own(raw: dict[str, Any], model: str, services: Services) -> dict[str, Any]:
    """Settings for a person's own data, with the base model that was suggested."""
    settings = load_preset(OWN_PRESET, services.folders, raw | {
        "base_model": model or raw["base_model"], "revision": ""}).to_dict()
    # 4-bit weights save memory on a graphics card; a processor only takes longer with them.
    on_cpu = services.desk.call("machine")["kind"] == "cpu"
    return settings | ({"base_weights": "auto"} if on_cpu else {})


def _reader(services: Services) -> Callable[[list], str]:
    """The server function of the dialog: what this machine is good for, the sample projects, and
    the newest run, as JSON. It only reads."""
    def read_machine(_: list) -> str:
        found = services.runs()[:1]
        about: dict[str, Any] = {
            "projects": [{"id": name, "name": project.name, "words": project.words}
                         for name, project in PROJECTS.items()],
            "run": name_of(found[0]) if found else ""}
        try:
            device = services.desk.call("machine")
            about |= services.desk.call("fitting") | {"machine": device["words"],
                                                      "kind": device["kind"]}
        except UserError as error:
            about["problem"] = f"{error.problem} {error.remedy}"
        for size in about.get("sizes", []):
            size |= {"count": words.count(size["parameters"]),
                     "memory": words.memory(size["needs_bytes"])}
        return json.dumps(about)

    return read_machine
