"""Puts the page together: header with Start, the tabs in the order a person works, their wiring."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from core.config import TARGET_PRESETS, TRACKERS
from core.data.choosing.language import LANGUAGES
from core.data.reading.samples import list_samples
from core.model.catalog import load_catalog
from core.training.names import name_of
from ui import api, heading, welcome
from ui.form import Form
from ui.services import Services, friendly
from ui.tabs import chat, compare, data, evaluate, export, model, runs, settings, train

# Settings whose change changes what a row looks like, or which rows there are.
PREVIEWED = set(data.SHOWN)


def build(services: Services) -> gr.Blocks:
    """The whole page. Nothing here is kept between events: what a page shows lies in its widgets,
    what a run needs in its folder."""
    form = Form(_choices(services))
    with gr.Blocks(title="TuneDesk", analytics_enabled=False) as page:
        head = heading.draw(services)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Data set", id="data"):
                data_tab = data.draw(form, services)
            with gr.Tab("Model", id="model"):
                model_tab = model.draw(form, services)
            with gr.Tab("Settings", id="settings") as settings_page:
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
                gr.Info(f"It waits in line: '{name_of(waiting[0])}' comes first.")
            for doubt in run.notices("forewarned"):
                gr.Warning(doubt)
            return [gr.update(selected="train"), *train.watch(run.id),
                    heading.whose_line(services)]

        def on_load() -> list[Any]:
            found = services.queue.active() or services.runs()
            return [*form.show(services.draft()), *train.watch(found[0].id if found else ""),
                    heading.whose_line(services), heading.first_state(found)]

        changed = heading.teller(head, form, services, form["target_modules"], settings_tab.export)
        previewed = data.connect(data_tab, form, services)
        described = model.connect(model_tab, form, services)
        replaced = [previewed, changed, described]  # the first is quick, the others compute
        data.connect_choice(data_tab, form, services, after=[previewed, changed])
        data.connect_fixes(data_tab, form, after=[previewed, changed])
        heading.connect_remedies(head, form, after=[previewed, changed])
        settings.connect(settings_tab, form, services, after=replaced)
        train.connect(train_tab, form, services)
        chat.connect(chat_tab, form, services)
        compare.connect(compare_tab, form, services)
        evaluate.connect(evaluate_tab, form, services)
        runs.connect(runs_tab, form, services, after_use=replaced, to_watch={
            "fn": lambda event: [gr.update(selected="train"), *train.watch(event.run_id)],
            "outputs": [tabs, train_tab.view, train_tab.watched]})
        welcome.connect(head.greeting, form, services, page, tabs, after=replaced)
        _follow_changes(form, changed, previewed, described)
        head.start.click(friendly(on_start_clicked), form.widgets, [
            tabs, train_tab.view, train_tab.watched, head.elsewhere], api_visibility="private")
        settings_page.select(**changed)  # the time is known once the rows are looked through
        _look_up(chat_page, chat.refresh, services, [chat_tab.who])
        _look_up(compare_page, compare.refresh, services, [compare_tab.models])
        _look_up(evaluate_page, evaluate.refresh, services, evaluate_tab.chosen,
                 evaluate_tab.drawn)
        runs_page.select(runs.look_again, runs_tab.view, runs_tab.view, api_visibility="private",
                         show_progress="hidden")
        loaded = page.load(on_load, None, [
            *form.widgets, train_tab.view, train_tab.watched, head.elsewhere, head.path],
            api_visibility="private", show_progress="hidden")
        for event in replaced:
            loaded = loaded.then(**event)
        api.add(services)
    return page


def _look_up(page: gr.Tab, refresh: Callable, services: Services, chosen: list,
             drawn: list | None = None) -> None:
    """What a tab can choose from is looked up each time that it opens; `drawn` follows from it."""
    page.select(lambda *values: refresh(services, *values), chosen, drawn or chosen,
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
