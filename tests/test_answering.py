"""One answer of a page at a time, whatever is clicked before the page has heard of the first."""

from types import SimpleNamespace

import gradio as gr
import pytest

from core.chat.conversation import Conversation
from core.errors import UserError
from ui.answering import answer as answers

HOW = (0.7, 0.95, 0, 0, 1, 16, 0, "42", "", "")
ASKED = [{"role": "user", "content": "What colour has snow?"}]


@pytest.fixture
def answer(folders):
    """Begins the answer to ASKED on a page; its words are those of the list it is given."""
    form = SimpleNamespace(raw=lambda settings: {})
    queue = SimpleNamespace(active=list)

    def begin(at_work: dict, said: list):
        def stream(*_, **__):
            for one in said:
                if isinstance(one, Exception):
                    raise one
                yield {"phase": one}
        services = SimpleNamespace(chat=SimpleNamespace(stream=stream), queue=queue,
                                   folders=folders)
        return answers(at_work, Conversation(), ASKED, ASKED[0]["content"],
                       ("", *HOW), form, services)
    return begin


def test_the_second_of_two_clicks_is_left_out_and_a_later_one_is_answered(answer):
    at_work: dict = {}
    first = answer(at_work, ["Loading", "Reading"])
    next(first)
    assert list(answer(at_work, ["Loading"])) == [gr.skip()]
    assert len(list(first)) == 3  # both phases and the end
    assert len(list(answer(at_work, []))) == 2


def test_a_page_may_send_again_once_it_knows_of_the_end(answer):
    at_work: dict = {}
    first = answer(at_work, [])
    next(first)
    next(first)  # the end, as it goes to the page
    assert len(list(answer(at_work, []))) == 2


def test_an_answer_that_was_stopped_does_not_release_the_next(answer):
    at_work: dict = {}
    stopped = answer(at_work, ["Loading"])
    next(stopped)
    at_work.clear()  # as Stop does
    following = answer(at_work, ["Loading"])
    next(following)
    stopped.close()
    assert list(answer(at_work, [])) == [gr.skip()]
    following.close()
    assert len(list(answer(at_work, []))) == 2


@pytest.mark.parametrize("error", [UserError("It has no memory left.", "Wait."), RuntimeError("?")])
def test_a_refusal_gives_the_message_back_and_lets_go(answer, error):
    at_work: dict = {}
    refused = answer(at_work, [error])
    next(refused)
    assert next(refused)[4] == "What colour has snow?"
    assert not at_work
    if not isinstance(error, UserError):
        with pytest.raises(RuntimeError):
            next(refused)
