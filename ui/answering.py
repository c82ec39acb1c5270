"""Answers of the chat process, and the conversation around them, as the Chat tab shows them."""

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from core.chat.conversation import Conversation
from core.errors import UserError
from ui import sampling, talk_view, words
from ui.files import offer
from ui.form import Form
from ui.services import Services


def answer(at_work: dict[str, str], conversation: Conversation, asked: list[dict[str, str]],
           message: str | None, values: tuple[Any, ...], form: Form, services: Services
           ) -> Iterator[list[Any]]:
    """Streams the answer to turns that end with the user's; `message` goes back into its field
    where that fails. The second of two clicks, which the page sends before it knows of the first,
    is left out."""
    ticket = secrets.token_hex(8)
    if at_work.setdefault("ticket", ticket) != ticket:
        yield gr.skip()
        return
    end, bug = [*[gr.skip()] * 7, *buttons()], None
    try:
        yield from _words(ticket, conversation, asked, message, values, form, services)
    except (UserError, RuntimeError) as error:
        bug = None if isinstance(error, UserError) else error  # one of the chat process
        end = [*show(conversation, services), gr.skip() if message is None else message,
               "" if bug else words.error_note(error), gr.skip(), *buttons()]
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
    yield [*show(base, services, file=False), "" if message is not None else gr.skip(),
           words.phase({"phase": "Asking the model"}), gr.skip(), *buttons(ticket)]
    chosen = sampling.read(*how)
    # A retry draws anew, and the same retry draws the same.
    chosen["seed"] += sum(b[:len(asked)] == asked and len(b) > len(asked)
                          for b in conversation.branches)
    answers = services.chat.stream(
        "answer", settings=form.raw(settings), runs=[who or ""],
        messages=sampling.conversation(how[-1], asked), sampling=chosen, ticket=ticket,
        gpu_is_taken=sampling.gpu_is_taken(services))
    thinks, told_at = False, time.monotonic()
    for heard in answers:
        if "phase" in heard:
            yield [*[gr.skip()] * 5, words.phase(heard), *[gr.skip()] * 5]
            continue
        one = heard["answers"][0]
        # This runs many times a second. A page that has much to do takes the last of several
        # updates only: its buttons are told again each second. To show or hide one takes longer.
        told = [gr.skip()] * 4
        if time.monotonic() - told_at > 1:
            told_at, told = time.monotonic(), [*buttons(ticket)[:2], gr.skip(), ticket]
        if one["thinks"] != thinks:
            thinks = one["thinks"]
            told[2] = gr.update(visible=thinks)
        said = {"role": "assistant", "content": one["text"], "note": talk_view.thought_words(one)}
        shown = base.shown_as([*asked, said])
        yield [*show(shown, services, file=one["done"], at_work=not one["done"]), gr.skip(),
               words.line(talk_view.speed(one)), talk_view.meter(one, heard["context"]), *told]


def buttons(ticket: str = "") -> list[Any]:
    """Values for ChatTab.buttons; an answer is at work while there is a ticket for it."""
    return [gr.update(interactive=not ticket), gr.update(interactive=bool(ticket)),
            gr.update(visible=False), ticket]


def require_quiet(ticket: str) -> None:
    """UserError while an answer is at work: what it still sends would write over what is shown."""
    if ticket:
        raise UserError("An answer is at work.", "Stop it, or wait for its end.")


def show(conversation: Conversation, services: Services, file: bool = True,
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
