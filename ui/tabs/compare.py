"""The Compare tab: one prompt, two to four models side by side; blind, marked, counted."""

import random
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.chat import votes
from core.chat.difference import against_first
from core.errors import UserError
from core.training.run import find_run
from ui import sampling, talk_view, words
from ui.form import Form
from ui.newest import Calls, newest_only
from ui.services import Services, friendly
from ui.tabs import compare_many

PROMPTS = 20
MOST = 4
BASE_CHOICE = ("Base model", "")
BLIND = ("A", "B")


@dataclass(frozen=True)
class CompareTab:
    models: gr.Dropdown
    examples: gr.Dropdown
    prompt: gr.Textbox
    blind: gr.Checkbox
    send: gr.Button
    stop: gr.Button
    status: gr.HTML
    cards: list[gr.HTML]
    ends: list[gr.Button]
    columns: list[gr.Column]
    expected: gr.HTML
    reference: gr.Textbox
    ticket: gr.Textbox
    last: gr.JSON
    voting: gr.Row
    votes: list[gr.Button]
    counted: gr.HTML
    many: compare_many.Many
    how: sampling.Sampling


def draw(services: Services) -> CompareTab:
    with gr.Row(elem_classes="td-models"):
        models = gr.Dropdown([BASE_CHOICE], label="Models", elem_id="compare-models", scale=3,
                             min_width=260, multiselect=True, max_choices=MOST,
                             info="Two to four of one base model: it, its runs, checkpoints.")
        blind = gr.Checkbox(label="Blind", elem_id="compare-blind", scale=1, min_width=200,
                            info="Which is which shows once you have voted.")
    examples = gr.Dropdown([], label="Prompts from the held-out rows", elem_id="compare-examples",
                           info="Rows that weren't learned.")
    prompt = gr.Textbox(label="Prompt", elem_id="compare-prompt", lines=3, max_lines=12)
    with gr.Row(elem_classes="td-actions"):
        send = gr.Button("Compare", variant="primary", elem_id="compare-send", min_width=140,
                         scale=0)
        stop = gr.Button("Stop", elem_id="compare-stop", min_width=100, scale=0, interactive=False)
    status = gr.HTML(elem_id="compare-status", apply_default_css=False)
    cards, ends, columns = [], [], []
    with gr.Row(equal_height=True, elem_classes="td-columns"):
        for number in range(MOST):
            with gr.Column(visible=number < 2, min_width=260) as column:
                cards.append(gr.HTML(talk_view.card(("Base model", "Tuned", "", "")[number], None),
                                     elem_id=f"compare-card-{number}", apply_default_css=False))
                ends.append(gr.Button("Stop this one", elem_id=f"compare-end-{number}", size="sm",
                                      visible=False))
            columns.append(column)
    with gr.Row(visible=False, elem_classes="td-actions") as voting:
        chosen = [gr.Button(label, elem_id=f"vote-{name}", min_width=110, scale=0)
                  for label, name in (("A is better", "a"), ("B is better", "b"), ("Tie", "tie"))]
    counted = gr.HTML(elem_id="compare-votes", apply_default_css=False)
    expected = gr.HTML(elem_id="compare-expected", apply_default_css=False)
    hidden = [gr.Textbox(visible=False), gr.Textbox(visible=False)]
    last = gr.JSON({}, visible=False)
    how = sampling.draw("compare", 0.0, services)
    many = compare_many.draw()
    return CompareTab(models, examples, prompt, blind, send, stop, status, cards, ends, columns,
                      expected, *hidden, last, voting, chosen, counted, many, how)


