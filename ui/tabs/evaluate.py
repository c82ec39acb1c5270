"""The Evaluate tab: the base model and tuned ones on the same held-out rows, in numbers."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import UserError
from core.evaluation import comparison, report, saved
from core.evaluation.data_size import part_configs
from core.training.names import name_of
from core.training.run import Run, find_run
from ui import evaluation_view, language, sampling, words
from ui.files import offer
from ui.form import Form
from ui.scripts import script
from ui.services import Services, friendly

RUNS = "Each is set beside the base model, on the same rows."


@dataclass(frozen=True)
class Merge:
    weights: gr.Textbox
    way: gr.Dropdown
    button: gr.Button


@dataclass(frozen=True)
class EvaluateTab:
    runs: gr.Dropdown
    asked: dict[str, gr.components.Component]
    start: gr.Button
    stop: gr.Button
    kept: gr.Row
    past: gr.Dropdown
    exports: dict[str, gr.DownloadButton]
    status: gr.HTML
    view: gr.HTML
    merge: Merge
    sizes: gr.Button

    @property
    def chosen(self) -> list[gr.components.Component]:
        return [self.runs, self.past]

    @property
    def drawn(self) -> list[Any]:
        """What `refresh` gives values for."""
        return [*self.chosen, self.start, self.kept]


def draw(services: Services) -> EvaluateTab:
    with gr.Row():
        runs = gr.Dropdown([], label="Runs and checkpoints", multiselect=True, scale=4,
                           elem_id="evaluate-runs", min_width=300,
                           info=RUNS)
        rows = gr.Textbox("200", label="Rows", elem_id="evaluate-rows", min_width=140, scale=1,
                          info="Held-out rows to judge on.")
        written = gr.Textbox("20", label="Written answers", elem_id="evaluate-written", scale=1,
                             min_width=140, info="Rows answered in full.")
    asked = {"rows": rows, "written": written, **_more()}
    with gr.Row(elem_classes="td-actions"):
        start = gr.Button("Evaluate", variant="primary", elem_id="evaluate-start", min_width=140,
                          scale=0)
        stop = gr.Button("Stop", elem_id="evaluate-stop", min_width=100, scale=0,
                         interactive=False)
    status = gr.HTML(elem_id="evaluate-status", apply_default_css=False)
    merge, sizes = _merge(), _sizes()
    with gr.Row(elem_classes="td-presets", visible=False) as kept:
        past = gr.Dropdown([], label="Evaluation", elem_id="evaluate-past", min_width=260, scale=3,
                           info="Kept in the folders of the runs that it judges.")
        exports = {name: gr.DownloadButton(label, elem_id=f"evaluate-{name}", min_width=110,
                                           scale=1)
                   for name, label in (("csv", "Rows as CSV"), ("json", "All as JSON"),
                                       ("html", "Report"), ("md", "Model card"))}
    view = gr.HTML({"evaluation": "", "turn": 0}, html_template="",
                   js_on_load=script("evaluation", services.folders),
                   server_functions=[evaluation_view.reader(services)], apply_default_css=False,
                   elem_id="evaluation-view")
    return EvaluateTab(runs, asked, start, stop, kept, past, exports, status, view, merge, sizes)


def _sizes() -> gr.Button:
    with gr.Accordion("Would more rows help?", open=False):
        gr.HTML(words.line(
            "Four runs with the settings of the tabs, on an eighth, a quarter, a half and all "
            "training rows, show it when they are evaluated together."), apply_default_css=False)
        with gr.Row(elem_classes="td-actions"):
            return gr.Button("Queue the four runs", elem_id="sizes", min_width=180, scale=0)


def _merge() -> Merge:
    with gr.Accordion("Merge the chosen adapters", open=False), gr.Row(elem_classes="td-presets"):
        weights = gr.Textbox("0.5, 0.5", label="Weights", elem_id="merge-weights", min_width=160,
                             info="One for each chosen run, with commas.")
        way = gr.Dropdown(["cat", "linear", "ties", "dare_linear", "dare_ties"], value="cat",
                          label="Way", elem_id="merge-way", min_width=160,
                          info="cat: the exact weighted sum. TIES, DARE: what doesn't clash.")
        button = gr.Button("Merge into a new run", elem_id="merge", min_width=180, scale=0)
    return Merge(weights, way, button)


def _more() -> dict[str, gr.components.Component]:
    """The widgets behind "What is measured", by the names of evaluate.Request."""
    with gr.Accordion("What is measured", open=False), gr.Row(elem_classes="td-form"):
        return {
            "forgetting": gr.Checkbox(True, label="Forgetting", elem_id="evaluate-forgetting",
                                      info="General text and easy questions, before and after."),
            "fairness": gr.Checkbox(True, label="Fairness", elem_id="evaluate-fairness",
                                    info="The same rows with groups of people exchanged."),
            "dataset": gr.Textbox("", label="Other rows", elem_id="evaluate-dataset",
                                  info="A file or sample to judge on. Empty: the first run's "
                                       "held-out rows."),
            "allow_learned": gr.Checkbox(False, label="Learned rows too",
                                         elem_id="evaluate-learned",
                                         info="Also judge on rows that a run has learned."),
            "group_column": gr.Textbox("", label="Group column", elem_id="evaluate-group",
                                       info="Compares groups of rows, for example by region."),
            "pattern": gr.Textbox("", label="Pattern", elem_id="evaluate-pattern",
                                  info="A regular expression that written answers should match."),
            "max_new_tokens": gr.Textbox("64", label="Longest answer", elem_id="evaluate-longest",
                                         info="Tokens that a written answer may have."),
            "public_tasks": gr.Textbox("", label="Public tasks", elem_id="evaluate-public",
                                       info="Names with commas, such as arc_easy. Needs "
                                            "lm-evaluation-harness: pip install lm-eval."),
            "judge_address": gr.Textbox("", label="Judge's address", elem_id="evaluate-judge",
                                        info="Of an OpenAI-compatible server; it gets the rows and "
                                             "answers. Its key: TUNEDESK_JUDGE_KEY."),
            "judge_model": gr.Textbox("", label="Judge's model", elem_id="evaluate-judge-model",
                                      info="Its name on that server."),
            "judge_rubric": gr.Textbox("", label="Rubric", elem_id="evaluate-rubric",
                                       info="What a good answer is. Grades go from 1 to 5."),
        }


def connect(tab: EvaluateTab, form: Form, services: Services) -> None:
    names = list(tab.asked)

    def on_evaluate(runs: list[str] | None, *values: Any) -> list[Any]:
        request = {"runs": runs or [], **dict(zip(names, values, strict=True))}
        for name in ("rows", "written", "max_new_tokens"):
            request[name] = _whole(tab.asked[name].label, request[name])
        services.examiner.call("start", request=request,
                               gpu_is_taken=sampling.gpu_is_taken(services))
        return ["", {"evaluation": "", "turn": time.time()}]

    def on_stop() -> str:
        if evaluation_view.progress(services)["state"] != "working":
            return words.line("No evaluation is at work.")
        services.examiner.call("cancel")
        return words.line("Stops after the rows at hand.")

    def on_evaluated(event: gr.EventData) -> list[Any]:
        return [*_past(services, event.evaluation), words.line("")]

    def on_worked(event: gr.EventData) -> Any:
        return gr.update(interactive=event.working)

    def on_chosen(chosen: str | None) -> list[Any]:
        return [{"evaluation": chosen or "", "turn": 0},
                *(_file(kind, chosen, services) for kind in tab.exports)]

    def on_sizes(*values: Any) -> str:
        return _queued([services.start(config.to_dict()) for config in
                        part_configs(*services.with_rows(form.raw(values)))])

    def on_merge(runs: list[str] | None, weights: str, way: str) -> list[Any]:
        made = services.examiner.call("merge", runs=runs or [], weights=_numbers(weights), way=way)
        name = name_of(find_run(services.folders.runs, made))
        return [words.note(f"Merged into the run '{name}'. Evaluate it beside its parts."),
                refresh(services, [*(runs or []), made], None)[0]]

    tab.merge.button.click(friendly(on_merge), [tab.runs, tab.merge.weights, tab.merge.way],
                           [tab.status, tab.runs], api_visibility="private")
    tab.sizes.click(friendly(on_sizes), form.widgets, tab.status, api_visibility="private")
    tab.start.click(friendly(on_evaluate), [tab.runs, *tab.asked.values()], [tab.status, tab.view],
                    api_visibility="private", show_progress="hidden")
    tab.stop.click(friendly(on_stop), None, tab.status, api_visibility="private")
    tab.view.worked(on_worked, None, tab.stop, api_visibility="private", show_progress="hidden")
    tab.view.evaluated(friendly(on_evaluated), None, [tab.past, tab.kept, tab.status],
                       api_visibility="private", show_progress="hidden")
    tab.past.change(friendly(on_chosen), tab.past, [tab.view, *tab.exports.values()],
                    api_visibility="private", show_progress="hidden")


def refresh(services: Services, runs: list[str] | None, past: str | None) -> list[Any]:
    """Values for EvaluateTab.drawn: what can be judged, and what was; at first the newest."""
    choices = [(label, value.replace("/", "@"))
               for label, value in sampling.tuned_choices(services)]
    known = [value for _, value in choices]
    chosen = [run for run in runs or [] if run in known] or known[:1]
    shown, kept = _past(services, past)
    return [gr.update(choices=choices, value=chosen, info=RUNS if known else sampling.NONE_YET),
            shown, gr.update(interactive=bool(known)), kept]


def _past(services: Services, wanted: str | None) -> list[Any]:
    """Values for [past, kept]: evaluations, the newest first, by when they were made and what they
    judge; nothing where there is none."""
    paths = saved.list_all(services.folders)
    choices = [(f"{words.when(found['created'])} · {len(found['rows'])} rows · "
                f"{', '.join(model['title'] for model in found['models'][1:])}", name)
               for name, path in paths.items() if (found := saved.read(path))]
    known = [value for _, value in choices]
    return [gr.update(choices=choices,
                      value=wanted if wanted in known else known[0] if known else None),
            gr.update(visible=bool(known))]


def _file(kind: str, chosen: str | None, services: Services) -> Any:
    """An evaluation as a file to download."""
    if not chosen:
        return gr.update(value=None)
    evaluation = saved.find(chosen, services.folders)
    text = {"csv": lambda: saved.to_csv(evaluation),
            "json": lambda: json.dumps(evaluation, indent=1, ensure_ascii=False),
            "html": lambda: language.bilingual(
                _report(evaluation, services, report.html_page, comparison.html_page),
                services.folders),
            "md": lambda: _report(evaluation, services, report.markdown, comparison.markdown),
            }[kind]()
    return gr.update(value=offer(services.folders.temporary, f"evaluation-{chosen}.{kind}", text))


def _report(evaluation: dict[str, Any], services: Services, of_one: Callable[..., str],
            of_several: Callable[..., str]) -> str:
    runs = saved.known_runs(evaluation, services.folders)
    if not runs:
        raise UserError("The runs of this evaluation were deleted.", "Evaluate others.")
    return of_several(runs, evaluation) if len(runs) > 1 else of_one(runs[0], evaluation)


def _queued(runs: list[Run]) -> str:
    return words.note("In the line of runs: " + ", ".join(
        f"'{name_of(run)}' on {run.config().train_rows:,} rows" for run in runs) + ".")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f"Weights: found '{text}', needs numbers with commas.", "") from None


def _whole(label: str, value: str) -> int:
    try:
        return int(str(value).strip())
    except ValueError:
        raise UserError(f"{label}: found '{value}', needs a whole number.", "") from None
