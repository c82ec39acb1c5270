"""The Export tab: carry a tuned model away, see it proven, give it to a hub, serve it."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from core.errors import UserError
from core.export import records
from core.export.forms import FORMS
from core.export.publish import PLACES
from ui import proof_view, sampling, serving, words
from ui.form import Form
from ui.services import Services, friendly

PROGRAMS = ("Python", "vLLM", "llama.cpp", "Ollama")
TICK_SECONDS = 0.7


@dataclass(frozen=True)
class ExportTab:
    run: gr.Dropdown
    form: gr.Dropdown
    export: gr.Button
    cancel: gr.Button
    delete: gr.Button
    status: gr.HTML
    proof: gr.HTML
    elsewhere: gr.Accordion
    programs: dict[str, gr.Code]
    where: gr.Radio
    repository: gr.Textbox
    private: gr.Checkbox
    push: gr.Button
    timer: gr.Timer
    serving: serving.Serving

    @property
    def drawn(self) -> list[Any]:
        """What `show` gives values for."""
        return [self.status, self.proof, self.elsewhere, *self.programs.values(), self.export,
                self.cancel, self.delete, self.push, self.timer]


def add(form: Form, services: Services) -> None:
    """The whole tab, wired; nothing else on the page needs its widgets."""
    with gr.Tab("Export", id="export") as page:
        tab = draw()
    connect(tab, form, services, page)


def draw() -> ExportTab:
    with gr.Row():
        run = gr.Dropdown([], label="Run", elem_id="export-run", scale=3, min_width=260,
                          info="A run with an adapter.")
        form = gr.Dropdown([(about.label, name) for name, about in FORMS.items()], value="merged",
                           label="Form", elem_id="export-form", scale=2, min_width=260,
                           info=FORMS["merged"].help)
    with gr.Row(elem_classes="td-actions"):
        export = gr.Button("Export", variant="primary", elem_id="export-start", min_width=140,
                           scale=0)
        cancel = gr.Button("Cancel", elem_id="export-cancel", min_width=100, scale=0,
                           interactive=False)
        delete = gr.Button("Delete this export", elem_id="export-delete", min_width=170, scale=0,
                           interactive=False)
    status = gr.HTML(elem_id="export-status", apply_default_css=False)
    proof = gr.HTML(proof_view.proof(None), elem_id="export-proof", apply_default_css=False)
    with gr.Accordion("Use it elsewhere", open=True, visible=False,
                      elem_id="export-elsewhere") as elsewhere:
        # No language: Gradio's colours for code are hard to read on white.
        programs = {name: gr.Code(label=name, language=None, interactive=False, visible=False,
                                  elem_id=f"export-{name.lower().replace('.', '')}", lines=1)
                    for name in PROGRAMS}
    with gr.Accordion("Give it to a hub", open=False, elem_id="export-hub"):
        with gr.Row(elem_classes="td-form"):
            where = gr.Radio([(name, key) for key, name in PLACES.items()], value="huggingface",
                             label="Hub", elem_id="push-where", min_width=240,
                             info="The token of this computer's login or environment is used.")
            repository = gr.Textbox(label="Repository", elem_id="push-repository", max_lines=1,
                                    placeholder="owner/name", info="It is made if it isn't there.")
            private = gr.Checkbox(True, label="Private", elem_id="push-private",
                                  info="Only you, and whom you invite, see it.")
        with gr.Row(elem_classes="td-actions"):
            push = gr.Button("Push", elem_id="push-start", min_width=140, scale=0,
                             interactive=False)
    with gr.Accordion("Serve it to your own programs", open=False, elem_id="export-serve"):
        served = serving.draw()
    return ExportTab(run, form, export, cancel, delete, status, proof, elsewhere, programs, where,
                     repository, private, push, gr.Timer(TICK_SECONDS, active=False), served)


def connect(tab: ExportTab, form: Form, services: Services, page: gr.Tab) -> None:
    """Wires the tab; `page` is where it is drawn."""
    def on_export(run_id: str | None, form_name: str) -> list[Any]:
        if not run_id:
            raise UserError("No run is chosen.", "Choose a run that has an adapter.")
        services.exports.export(run_id, form_name, sampling.gpu_is_taken(services))
        return show(services, run_id, form_name)

    def on_push(run_id: str, form_name: str, where: str, repository: str, private: bool
                ) -> list[Any]:
        services.exports.push(run_id, form_name, repository, where, private)
        return show(services, run_id, form_name)

    def on_cancel(run_id: str, form_name: str) -> list[Any]:
        services.exports.cancel()
        return show(services, run_id, form_name)

    def on_delete(run_id: str, form_name: str) -> list[Any]:
        if not run_id:  # the question was answered with no
            return [gr.skip()] * len(tab.drawn)
        records.remove(services.folders.exports, run_id, form_name)
        return show(services, run_id, form_name)

    def on_chosen(run_id: str | None, form_name: str) -> list[Any]:
        return [gr.update(info=FORMS[form_name].help), *show(services, run_id, form_name)]

    chosen = [tab.run, tab.form]
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    tab.export.click(friendly(on_export), chosen, tab.drawn, **quiet)
    tab.cancel.click(friendly(on_cancel), chosen, tab.drawn, **quiet)
    tab.delete.click(friendly(on_delete), chosen, tab.drawn, **quiet, js=(
        "(run, form) => confirm(`Delete the export ${form} of ${run}?`) ? [run, form] : "
        "['', form]"))
    tab.push.click(friendly(on_push), [*chosen, tab.where, tab.repository, tab.private], tab.drawn,
                   **quiet)
    gr.on([tab.run.change, tab.form.change], on_chosen, chosen, [tab.form, *tab.drawn], **quiet)
    tab.timer.tick(lambda run_id, form_name: show(services, run_id, form_name), chosen, tab.drawn,
                   queue=False, **quiet)
    page.select(partial(refresh, services), chosen, [tab.run, *tab.drawn, *tab.serving.drawn],
                **quiet)
    serving.connect(tab.serving, form, services)


def refresh(services: Services, run_id: str | None, form_name: str) -> list[Any]:
    """Values for [run, *drawn, *serving.drawn]: the runs that can be exported, the job's first."""
    choices = sampling.tuned_choices(services)
    known = [value for _, value in choices]
    job = services.exports.job()
    wanted = job.run if job.is_working else run_id
    chosen = wanted if wanted in known else known[0] if known else None
    return [gr.update(choices=choices, value=chosen), *show(services, chosen, form_name),
            *serving.refresh(services)]


def show(services: Services, run_id: str | None, form_name: str) -> list[Any]:
    """Values for what is drawn of one export, as it lies on the disk, and of the job at work."""
    job = services.exports.job()
    record = records.find(services.folders.exports, run_id, form_name) if run_id else None
    told = record["commands"] if record and record["proof"]["passed"] else {}
    status = proof_view.progress(job) if run_id else words.note(
        "No run has an adapter yet. Start one; when it has finished, it can be exported here.")
    mine = job.is_working or (job.run, job.form) == (run_id, form_name) or not run_id
    return [status if mine else "", proof_view.proof(record), gr.update(visible=bool(told)),
            *(gr.update(value=told.get(name, ""), visible=name in told) for name in PROGRAMS),
            gr.update(interactive=bool(run_id) and not job.is_working),
            gr.update(interactive=job.is_working),
            gr.update(interactive=record is not None and not job.is_working),
            gr.update(interactive=bool(told) and not job.is_working),
            gr.Timer(active=job.is_working)]
