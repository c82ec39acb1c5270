"""The widgets of how to answer, the same in Chat and in Compare."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import UserError
from core.files import Folders, write_json
from core.training.run import Run
from ui import words
from ui.services import Services

SYSTEM_PRESETS = {
    "Short answers": "Answer in one or two sentences.",
    "Step by step": "Think step by step, then give the answer on a line of its own.",
    "Strict": "Answer from what you know. Where you don't know, say so.",
    "Teacher": "You are a patient teacher. Explain with a small example.",
}
MOST_KEPT = 50
NONE_YET = "No run has an adapter yet: start one with the button at the top right."


@dataclass(frozen=True)
class Sampling:
    temperature: gr.Slider
    top_p: gr.Slider
    top_k: gr.Slider
    min_p: gr.Slider
    repetition_penalty: gr.Slider
    max_new_tokens: gr.Slider
    think_budget: gr.Slider
    seed: gr.Textbox
    stop: gr.Textbox
    system: gr.Textbox
    presets: gr.Dropdown
    keep: gr.Button

    @property
    def widgets(self) -> list[gr.components.Component]:
        """What `read` takes, in this order."""
        return [self.temperature, self.top_p, self.top_k, self.min_p, self.repetition_penalty,
                self.max_new_tokens, self.think_budget, self.seed, self.stop, self.system]


def draw(prefix: str, temperature: float, services: Services) -> Sampling:
    """`prefix` makes the element ids differ between tabs."""
    def slider(name: str, low: float, high: float, value: float, step: float, label: str,
               info: str) -> gr.Slider:
        return gr.Slider(low, high, value, step=step, label=label, info=info, min_width=200,
                         elem_id=f"{prefix}-{name}")

    with gr.Accordion("How to answer", open=False):
        with gr.Row(elem_classes="td-form"):
            warm = slider("temperature", 0, 2, temperature, 0.05, "Temperature",
                          "0 always takes the likeliest token.")
            top_p = slider("top-p", 0.05, 1, 0.95, 0.05, "Top-p",
                           "Draws from the likeliest tokens that make up this share.")
            top_k = slider("top-k", 0, 200, 0, 1, "Top-k",
                           "Draws from this many tokens at most; 0 from all.")
            min_p = slider("min-p", 0, 1, 0, 0.01, "Min-p",
                           "Leaves out tokens below this share of the likeliest.")
            penalty = slider("penalty", 0.8, 2, 1, 0.05, "Repetition penalty",
                             "Above 1, tokens that were there already become less likely.")
            most = slider("max-new-tokens", 16, 8192, 256, 16, "Max new tokens",
                          "An answer ends here at the latest.")
            budget = slider("think-budget", 0, 8192, 0, 64, "Thinking budget",
                            "Tokens of reasoning before it is closed; 0 lets it go on.")
            seed = gr.Textbox("42", label="Seed", info="The same seed gives the same answer.",
                              elem_id=f"{prefix}-seed", max_lines=1, min_width=200)
            stop = gr.Textbox("", label="Stop strings", elem_id=f"{prefix}-stop-strings", lines=1,
                              max_lines=4, min_width=200,
                              info="An answer ends before any of these; one a line.")
        with gr.Row(elem_classes="td-presets"):
            presets = gr.Dropdown(_preset_names(services.folders), value=None, scale=1,
                                  label="System prompts", elem_id=f"{prefix}-system-presets",
                                  info="Choose one to fill the field beside.", min_width=180)
            system = gr.Textbox("", label="System prompt", elem_id=f"{prefix}-system", scale=3,
                                info="Empty: the model's own, if it has one.", max_lines=6,
                                min_width=240)
            keep = gr.Button("Keep this prompt", elem_id=f"{prefix}-system-keep", scale=0,
                             min_width=150)
    return Sampling(warm, top_p, top_k, min_p, penalty, most, budget, seed, stop, system, presets,
                    keep)


def connect(how: Sampling, services: Services) -> None:
    """Wires the system prompts that are kept in the data folder."""
    def on_chosen(name: str | None) -> Any:
        return _presets(services.folders).get(name, gr.skip())

    def on_keep(system: str) -> Any:
        if not system.strip():
            gr.Info("The system prompt is empty.")
            return gr.skip()
        kept = _kept(services.folders)
        kept[_title(system)] = system
        write_json(services.folders.home / "system_prompts.json",
                   dict(list(kept.items())[-MOST_KEPT:]))
        return gr.update(choices=_preset_names(services.folders), value=_title(system))

    how.presets.input(on_chosen, how.presets, how.system, api_visibility="private",
                      show_progress="hidden")
    how.keep.click(on_keep, how.system, how.presets, api_visibility="private",
                   show_progress="hidden")


def _title(system: str) -> str:
    line = " ".join(system.split())
    return line if len(line) <= 40 else f"{line[:39]}…"


def _kept(folders: Folders) -> dict[str, str]:
    try:
        raw = json.loads((folders.home / "system_prompts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(text) for name, text in raw.items()} if isinstance(raw, dict) else {}


def _presets(folders: Folders) -> dict[str, str]:
    return SYSTEM_PRESETS | _kept(folders)


def _preset_names(folders: Folders) -> list[str]:
    return list(_presets(folders))


def read(temperature: float, top_p: float, top_k: float, min_p: float, penalty: float,
         max_new_tokens: float, think_budget: float, seed: str, stop: str, _system: str
         ) -> dict[str, Any]:
    """The `sampling` argument of the chat process, from the widgets' values."""
    if None in (temperature, top_p, top_k, min_p, penalty, max_new_tokens, think_budget):
        raise UserError("A field of 'How to answer' is empty.", "Fill it in.")
    try:
        return {"temperature": temperature, "top_p": top_p, "top_k": int(top_k), "min_p": min_p,
                "repetition_penalty": penalty, "max_new_tokens": int(max_new_tokens),
                "think_budget": int(think_budget), "seed": int(seed),
                "stop": [line for line in stop.splitlines() if line]}
    except ValueError:
        raise UserError(f"Seed: found '{seed}', needs a whole number.", "Change it.") from None


