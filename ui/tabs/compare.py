"""The Compare tab: one prompt, the base model and a tuned one side by side."""

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.data.template import THINK_CLOSE, THINK_OPEN
from core.errors import UserError
from core.training.run import find_run
from ui import sampling, words
from ui.services import Services

PROMPTS = 20


@dataclass(frozen=True)
class CompareTab:
    run: gr.Dropdown
    examples: gr.Dropdown
    prompt: gr.Textbox
    send: gr.Button
    stop: gr.Button
    status: gr.HTML
    base: gr.HTML
    tuned: gr.HTML
    expected: gr.HTML
    how: sampling.Sampling


def draw() -> CompareTab:
    with gr.Row():
        run = gr.Dropdown([], label="Tuned model", elem_id="compare-run", scale=2, min_width=260,
                          info="A run with an adapter; it is set beside its own base model.")
        examples = gr.Dropdown([], label="Prompts from the held-out rows", scale=3, min_width=260,
                               elem_id="compare-examples", info="Rows that weren't learned.")
    prompt = gr.Textbox(label="Prompt", elem_id="compare-prompt", lines=3, max_lines=12)
    with gr.Row(elem_classes="td-actions"):
        send = gr.Button("Compare", variant="primary", elem_id="compare-send", min_width=140,
                         scale=0)
        stop = gr.Button("Stop", elem_id="compare-stop", min_width=100, scale=0, interactive=False)
    status = gr.HTML(elem_id="compare-status", apply_default_css=False)
    with gr.Row(equal_height=True):
        base = gr.HTML(_card("Base model", ""), elem_id="compare-base", apply_default_css=False,
                       min_width=280)
        tuned = gr.HTML(_card("Tuned", ""), elem_id="compare-tuned", apply_default_css=False,
                        min_width=280)
    expected = gr.HTML(elem_id="compare-expected", apply_default_css=False)
    return CompareTab(run, examples, prompt, send, stop, status, base, tuned, expected,
                      sampling.draw("compare", 0.0))


def connect(tab: CompareTab, services: Services) -> None:
    def held_out(run_id: str) -> list[dict[str, str]]:
        config = find_run(services.folders.runs, run_id).config()
        return services.desk.call("held_out", settings=config.to_dict(), count=PROMPTS)

    def on_run_chosen(run_id: str | None) -> list[Any]:
        if not run_id:
            return [gr.update(choices=[], value=None), words.note(
                "No run has an adapter yet. Start one; when it has finished, its answers show "
                "here beside those of its base model.")]
        try:
            rows = held_out(run_id)
        except UserError as error:
            return [gr.update(choices=[], value=None), words.error_note(error)]
        return [gr.update(choices=[(_short(r["prompt"]), i) for i, r in enumerate(rows)],
                          value=None), ""]

    def on_example_chosen(run_id: str, number: int | None) -> list[Any]:
        if number is None:
            return [gr.skip(), ""]
        row = held_out(run_id)[number]
        return [row["prompt"], _card("Answer in the data", row["answer"])]

    def on_compare(run_id: str, prompt: str, temperature: float, top_p: float, most: float,
                   seed: str, system: str) -> Iterator[list[Any]]:
        cards = [_card("Base model", ""), _card("Tuned", "")]
        try:
            if not run_id:
                raise UserError("No tuned model is chosen.", "Choose a run that has an adapter.")
            yield [words.phase({"phase": "Asking both"}), *cards, gr.update(interactive=True)]
            answers = services.chat.stream(
                "answer", settings={}, runs=["", run_id],
                messages=sampling.conversation(system, [{"role": "user", "content": prompt}]),
                sampling=sampling.read(temperature, top_p, most, seed),
                gpu_is_taken=sampling.gpu_is_taken(services))
            for answer in answers:
                if "phase" in answer:
                    yield [words.phase(answer), *[gr.skip()] * 3]
                else:
                    cards = [_card(title, text) for title, text in
                             zip(("Base model", "Tuned"), answer["texts"], strict=True)]
                    yield ["", *cards, gr.skip()]
            yield [*[gr.skip()] * 3, gr.update(interactive=False)]
        except UserError as error:
            yield [words.error_note(error), *cards, gr.update(interactive=False)]

    tab.run.change(on_run_chosen, tab.run, [tab.examples, tab.status], api_visibility="private")
    tab.examples.input(on_example_chosen, [tab.run, tab.examples], [tab.prompt, tab.expected],
                       api_visibility="private")
    sent = tab.send.click(on_compare, [tab.run, tab.prompt, *tab.how.widgets],
                          [tab.status, tab.base, tab.tuned, tab.stop], show_progress="hidden",
                          api_visibility="private", concurrency_limit=4)
    tab.stop.click(lambda: [words.note("Stopped."), gr.update(interactive=False)], None,
                   [tab.status, tab.stop], cancels=[sent], api_visibility="private")


def refresh(services: Services, chosen: str | None) -> Any:
    """The runs that can be compared, the newest chosen first."""
    choices = sampling.tuned_choices(services)
    known = [value for _, value in choices]
    return gr.update(choices=choices,
                     value=chosen if chosen in known else known[0] if known else None)


def _card(title: str, text: str) -> str:
    """An answer as it was said; reasoning is folded. All of it is escaped."""
    thought, closed, rest = text.partition(THINK_CLOSE)
    body = html.escape(text)
    if text.startswith(THINK_OPEN):
        inner = html.escape(thought.removeprefix(THINK_OPEN).strip())
        body = (f"<details{'' if closed else ' open'}><summary>Reasoning</summary>"
                f"<div>{inner}</div></details>{html.escape(rest.strip())}")
    return f'<div class="td-card td-answer"><h3>{title}</h3><div class="td-said">{body}</div></div>'


def _short(prompt: str) -> str:
    """The end of a prompt tells rows apart; its beginning is often one instruction."""
    line = " ".join(prompt.split())
    return line if len(line) <= 110 else f"… {line[-108:]}"