def connect(tab: CompareTab, form: Form, services: Services) -> None:
    def held_out(models: list[str], count: int = PROMPTS) -> list[dict[str, str]]:
        run = next((m.partition("/")[0] for m in models if m), "")
        if not run:
            return []
        config = find_run(services.folders.runs, run).config()
        return services.desk.call("held_out", settings=config.to_dict(), count=count)

    def on_models_chosen(models: list[str]) -> list[Any]:
        columns = [gr.update(visible=i < max(2, len(models))) for i in range(MOST)]
        no_rows, can_send = gr.update(choices=[], value=None, visible=True), gr.update(
            interactive=True)
        if not sampling.has_tuned(services):
            return [gr.update(visible=False), words.note(
                "No run has an adapter yet. Start one with the button at the top right: when it "
                "has finished, its answers stand here beside those of the base model."),
                gr.update(interactive=False), *[gr.update(visible=False)] * MOST]
        if not any(models):
            return [no_rows, words.note("Choose a run beside the base model."), can_send, *columns]
        try:
            rows = held_out(models)
        except UserError as error:
            return [no_rows, words.error_note(error), can_send, *columns]
        return [gr.update(choices=[(_short(r["prompt"]), i) for i, r in enumerate(rows)],
                          value=None, visible=True), "", can_send, *columns]

    def on_example_chosen(models: list[str], number: int | None) -> list[Any]:
        if number is None:
            return [gr.skip(), "", ""]
        rows = held_out(models)
        if number >= len(rows):
            raise UserError("This row isn't there any more.", "Choose the models again.")
        row = rows[number]
        return [row["prompt"], _expected(row["answer"]), row["answer"]]

    def on_compare(prompt: str, reference: str, is_blind: bool, models: list[str], *values: Any
                   ) -> Iterator[list[Any]]:
        yield from _compare(tab, services, form, prompt, reference, is_blind, models, values)

    private = {"api_visibility": "private", "show_progress": "hidden"}
    tab.models.change(on_models_chosen, tab.models,
                      [tab.examples, tab.status, tab.send, *tab.columns], **private)
    tab.examples.input(friendly(on_example_chosen), [tab.models, tab.examples],
                       [tab.prompt, tab.expected, tab.reference], **private)
    tab.prompt.input(lambda: ["", "", None], None, [tab.expected, tab.reference, tab.examples],
                     **private)
    inputs = [tab.models, *tab.how.widgets, *form.widgets]
    outputs = _outputs(tab)
    calls = Calls.draw()  # of comparing and stopping the last counts
    sent = tab.send.click(**newest_only(
        {"fn": on_compare, "inputs": [tab.prompt, tab.reference, tab.blind, *inputs],
         "outputs": outputs, "concurrency_limit": 4, **private}, calls))
    # Shown in a step of its own: what the answers still send would write over it.
    tab.stop.click(None, cancels=[sent], api_visibility="private").then(**newest_only(
        {"fn": lambda: [words.note("Stopped."), gr.update(interactive=False),
                        *[gr.update(visible=False)] * MOST],
         "inputs": [], "outputs": [tab.status, tab.stop, *tab.ends], **private}, calls))
    for number, button in enumerate(tab.ends):
        button.click(lambda ticket, n=number: services.chat.call(
            "tell", ticket=ticket, column=n, wish="stop") and None, tab.ticket, None, **private)
    _connect_votes(tab, services)
    sampling.connect(tab.how, services)
    compare_many.connect(tab.many, inputs, form, services, held_out)


def _connect_votes(tab: CompareTab, services: Services) -> None:
    def on_vote(last: dict, choice: int) -> list[Any]:
        models = tuple(last["models"])
        winner = models[choice] if choice < 2 else votes.TIE
        votes.vote(services.folders.home, models, last["prompt"], winner)
        pair = tuple(sorted(models))
        name = sampling.short_name(services)
        names = [name(model) for model in models]
        cards = _final_cards([f"{letter} is {name}" for letter, name in
                              zip(BLIND, names, strict=True)], last["row"])
        files = compare_many.write_reports(list(models), [last["row"]], last["settings"], services)
        return [gr.update(visible=False), *cards, words.note(compare_many.vote_words(
            [name(model) for model in pair], votes.count(services.folders.home, pair))), *files]

    for number, button in enumerate(tab.votes):
        button.click(friendly(lambda last, n=number: on_vote(last, n)), tab.last,
                     [tab.voting, *tab.cards[:2], tab.counted, *tab.many.reports],
                     api_visibility="private", show_progress="hidden")


def _outputs(tab: CompareTab) -> list[gr.components.Component]:
    return [tab.status, *tab.cards, *tab.ends, tab.stop, tab.ticket, tab.voting, tab.counted,
            tab.last, *tab.many.reports]


