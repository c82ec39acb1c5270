"""The Data set tab: choose a data set, and see token by token what will be learned."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr

from core.data.mapping import REMEMBERED, load_mapping, save_mapping
from core.data.samples import PACKED, READERS
from core.errors import UserError
from core.settings.data import DataSettings
from ui import words
from ui.form import Form
from ui.services import Services, friendly

ROLES = ("prompt_column", "input_column", "answer_column", "system_column", "reasoning_column")
NO_TOKENS = {"title": "", "tokens": [],
             "empty": "Each token of a row shows here, coloured by whether it is learned."}


@dataclass(frozen=True)
class DataTab:
    upload: gr.UploadButton
    status: gr.HTML
    part: gr.Radio
    back: gr.Button
    row: gr.Textbox
    ahead: gr.Button
    tokens: gr.HTML
    facts: gr.HTML
    messages: gr.JSON
    raw_row: gr.JSON


def draw(form: Form, services: Services) -> DataTab:
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            with gr.Group():
                form.draw("dataset")
                upload = gr.UploadButton("Upload a file", elem_id="upload", size="sm",
                                         file_types=[*READERS, *PACKED])
                form.draw("instruction")
                with gr.Row():
                    form.draw("layout", "loss_on")
                with gr.Row():
                    form.draw("train_rows", "eval_rows", "max_length", min_width=130)
            with gr.Accordion("Columns", open=False), gr.Row():
                form.draw(*ROLES)
            with gr.Accordion("More", open=False), gr.Row():
                form.draw_group("data")
        with gr.Column(scale=3, min_width=320):
            status = gr.HTML(elem_id="data-status", apply_default_css=False)
            with gr.Row(elem_classes="td-walk"):
                part = gr.Radio([("Training rows", "train"), ("Held-out rows", "eval")],
                                value="train", show_label=False, container=False,
                                elem_id="part", min_width=250, scale=3)
                back = gr.Button("Previous", size="sm", elem_id="row-back", min_width=76)
                row = gr.Textbox("1", label="Row", show_label=False, container=False,
                                 elem_id="row-number", min_width=64, max_lines=1)
                ahead = gr.Button("Next", size="sm", elem_id="row-next", min_width=76)
            tokens = gr.HTML(NO_TOKENS, html_template="", apply_default_css=False,
                             elem_id="tokens", js_on_load=(
                                 services.folders.assets / "token_view.js").read_text())
            facts = gr.HTML(elem_id="data-facts", apply_default_css=False)
            with gr.Accordion("The same row as a dialogue, and as it lies in the data set",
                              open=False), gr.Row():
                messages = gr.JSON(label="Dialogue", elem_id="messages", min_width=280)
                raw_row = gr.JSON(label="Row", elem_id="raw-row", min_width=280)
    return DataTab(upload, status, part, back, row, ahead, tokens, facts, messages, raw_row)


def connect(tab: DataTab, form: Form, services: Services) -> dict[str, Any]:
    """Wires the tab; returns the event (function, inputs, outputs) that draws the preview anew."""
    inputs = [*form.widgets, tab.part, tab.row]
    outputs = [tab.status, tab.tokens, tab.facts, tab.messages, tab.raw_row, tab.row,
               *(form[role] for role in ROLES)]

    def show(*values: Any, step: int = 0) -> Iterator[list[Any]]:
        *values, part, number = values
        try:
            index = _row_index(number) + step
            for shown in services.desk.stream("preview", settings=form.raw(tuple(values)),
                                              part=part, index=index):
                if "phase" in shown:
                    yield [words.phase(shown), *[gr.skip()] * (len(outputs) - 1)]
        except UserError as error:
            yield [words.error_note(error), NO_TOKENS, "", None, None,
                   *[gr.skip()] * (1 + len(ROLES))]
            return
        columns = [gr.update(choices=["", *shown["columns"]]) for _ in ROLES]
        yield [words.line(f"Layout '{shown['layout']}', from the columns "
                          f"{', '.join(shown['columns'])}."),
               shown, words.facts(shown["facts"]), shown["messages"], shown["raw"],
               str(shown["index"] + 1), *columns]

    def on_back(*values: Any) -> Iterator[list[Any]]:
        yield from show(*values, step=-1)

    def on_next(*values: Any) -> Iterator[list[Any]]:
        yield from show(*values, step=1)

    def on_upload(path: str) -> str:
        return str(keep_upload(Path(path), services.folders.uploads))

    event = {"fn": show, "inputs": inputs, "outputs": outputs, "show_progress": "hidden",
             "api_visibility": "private", "concurrency_limit": 4}
    tab.back.click(**(event | {"fn": on_back}))
    tab.ahead.click(**(event | {"fn": on_next}))
    tab.row.submit(**event)
    tab.part.input(lambda: "1", None, tab.row, api_visibility="private").then(**event)
    tab.upload.upload(friendly(on_upload), tab.upload, form["dataset"],
                      api_visibility="private").then(**event)
    _remember_mapping(form, services, event)
    return event


def _remember_mapping(form: Form, services: Services, event: dict[str, Any]) -> None:
    """What a person sets on reading a data set is kept for it, and set again when it is chosen."""
    widgets = [form[name] for name in REMEMBERED]
    defaults = {f.name: f.default for f in fields(DataSettings)}

    def on_dataset_chosen(dataset: str) -> list[str]:
        kept = load_mapping(str(dataset), services.folders)
        return [kept.get(name, defaults[name]) for name in REMEMBERED]

    def on_mapping_changed(dataset: str, *values: Any) -> None:
        save_mapping(str(dataset), dict(zip(REMEMBERED, values, strict=True)), services.folders)

    form["dataset"].input(on_dataset_chosen, form["dataset"], widgets, show_progress="hidden",
                          api_visibility="private").then(**event)
    gr.on([w.input if isinstance(w, gr.Dropdown) else w.blur for w in widgets],
          on_mapping_changed, [form["dataset"], *widgets], show_progress="hidden",
          api_visibility="private")


def _row_index(number: str) -> int:
    try:
        return int(str(number).strip() or 1) - 1
    except ValueError:
        raise UserError(f"Row: found '{number}', needs a whole number.", "") from None


def keep_upload(uploaded: Path, uploads: Path) -> Path:
    """A copy in the data folder, where it stays when the browser's temporary file is gone. A file
    of the same name and content is used again; another content gets a number."""
    for number in range(1, 1000):
        suffix = "".join(s.lower() for s in uploaded.suffixes if s.lower() in (*READERS, *PACKED))
        stem = uploaded.name[: len(uploaded.name) - len(suffix)]
        kept = uploads / f"{stem if number == 1 else f'{stem}-{number}'}{suffix}"
        if not kept.exists():
            shutil.copyfile(uploaded, kept)
            return kept
        if kept.stat().st_size == uploaded.stat().st_size \
                and kept.read_bytes() == uploaded.read_bytes():
            return kept
    raise UserError(f"There are a thousand files called '{uploaded.name}'.", "Rename yours.")
