"""Events that answer several at once, of which only the newest may be shown."""

import inspect
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import gradio as gr


class _Newest:
    """The highest number that a page has given to a call of one event."""

    def __init__(self) -> None:
        self.number = 0
        self.lock = threading.Lock()

    def __deepcopy__(self, memo: dict) -> "_Newest":
        return _Newest()  # each page gets one of its own

    def is_newest(self, number: int) -> bool:
        """Notes a call's number; whether no later call has come."""
        with self.lock:
            self.number = max(self.number, number)
            return number == self.number


@dataclass(frozen=True)
class Calls:
    """What events share of which the newest call of any is to be shown; made where a page is."""

    number: gr.Number
    newest: gr.State

    @classmethod
    def draw(cls) -> Self:
        return cls(gr.Number(0, visible=False), gr.State(_Newest()))


def newest_only(event: dict[str, Any], calls: Calls | None = None) -> dict[str, Any]:
    """The same event, of which an answer is dropped once the page has called again: this event, or
    another one of the same `calls`.

    The page numbers its calls as it makes them: they run side by side and may reach the server, and
    end, in any order. `event` has `fn`, `inputs` and `outputs`, as Gradio's listeners take them."""
    fn: Callable = event["fn"]
    calls = calls or Calls.draw()
    inputs = event["inputs"] if isinstance(event["inputs"], list) else [event["inputs"]]

    def answer(newest: _Newest, number: float, *values: Any) -> Any:
        if not newest.is_newest(int(number)):
            return gr.skip()
        told = fn(*values)
        return told if newest.is_newest(int(number)) else gr.skip()

    def stream(newest: _Newest, number: float, *values: Any) -> Iterator[Any]:
        for told in fn(*values):
            # What is refused, or skips, before its first word doesn't count as a call.
            if told != gr.skip() and not newest.is_newest(int(number)):
                yield gr.skip()  # Gradio shows the last word again at the end, or None without one
                return
            yield told

    at = calls.number._id
    count = (f"(...values) => {{ const calls = (window.tunedeskCalls ??= {{}}); "
             f"values[1] = calls[{at}] = (calls[{at}] ?? 0) + 1; "
             f"return values.slice(0, {len(inputs) + 2}); }}")
    return event | {"fn": stream if inspect.isgeneratorfunction(fn) else answer, "js": count,
                    "inputs": [calls.newest, calls.number, *inputs]}
