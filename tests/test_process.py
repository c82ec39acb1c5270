"""Calls to a child process: results, errors, streams, and a child that dies."""

import os
import signal
import threading

import pytest

from core.errors import UserError
from core.process import Process

CHILD = '''
"""The object in the child process."""
import os
import time
from core.errors import UserError


class Child:
    def __init__(self, folders):
        self.folders = folders
        self.stopped_at = None

    def add(self, a, b):
        print("a library's words")
        return a + b

    def home(self):
        return str(self.folders.home)

    def pid(self):
        return os.getpid()

    def refuse(self):
        raise UserError("No such thing: 电影.", "Try another.")

    def break_down(self):
        raise KeyError("missing")

    def refuse_later(self):
        yield 1
        raise UserError("Not the second.", "")

    def count(self, to, seconds=0.0):
        try:
            for number in range(to):
                time.sleep(seconds)
                yield number
                self.stopped_at = number
        finally:
            self.ended = True

    def where(self):
        return self.stopped_at, getattr(self, "ended", False)

    def sleep(self, seconds):
        time.sleep(seconds)
        return "slept"
'''


@pytest.fixture
def process(folders, tmp_path, monkeypatch):
    (tmp_path / "child_of_tests.py").write_text(CHILD, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = Process("child_of_tests:Child", folders, "test process")
    yield made
    made.stop()


def test_a_result_comes_back(process):
    assert process.call("add", a=2, b=3) == 5
    assert process.call("add", a="电影 ", b="👍") == "电影 👍"


def test_the_child_gets_the_folders_of_its_parent(process, folders):
    assert process.call("home") == str(folders.home)


def test_a_user_error_comes_back_whole(process):
    with pytest.raises(UserError) as caught:
        process.call("refuse")
    assert (caught.value.problem, caught.value.remedy) == ("No such thing: 电影.", "Try another.")


def test_a_bug_comes_back_with_its_traceback(process):
    with pytest.raises(RuntimeError, match="in break_down"):
        process.call("break_down")
    with pytest.raises(RuntimeError, match="no_such_method"):
        process.call("no_such_method")


def test_after_an_error_the_same_child_answers(process):
    pid = process.call("pid")
    with pytest.raises(UserError):
        process.call("refuse")
    assert process.call("pid") == pid


def test_a_stream_gives_its_items_in_order(process):
    assert list(process.stream("count", to=100)) == list(range(100))


def test_a_stream_gives_what_it_has_before_its_error(process):
    stream = process.stream("refuse_later")
    assert next(stream) == 1
    with pytest.raises(UserError, match="Not the second"):
        next(stream)


def test_items_come_as_they_are_made(process):
    stream = process.stream("count", to=10_000, seconds=0.1)  # all of them would take 1,000 s
    assert next(stream) == 0
    stream.close()


def test_closing_a_stream_stops_the_child(process, wait_for):
    stream = process.stream("count", to=100_000, seconds=0.01)
    next(stream)
    stream.close()
    at, ended = wait_for(lambda: (found := process.call("where"))[1] and found,
                         "the child stopped", 20)
    assert ended and (at or 0) < 1000


def test_two_calls_are_answered_side_by_side(process):
    process.call("pid")
    answers = []
    slow = threading.Thread(target=lambda: answers.append(process.call("sleep", seconds=2)))
    slow.start()
    assert process.call("add", a=1, b=1) == 2
    assert answers == []
    slow.join(20)
    assert answers == ["slept"]


def test_a_child_killed_in_the_middle_is_told_and_the_next_call_works(process):
    stream = process.stream("count", to=1000, seconds=0.05)
    next(stream)
    os.kill(process.call("pid"), getattr(signal, "SIGKILL", signal.SIGTERM))
    with pytest.raises(UserError, match="test process ended unexpectedly"):
        list(stream)
    assert process.call("add", a=1, b=1) == 2


def test_a_child_killed_between_calls_is_started_again(process, wait_for):
    os.kill(process.call("pid"), getattr(signal, "SIGKILL", signal.SIGTERM))
    wait_for(lambda: not process.is_alive, "the child ended")
    assert process.call("add", a=1, b=1) == 2


def test_a_child_that_cannot_start_is_told(folders):
    broken = Process("no_such_module:Thing", folders, "test process")
    with pytest.raises(UserError, match="ended unexpectedly"):
        broken.call("anything")
    assert "no_such_module" in (folders.home / "test-process.log").read_text()


def test_stopping_gives_the_child_back_and_a_call_starts_it_again(process):
    first = process.call("pid")
    process.stop()
    assert not process.is_alive
    assert process.call("pid") != first


def test_a_child_ends_with_its_parent(process, wait_for):
    import psutil

    child = psutil.Process(process.call("pid"))
    process._child.stdin.close()  # what the end of the parent's process does
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE,
             "the child ended", 20)


def test_what_is_asked_while_the_child_starts_is_answered(process):
    process.start()
    assert process.call("add", a=1, b=1) == 2
