"""The Chat tab: talk to the base model or to any finished run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import UserError
from ui import sampling, words
from ui.form import Form
from ui.services import Services

BASE_CHOICE = ("Base model, as it is", "")


@dataclass(frozen=True)
class ChatTab:
    who: gr.Dropdown
    talk: gr.Chatbot
    status: gr.HTML
    message: gr.Textbox
    send: gr.Button
    stop: gr.Button
    clear: gr.Button
    how: sampling.Sampling


def draw() -> ChatTab:
    who = gr.Dropdown([BASE_CHOICE], value="", label="Talk to", elem_id="chat-who",
                      info="The base model, or it with the adapter of a run.")
    talk = gr.Chatbot(elem_id="chat", label="Conversation", height=420,
                      reasoning_tags=[("<think>", "</think>")],
                      placeholder="Ask something. The answer comes from the model chosen above.")
    status = gr.HTML(elem_id="chat-status", apply_default_css=False)
    with gr.Row():
        message = gr.Textbox(show_label=False, label="Message", placeholder="Message",
                             elem_id="chat-message", container=False, scale=6, min_width=220,
                             lines=1, max_lines=8, submit_btn=False)
        send = gr.Button("Send", variant="primary", elem_id="chat-send", min_width=90, scale=1)
        stop = gr.Button("Stop", elem_id="chat-stop", min_width=90, scale=1, interactive=False)
        clear = gr.Button("New conversation", elem_id="chat-clear", min_width=150, scale=1)
    return ChatTab(who, talk, status, message, send, stop, clear, sampling.draw("chat", 0.7))


def connect(tab: ChatTab, form: Form, services: Services) -> None:
    def on_send(message: str, history: list[dict], who: str, temperature: float, top_p: float,
                most: float, seed: str, system: str, *values: Any) -> Iterator[list[Any]]:
        turns = [{"role": turn["role"], "content": _text(turn["content"])} for turn in history]
        asked = [*turns, {"role": "user", "content": message}]
        yield [asked, "", words.phase({"phase": "Asking the model"}), gr.update(interactive=True)]
        try:
            answers = services.chat.stream(
                "answer", settings=form.raw(values), runs=[who or ""],
                messages=sampling.conversation(system, asked),
                sampling=sampling.read(temperature, top_p, most, seed),
                gpu_is_taken=sampling.gpu_is_taken(services))
            for answer in answers:
                if "phase" in answer:
                    yield [gr.skip(), gr.skip(), words.phase(answer), gr.skip()]
                else:
                    said = {"role": "assistant", "content": answer["texts"][0]}
                    yield [[*asked, said], gr.skip(), _speed(answer), gr.skip()]
        except UserError as error:
            yield [turns, message, words.error_note(error), gr.update(interactive=False)]
            return
        yield [gr.skip(), gr.skip(), gr.skip(), gr.update(interactive=False)]

    inputs = [tab.message, tab.talk, tab.who, *tab.how.widgets, *form.widgets]
    event = {"fn": on_send, "inputs": inputs, "show_progress": "hidden",
             "outputs": [tab.talk, tab.message, tab.status, tab.stop],
             "api_visibility": "private", "concurrency_limit": 4}
    sent = [tab.send.click(**event), tab.message.submit(**event)]
    tab.stop.click(lambda: [words.note("Stopped."), gr.update(interactive=False)], None,
                   [tab.status, tab.stop], cancels=sent, api_visibility="private")
    tab.clear.click(lambda: [[], ""], None, [tab.talk, tab.status], cancels=sent,
                    api_visibility="private")


def refresh(services: Services, chosen: str | None) -> Any:
    """The runs to talk to, as they are; a choice that is gone falls back to the base model."""
    choices = [BASE_CHOICE, *sampling.tuned_choices(services)]
    known = {value for _, value in choices}
    return gr.update(choices=choices, value=chosen if chosen in known else "")


def _speed(answer: dict[str, Any]) -> str:
    return words.line(f"First token after {answer['first_token_seconds']:.1f} s, then "
                      f"{answer['tokens_per_second']:.0f} tokens/s"
                      + ("." if answer["done"] else " …"))


def _text(content: Any) -> str:
    """Gradio hands a turn's content back as text or as a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if isinstance(part, dict))
