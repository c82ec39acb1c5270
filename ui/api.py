"""The named endpoints: every main action for gradio_client and plain HTTP."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import gradio as gr

from core.config import Config
from core.data.reading.samples import list_samples
from core.evaluation import saved
from core.model.catalog import load_catalog
from core.presets import DEFAULT, list_presets, load_preset
from core.training import trash
from core.training.run import Run, find_run
from ui import evaluation_view, exporting, sampling
from ui.services import Services, friendly


def add(services: Services) -> None:
    """Adds the endpoints to the page that is open. `settings` are always a JSON object of setting
    names; those left out keep the values of the preset 'Starter (any computer)'."""
    def settings(preset: str = DEFAULT) -> dict:
        """All settings of a preset."""
        return load_preset(preset, services.folders).to_dict()

    def list_choices() -> dict:
        """Presets, sample data sets, and the ids of the catalogue's models."""
        return {"presets": list(list_presets(services.folders)),
                "datasets": list(list_samples(services.folders)),
                "models": list(load_catalog(services.folders))}

    def describe(settings: dict) -> dict:
        """Trainable and total parameters, layer names, and what 'auto' comes to."""
        return services.desk.call("describe", settings=_complete(settings, services))

    def preview(settings: dict, part: str = "train", index: int = 0) -> dict:
        """One row: tokens as [text, id, flags] (1 learned, 2 special, 4 cut off)."""
        return services.desk.call("preview", settings=_complete(settings, services),
                                  part=part, index=index)

    def audit(settings: dict) -> dict:
        """What is known of all rows so far: counts, lengths, findings. Ask again, every second
        or so, until 'finished' is true; work that nobody asks for ends."""
        return services.desk.call("look", settings=_complete(settings, services))

    def start_training(settings: dict) -> str:
        """Checks the settings and puts a run in the line; returns its id."""
        return services.start(Config.parse(_complete(settings, services)).to_dict()).id

    def run_status(run_id: str) -> dict:
        """State, words, step, and the last measurements of a run."""
        return _told(find_run(services.folders.runs, run_id))

    def run_metrics(run_id: str) -> list:
        """All records of a run's metrics.jsonl."""
        return find_run(services.folders.runs, run_id).metrics()

    def stop_training(run_id: str, at_once: bool = False) -> dict:
        """Stops a run, saving it first unless `at_once`."""
        services.queue.stop(run_id, at_once)
        return _told(find_run(services.folders.runs, run_id))

    def resume_training(run_id: str) -> dict:
        """Puts a run that ended early back in the line."""
        return _told(services.queue.resume(run_id))

    def list_runs() -> list:
        """All runs, the newest first."""
        return [_told(run) for run in services.runs()]

    def remove_run(run_id: str) -> str:
        """Moves a run that isn't at work to the trash."""
        trash.throw_away(find_run(services.folders.runs, run_id), services.folders)
        return run_id

    for endpoint in (settings, list_choices, describe, preview, audit, start_training, run_status,
                     run_metrics, stop_training, resume_training, list_runs, remove_run):
        gr.api(friendly(endpoint), api_name=endpoint.__name__, concurrency_limit=8)
    _add_talking(services)
    exporting.add(services)
    _add_judging(services)


def _add_judging(services: Services) -> None:
    """Evaluations: started, watched and read."""
    def start_evaluation(request: dict) -> dict:
        """Begins to judge. `request` needs {"runs": [ids]}; the rest as in evaluate.Request."""
        return services.examiner.call("start", request=request,
                                      gpu_is_taken=sampling.gpu_is_taken(services))

    def evaluation_status() -> dict:
        """How far the evaluation is; its id under `evaluation` when `state` is done."""
        return evaluation_view.progress(services)

    def evaluation(evaluation_id: str) -> dict:
        """All numbers, intervals and rows of an evaluation."""
        return saved.find(evaluation_id, services.folders)

    for endpoint in (start_evaluation, evaluation_status, evaluation):
        gr.api(friendly(endpoint), api_name=endpoint.__name__, concurrency_limit=8)


def _add_talking(services: Services) -> None:
    """The two endpoints that stream answers."""
    def chat(messages: list, run_id: str = "", settings: dict | None = None,
             temperature: float = 0.7, top_p: float = 0.95, max_new_tokens: int = 256,
             seed: int = 42) -> Iterator[str]:
        """Streams the growing answer of a run, or of the base model that `settings` name."""
        for texts in answers([run_id], messages, settings, temperature, top_p, max_new_tokens,
                             seed):
            yield texts[0]

    def compare(prompt: str, run_id: str, temperature: float = 0.0, top_p: float = 0.95,
                max_new_tokens: int = 256, seed: int = 42) -> Iterator[dict]:
        """Streams the growing answers of a run and of its base model to one prompt."""
        for texts in answers(["", run_id], [{"role": "user", "content": prompt}], None,
                             temperature, top_p, max_new_tokens, seed):
            yield {"base": texts[0], "tuned": texts[1]}

    def answers(runs: list[str], messages: list, settings: dict | None, temperature: float,
                top_p: float, max_new_tokens: int, seed: int) -> Iterator[list[str]]:
        for answer in services.chat.stream(
                "answer", settings=_complete(settings, services), runs=runs, messages=messages,
                sampling={"temperature": temperature, "top_p": top_p,
                          "max_new_tokens": max_new_tokens, "seed": seed},
                gpu_is_taken=sampling.gpu_is_taken(services)):
            if "texts" in answer:
                yield answer["texts"]

    for endpoint in (chat, compare):
        gr.api(friendly(endpoint), api_name=endpoint.__name__, concurrency_limit=8)


def _complete(settings: dict[str, Any] | None, services: Services) -> dict[str, Any]:
    return load_preset(DEFAULT, services.folders).to_dict() | (settings or {})


def _told(run: Run) -> dict[str, Any]:
    records = run.metrics()
    last = {name: value for record in records for name, value in record.items()}
    return {"id": run.id, **asdict(run.status()), "last": last,
            "adapter": str(run.adapter) if run.adapter.is_dir() else ""}
