"""An answer that comes late never replaces a newer one."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
import pytest

from ui.newest import Calls, _Newest, newest_only


@pytest.fixture
def event():
    """The wrapped event of one field; "slow" is answered when `may_end` is set."""
    may_end, begun, read = threading.Event(), threading.Event(), []

    def answer(text: str) -> list[str]:
        read.append(text)
        if text == "slow":
            begun.set()
            assert may_end.wait(60)
        return [f"told {text}"]

    with gr.Blocks():
        field, told = gr.Textbox(), gr.Textbox()
        wrapped = newest_only({"fn": answer, "inputs": field, "outputs": [told]})
    wrapped |= {"may_end": may_end, "begun": begun, "read": read,
                "state": copy.deepcopy(wrapped["inputs"][0].value)}  # as Gradio makes it for a page
    return wrapped


def test_a_slow_answer_is_dropped_when_a_newer_call_has_come(event):
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(event["fn"], event["state"], 1, "slow")
        assert event["begun"].wait(60)
        assert event["fn"](event["state"], 2, "quick") == ["told quick"]
        event["may_end"].set()
        assert slow.result(60) == gr.skip()


def test_a_call_that_arrives_after_a_newer_one_is_not_even_begun(event):
    assert event["fn"](event["state"], 2, "second") == ["told second"]
    assert event["fn"](event["state"], 1, "first") == gr.skip()
    assert event["read"] == ["second"]


def test_another_page_numbers_its_own_calls(event):
    other = copy.deepcopy(event["inputs"][0].value)
    assert event["fn"](event["state"], 7, "here") == ["told here"]
    assert event["fn"](other, 1, "there") == ["told there"]


@pytest.fixture
def stream():
    """A stream and a plain event that share their calls."""
    def words(text: str):
        if text == "refused":
            raise ValueError(text)
        if text == "left out":
            yield gr.skip()
            return
        yield f"{text} 1"
        yield f"{text} 2"

    with gr.Blocks():
        field, told, calls = gr.Textbox(), gr.Textbox(), Calls.draw()
        event = {"inputs": field, "outputs": told}
        return (newest_only({"fn": words, **event}, calls)["fn"],
                newest_only({"fn": lambda _: "emptied", **event}, calls)["fn"], _Newest())


def test_a_stream_ends_when_another_event_of_its_calls_has_come(stream):
    say, empty, state = stream
    answer = say(state, 1, "old")
    assert next(answer) == "old 1"
    assert empty(state, 2, "") == "emptied"
    assert list(answer) == [gr.skip()]


def test_a_stream_that_is_late_leaves_what_is_shown(stream):
    """It says gr.skip(): a generator that ends without a word empties its outputs in Gradio."""
    say, _, state = stream
    answer = say(state, 2, "new")
    assert next(answer) == "new 1"
    assert list(say(state, 1, "old")) == [gr.skip()]
    assert list(answer) == ["new 2"]


def test_an_event_that_is_late_does_not_touch_a_newer_stream(stream):
    say, empty, state = stream
    answer = say(state, 2, "new")
    assert next(answer) == "new 1"
    assert empty(state, 1, "") == gr.skip()
    assert list(answer) == ["new 2"]


def test_a_stream_that_is_refused_leaves_the_call_before_it_the_newest(stream):
    say, empty, state = stream
    with pytest.raises(ValueError):
        next(say(state, 2, "refused"))
    assert empty(state, 1, "") == "emptied"


def test_a_stream_that_is_left_out_leaves_the_call_before_it_the_newest(stream):
    """The second of two clicks: the first goes on."""
    say, _, state = stream
    first = say(state, 1, "first")
    assert next(first) == "first 1"
    assert list(say(state, 2, "left out")) == [gr.skip()]
    assert list(first) == ["first 2"]
