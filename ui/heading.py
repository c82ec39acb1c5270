"""The head of the page: what is chosen, Start, and what the settings come to."""

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.config import TARGET_PRESETS, Config
from core.errors import UserError
from core.files import why_not_written
from core.training.run import Run
from ui import language, prospect_view, welcome, words
from ui.files import offer
from ui.form import Form
from ui.newest import newest_only
from ui.scripts import script
from ui.services import Services


@dataclass(frozen=True)
class Heading:
    """`chips` name what is chosen, `path` knows whether there are runs before the Train tab has
    opened, `elsewhere` says that another server starts the runs, `summary` what the settings come
    to; its remedies change them."""

    chips: gr.HTML
    greeting: Any
    start: gr.Button
    path: gr.HTML
    elsewhere: gr.HTML
    summary: gr.HTML


def draw(services: Services) -> Heading:
    with gr.Row(elem_classes="td-header"):
        chips = gr.HTML(_header(services, []), elem_id="header", apply_default_css=False)
        greeting = welcome.draw(services)
        gr.HTML(language.SWITCH, elem_id="language", apply_default_css=False)
        start = gr.Button("Start training", variant="primary", elem_id="start", scale=0)
    path = gr.HTML("", js_on_load=script("path", services.folders),
                   apply_default_css=False, elem_id="path")
    elsewhere = gr.HTML(elem_id="elsewhere", apply_default_css=False)
    summary = gr.HTML(elem_id="summary", apply_default_css=False,
                      js_on_load=script("prospect", services.folders))
    return Heading(chips, greeting, start, path, elsewhere, summary)


def first_state(runs: list[Run]) -> str:
    """For the path: that there is no run yet. Of a run the Train tab tells more."""
    return "" if runs else '<i data-run="none"></i>'


def whose_line(services: Services) -> str:
    """That another server starts the runs, as a note."""
    where = services.queue.elsewhere()
    return words.note(where, "warning") if where else ""


def teller(heading: Heading, form: Form, services: Services, modules: gr.Dropdown,
           exported: gr.DownloadButton) -> dict[str, Any]:
    """The event that tells what the settings come to: chips, summary, names of layers, YAML."""
    def on_settings_changed(*values: Any) -> list[Any]:
        raw = form.raw(values)
        chips_now = _header(services, _chips(raw, services))
        try:
            services.keep_draft(raw)
            about = services.desk.call("describe", settings=raw)
            file = offer(services.folders.temporary, "settings.yaml", Config.parse(raw).to_yaml())
        except UserError as error:
            return [chips_now, words.error_note(error), gr.skip(), gr.skip()]
        except OSError as error:
            if (told := why_not_written(error)) is None:
                raise
            return [chips_now, words.error_note(told), gr.skip(), gr.skip()]
        return [chips_now, words.line(_in_words(raw, about)) + prospect_view.html_of(about),
                gr.update(choices=[*TARGET_PRESETS, *about["modules"]]), file]

    return newest_only({"fn": on_settings_changed, "inputs": form.widgets,
                        "outputs": [heading.chips, heading.summary, modules, exported],
                        "show_progress": "hidden", "api_visibility": "private"})


def connect_remedies(heading: Heading, form: Form, after: list[dict[str, Any]]) -> None:
    """A remedy is a change of settings; `after` are events that follow."""
    def on_fix(event: gr.EventData, *values: Any) -> list[Any]:
        return form.show(form.raw(values) | event.settings)

    fixed = heading.summary.fix(on_fix, form.widgets, form.widgets, show_progress="hidden",
                                api_visibility="private")
    for each in after:
        fixed = fixed.then(**each)


def _chips(raw: dict[str, Any], services: Services) -> list[tuple[str, str]]:
    machine = services.desk.call("machine")
    return [("Data set", words.data_name(str(raw["dataset"]))),
            ("Base model", words.model_name(str(raw["base_model"]))),
            ("Method", f"LoRA r {raw['lora_r']}"), ("Device", machine["words"])]


def _header(services: Services, chips: list[tuple[str, str]]) -> str:
    logo = (services.folders.assets / "logo.svg").read_text(encoding="utf-8")
    items = "".join(f'<li class="td-chip"><small>{html.escape(label)}</small>'
                    f"<span>{html.escape(value)}</span></li>" for label, value in chips)
    return (f'<div class="td-bar-line"><h1 class="td-brand">{logo}TuneDesk</h1>'
            f'<ul class="td-chips">{items}</ul></div>')


def _in_words(raw: dict[str, Any], about: dict[str, Any]) -> str:
    """What the settings come to, in one line."""
    config = Config.parse(raw)
    rows = config.batch_size * config.gradient_accumulation
    share = about["trainable"] / about["total"]
    shared = f" shared by {about['processes']} GPUs" if about["processes"] > 1 else ""
    return (f"Learns {words.count(about['trainable'])} of {words.count(about['total'])} parameters "
            f"({share:.2%}), {rows} rows a step{shared}, base weights {about['weights']}, "
            f"arithmetic {about['precision']}.")
