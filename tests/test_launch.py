"""The page finds a port, whoever else looks for one."""

import socket

import pytest

from ui.launch import on_free_port


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
