"""The page finds a port, whoever else looks for one, and ends when it is asked to."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ui.launch import on_free_port

ROOT = Path(__file__).parents[1]

def test_a_port_that_is_taken_between_look_and_use_is_passed_over():
    with socket.socket() as mine, socket.socket() as other:
        def listen(port: int) -> int:
            if not tried:
                other.bind(("127.0.0.1", port))
                other.listen()
            tried.append(port)
            mine.bind(("127.0.0.1", port))
            return port

        tried: list[int] = []
        assert on_free_port(18_000, listen) == tried[1] > tried[0]


def test_a_failure_that_is_not_the_ports_is_told():
    def listen(_: int) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        on_free_port(18_200, listen)


DYING = """
import os, signal
from pathlib import Path
from unittest.mock import Mock

from ui import launch

class Dying:
    def __del__(self):  # an exception that is raised in here goes nowhere
        os.kill(os.getpid(), signal.{name})
        sum(range(1000))

def start(services, listening):
    Dying()
    return Mock(), "http://127.0.0.1:1/"

launch.start = start
launch.serve(Mock(), launch.Listening(0), own_window=False, open_browser=False)
print("It went on to its end.")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_server_ends_wherever_the_signal_falls(name):
    done = subprocess.run([sys.executable, "-c", DYING.format(name=name)], cwd=ROOT, text=True,
                          capture_output=True, timeout=120)
    assert "It went on to its end." in done.stdout, done.stderr
