"""The Data set tab: choose a data set, and see token by token what will be learned."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr

from core.config import Config
from core.confine import LONGEST_NAME
from core.data.messages.mapping import REMEMBERED, load_mapping, save_mapping
from core.data.reading.places import SEPARATOR
from core.data.reading.samples import PACKED, READERS
from core.errors import UserError
from core.settings.data import DataSettings
from ui import data_room, words
from ui.form import Form
from ui.newest import newest_only
from ui.scripts import script
from ui.services import Services, friendly

ROLES = ("prompt_column", "input_column", "answer_column", "system_column", "reasoning_column")
WHICH = ("eval_share", "eval_dataset", "eval_split", "data_seed", "stratify",
         "duplicates", "min_characters", "max_characters", "languages", "keep_pattern",
         "drop_pattern")
ADDED_WEIGHT = 0.5
CHANGED = ("augment_copies", "typo_rate", "drop_rate", "swap_rate", "synonym_rate",
           "paraphrase_share", "augment_seed")

# What decides how the rows of a data set look; a change of anything else needs no new look.
SHOWN = tuple(f.name for f in fields(Config) if f.metadata["group"] == "data") + (
    "base_model", "revision")


@dataclass(frozen=True)
class DataTab:
    upload: gr.UploadButton
    add: gr.Dropdown
    room: gr.HTML
    write: gr.Button
    stop: gr.Button
    written: gr.HTML


def draw(form: Form, services: Services) -> DataTab:
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            with gr.Group():
                form.draw("dataset")
                upload = gr.UploadButton("Upload files", elem_id="upload", size="sm",
                                         file_count="multiple",
                                         file_types=[*READERS, *PACKED])
                form.draw("instruction")
                with gr.Row():
                    form.draw("layout", "loss_on")
                with gr.Row():
                    form.draw("train_rows", "eval_rows", min_width=130)
                with gr.Row():
                    form.draw("max_length", "too_long", min_width=130)
            with gr.Accordion("Columns", open=False, elem_id="columns"), \
                    gr.Row(elem_classes="td-plain"):
                form.draw(*ROLES, min_width=150)
            with gr.Accordion("Which rows, and which are held out", open=False,
                              elem_id="which-rows"), gr.Row(elem_classes="td-plain"):
                form.draw(*WHICH, min_width=150)
            with gr.Accordion("Mix in other data", open=False, elem_id="mix-in"), \
                    gr.Row(elem_classes="td-plain"):
                form.draw("general_share", "general_dataset", min_width=260)
                others = [choice for choice in form.choices("general_dataset")
                          if choice[1] != "sample:general"]  # it has a field of its own
                add = gr.Dropdown(others, value=None, elem_id="mix-add",
                                  label="Add a data set", allow_custom_value=True, min_width=260,
                                  info="Writes a line below, with half as many rows as the main "
                                       "one has; the weight can be changed there.")
                form.draw("mix", min_width=260)
            with gr.Accordion("Changed copies of few rows", open=False, elem_id="change-rows"):
                with gr.Row(elem_classes="td-plain"):
                    form.draw(*CHANGED, min_width=150)
                with gr.Row(elem_classes="td-actions"):
                    write = gr.Button("Write paraphrases", size="sm", elem_id="paraphrase",
                                      min_width=140)
                    stop = gr.Button("Stop writing", size="sm", elem_id="paraphrase-stop",
                                     min_width=110)
                written = gr.HTML(elem_id="paraphrase-status", apply_default_css=False)
            with gr.Accordion("More", open=False), gr.Row(elem_classes="td-plain"):
                form.draw_group("data")
        with gr.Column(scale=3, min_width=320):
            room = gr.HTML({"settings": None}, html_template="", apply_default_css=False,
                           elem_id="data-room", server_functions=data_room.readers(services),
                           js_on_load=script("data_room", services.folders))
    return DataTab(upload, add, room, write, stop, written)


def connect(tab: DataTab, form: Form, services: Services) -> dict[str, Any]:
    """Wires the tab; returns the event (function, inputs, outputs) that tells the room which data
    set to show. The room does the rest by asking."""
    def show(*values: Any) -> dict[str, Any]:
        raw = form.raw(values)
        return {"settings": {name: raw[name] for name in SHOWN}}

    def show_again(*values: Any) -> dict[str, Any]:
        return show(*values) | {"stamp": time.time()}

    def on_opened(event: gr.EventData) -> list[Any]:
        return [gr.update(choices=["", *event.columns]) for _ in ROLES]

    def on_write(*values: Any) -> Iterator[str]:
        """Progress of the chat process, which holds the model that writes."""
        raw = form.raw(values)
        texts = services.desk.call("unwritten", settings=raw)
        if not texts:
            raise UserError("No paraphrase is wanted, or all are written.",
                            "Set Paraphrases above 0, or choose more rows.")
        for report in services.chat.stream("paraphrase", settings=raw, texts=texts):
            yield words.phase(report) if "phase" in report else words.line(report["words"])

    event = {"fn": show, "inputs": form.widgets, "outputs": tab.room, "show_progress": "hidden",
             "api_visibility": "private", "queue": False}
    again = event | {"fn": show_again}
    tab.room.opened(on_opened, None, [form[role] for role in ROLES], show_progress="hidden",
                    api_visibility="private")
    writing = tab.write.click(friendly(on_write), form.widgets, tab.written,
                              show_progress="hidden", api_visibility="private")
    writing.then(**again)
    tab.stop.click(lambda: words.line("Stopped; what was written is kept."), None, tab.written,
                   cancels=writing, api_visibility="private").then(**again)
    told = newest_only(event)
    tab.room.wanting(**told)
    return told


def connect_choice(tab: DataTab, form: Form, services: Services,
                   after: list[dict[str, Any]]) -> None:
    """A data set comes by choosing or by upload. What a person set on reading it is kept for it,
    and set again when it comes; `after` are events that follow."""
    widgets = [form[name] for name in REMEMBERED]
    defaults = {f.name: f.default for f in fields(DataSettings)}

    def on_dataset_chosen(dataset: str) -> list[str]:
        kept = load_mapping(str(dataset), services.folders)
        return [kept.get(name, defaults[name]) for name in REMEMBERED]

    def on_mapping_changed(dataset: str, *values: Any) -> None:
        save_mapping(str(dataset), dict(zip(REMEMBERED, values, strict=True)), services.folders)

    def on_upload(paths: list[str]) -> str:
        return keep_uploads([Path(path) for path in paths], services.folders.uploads)

    read_as_before = {"fn": on_dataset_chosen, "inputs": form["dataset"], "outputs": widgets,
                      "show_progress": "hidden", "api_visibility": "private"}
    chosen = form["dataset"].input(**read_as_before)
    uploaded = tab.upload.upload(friendly(on_upload), tab.upload, form["dataset"],
                                 api_visibility="private").success(**read_as_before)
    for each in after:
        chosen, uploaded = chosen.then(**each), uploaded.then(**each)
    gr.on([w.input if isinstance(w, gr.Dropdown) else w.blur for w in widgets],
          on_mapping_changed, [form["dataset"], *widgets], show_progress="hidden",
          api_visibility="private")


def connect_fixes(tab: DataTab, form: Form, after: list[dict[str, Any]]) -> None:
    """A remedy that the audit proposes, and a data set that is mixed in, are changes of settings;
    `after` are events that follow."""
    def on_fix(event: gr.EventData, *values: Any) -> list[Any]:
        return form.show(form.raw(values) | event.settings)

    def on_add(dataset: str | None, mix: str) -> list[Any]:
        line = f"{words.data_name(str(dataset))} = {dataset} * {ADDED_WEIGHT}" if dataset else ""
        return ["\n".join(filter(None, [mix.rstrip(), line])), None]

    fixed = tab.room.fix(on_fix, form.widgets, form.widgets, show_progress="hidden",
                         api_visibility="private")
    added = tab.add.input(on_add, [tab.add, form["mix"]], [form["mix"], tab.add],
                          show_progress="hidden", api_visibility="private")
    for each in after:
        fixed, added = fixed.then(**each), added.then(**each)


def keep_uploads(uploaded: list[Path], uploads: Path) -> str:
    """The name of a data set of one or several files that a browser brought."""
    for path in uploaded if len(uploaded) > 1 else ():
        if SEPARATOR in path.name:
            raise UserError(f"'{path.name}' has a {SEPARATOR} in its name, which stands between "
                            "several files.", "Rename it, or upload it alone.")
    return f"{SEPARATOR} ".join(str(keep_upload(path, uploads)) for path in uploaded)


def keep_upload(uploaded: Path, uploads: Path) -> Path:
    """A copy in the data folder, where it stays when the browser's temporary file is gone. A file
    of the same name and content is used again; another content gets a number."""
    for number in range(1, 1000):
        suffix = "".join(s.lower() for s in uploaded.suffixes if s.lower() in (*READERS, *PACKED))
        stem = uploaded.name[: len(uploaded.name) - len(suffix)]
        tail = suffix if number == 1 else f"-{number}{suffix}"
        while len(os.fsencode(stem + tail)) > LONGEST_NAME:
            stem = stem[:-1]
        kept = uploads / f"{stem}{tail}"
        if not kept.exists():
            shutil.copyfile(uploaded, kept)
            return kept
        if kept.stat().st_size == uploaded.stat().st_size \
                and kept.read_bytes() == uploaded.read_bytes():
            return kept
    raise UserError(f"There are a thousand files called '{uploaded.name}'.", "Rename yours.")
