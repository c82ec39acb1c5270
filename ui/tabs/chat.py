"""The Chat tab: talk to a base model, a run or a checkpoint; and teach what was said."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from core.chat import conversation as talks
from core.chat.conversation import Conversation
from core.data.reading.samples import READERS, list_samples
from core.files import read_json_lines
from ui import sampling, talk_view, words
from ui.answering import answer, buttons, require_quiet, show
from ui.form import Form
from ui.newest import Calls, newest_only
from ui.services import Services, friendly

BASE_CHOICE = ("Base model, as it is", "")
EMPTY = Conversation().to_json()
WHO = "The base model, or it with the adapter of a run or checkpoint."


@dataclass(frozen=True)
class ChatTab:
    who: gr.Dropdown
    talk: gr.Chatbot
    kept: gr.JSON
    ticket: gr.Textbox
    meter: gr.HTML
    status: gr.HTML
    message: gr.Textbox
    send: gr.Button
    stop: gr.Button
    answer_now: gr.Button
    clear: gr.Button
    branch: gr.Dropdown
    export: gr.DownloadButton
    load: gr.UploadButton
    dataset: gr.Textbox
    teach: gr.Button
    how: sampling.Sampling

    @property
    def shown(self) -> list[gr.components.Component]:
        """What follows from a conversation, in the order of `show`."""
        return [self.talk, self.kept, self.branch, self.export]

    @property
    def buttons(self) -> list[gr.components.Component]:
        """What follows from whether an answer is at work, in the order of `buttons`."""
        return [self.send, self.stop, self.answer_now, self.ticket]


def draw(services: Services) -> ChatTab:
    who = gr.Dropdown([BASE_CHOICE], value=None, label="Talk to", elem_id="chat-who", info=WHO)
    talk = gr.Chatbot(elem_id="chat", label="Conversation", height=440, editable="all",
                      group_consecutive_messages=False, buttons=["copy", "copy_all"],
                      placeholder="Ask something. The answer comes from the model chosen above.")
    kept = gr.JSON(EMPTY, visible=False)
    ticket = gr.Textbox(visible=False)
    meter = gr.HTML(elem_id="chat-meter", apply_default_css=False)
    status = gr.HTML(elem_id="chat-status", apply_default_css=False)
    with gr.Row():
        message = gr.Textbox(show_label=False, label="Message", placeholder="Message",
                             elem_id="chat-message", container=False, scale=6, min_width=220,
                             lines=1, max_lines=8, submit_btn=False)
        send = gr.Button("Send", variant="primary", elem_id="chat-send", min_width=90, scale=1)
        stop = gr.Button("Stop", elem_id="chat-stop", min_width=90, scale=1, interactive=False)
        answer_now = gr.Button("Answer now", elem_id="chat-answer-now", min_width=120, scale=1,
                               visible=False)
        clear = gr.Button("New conversation", elem_id="chat-clear", min_width=150, scale=1)
    with gr.Row(elem_classes="td-presets"):
        dataset = gr.Textbox("taught", label="Teach this answer", elem_id="chat-dataset",
                             max_lines=1, scale=2, min_width=240,
                             info="Saves the conversation to a data set of this name. Correct the "
                                  "answer with its pencil first, if need be.")
        teach = gr.Button("Teach this", elem_id="chat-teach", min_width=120, scale=0)
        branch = gr.Dropdown([], label="Branch", elem_id="chat-branch", visible=False, scale=2,
                             min_width=240, info="Each retry or edit begins one.")
        export = gr.DownloadButton("Save as JSON", elem_id="chat-export", min_width=150, scale=0)
        load = gr.UploadButton("Open a JSON", file_types=[".json"], elem_id="chat-load",
                               min_width=130, scale=0)
    return ChatTab(who, talk, kept, ticket, meter, status, message, send, stop, answer_now, clear,
                   branch, export, load, dataset, teach, sampling.draw("chat", 0.7, services))


def connect(tab: ChatTab, form: Form, services: Services) -> None:
    def on_send(at_work: dict, message: str, ticket: str, raw: dict, *values: Any
                ) -> Iterator[list[Any]]:
        require_quiet(ticket)
        conversation = talks.from_json(raw)
        asked = [*conversation.turns, {"role": "user", "content": message}]
        yield from answer(at_work, conversation, asked, message, values, form, services)

    def on_retry(event: gr.RetryData, at_work: dict, ticket: str, raw: dict, *values: Any
                 ) -> Iterator[list[Any]]:
        require_quiet(ticket)
        conversation = talks.from_json(raw)
        at = talk_view.turn_of(conversation.turns, _number(event.index))
        asked = conversation.turns[:at + (conversation.turns[at]["role"] == "user")]
        yield from answer(at_work, conversation, asked, None, values, form, services)

    def on_edit(event: gr.EditData, at_work: dict, ticket: str, raw: dict, *values: Any
                ) -> Iterator[list[Any]]:
        require_quiet(ticket)
        conversation = talks.from_json(raw)
        turns = conversation.turns
        at = talk_view.turn_of(turns, _number(event.index))
        if turns[at]["role"] == "user":
            asked = [*turns[:at], {"role": "user", "content": str(event.value)}]
            yield from answer(at_work, conversation, asked, None, values, form, services)
            return
        changed = [*turns[:at], _corrected(turns, at, _number(event.index), str(event.value))]
        yield [*show(conversation.shown_as(changed).tidied(), services), *[gr.skip()] * 7]

    def on_stopped(at_work: dict, raw: dict) -> list[Any]:
        at_work.clear()
        conversation, message = talks.from_json(raw), gr.skip()
        if conversation.turns and conversation.turns[-1]["role"] == "user":  # nothing was said yet
            message = conversation.turns[-1]["content"]
            conversation = conversation.shown_as(conversation.turns[:-1]).tidied()
        return [*show(conversation, services), message, words.note("Stopped."), gr.skip(),
                *buttons()]

    def on_cleared(at_work: dict) -> list[Any]:
        at_work.clear()
        return [*show(Conversation(), services), gr.skip(), "", "", *buttons()]

    at_work = gr.State({})  # the ticket, on the server: the page knows it a moment later
    inputs = [tab.ticket, tab.kept, tab.who, *tab.how.widgets, *form.widgets]
    outputs = [*tab.shown, tab.message, tab.status, tab.meter, *tab.buttons]
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    event = {"outputs": outputs, "concurrency_limit": 4, **quiet}
    calls = Calls.draw()  # of sending, stopping and clearing the last counts
    # One event for both ways to send, so that the second is left out while the first is at work.
    sent = [gr.on([tab.send.click, tab.message.submit],
                  **newest_only(event | {"fn": friendly(on_send),
                                         "inputs": [at_work, tab.message, *inputs]}, calls)),
            tab.talk.retry(friendly(on_retry), [at_work, *inputs], **event),
            tab.talk.edit(friendly(on_edit), [at_work, *inputs], **event)]
    # Shown in a step of its own: what the answer still sends would write over it.
    tab.stop.click(None, cancels=sent, api_visibility="private").then(**newest_only(
        {"fn": on_stopped, "inputs": [at_work, tab.kept], "outputs": outputs, **quiet}, calls))
    # The bin of gr.Chatbot empties what it shows only; what is kept has to go as well, and at once:
    # the next message may be sent before the server has answered.
    gr.on([tab.clear.click, tab.talk.clear], None, None, [tab.talk, tab.kept],
          js=f"() => [[], {json.dumps(EMPTY)}]", cancels=sent, api_visibility="private").then(
        **newest_only({"fn": on_cleared, "inputs": at_work, "outputs": outputs, **quiet}, calls))
    tab.answer_now.click(lambda ticket: services.chat.call("tell", ticket=ticket, column=0,
                                                           wish="answer") and None,
                         tab.ticket, None, api_visibility="private")
    sampling.connect(tab.how, services)
    _connect_care(tab, form, services)


def _connect_care(tab: ChatTab, form: Form, services: Services) -> None:
    """Undo, branches, files, and what goes back to data."""
    def on_undo(event: gr.UndoData, ticket: str, raw: dict) -> list[Any]:
        require_quiet(ticket)
        conversation = talks.from_json(raw)
        at = talk_view.turn_of(conversation.turns, _number(event.index))
        if conversation.turns[at]["role"] == "assistant":
            at -= 1
        said = conversation.turns[at]["content"]
        shown = conversation.shown_as(conversation.turns[:at])
        return [*show(shown, services), said]

    def on_branch(number: int, ticket: str, raw: dict) -> list[Any]:
        require_quiet(ticket)
        return show(replace(talks.from_json(raw), at=number), services)

    def on_load(path: str, ticket: str) -> list[Any]:
        require_quiet(ticket)
        conversation = talks.read(Path(path))
        return [*show(conversation, services), conversation.system,
                words.note("The conversation is open; go on where it ended.")]

    def on_teach(ticket: str, raw: dict, name: str, system: str) -> list[Any]:
        require_quiet(ticket)
        path = talks.teach(services.folders.uploads, name, system, talks.from_json(raw).turns)
        rows = len(read_json_lines(path))
        return [words.note(f"Saved as row {rows} of the data set '{path.stem}'. Choose it in the "
                           "Data set tab to learn from it."),
                gr.update(choices=_datasets(services))]

    private = {"api_visibility": "private", "show_progress": "hidden"}
    now = [tab.ticket, tab.kept]
    tab.talk.undo(friendly(on_undo), now, [*tab.shown, tab.message], **private)
    tab.branch.input(friendly(on_branch), [tab.branch, *now], tab.shown, **private)
    tab.load.upload(friendly(on_load), [tab.load, tab.ticket],
                    [*tab.shown, tab.how.system, tab.status], **private)
    tab.teach.click(friendly(on_teach), [*now, tab.dataset, tab.how.system],
                    [tab.status, form["dataset"]], **private)


def refresh(services: Services, chosen: str | None) -> Any:
    """The runs to talk to, as they are: at first the newest, since that is what a person came to
    hear; a choice that is gone falls back to the base model."""
    tuned = sampling.tuned_choices(services)
    known = [value for _, value in tuned]
    first = known[0] if chosen is None and known else ""
    return gr.update(choices=[BASE_CHOICE, *tuned], value=chosen if chosen in known else first,
                     info=WHO if tuned else sampling.NONE_YET)


def _corrected(turns: list[dict[str, str]], at: int, shown_index: int, text: str
               ) -> dict[str, str]:
    """An answer with another text, or with another reasoning where that was edited."""
    thought, rest, _ = talk_view.split_thought(turns[at]["content"])
    is_thought = thought and shown_index == len(talk_view.messages(turns[:at]))
    thought, rest = (text, rest) if is_thought else (thought, text)
    content = f"<think>\n{thought}\n</think>\n\n{rest}" if thought else rest
    return turns[at] | {"content": content}


def _datasets(services: Services) -> list[tuple[str, str]]:
    """The data sets to choose from, what was taught among them."""
    samples = [(about["name"], name) for name, about in list_samples(services.folders).items()]
    own = [(p.name, str(p)) for p in sorted(services.folders.uploads.iterdir())
           if p.suffix in READERS]
    return samples + own


def _number(index: Any) -> int:
    return int(index[0] if isinstance(index, (list, tuple)) else index)
