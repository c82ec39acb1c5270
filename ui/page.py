"""Puts the page together: header with Start, the tabs in the order a person works, their wiring."""

import html
from collections.abc import Callable
from typing import Any

import gradio as gr

from core.config import TARGET_PRESETS, TRACKERS, Config
from core.data.choosing.language import LANGUAGES
from core.data.reading.samples import list_samples
from core.errors import UserError
from core.model.catalog import load_catalog
from ui import api, words
from ui.form import Form
from ui.services import Services, friendly
from ui.tabs import chat, compare, data, evaluate, export, model, runs, settings, train

# Settings whose change changes what a row looks like, or which rows there are.
PREVIEWED = set(data.SHOWN)


def build(services: Services) -> gr.Blocks:
    """The whole page. Nothing here is kept between events: what a page shows lies in its widgets,
    what a run needs in its folder."""
    form = Form(_choices(services))
    logo = (services.folders.assets / "logo.svg").read_text()
    with gr.Blocks(title="TuneDesk", analytics_enabled=False) as page:
        with gr.Row(elem_classes="td-header"):
            chips = gr.HTML(_header(logo, []), elem_id="header", apply_default_css=False)
            start = gr.Button("Start training", variant="primary", elem_id="start", scale=0)
        summary = gr.HTML(elem_id="summary", apply_default_css=False)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Data set", id="data"):
                data_tab = data.draw(form, services)
            with gr.Tab("Model", id="model"):
                model_tab = model.draw(form, services)
            with gr.Tab("Settings", id="settings"):
                settings_tab = settings.draw(form, services)
            with gr.Tab("Train", id="train"):
                train_tab = train.draw(services)
            with gr.Tab("Chat", id="chat") as chat_page:
                chat_tab = chat.draw(services)
            with gr.Tab("Compare", id="compare") as compare_page:
                compare_tab = compare.draw(services)
            with gr.Tab("Evaluate", id="evaluate") as evaluate_page:
                evaluate_tab = evaluate.draw(services)
            export.add(form, services)
            with gr.Tab("Runs", id="runs") as runs_page:
                runs_tab = runs.draw(services)

        def on_start_clicked(*values: Any) -> list[Any]:
            waiting = services.queue.active()
            run = services.start(form.raw(values))
            if waiting:
                gr.Info(f"It waits in line: '{waiting[0].id}' comes first.")
            for doubt in run.facts("forewarned").get("notices", []):
                gr.Warning(doubt)
            return [gr.update(selected="train"), *train.watch(run.id)]

        def on_load() -> list[Any]:
            found = services.queue.active() or services.runs()
            return [*form.show(services.draft()), *train.watch(found[0].id if found else "")]

        changed = {"fn": _settings_teller(form, services, logo), "inputs": form.widgets,
                   "outputs": [chips, summary, form["target_modules"], settings_tab.export],
                   "show_progress": "hidden", "api_visibility": "private"}
        previewed = data.connect(data_tab, form, services)
        described = model.connect(model_tab, form, services)
        replaced = [previewed, changed, described]  # the first is quick, the others compute
        data.connect_fixes(data_tab, form, after=[previewed, changed])
        settings.connect(settings_tab, form, services, after=replaced)
        train.connect(train_tab, services)
        chat.connect(chat_tab, form, services)
        compare.connect(compare_tab, form, services)
        evaluate.connect(evaluate_tab, form, services)
        runs.connect(runs_tab, form, services, after_use=replaced, to_watch={
            "fn": lambda event: [gr.update(selected="train"), *train.watch(event.run_id)],
            "outputs": [tabs, train_tab.view, train_tab.watched]})
        _follow_changes(form, changed, previewed, described)
        start.click(friendly(on_start_clicked), form.widgets,
                    [tabs, train_tab.view, train_tab.watched], api_visibility="private")
        _look_up(chat_page, chat.refresh, services, [chat_tab.who])
        _look_up(compare_page, compare.refresh, services, [compare_tab.models])
        _look_up(evaluate_page, evaluate.refresh, services, evaluate_tab.chosen)
        runs_page.select(runs.look_again, runs_tab.view, runs_tab.view, api_visibility="private",
                         show_progress="hidden")
        loaded = page.load(on_load, None, [*form.widgets, train_tab.view, train_tab.watched],
                           api_visibility="private", show_progress="hidden")
        for event in replaced:
            loaded = loaded.then(**event)
        api.add(services)
    return page


