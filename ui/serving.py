"""The widgets of the endpoint for other programs: which model, on and off, the key once."""

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.export import served
from ui import sampling, words
from ui.form import Form
from ui.services import Services, friendly

BASE_CHOICE = ("Base model, as the Model tab names it", "")


@dataclass(frozen=True)
class Serving:
    who: gr.Dropdown
    on: gr.Button
    off: gr.Button
    status: gr.HTML
    example: gr.Code

    @property
    def drawn(self) -> list[Any]:
        return [self.who, self.on, self.off, self.status, self.example]


def draw() -> Serving:
    who = gr.Dropdown([BASE_CHOICE], value="", label="Served model", elem_id="serve-who",
                      info="Programs that speak OpenAI's chat completions can ask it, on this "
                           "computer only. It shares memory and turns with the Chat tab.")
    with gr.Row(elem_classes="td-actions"):
        on = gr.Button("Switch on with a new key", elem_id="serve-on", min_width=210, scale=0)
        off = gr.Button("Switch off", elem_id="serve-off", min_width=120, scale=0,
                        interactive=False)
    status = gr.HTML(elem_id="serve-status", apply_default_css=False)
    example = gr.Code(label="Python", language=None, interactive=False, visible=False,
                      elem_id="serve-example", lines=1)
    return Serving(who, on, off, status, example)


def connect(tab: Serving, form: Form, services: Services) -> None:
    def on_switched_on(request: gr.Request, who: str | None, *values: Any) -> list[Any]:
        key = served.switch_on(services.folders, who or "", form.raw(values))
        return _drawn(services, _address(request), key)

    def on_switched_off() -> list[Any]:
        served.switch_off(services.folders)
        return _drawn(services, "", "")

    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    tab.on.click(friendly(on_switched_on), [tab.who, *form.widgets], tab.drawn, **quiet)
    tab.off.click(friendly(on_switched_off), None, tab.drawn, **quiet)


def refresh(services: Services) -> list[Any]:
    """Values for what is drawn; without the key, which was shown once."""
    return _drawn(services, "", "")


def _address(request: gr.Request) -> str:
    return f"http://{request.headers['host']}/v1"


def _drawn(services: Services, address: str, key: str) -> list[Any]:
    now = served.read(services.folders)
    choices = [BASE_CHOICE, *sampling.tuned_choices(services)]
    known = {value for _, value in choices}
    newest = choices[1][1] if len(choices) > 1 else ""
    chosen = now.run if now.is_on else newest
    return [gr.update(choices=choices, value=chosen if chosen in known else ""),
            gr.update(value="Change model and key" if now.is_on else "Switch on with a new key"),
            gr.update(interactive=now.is_on), _status(now, address, key),
            gr.update(value=_example(now, address), visible=bool(key))]


def _status(now: served.Served, address: str, key: str) -> str:
    if not now.is_on:
        return words.line("It is off: programs are refused.")
    if not key:
        return words.note(f"It is on and serves '{now.model}'. The key was shown when it was "
                          "switched on; a new one replaces it.")
    return ('<div class="td-note" role="status"><div>It is on. Copy the key: it is shown this once '
            'and kept as a hash only.<dl class="td-key-facts"><dt>Address</dt><dd><code>'
            f"{html.escape(address)}</code></dd><dt>Model</dt><dd><code>{html.escape(now.model)}"
            f'</code></dd><dt>Key</dt><dd><code id="serve-key">{html.escape(key)}</code></dd></dl>'
            "</div></div>")


def _example(now: served.Served, address: str) -> str:
    return ("from openai import OpenAI\n\n"
            f'client = OpenAI(base_url="{address}", api_key="...")  # the key above\n'
            "answer = client.chat.completions.create(\n"
            f'    model="{now.model}", stream=True,\n'
            '    messages=[{"role": "user", "content": "Hello"}])\n'
            "for part in answer:\n"
            '    print(part.choices[0].delta.content or "", end="", flush=True)')
