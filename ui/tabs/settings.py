"""The Settings tab: presets, LoRA and training settings, and what they come to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from core.config import Config, load_yaml
from core.presets import DEFAULT, list_presets, load_preset, save_preset
from ui.form import Form
from ui.services import Services, friendly

SIMPLE = ("epochs", "learning_rate", "batch_size", "lora_r", "lora_alpha", "target_modules")


@dataclass(frozen=True)
class SettingsTab:
    preset: gr.Dropdown
    load: gr.Button
    name: gr.Textbox
    save: gr.Button
    imported: gr.UploadButton
    export: gr.DownloadButton
    pack: gr.Button
    packed: gr.File


def draw(form: Form, services: Services) -> SettingsTab:
    with gr.Row(elem_classes="td-presets"):
        preset = gr.Dropdown(list(list_presets(services.folders)), value=DEFAULT, label="Preset",
                             elem_id="preset", min_width=200, scale=2)
        load = gr.Button("Use it", elem_id="preset-load", min_width=90, scale=1)
        name = gr.Textbox(label="Name of your own preset", elem_id="preset-name", max_lines=1,
                          min_width=180, scale=2)
        save = gr.Button("Save", elem_id="preset-save", min_width=90, scale=1)
        imported = gr.UploadButton("Import YAML", file_types=[".yaml", ".yml"], min_width=120,
                                   elem_id="settings-import", scale=1)
        export = gr.DownloadButton("Export YAML", elem_id="settings-export", min_width=120,
                                   scale=1)
    with gr.Group(), gr.Row(elem_classes="td-form"):
        form.draw(*SIMPLE)
    with gr.Accordion("More on LoRA", open=False), gr.Row(elem_classes="td-form"):
        form.draw_group("lora")
    with gr.Accordion("More on training", open=False), gr.Row(elem_classes="td-form"):
        form.draw_group("training")
    with gr.Accordion("Evaluate, save, log", open=False), gr.Row(elem_classes="td-form"):
        form.draw_group("progress")
    with gr.Accordion("Several GPUs, another machine", open=False):
        with gr.Row(elem_classes="td-form"):
            form.draw_group("hardware")
        with gr.Row(elem_classes="td-actions"):
            pack = gr.Button("Take it elsewhere", elem_id="pack", min_width=180, scale=0)
        packed = gr.File(label="Program, settings and data, with a script and a Colab notebook "
                         "that train them", visible=False, interactive=False, elem_id="packed")
    return SettingsTab(preset, load, name, save, imported, export, pack, packed)


def connect(tab: SettingsTab, form: Form, services: Services, after: list[dict[str, Any]]) -> None:
    """Wires the tab; `after` are events that follow when settings were replaced."""
    def on_preset(name: str, *values: Any) -> list[Any]:
        return form.show(load_preset(name, services.folders, form.raw(values)).to_dict())

    def on_save(name: str, *values: Any) -> Any:
        save_preset(name, Config.parse(form.raw(values)), services.folders)
        gr.Info(f"Saved as '{name}'.")
        return gr.update(choices=list(list_presets(services.folders)))

    def on_import(path: str) -> list[Any]:
        return form.show(load_yaml(Path(path)).to_dict())

    def on_pack(*values: Any) -> Any:
        return gr.update(visible=True, value=services.desk.call("pack", settings=form.raw(values)))

    tab.pack.click(friendly(on_pack), form.widgets, tab.packed, api_visibility="private")
    loaded = tab.load.click(friendly(on_preset), [tab.preset, *form.widgets], form.widgets,
                            api_visibility="private")
    read = tab.imported.upload(friendly(on_import), tab.imported, form.widgets,
                               api_visibility="private")
    for event in after:
        loaded, read = loaded.success(**event), read.success(**event)
    tab.save.click(friendly(on_save), [tab.name, *form.widgets], tab.preset,
                   api_visibility="private")
