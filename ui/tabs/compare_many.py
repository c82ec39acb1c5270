"""The part of Compare for many prompts at once, and for the reports to take away."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.chat import votes
from core.chat.report import Report, mean_scores, to_html, to_markdown
from core.errors import UserError
from ui import language, sampling, talk_view, words
from ui.files import offer
from ui.form import Form
from ui.services import Services

MOST_PROMPTS = 500
TYPED, HELD_OUT = "Typed or pasted, one a line", "Held-out rows"


@dataclass(frozen=True)
class Many:
    source: gr.Radio
    prompts: gr.Textbox
    count: gr.Slider
    start: gr.Button
    stop: gr.Button
    status: gr.HTML
    table: gr.HTML
    reports: list[gr.DownloadButton]


def draw() -> Many:
    with gr.Accordion("Many prompts in one go", open=False, elem_id="many"):
        source = gr.Radio([TYPED, HELD_OUT], value=TYPED, label="Prompts", elem_id="many-source")
        prompts = gr.Textbox(label="Prompts", elem_id="many-prompts", lines=4, max_lines=12,
                             show_label=False, placeholder="One prompt a line")
        count = gr.Slider(1, 100, 10, step=1, label="Rows", elem_id="many-count", visible=False,
                          info="Held-out rows of the first run; their answers are scored too.")
        with gr.Row(elem_classes="td-actions"):
            start = gr.Button("Answer all", variant="primary", elem_id="many-start", scale=0,
                              min_width=140)
            stop = gr.Button("Stop", elem_id="many-stop", scale=0, min_width=100,
                             interactive=False)
        status = gr.HTML(elem_id="many-status", apply_default_css=False)
        table = gr.HTML(elem_id="many-table", apply_default_css=False)
    with gr.Row(elem_classes="td-actions"):
        reports = [gr.DownloadButton(f"Report as {kind}", elem_id=f"report-{kind.lower()}", scale=0,
                                     min_width=180, interactive=False)
                   for kind in ("HTML", "Markdown")]
    return Many(source, prompts, count, start, stop, status, table, reports)


def connect(many: Many, inputs: list[gr.components.Component], form: Form, services: Services,
            held_out: Callable[[list[str], int], list[dict[str, str]]]) -> None:
    """Wires it; `inputs` are the models, the sampling widgets and the settings."""
    def on_start(source: str, text: str, count: float, models: list[str], *values: Any
                 ) -> Iterator[list[Any]]:
        off, skip = gr.update(interactive=False), gr.skip()
        try:
            models, name = checked(models), sampling.short_name(services)
            rows = held_out(models, int(count)) if source == HELD_OUT else _typed(text)
            how, settings = values[:10], tuple(values[10:])
            chosen = sampling.read(*how)
            done: list[dict[str, Any]] = []
            left_out: list[str] = []
            yield [words.phase({"phase": "Asking all"}), "", gr.update(interactive=True), off, off]
            for answer in services.chat.stream(
                    "answer_many", settings=form.raw(settings), runs=models, rows=rows,
                    sampling=chosen, system=how[-1],
                    gpu_is_taken=sampling.gpu_is_taken(services)):
                if "phase" in answer:
                    yield [words.phase(answer), *[skip] * 4]
                elif "left_out" in answer:
                    left_out.append(answer["left_out"])
                    yield [_progress(answer), *[skip] * 4]
                elif "row" in answer:
                    done.append(answer["row"])
                    files = write_reports(models, done, chosen | {"system prompt": how[-1]},
                                          services)
                    table = talk_view.table([name(m) for m in models], done)
                    yield [_progress(answer), table, skip, *files]
            yield [_summary([name(m) for m in models], done, left_out), skip, off, skip, skip]
        except (UserError, RuntimeError) as error:
            told = words.error_note(error) if isinstance(error, UserError) else ""
            yield [told, skip, off, skip, skip]
            if not isinstance(error, UserError):
                raise  # a bug in the chat process

    private = {"api_visibility": "private", "show_progress": "hidden"}
    many.source.change(lambda source: [gr.update(visible=source == TYPED),
                                       gr.update(visible=source == HELD_OUT)],
                       many.source, [many.prompts, many.count], **private)
    started = many.start.click(on_start, [many.source, many.prompts, many.count, *inputs],
                               [many.status, many.table, many.stop, *many.reports],
                               concurrency_limit=4, **private)
    # Shown in a step of its own: what the answers still send would write over it.
    many.stop.click(lambda: None, None, None, cancels=[started], api_visibility="private").then(
        lambda: [words.note("Stopped. What was answered stays in the table."),
                 gr.update(interactive=False)], None, [many.status, many.stop], **private)


def checked(models: list[str] | None) -> list[str]:
    """Two to four models; UserError for any other number."""
    models = list(models or [])
    if len(models) < 2:
        raise UserError(f"Models: found {len(models)}, needs two to four.",
                        "Choose a run beside the base model, or two checkpoints.")
    return models


def write_reports(models: list[str], rows: list[dict[str, Any]], settings: dict[str, Any],
                  services: Services) -> list[Any]:
    """Both files, for the two buttons, with all blind votes so far where two were compared."""
    pair = tuple(sorted(models))
    counted = votes.count(services.folders.home, pair) if len(pair) == 2 else None
    voted = counted is not None and counted.first + counted.second + counted.ties > 0
    report = Report([name_of(m) for m in models], rows, settings,
                    vote_words([name_of(m) for m in pair], counted) if voted else "")
    values = []
    for name, text in (("comparison.html", language.bilingual(to_html(report), services.folders)),
                       ("comparison.md", to_markdown(report))):
        path = offer(services.folders.temporary, name, text)
        values.append(gr.update(value=path, interactive=True))
    return values


def vote_words(names: list[str], count: votes.Count) -> str:
    """`count` in words; `names` are those of its two models."""
    first, second = names
    lead = ("That is more than chance." if count.is_sure
            else "That may still be chance; vote on more prompts.")
    return (f"{first}: {count.first} · {second}: {count.second} · ties: {count.ties}. {second} is "
            f"preferred in {count.share:.0%} ({count.low:.0%} to {count.high:.0%}). {lead}")


def _typed(text: str) -> list[dict[str, str]]:
    rows = [{"prompt": line.strip()} for line in text.splitlines() if line.strip()]
    if not rows or len(rows) > MOST_PROMPTS:
        raise UserError(f"Prompts: found {len(rows)}, needs 1 to {MOST_PROMPTS}.",
                        "Write one a line.")
    return rows


def name_of(model: str) -> str:
    """A model as a report calls it, so that anybody finds the run again."""
    return model.replace("/checkpoint-", " · step ") or "Base model"


def _progress(answer: dict[str, Any]) -> str:
    return words.phase({"phase": f"Answered {answer['at']} of {answer['of']}",
                        "share": answer["at"] / answer["of"]})


def _summary(names: list[str], done: list[dict[str, Any]], left_out: list[str]) -> str:
    means = mean_scores(done)
    said = f"{len(done)} prompts answered."
    if left_out:
        said += f" {len(left_out)} couldn't be asked, the first of them because: {left_out[0]}"
    if means:
        said += " Log-probability of the data's answers, a token: " + ", ".join(
            f"{name} {mean:.3f}" for name, mean in zip(names, means, strict=True)) + "."
    return words.note(said)
