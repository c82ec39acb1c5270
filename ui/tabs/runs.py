"""The Runs tab: the line, every run there is, and what can be done with them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.config import Config
from core.errors import UserError
from core.training import archive, incoming, line, trash
from core.training.names import name_of
from core.training.run import Run, find_run
from ui import runs_view, words
from ui.form import Form
from ui.scripts import script
from ui.services import Services, friendly


@dataclass(frozen=True)
class RunsTab:
    view: gr.HTML
    grid: dict[str, gr.Textbox]
    start_grid: gr.Button
    edited: gr.Textbox
    save_edited: gr.Button
    upload: gr.UploadButton


def draw(services: Services) -> RunsTab:
    with gr.Row(visible=False, elem_classes="td-actions") as editing:
        save = gr.Button("Save the tabs' settings into the waiting run", variant="primary",
                         elem_id="runs-save-edited", min_width=340, scale=0)
    view = gr.HTML({"turn": 0, "said": ""}, html_template="",
                   js_on_load=script("runs", services.folders),
                   server_functions=runs_view.readers(services), apply_default_css=False,
                   elem_id="runs-view")
    # Which waiting run is being edited: a page's own, as all that isn't in a run's folder.
    edited = gr.Textbox(visible=False, elem_id="runs-edited")
    edited.change(lambda run_id: gr.update(visible=bool(run_id)), edited, editing,
                  api_visibility="private", show_progress="hidden")
    upload = gr.UploadButton("Import a zip file from this computer", file_types=[".zip"],
                             elem_id="runs-upload", min_width=320, scale=0)
    with gr.Accordion("Several runs in one go", open=False), gr.Row(elem_classes="td-presets"):
        rates = gr.Textbox("", label="Learning rates", elem_id="grid-learning_rate", max_lines=1,
                           info="With commas: 1e-4, 3e-4, 1e-3. Empty: the one in Settings.")
        ranks = gr.Textbox("", label="Ranks r", elem_id="grid-lora_r", max_lines=1,
                           info="With commas: 8, 16. Each is combined with each learning rate.")
        start = gr.Button("Put them in line", elem_id="grid-start", min_width=160, scale=0)
    return RunsTab(view, {"learning_rate": rates, "lora_r": ranks}, start, edited, save, upload)


def look_again(shown: dict[str, Any] | None) -> dict[str, Any]:
    """A value of the view that makes it ask the server at once."""
    return after(shown, "")


def after(shown: dict[str, Any] | None, said: str) -> dict[str, Any]:
    return {"turn": (shown or {}).get("turn", 0) + 1, "said": said}


def connect(tab: RunsTab, form: Form, services: Services, to_watch: dict[str, Any],
            after_use: list[dict[str, Any]]) -> None:
    """Wires the tab. `to_watch` is the event (fn, outputs) that shows a run in the Train tab;
    `after_use` are events that follow when settings were replaced."""
    runs = services.folders.runs

    def on_act(event: gr.EventData, shown: dict[str, Any]) -> dict[str, Any]:
        return after(shown, ACTS[event.what](services, event._data))

    def on_use(event: gr.EventData, shown: dict[str, Any]) -> list[Any]:
        run = find_run(runs, event.run_id)
        settings = run.config().to_dict() | ({"adapter": run.id} if event.adapter else {})
        return [*form.show(settings), after(shown, "Its settings are in the tabs now.")]

    def on_edit(event: gr.EventData, shown: dict[str, Any]) -> list[Any]:
        line.hold(runs, event.run_id, True)
        run = find_run(runs, event.run_id)
        said = (f"'{name_of(run)}' is held, and its settings are in the tabs. Change them there, "
                "then save them into it here, and release it.")
        return [*form.show(run.config().to_dict()), event.run_id,
                after(shown, said)]

    def on_save_edited(run_id: str, shown: dict[str, Any], *values: Any) -> list[Any]:
        config = Config.parse(form.raw(values))
        services.desk.call("check", settings=config.to_dict())
        line.edit(runs, run_id, config)
        line.hold(runs, run_id, False)
        name = name_of(find_run(runs, run_id))
        return ["", after(shown, f"'{name}' waits with the new settings.")]

    def on_grid(rates: str, ranks: str, shown: dict[str, Any], *values: Any) -> dict[str, Any]:
        made = services.start_grid(form.raw(values), {"learning_rate": rates, "lora_r": ranks})
        return after(shown, f"{len(made)} runs wait in line.")

    def on_upload(path: str, shown: dict[str, Any]) -> dict[str, Any]:
        run = incoming.import_run(path, services.folders)
        return after(shown, f"Taken in as '{name_of(run)}'.")

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    tab.view.watch(_with_event(to_watch["fn"]), None, to_watch["outputs"], **quiet)
    tab.view.act(friendly(on_act), tab.view, tab.view, **quiet)
    used = tab.view.use(friendly(on_use), tab.view, [*form.widgets, tab.view], **quiet)
    edits = tab.view.edit(friendly(on_edit), tab.view, [*form.widgets, tab.edited, tab.view],
                          **quiet)
    for each in after_use:
        used, edits = used.success(**each), edits.success(**each)
    tab.save_edited.click(friendly(on_save_edited), [tab.edited, tab.view, *form.widgets],
                          [tab.edited, tab.view], **quiet)
    tab.start_grid.click(friendly(on_grid), [*tab.grid.values(), tab.view, *form.widgets],
                         tab.view, **quiet)
    tab.upload.upload(friendly(on_upload), [tab.upload, tab.view], tab.view, **quiet)


def _with_event(function: Callable[[Any], list[Any]]) -> Callable:
    def on_watch(event: gr.EventData) -> list[Any]:
        return function(event)
    return on_watch


# ---- what the view asks for, by name: each does it and says so --------------------------------

def _delete(services: Services, asked: dict[str, Any]) -> str:
    for run_id in asked["run_ids"]:
        trash.throw_away(find_run(services.folders.runs, run_id), services.folders)
    return f"{len(asked['run_ids'])} moved to the trash."


def _restore(services: Services, asked: dict[str, Any]) -> str:
    names = [name_of(trash.restore(run_id, services.folders)) for run_id in asked["run_ids"]]
    return f"Restored: {', '.join(names)}."


def _erase(services: Services, asked: dict[str, Any]) -> str:
    for run_id in asked["run_ids"] or [run.id for run in trash.list_trash(services.folders)]:
        trash.empty(services.folders, run_id)
    return "Deleted for good."


def _describe(services: Services, asked: dict[str, Any]) -> str:
    archive.describe(find_run(services.folders.runs, asked["run_id"]), asked["tags"],
                     asked["note"])
    return "Tags and note are saved."


def _duplicate(services: Services, asked: dict[str, Any]) -> str:
    config = find_run(services.folders.runs, asked["run_id"]).config()
    name = name_of(services.start(config.to_dict()))
    return f"'{name}' waits in line with the same settings."


def _resume(services: Services, asked: dict[str, Any]) -> str:
    services.queue.resume(asked["run_id"])
    return f"'{_name(services, asked)}' waits to be resumed."


def _stop(services: Services, asked: dict[str, Any]) -> str:
    services.queue.stop(asked["run_id"], at_once=bool(asked["at_once"]))
    return f"'{_name(services, asked)}' stops."


def _move(services: Services, asked: dict[str, Any]) -> str:
    line.move(services.folders.runs, asked["run_id"], int(asked["by"]))
    return ""


def _hold(services: Services, asked: dict[str, Any]) -> str:
    line.hold(services.folders.runs, asked["run_id"], bool(asked["held"]))
    return f"'{_name(services, asked)}' {'is held' if asked['held'] else 'may start'}."


def _open(services: Services, asked: dict[str, Any]) -> str:
    run: Run = find_run(services.folders.runs, asked["run_id"])
    return words.opened(run.folder)


def _import(services: Services, asked: dict[str, Any]) -> str:
    if not str(asked["source"]).strip():
        raise UserError("No path was typed.", "Type the path of a run's folder or zip file.")
    run = incoming.import_run(asked["source"], services.folders)
    return f"Taken in as '{name_of(run)}'."


def _name(services: Services, asked: dict[str, Any]) -> str:
    return name_of(find_run(services.folders.runs, asked["run_id"]))


ACTS: dict[str, Callable[[Services, dict[str, Any]], str]] = {
    "delete": _delete, "restore": _restore, "erase": _erase, "describe": _describe,
    "duplicate": _duplicate, "resume": _resume, "stop": _stop, "move": _move, "hold": _hold,
    "open": _open, "import": _import}
