"""The Compare tab: one prompt, two to four models side by side; blind, marked, counted."""

import random
import secrets
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
from ui.services import Services, friendly
from ui.tabs import compare_many
from ui.tabs.compare_many import name_of

PROMPTS = 20
MOST = 4
BASE_CHOICE = (name_of(""), "")
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
    with gr.Row():
        models = gr.Dropdown([BASE_CHOICE], label="Models", elem_id="compare-models", scale=2,
                             min_width=260, multiselect=True, max_choices=MOST,
                             info="Two to four of one base model: it, its runs, checkpoints.")
        examples = gr.Dropdown([], label="Prompts from the held-out rows", scale=3, min_width=260,
                               elem_id="compare-examples", info="Rows that weren't learned.")
    prompt = gr.Textbox(label="Prompt", elem_id="compare-prompt", lines=3, max_lines=12)
    with gr.Row(elem_classes="td-actions"):
        send = gr.Button("Compare", variant="primary", elem_id="compare-send", min_width=140,
                         scale=0)
        stop = gr.Button("Stop", elem_id="compare-stop", min_width=100, scale=0, interactive=False)
        blind = gr.Checkbox(label="Blind: hide which is which until you have voted",
                            elem_id="compare-blind", container=False, min_width=260, scale=0)
    status = gr.HTML(elem_id="compare-status", apply_default_css=False)
    cards, ends, columns = [], [], []
    with gr.Row(equal_height=True, elem_classes="td-columns"):
        for number in range(MOST):
            with gr.Column(visible=number < 2, min_width=260) as column:
                cards.append(gr.HTML(talk_view.card(("Base model", "Tuned", "", "")[number], None),
                                     elem_id=f"compare-card-{number}", apply_default_css=False))
                ends.append(gr.Button("Stop this one", elem_id=f"compare-end-{number}", size="sm",
                                      interactive=False))
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
        if not any(models):
            return [gr.update(choices=[], value=None), words.note(
                "Choose a run beside the base model. There is none yet? Start one: when it has "
                "finished, its answers show here."), *columns]
        try:
            rows = held_out(models)
        except UserError as error:
            return [gr.update(choices=[], value=None), words.error_note(error), *columns]
        return [gr.update(choices=[(_short(r["prompt"]), i) for i, r in enumerate(rows)],
                          value=None), "", *columns]

    def on_example_chosen(models: list[str], number: int | None) -> list[Any]:
        if number is None:
            return [gr.skip(), "", ""]
        row = held_out(models)[number]
        return [row["prompt"], _expected(row["answer"]), row["answer"]]

    def on_compare(prompt: str, reference: str, is_blind: bool, models: list[str], *values: Any
                   ) -> Iterator[list[Any]]:
        yield from _compare(tab, services, form, prompt, reference, is_blind, models, values)

    private = {"api_visibility": "private", "show_progress": "hidden"}
    tab.models.change(on_models_chosen, tab.models, [tab.examples, tab.status, *tab.columns],
                      **private)
    tab.examples.input(on_example_chosen, [tab.models, tab.examples],
                       [tab.prompt, tab.expected, tab.reference], **private)
    tab.prompt.input(lambda: ["", "", None], None, [tab.expected, tab.reference, tab.examples],
                     **private)
    inputs = [tab.models, *tab.how.widgets, *form.widgets]
    sent = tab.send.click(on_compare, [tab.prompt, tab.reference, tab.blind, *inputs],
                          _outputs(tab), concurrency_limit=4, **private)
    tab.stop.click(lambda: [words.note("Stopped."), *[gr.update(interactive=False)] * (1 + MOST)],
                   None, [tab.status, tab.stop, *tab.ends], cancels=[sent], **private)
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
        names = [name_of(model) for model in models]
        cards = [talk_view.card(f"{letter} is {name}", answer) for letter, name, answer in
                 zip(BLIND, names, last["answers"], strict=True)]
        return [gr.update(visible=False), *cards, words.note(
            vote_words(pair, votes.count(services.folders.home, pair)))]

    for number, button in enumerate(tab.votes):
        button.click(friendly(lambda last, n=number: on_vote(last, n)), tab.last,
                     [tab.voting, *tab.cards[:2], tab.counted], api_visibility="private",
                     show_progress="hidden")


def _outputs(tab: CompareTab) -> list[gr.components.Component]:
    return [tab.status, *tab.cards, *tab.ends, tab.stop, tab.ticket, tab.voting, tab.counted,
            tab.last, *tab.many.reports]


