"""The Model tab: choose a base model, see what it is and whether this machine can hold it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import UserError
from core.model.catalog import Entry, load_catalog
from ui import words
from ui.form import Form
from ui.services import Services


@dataclass(frozen=True)
class ModelTab:
    about: gr.HTML
    fetch: gr.Button
    cancel: gr.Button
    status: gr.HTML


def draw(form: Form, services: Services) -> ModelTab:
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            with gr.Group():
                form.draw("base_model")
                with gr.Row():
                    form.draw("base_weights", "precision")
            with gr.Accordion("More", open=False), gr.Row():
                form.draw_group("model")
        with gr.Column(scale=3, min_width=320):
            about = gr.HTML(elem_id="model-about", apply_default_css=False)
            with gr.Row():
                fetch = gr.Button("Fetch the model", elem_id="fetch", size="sm", min_width=140)
                cancel = gr.Button("Stop fetching", elem_id="fetch-cancel", size="sm",
                                   min_width=140, visible=False)
            status = gr.HTML(elem_id="fetch-status", apply_default_css=False)
    return ModelTab(about, fetch, cancel, status)


def connect(tab: ModelTab, form: Form, services: Services) -> dict[str, Any]:
    """Wires the tab; returns the event that draws the model's facts anew."""
    catalog = load_catalog(services.folders)

    def on_fetch(*values: Any) -> Iterator[list[Any]]:
        try:
            for report in services.desk.stream("fetch", settings=form.raw(values)):
                if "phase" in report:
                    yield [words.phase(report), gr.update(visible=True)]
        except UserError as error:
            yield [words.error_note(error), gr.update(visible=False)]
            return
        yield [words.note(f"It lies in {report['folder']}."), gr.update(visible=False)]

    running = tab.fetch.click(on_fetch, form.widgets, [tab.status, tab.cancel],
                              api_visibility="private", show_progress="hidden")
    tab.cancel.click(lambda: [words.note("Stopped. What was fetched so far is kept where the "
                                         "hub's client can go on."), gr.update(visible=False)],
                     None, [tab.status, tab.cancel], cancels=[running],
                     api_visibility="private")

    def show(base_model: str) -> str:
        return _about(catalog.get(base_model), base_model)

    return {"fn": show, "inputs": form["base_model"], "outputs": tab.about,
            "api_visibility": "private", "show_progress": "hidden"}


def _about(entry: Entry | None, base_model: str) -> str:
    if entry is None:
        return words.note(f"'{base_model}' isn't in the catalogue. A Hugging Face id, "
                          "modelscope:<id>, a folder or a GGUF file all work.")
    pairs = [("Model", entry.name), ("Parameters", words.count(entry.parameters)),
             ("Licence", entry.license), ("Context", f"{entry.context_length:,} tokens"),
             ("Kind", entry.kind), ("Needs", entry.needs)]
    remarks = [entry.license_note, entry.wheel.get("note", ""),
               "Its terms must be accepted on the hub, and a token is needed (hf auth login)."
               if entry.gated else ""]
    return words.facts(pairs) + "".join(words.line(remark) for remark in remarks if remark)