def _settings_teller(form: Form, services: Services, logo: str) -> Callable:
    """The event that tells what the settings come to: header, summary, layer names, YAML file."""
    def on_settings_changed(*values: Any) -> list[Any]:
        raw = form.raw(values)
        services.keep_draft(raw)
        chips_now = _header(logo, _chips(raw, services))
        try:
            about = services.desk.call("describe", settings=raw)
            file = services.folders.temporary / "settings.yaml"
            file.write_text(Config.parse(raw).to_yaml(), encoding="utf-8")
        except UserError as error:
            return [chips_now, words.error_note(error), gr.skip(), gr.skip()]
        return [chips_now, words.line(_in_words(raw, about)),
                gr.update(choices=[*TARGET_PRESETS, *about["modules"]]), str(file)]

    return on_settings_changed


def _look_up(page: gr.Tab, refresh: Callable, services: Services, chosen: list) -> None:
    """What a tab can choose from is looked up each time that it opens."""
    page.select(lambda *values: refresh(services, *values), chosen, chosen,
                api_visibility="private", show_progress="hidden")


def _follow_changes(form: Form, *events: dict[str, Any]) -> None:
    """Each event after a change by a person: choices at once, texts when the field is left, so that
    half-typed numbers aren't called wrong. A change of what an event doesn't read is harmless."""
    changed, previewed, described = events
    for name, widget in form.items():
        # A name typed into a dropdown of several is told when the field is left only.
        triggers = ([widget.input] if isinstance(widget, gr.Checkbox) else
                    [widget.release] if isinstance(widget, gr.Slider) else
                    [widget.input, widget.blur] if isinstance(widget, gr.Dropdown) else
                    [widget.blur])
        done = gr.on(triggers, **changed, trigger_mode="always_last")
        if name in PREVIEWED:  # the room needn't wait until parameters are counted
            gr.on(triggers, **previewed, trigger_mode="always_last")
        if name == "base_model":
            done.then(**described)


def _choices(services: Services) -> dict[str, list]:
    """Choices of the settings whose values aren't a fixed list."""
    samples = [(about["name"], name) for name, about in list_samples(services.folders).items()]
    own = [(path.name, str(path)) for path in sorted(services.folders.uploads.iterdir())]
    models = [(f"{e.family} · {e.name}", e.id) for e in load_catalog(services.folders).values()]
    return {"dataset": samples + own, "base_model": models, "languages": list(LANGUAGES),
            "eval_dataset": [("The same data set", ""), *samples, *own],
            "general_dataset": samples + own,
            "target_modules": list(TARGET_PRESETS), "modules_to_save": ["lm_head", "embed_tokens"],
            "prompt_column": [""], "input_column": [""], "answer_column": [""],
            "system_column": [""], "reasoning_column": [""], "trackers": list(TRACKERS)}


def _chips(raw: dict[str, Any], services: Services) -> list[tuple[str, str]]:
    machine = services.desk.call("machine")
    return [("Data set", words.data_name(str(raw["dataset"]))),
            ("Base model", words.model_name(str(raw["base_model"]))),
            ("Method", f"LoRA r {raw['lora_r']}"), ("Device", machine["words"])]


def _header(logo: str, chips: list[tuple[str, str]]) -> str:
    items = "".join(f'<li class="td-chip"><small>{html.escape(label)}</small>{html.escape(value)}'
                    "</li>" for label, value in chips)
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
