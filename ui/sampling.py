"""The widgets of how to answer, the same in Chat and in Compare."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import UserError
from core.training.run import Run
from ui import words
from ui.services import Services


@dataclass(frozen=True)
class Sampling:
    temperature: gr.Slider
    top_p: gr.Slider
    max_new_tokens: gr.Slider
    seed: gr.Textbox
    system: gr.Textbox

    @property
    def widgets(self) -> list[gr.components.Component]:
        return [self.temperature, self.top_p, self.max_new_tokens, self.seed, self.system]


def draw(prefix: str, temperature: float) -> Sampling:
    """`prefix` makes the element ids differ between tabs."""
    with gr.Accordion("How to answer", open=False):
        with gr.Row(elem_classes="td-form"):
            warm = gr.Slider(0, 2, temperature, step=0.05, label="Temperature",
                             info="0 always takes the likeliest token.",
                             elem_id=f"{prefix}-temperature", min_width=200)
            top_p = gr.Slider(0.05, 1, 0.95, step=0.05, label="Top-p",
                              info="Draws from the likeliest tokens that make up this share.",
                              elem_id=f"{prefix}-top-p", min_width=200)
            most = gr.Slider(16, 4096, 256, step=16, label="Max new tokens",
                             info="An answer ends here at the latest.",
                             elem_id=f"{prefix}-max-new-tokens", min_width=200)
            seed = gr.Textbox("42", label="Seed", info="The same seed gives the same answer.",
                              elem_id=f"{prefix}-seed", max_lines=1, min_width=200)
        system = gr.Textbox("", label="System prompt", elem_id=f"{prefix}-system",
                            info="Empty: the model's own, if it has one.")
    return Sampling(warm, top_p, most, seed, system)


def read(temperature: float, top_p: float, max_new_tokens: float, seed: str) -> dict[str, Any]:
    """The `sampling` argument of the chat process."""
    try:
        return {"temperature": temperature, "top_p": top_p,
                "max_new_tokens": int(max_new_tokens), "seed": int(seed)}
    except ValueError:
        raise UserError(f"Seed: found '{seed}', needs a whole number.", "") from None


def conversation(system: str, turns: list[dict[str, str]]) -> list[dict[str, str]]:
    return ([{"role": "system", "content": system}] if system.strip() else []) + turns


def tuned_choices(services: Services) -> list[tuple[str, str]]:
    """Runs that have an adapter, the newest first."""
    return [(_label(run), run.id) for run in services.runs()
            if (run.adapter / "adapter_config.json").is_file()]


def _label(run: Run) -> str:
    return f"{run.id} · {run.status().state}"


def gpu_is_taken(services: Services) -> bool:
    return any(run.status().state != "queued" for run in services.queue.active())


def loading_note(answer: dict[str, Any]) -> str:
    return words.phase(answer) if "phase" in answer else ""
