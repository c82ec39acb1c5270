"""A child process that answers calls, so that torch and heavy work stay out of the server.

The parent holds a Process; the child builds one object and runs its methods, each call in a thread
of its own. Both speak JSON lines over the child's standard input and output. A method that returns
an iterator is streamed, and ends early when the parent stops reading.
"""

import importlib
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.files import Folders, default_folders, why_not_written
from core.quiet import quieten

ROOT = Path(__file__).parents[1]


class Process:
    """The parent's side. `target` is 'module:Class'; the child calls Class(folders).

    It starts with the first call (or `start`), and again after it ended. `name` is used in
    sentences: 'The <name> ended unexpectedly.'
    """

    def __init__(self, target: str, folders: Folders, name: str):
        self._target, self._folders, self._name = target, folders, name
        self._lock = threading.Lock()
        self._child: subprocess.Popen | None = None
        self._ended_because = ""
        self._answers: dict[int, tuple[subprocess.Popen, queue.Queue]] = {}
        self._ids = itertools.count(1)

    def call(self, method: str, **arguments: Any) -> Any:
        """The method's result, or the last item that it yields; raises the child's UserError, or
        RuntimeError with its traceback."""
        return list(self.stream(method, **arguments))[-1]

    def stream(self, method: str, **arguments: Any) -> Iterator[Any]:
        """The items that the method yields (a plain result is one item). Closing the iterator
        tells the child to stop."""
        number, answers = next(self._ids), queue.Queue()
        self._send(number, answers, {"call": number, "method": method, "arguments": arguments})
        ended = False
        try:
            while True:
                answer = answers.get()
                ended = "item" not in answer
                if "problem" in answer:
                    raise UserError(answer["problem"], answer["remedy"])
                if "bug" in answer:
                    raise RuntimeError(answer["bug"])
                if ended:
                    return
                yield answer["item"]
        finally:
            self._answers.pop(number, None)
            if not ended:
                self._cancel(number)

    def start(self) -> None:
        """Start the child, so that the first call needn't wait for its imports."""
        with self._lock:
            self._ensure()

    def stop(self) -> None:
        """End the child at once, giving back all memory that it holds."""
        with self._lock:
            if self._child is not None and self._child.poll() is None:
                self._child.kill()
                self._child.wait()

    def make_room(self, why: str) -> str | None:
        """End the child if there is one. Calls that it was busy with end with `why`; returns a
        sentence on what was done, or None."""
        if not self.is_alive:
            return None
        self._ended_because = why
        self.stop()
        return f"{why} The {self._name} was ended and gave back its memory."

    @property
    def is_alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def _ensure(self) -> subprocess.Popen:
        if self._child is None or self._child.poll() is not None:
            self._ended_because = ""
            log = (self._folders.home / f"{self._name.replace(' ', '-')}.log").open("w")
            with log:
                self._child = subprocess.Popen(
                    [sys.executable, "-m", "core.process", self._target, str(self._folders.home)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, text=True,
                    encoding="utf-8", bufsize=1)
            threading.Thread(target=self._read, args=(self._child,), daemon=True).start()
        return self._child

    def _send(self, number: int, answers: queue.Queue, request: dict[str, Any]) -> None:
        with self._lock:
            child = self._ensure()
            self._answers[number] = child, answers
            try:
                child.stdin.write(json.dumps(request) + "\n")
                child.stdin.flush()
            except OSError:
                answers.put(self._lost())

    def _cancel(self, number: int) -> None:
        with self._lock:
            if self.is_alive:
                try:
                    self._child.stdin.write(json.dumps({"cancel": number}) + "\n")
                    self._child.stdin.flush()
                except OSError:
                    return  # it ended by itself, which is what was wanted

    def _read(self, child: subprocess.Popen) -> None:
        for line in child.stdout:
            answer = json.loads(line)
            _, waiting = self._answers.get(answer.pop("call"), (child, None))
            if waiting is not None:
                waiting.put(answer)
        child.wait()
        for asked, waiting in list(self._answers.values()):
            if asked is child:
                waiting.put(self._lost())

    def _lost(self) -> dict[str, str]:
        if self._ended_because:
            return {"problem": f"{self._ended_because} The {self._name} made room for it.",
                    "remedy": "Try again when the run has ended, or stop it."}
        return {"problem": f"The {self._name} ended unexpectedly.",
                "remedy": "Try again. If it was out of memory, choose a smaller model or 4bit."}


class _Server:
    """The child's side: reads requests until its input closes, which is when the parent is gone."""

    def __init__(self, target: Any, output: Any):
        self._target, self._output = target, output
        self._lock = threading.Lock()
        self._cancelled: set[int] = set()

    def run(self, lines: Iterator[str]) -> None:
        for line in lines:
            request = json.loads(line)
            if "cancel" in request:
                self._cancelled.add(request["cancel"])
            else:
                threading.Thread(target=self._answer, args=(request,), daemon=True).start()

    def _answer(self, request: dict[str, Any]) -> None:
        number = request["call"]
        try:
            result = getattr(self._target, request["method"])(**request["arguments"])
            for item in result if isinstance(result, Iterator) else (result,):
                self._write(call=number, item=item)
                if number in self._cancelled:
                    break
            self._write(call=number, end=True)
        except Exception as error:  # the child's last frame for a call; the parent raises it again
            told = error if isinstance(error, UserError) else why_not_written(error)
            if told is not None:
                self._write(call=number, problem=told.problem, remedy=told.remedy)
            else:
                self._write(call=number, bug=traceback.format_exc())
        finally:
            self._cancelled.discard(number)

    def _write(self, **answer: Any) -> None:
        with self._lock:
            self._output.write(json.dumps(answer) + "\n")
            self._output.flush()


def main() -> None:
    target, home = sys.argv[1:]
    quieten()
    # Libraries print; their words go to the log, the pipe is for answers only.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, name = target.split(":")
    server = _Server(getattr(importlib.import_module(module), name)(default_folders(home)), output)
    server.run(iter(sys.stdin.readline, ""))
    os._exit(0)  # threads may still be at work for a parent that is gone


if __name__ == "__main__":
    main()
