"""The Runs tab: every run there is, to watch, to use again, to delete."""

import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import UserError
from core.training.run import FINAL, Run, delete_run, find_run
from ui import words
from ui.form import Form
from ui.services import Services, friendly

COLUMNS = ["Run", "State", "Held-out loss", "Steps", "Took", "Started"]


@dataclass(frozen=True)
class RunsTab:
    table: gr.Dataframe
    chosen: gr.Dropdown
    watch: gr.Button
    use: gr.Button
    go_on: gr.Button
    delete: gr.Button
    status: gr.HTML


def draw() -> RunsTab:
    table = gr.Dataframe(headers=COLUMNS, datatype="str", interactive=False, elem_id="runs-table",
                         column_widths=["420px", "110px", "160px", "90px", "120px", "160px"])
    chosen = gr.Dropdown([], label="Run", elem_id="runs-chosen",
                         info="Choose here, or click a line of the table.")
    with gr.Row(elem_classes="td-actions"):
        watch = gr.Button("Watch", elem_id="runs-watch", min_width=110, scale=0)
        use = gr.Button("Use its settings", elem_id="runs-use", min_width=150, scale=0)
        go_on = gr.Button("Continue from its adapter", elem_id="runs-continue", min_width=250,
                          scale=0)
        delete = gr.Button("Delete", variant="stop", elem_id="runs-delete", min_width=110, scale=0)
    status = gr.HTML(elem_id="runs-status", apply_default_css=False)
    return RunsTab(table, chosen, watch, use, go_on, delete, status)


def refresh(services: Services, chosen: str | None) -> list[Any]:
    """Values for [table, chosen]."""
    runs = services.runs()
    ids = [run.id for run in runs]
    return [[_line(run) for run in runs],
            gr.update(choices=ids, value=chosen if chosen in ids else (ids or [None])[0])]


def connect(tab: RunsTab, form: Form, services: Services, to_watch: dict[str, Any],
            after: list[dict[str, Any]]) -> None:
    """Wires the tab. `to_watch` is the event (fn, outputs) that shows a run in the Train tab;
    `after` are events that follow when settings were replaced."""
    def on_use(run_id: str) -> list[Any]:
        return form.show(find_run(services.folders.runs, run_id).config().to_dict())

    def on_continue(run_id: str) -> list[Any]:
        run = find_run(services.folders.runs, run_id)
        if not run.adapter.is_dir():
            raise UserError(f"The run '{run_id}' has no adapter.", "Choose one that has finished.")
        return form.show(run.config().to_dict() | {"adapter": run.id})

    def on_delete(run_id: str) -> list[Any]:
        if not run_id:  # the question was answered with no
            return [gr.skip()] * 3
        delete_run(find_run(services.folders.runs, run_id))
        return [*refresh(services, None), words.note(f"Deleted '{run_id}'.")]

    def on_line_chosen(event: gr.SelectData) -> str:
        return event.row_value[0]

    tab.table.select(on_line_chosen, None, tab.chosen, api_visibility="private")
    tab.watch.click(inputs=tab.chosen, api_visibility="private", **to_watch)
    for button, function in ((tab.use, on_use), (tab.go_on, on_continue)):
        done = button.click(friendly(function), tab.chosen, form.widgets, api_visibility="private")
        done.success(lambda: words.note("The settings of that run are in the tabs now."), None,
                     tab.status, api_visibility="private")
        for event in after:
            done = done.success(**event)
    tab.delete.click(friendly(on_delete), tab.chosen, [tab.table, tab.chosen, tab.status],
                     js="(run) => confirm(`Delete the run ${run} with its adapter?`) ? run : ''",
                     api_visibility="private")


def _line(run: Run) -> list[str]:
    status = run.status()
    losses = run.effect()
    effect = f"{losses[0]:.3f} → {losses[1]:.3f}" if losses else ""
    until = status.ended if status.state in FINAL else time.time()
    took = words.duration(until - status.started) if status.started else ""
    return [run.id, status.state, effect, f"{status.step}/{status.total_steps}", took,
            words.when(status.started or status.created)]
