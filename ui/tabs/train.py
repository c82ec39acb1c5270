"""The Train tab: one run, live or long finished, with Stop and Resume; a quick test first."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.training.quick import long_config
from core.training.run import FINAL, find_run
from ui import run_view
from ui.form import Form
from ui.scripts import script
from ui.services import Services, friendly


@dataclass(frozen=True)
class TrainTab:
    stop: gr.Button
    stop_now: gr.Button
    resume: gr.Button
    quick: gr.Button
    long: gr.Button
    view: gr.HTML
    watched: gr.Textbox


def draw(services: Services) -> TrainTab:
    with gr.Row(elem_classes="td-actions"):
        stop = gr.Button("Stop and save", elem_id="stop", interactive=False, min_width=140, scale=0,
                         visible=False)
        stop_now = gr.Button("Stop now", variant="stop", elem_id="stop-now", interactive=False,
                             min_width=120, scale=0, visible=False)
        resume = gr.Button("Resume", elem_id="resume", interactive=False, min_width=120, scale=0,
                           visible=False)
        quick = gr.Button("Quick test first", elem_id="quick", min_width=150, scale=0)
        long = gr.Button("Start the long run", variant="primary", elem_id="long", min_width=170,
                         scale=0, visible=False)
    view = gr.HTML({"run_id": ""}, html_template="",
                   js_on_load=script("run", services.folders),
                   server_functions=[run_view.reader(services.folders.runs, services.reader)],
                   apply_default_css=False, elem_id="run-view")
    # Which run is shown, for the buttons; the view has it as its value.
    watched = gr.Textbox(visible=False, elem_id="watched")
    return TrainTab(stop, stop_now, resume, quick, long, view, watched)


def watch(run_id: str) -> list:
    """Values for [view, watched] that show this run."""
    return [{"run_id": run_id}, run_id]


def connect(tab: TrainTab, form: Form, services: Services) -> None:
    def on_stop(run_id: str) -> None:
        services.queue.stop(run_id)

    def on_stop_now(run_id: str) -> None:
        services.queue.stop(run_id, at_once=True)

    def on_resume(run_id: str) -> None:
        services.queue.resume(run_id)

    def on_quick(*values: Any) -> list:
        return watch(services.start_quick(form.raw(values)).id)

    def on_long(run_id: str) -> list:
        whole = long_config(find_run(services.folders.runs, run_id))
        return watch(services.start(whole.to_dict()).id) if whole else watch(run_id)

    def on_state_changed(event: gr.EventData, run_id: str) -> list:
        state = event.state if event.run_id == run_id else "none"
        if state == "none" and run_id:
            state = find_run(services.folders.runs, run_id).status().state
        at_work = state in ("queued", "starting", "running", "stopping")
        seen = state != "none"  # without a run there is nothing to stop
        return [gr.update(interactive=at_work and state != "stopping", visible=seen),
                gr.update(interactive=at_work, visible=seen),
                gr.update(interactive=state in FINAL and state != "finished", visible=seen),
                gr.update(visible=state == "finished" and long_config(
                    find_run(services.folders.runs, run_id)) is not None)]

    for button, function in ((tab.stop, on_stop), (tab.stop_now, on_stop_now),
                             (tab.resume, on_resume)):
        button.click(friendly(function), tab.watched, None, api_visibility="private")
    for button, function, inputs in ((tab.quick, on_quick, form.widgets),
                                     (tab.long, on_long, [tab.watched])):
        button.click(friendly(function), inputs, [tab.view, tab.watched],
                     api_visibility="private")
    tab.view.state_changed(friendly(on_state_changed), tab.watched,
                           [tab.stop, tab.stop_now, tab.resume, tab.long], show_progress="hidden",
                           api_visibility="private")
