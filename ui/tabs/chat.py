"""The Chat tab: talk to a base model, a run or a checkpoint; and teach what was said."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from core.chat import conversation as talks
from core.chat.conversation import Conversation
from core.data.reading.samples import READERS, list_samples
from core.errors import UserError
from core.files import read_json_lines
from ui import sampling, talk_view, words
from ui.files import offer
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
        """What follows from a conversation, in the order of `_show`."""
        return [self.talk, self.kept, self.branch, self.export]

    @property
    def buttons(self) -> list[gr.components.Component]:
        """What follows from whether an answer is at work, in the order of `_buttons`."""
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
        _require_quiet(ticket)
        conversation = talks.from_json(raw)
        asked = [*conversation.turns, {"role": "user", "content": message}]
        yield from _answer(at_work, conversation, asked, message, values, form, services)

    def on_retry(event: gr.RetryData, at_work: dict, ticket: str, raw: dict, *values: Any
                 ) -> Iterator[list[Any]]:
        _require_quiet(ticket)
        conversation = talks.from_json(raw)
        at = talk_view.turn_of(conversation.turns, _number(event.index))
        asked = conversation.turns[:at + (conversation.turns[at]["role"] == "user")]
        yield from _answer(at_work, conversation, asked, None, values, form, services)

    def on_edit(event: gr.EditData, at_work: dict, ticket: str, raw: dict, *values: Any
                ) -> Iterator[list[Any]]:
        _require_quiet(ticket)
        conversation = talks.from_json(raw)
        turns = conversation.turns
        at = talk_view.turn_of(turns, _number(event.index))
        if turns[at]["role"] == "user":
            asked = [*turns[:at], {"role": "user", "content": str(event.value)}]
            yield from _answer(at_work, conversation, asked, None, values, form, services)
            return
        changed = [*turns[:at], _corrected(turns, at, _number(event.index), str(event.value))]
        yield [*_show(conversation.shown_as(changed).tidied(), services), *[gr.skip()] * 7]

    def on_stopped(at_work: dict, raw: dict) -> list[Any]:
        at_work.clear()
        conversation, message = talks.from_json(raw), gr.skip()
        if conversation.turns and conversation.turns[-1]["role"] == "user":  # nothing was said yet
            message = conversation.turns[-1]["content"]
            conversation = conversation.shown_as(conversation.turns[:-1]).tidied()
        return [*_show(conversation, services), message, words.note("Stopped."), gr.skip(),
                *_buttons()]

    def on_cleared(at_work: dict) -> list[Any]:
        at_work.clear()
        return [*_show(Conversation(), services), gr.skip(), "", "", *_buttons()]

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
        _require_quiet(ticket)
        conversation = talks.from_json(raw)
        at = talk_view.turn_of(conversation.turns, _number(event.index))
        if conversation.turns[at]["role"] == "assistant":
            at -= 1
        said = conversation.turns[at]["content"]
        shown = conversation.shown_as(conversation.turns[:at])
        return [*_show(shown, services), said]

    def on_branch(number: int, ticket: str, raw: dict) -> list[Any]:
        _require_quiet(ticket)
        return _show(replace(talks.from_json(raw), at=number), services)

    def on_load(path: str, ticket: str) -> list[Any]:
        _require_quiet(ticket)
        conversation = talks.read(Path(path))
        return [*_show(conversation, services), conversation.system,
                words.note("The conversation is open; go on where it ended.")]

    def on_teach(ticket: str, raw: dict, name: str, system: str) -> list[Any]:
        _require_quiet(ticket)
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


def _answer(at_work: dict[str, str], conversation: Conversation, asked: list[dict[str, str]],
            message: str | None, values: tuple[Any, ...], form: Form, services: Services
            ) -> Iterator[list[Any]]:
    """Streams the answer to turns that end with the user's; `message` goes back into its field
    where that fails. The second of two clicks, which the page sends before it knows of the first,
    is left out."""
    ticket = secrets.token_hex(8)
    if at_work.setdefault("ticket", ticket) != ticket:
        if message is None:  # newest_only adds it where a message is sent
            yield gr.skip()
        return
    end, bug = [*[gr.skip()] * 7, *_buttons()], None
    try:
        yield from _words(ticket, conversation, asked, message, values, form, services)
    except (UserError, RuntimeError) as error:
        bug = None if isinstance(error, UserError) else error  # one of the chat process
        end = [*_show(conversation, services), gr.skip() if message is None else message,
               "" if bug else words.error_note(error), gr.skip(), *_buttons()]
    finally:
        if at_work.get("ticket") == ticket:
            at_work.clear()
    yield end  # after it, since the page may send again at once
    if bug:
        raise bug


def _words(ticket: str, conversation: Conversation, asked: list[dict[str, str]],
           message: str | None, values: tuple[Any, ...], form: Form, services: Services
           ) -> Iterator[list[Any]]:
    who, *rest = values
    how, settings = rest[:10], tuple(rest[10:])
    base = replace(conversation, system=how[-1]).shown_as(asked)
    yield [*_show(base, services, file=False), "" if message is not None else gr.skip(),
           words.phase({"phase": "Asking the model"}), gr.skip(), *_buttons(ticket)]
    chosen = sampling.read(*how)
    # A retry draws anew, and the same retry draws the same.
    chosen["seed"] += sum(b[:len(asked)] == asked and len(b) > len(asked)
                          for b in conversation.branches)
    answers = services.chat.stream(
        "answer", settings=form.raw(settings), runs=[who or ""],
        messages=sampling.conversation(how[-1], asked), sampling=chosen, ticket=ticket,
        gpu_is_taken=sampling.gpu_is_taken(services))
    thinks = False
    for answer in answers:
        if "phase" in answer:
            yield [*[gr.skip()] * 5, words.phase(answer), *[gr.skip()] * 5]
            continue
        one = answer["answers"][0]
        # Sent only where it changes: this runs many times a second.
        answer_now = gr.skip() if one["thinks"] == thinks else gr.update(visible=not thinks)
        thinks = one["thinks"]
        said = {"role": "assistant", "content": one["text"], "note": talk_view.thought_words(one)}
        shown = base.shown_as([*asked, said])
        yield [*_show(shown, services, file=one["done"], at_work=not one["done"]), gr.skip(),
               words.line(talk_view.speed(one)), talk_view.meter(one, answer["context"]),
               gr.skip(), gr.skip(), answer_now, gr.skip()]


def _buttons(ticket: str = "") -> list[Any]:
    """Values for ChatTab.buttons; an answer is at work while there is a ticket for it."""
    return [gr.update(interactive=not ticket), gr.update(interactive=bool(ticket)),
            gr.update(visible=False), ticket]


def _require_quiet(ticket: str) -> None:
    """UserError while an answer is at work: what it still sends would write over what is shown."""
    if ticket:
        raise UserError("An answer is at work.", "Stop it, or wait for its end.")


def _show(conversation: Conversation, services: Services, file: bool = True,
          at_work: bool = False) -> list[Any]:
    """Values for ChatTab.shown; the file to save is written once an answer is complete."""
    choices = [(_branch_words(branch, number), number)
               for number, branch in enumerate(conversation.branches)]
    return [talk_view.messages(conversation.turns, at_work), conversation.to_json(),
            gr.update(choices=choices, value=conversation.at, visible=len(choices) > 1),
            _file(conversation, services) if file else gr.skip()]


def _file(conversation: Conversation, services: Services) -> str:
    text = json.dumps(conversation.to_json(), indent=1, ensure_ascii=False)
    return offer(services.folders.temporary, "conversation.json", text)


def _branch_words(branch: list[dict[str, str]], number: int) -> str:
    last = " ".join(talk_view.split_thought(branch[-1]["content"])[1].split()) if branch else ""
    return f"{number + 1} · {last[:60]}" if last else f"{number + 1} · from its beginning"


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