def _compare(tab: CompareTab, services: Services, form: Form, prompt: str, reference: str,
             is_blind: bool, models: list[str], values: tuple[Any, ...]) -> Iterator[list[Any]]:
    """Streams the answers into the cards; at the end the differences, and how likely each finds
    the answer in the data."""
    how, settings = values[:10], tuple(values[10:])
    skip, off, hidden = gr.skip(), gr.update(interactive=False), gr.update(visible=False)
    untouched = [skip] * (len(_outputs(tab)) - 1)
    try:
        models = compare_many.checked(models)
        if is_blind and len(models) != 2:
            raise UserError(f"Blind: found {len(models)} models, needs two.", "Choose two models.")
        if is_blind:
            random.shuffle(models)
        name = sampling.short_name(services)
        titles = list(BLIND) if is_blind else [name(model) for model in models]
        ticket, asked = secrets.token_hex(8), [{"role": "user", "content": prompt}]
        messages = sampling.conversation(how[-1], asked)
        call = {"settings": form.raw(settings), "runs": models, "messages": messages,
                "gpu_is_taken": sampling.gpu_is_taken(services)}
        blank = [talk_view.card(title, None) for title in titles]
        yield [words.phase({"phase": "Asking all"}), *_padded(blank), *[hidden] * MOST,
               gr.update(interactive=True), ticket, gr.update(visible=False), "", skip, skip, skip]
        answers: list[dict[str, Any]] = []
        at_work, told_at = [False] * len(models), 0.0
        chosen = sampling.read(*how)
        for answer in services.chat.stream("answer", **call, sampling=chosen, ticket=ticket):
            if "phase" in answer:
                yield [words.phase(answer), *untouched]
                continue
            answers = answer["answers"]
            cards = [talk_view.card(title, a) for title, a in zip(titles, answers, strict=True)]
            # This runs many times a second: buttons are told when they change, and again each
            # second, since a page that has much to do may miss one of many updates.
            was_at_work, at_work = at_work, [not a["done"] for a in answers]
            buttons = [skip] * (MOST + 2)
            if was_at_work != at_work or time.monotonic() - told_at > 1:
                told_at = time.monotonic()
                buttons = [*_padded([gr.update(visible=grows) for grows in at_work]),
                           gr.update(interactive=True), ticket]
            yield [_how_answered(answer), *_padded(cards), *buttons, *[skip] * 5]
        scores = services.chat.call("score", **call, answer=reference) if reference else []
        row = {"prompt": prompt, "answer": reference, "answers": answers, "scores": scores}
        settings = chosen | {"system prompt": how[-1]}
        files = compare_many.write_reports(models, [row], settings, services)
        last = {"models": models, "prompt": prompt, "row": row, "settings": settings}
        cards = _final_cards(titles, row | ({"scores": []} if is_blind else {}))
        yield [_how_answered(answer), *_padded(cards), *[hidden] * MOST, off, "",
               gr.update(visible=is_blind), "", last, *files]
    except (UserError, RuntimeError) as error:
        told = words.error_note(error) if isinstance(error, UserError) else ""
        yield [told, *[skip] * MOST, *[hidden] * MOST, off, "", *[skip] * 5]
        if not isinstance(error, UserError):
            raise  # a bug in the chat process


def _final_cards(titles: list[str], row: dict[str, Any]) -> list[str]:
    """Complete answers with what differs marked, and how likely each finds the data's answer."""
    answers, scores = row["answers"], row["scores"]
    marked = against_first([talk_view.split_thought(a["text"])[1] for a in answers])
    return [talk_view.card(title, answer, pieces, scores[i] if scores else None)
            for i, (title, answer, pieces) in enumerate(zip(titles, answers, marked, strict=True))]


def refresh(services: Services, chosen: list[str] | None) -> Any:
    """What can be compared; at first the base model beside the newest run."""
    name = sampling.short_name(services)
    choices = [BASE_CHOICE, *((name(value), value) for _, value in
                              sampling.tuned_choices(services))]
    known = [value for _, value in choices]
    kept = [value for value in chosen or [] if value in known]
    return gr.update(choices=choices, value=kept if len(kept) > 1 else known[:2])


def _padded(values: list[Any]) -> list[Any]:
    return [*values, *[gr.skip()] * (MOST - len(values))]


def _how_answered(answer: dict[str, Any]) -> str:
    if answer["together"]:
        speed = words.count(answer["tokens_per_second"])
        return words.line(f"All in one batch: {speed} tokens/s together.")
    return words.line("These answer one after the other: one of them is of a kind (DoRA, learned "
                      "biases or whole layers, another architecture) that can't share a batch.")


def _expected(text: str) -> str:
    done = {"text": text, "tokens": 0, "done": True}
    return talk_view.card("Answer in the data", done)


def _short(prompt: str) -> str:
    """The end of a prompt tells rows apart; its beginning is often one instruction."""
    line = " ".join(prompt.split())
    return line if len(line) <= 110 else f"… {line[-108:]}"