def conversation(system: str, turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """The turns as the model reads them."""
    said = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    return ([{"role": "system", "content": system}] if system.strip() else []) + said


def tuned_choices(services: Services, checkpoints: bool = True) -> list[tuple[str, str]]:
    """Runs that have an adapter, the newest first, each with its checkpoints."""
    choices = []
    name, archived = short_name(services), {run["id"]: run for run in _archived(services)}
    for run in services.runs():
        about, said = archived.get(run.id), name(run.id)
        if about and about["model"]:
            said += f" · {words.model_name(about['model'])}"
        if (run.adapter / "adapter_config.json").is_file():
            early = f" · {about['state']}" if about and about["state"] != "finished" else ""
            choices.append((said + early, run.id))
        if checkpoints:
            choices += [(f"{said} · step {step}", f"{run.id}/checkpoint-{step}")
                        for step in sorted(_steps(run), reverse=True)]
    return choices


def has_tuned(services: Services) -> bool:
    """Whether any run has an adapter."""
    return any((run.adapter / "adapter_config.json").is_file() for run in services.runs())


def _archived(services: Services) -> list[dict[str, Any]]:
    return services.archive.look()["runs"]


def _steps(run: Run) -> list[int]:
    return [int(p.name.rpartition("-")[2]) for p in run.checkpoints.glob("checkpoint-*")
            if (p / "adapter_config.json").is_file() and p.name.rpartition("-")[2].isdigit()]


def short_name(services: Services) -> Callable[[str], str]:
    """Names of runs and checkpoints by their ids, as core.training.names makes them."""
    names = {run["id"]: run["name"] for run in _archived(services)}

    def name(model: str) -> str:
        run_id, _, checkpoint = model.partition("/checkpoint-")
        said = names.get(run_id, run_id)
        return (f"{said} · step {checkpoint}" if checkpoint else said) or "Base model"
    return name


def gpu_is_taken(services: Services) -> bool:
    return any(run.status().state != "queued" for run in services.queue.active())
