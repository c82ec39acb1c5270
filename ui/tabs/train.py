"""The Train tab: one run, live or long finished, with Stop and Resume."""

from dataclasses import dataclass

import gradio as gr

from core.training.run import FINAL, find_run
from ui import run_view
from ui.services import Services, friendly


@dataclass(frozen=True)
class TrainTab:
    stop: gr.Button
    stop_now: gr.Button
    resume: gr.Button
    view: gr.HTML
    watched: gr.Textbox


def draw(services: Services) -> TrainTab:
    with gr.Row(elem_classes="td-actions"):
        stop = gr.Button("Stop and save", elem_id="stop", interactive=False, min_width=140, scale=0)
        stop_now = gr.Button("Stop now", variant="stop", elem_id="stop-now", interactive=False,
                             min_width=120, scale=0)
        resume = gr.Button("Resume", elem_id="resume", interactive=False, min_width=120, scale=0)
    scripts = [(services.folders.assets / name).read_text() for name in ("chart.js", "run_view.js")]
    view = gr.HTML({"run_id": ""}, html_template="", js_on_load="".join(scripts),
                   server_functions=[run_view.reader(services.folders.runs, services.reader)],
                   apply_default_css=False, elem_id="run-view")
    # Which run is shown, for the buttons; the view has it as its value.
    watched = gr.Textbox(visible=False, elem_id="watched")
    return TrainTab(stop, stop_now, resume, view, watched)


def watch(run_id: str) -> list:
    """Values for [view, watched] that show this run."""
    return [{"run_id": run_id}, run_id]


def connect(tab: TrainTab, services: Services) -> None:
    def on_stop(run_id: str) -> None:
        services.queue.stop(run_id)

    def on_stop_now(run_id: str) -> None:
        services.queue.stop(run_id, at_once=True)

    def on_resume(run_id: str) -> None:
        services.queue.resume(run_id)

    def on_state_changed(event: gr.EventData, run_id: str) -> list:
        state = event.state if event.run_id == run_id else "none"
        if state == "none" and run_id:
            state = find_run(services.folders.runs, run_id).status().state
        at_work = state in ("queued", "starting", "running", "stopping")
        return [gr.update(interactive=at_work and state != "stopping"),
                gr.update(interactive=at_work),
                gr.update(interactive=state in FINAL and state != "finished")]

    for button, function in ((tab.stop, on_stop), (tab.stop_now, on_stop_now),
                             (tab.resume, on_resume)):
        button.click(friendly(function), tab.watched, None, api_visibility="private")
    tab.view.state_changed(friendly(on_state_changed), tab.watched,
                           [tab.stop, tab.stop_now, tab.resume], show_progress="hidden",
                           api_visibility="private")