def _compare(tab: CompareTab, services: Services, form: Form, prompt: str, reference: str,
             is_blind: bool, models: list[str], values: tuple[Any, ...]) -> Iterator[list[Any]]:
    """Streams the answers into the cards; at the end the differences, and how likely each finds
    the answer in the data."""
    how, settings = values[:10], tuple(values[10:])
    skip, off = gr.skip(), gr.update(interactive=False)
    untouched = [skip] * (len(_outputs(tab)) - 1)
    try:
        models = compare_many.checked(models)
        if is_blind and len(models) != 2:
            raise UserError(f"Blind: found {len(models)} models, needs two.", "Choose two models.")
        if is_blind:
            random.shuffle(models)
        titles = list(BLIND) if is_blind else [name_of(model) for model in models]
        ticket, asked = secrets.token_hex(8), [{"role": "user", "content": prompt}]
        messages = sampling.conversation(how[-1], asked)
        call = {"settings": form.raw(settings), "runs": models, "messages": messages,
                "gpu_is_taken": sampling.gpu_is_taken(services)}
        blank = [talk_view.card(title, None) for title in titles]
        yield [words.phase({"phase": "Asking all"}), *_padded(blank), *[off] * MOST,
               gr.update(interactive=True), ticket, gr.update(visible=False), "", skip, skip, skip]
        answers: list[dict[str, Any]] = []
        at_work = [False] * len(models)
        chosen = sampling.read(*how)
        for answer in services.chat.stream("answer", **call, sampling=chosen, ticket=ticket):
            if "phase" in answer:
                yield [words.phase(answer), *untouched]
                continue
            answers = answer["answers"]
            cards = [talk_view.card(title, a) for title, a in zip(titles, answers, strict=True)]
            # Sent only where it changes: this runs many times a second.
            was_at_work, at_work = at_work, [not a["done"] for a in answers]
            ends = [skip if was == grows else gr.update(interactive=grows)
                    for was, grows in zip(was_at_work, at_work, strict=True)]
            yield [_how_answered(answer), *_padded(cards), *_padded(ends), *[skip] * 7]
        scores = services.chat.call("score", **call, answer=reference) if reference else []
        marked = against_first([talk_view.split_thought(a["text"])[1] for a in answers])
        cards = [talk_view.card(title, a, pieces, scores[i] if scores and not is_blind else None)
                 for i, (title, a, pieces) in enumerate(zip(titles, answers, marked, strict=True))]
        row = {"prompt": prompt, "answer": reference, "answers": answers, "scores": scores}
        files = compare_many.write_reports(
            [name_of(m) for m in models], [row], chosen | {"system prompt": how[-1]}, services)
        last = {"models": models, "prompt": prompt, "answers": answers}
        yield [_how_answered(answer), *_padded(cards), *[off] * MOST, off, "",
               gr.update(visible=is_blind), "", last, *files]
    except UserError as error:
        yield [words.error_note(error), *[skip] * MOST, *[off] * MOST, off, "", *[skip] * 5]


def refresh(services: Services, chosen: list[str] | None) -> Any:
    """What can be compared; at first the base model beside the newest run."""
    choices = [BASE_CHOICE, *sampling.tuned_choices(services)]
    known = [value for _, value in choices]
    kept = [value for value in chosen or [] if value in known]
    return gr.update(choices=choices, value=kept if len(kept) > 1 else known[:2])


def vote_words(models: tuple[str, str], count: votes.Count) -> str:
    first, second = (name_of(model) for model in models)
    lead = ("That is more than chance." if count.is_sure
            else "That may still be chance; vote on more prompts.")
    return (f"{first}: {count.first} · {second}: {count.second} · ties: {count.ties}. {second} is "
            f"preferred in {count.share:.0%} ({count.low:.0%} to {count.high:.0%}). {lead}")


def _padded(values: list[Any]) -> list[Any]:
    return [*values, *[gr.skip()] * (MOST - len(values))]


def _how_answered(answer: dict[str, Any]) -> str:
    if answer["together"]:
        return words.line(f"All in one batch: {answer['tokens_per_second']:.0f} tokens/s together.")
    return words.line("These answer one after the other: one of them is of a kind (DoRA, learned "
                      "biases or whole layers, another architecture) that can't share a batch.")


def _expected(text: str) -> str:
    done = {"text": text, "tokens": 0, "done": True}
    return talk_view.card("Answer in the data", done)


def _short(prompt: str) -> str:
    """The end of a prompt tells rows apart; its beginning is often one instruction."""
    line = " ".join(prompt.split())
    return line if len(line) <= 110 else f"… {line[-108:]}"
