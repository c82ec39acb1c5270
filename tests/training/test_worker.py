"""The worker's last frame: whatever happens ends as a state with words."""

import io
import sys

import pytest

from core.config import Config
from core.errors import UserError
from core.training import engine, worker
from core.training.run import EXIT_DISK_FULL, Run, create


@pytest.fixture
def work(folders, monkeypatch) -> Run:
    """A run whose worker is this process: its folder on standard input, its output kept here."""
    run = create(Config(), folders.runs)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{run.folder}\n"))
    monkeypatch.setattr(worker, "_write_to", lambda log: log.touch())
    return run


def fail_with(error: BaseException):
    def train(run, folders):
        raise error
    return train


def test_the_worker_trains_the_run_that_it_was_told_in_its_data_folder(work, folders, monkeypatch):
    told = []
    monkeypatch.setattr(engine, "train", lambda run, where: told.append((run, where.home)))
    worker.main()
    assert told == [(work, folders.home)]


def test_a_spare_whose_input_closes_does_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    monkeypatch.setattr(engine, "train", fail_with(AssertionError("trained nothing")))
    worker.main()


def test_a_user_error_ends_the_run_with_its_words(work, monkeypatch):
    monkeypatch.setattr(engine, "train", fail_with(UserError("Too small.", "Make it larger.")))
    worker.main()
    status = work.status()
    assert (status.state, status.words, status.remedy, status.detail) == (
        "failed", "Too small.", "Make it larger.", "")
    assert status.ended


def test_a_bug_ends_the_run_with_its_traceback(work, monkeypatch):
    monkeypatch.setattr(engine, "train", fail_with(KeyError("missing")))
    worker.main()
    status = work.status()
    assert status.state == "failed" and "KeyError" in status.words
    assert "Traceback" in status.detail and "fail_with" not in status.words


def test_a_disk_that_is_full_ends_the_run_with_words(work, monkeypatch):
    monkeypatch.setattr(engine, "train", fail_with(OSError(28, "No space left on device")))
    worker.main()
    assert work.status().words == "The disk is full."


def test_a_disk_too_full_for_last_words_is_told_by_the_exit_code(work, monkeypatch):
    monkeypatch.setattr(engine, "train", fail_with(OSError(28, "No space left on device")))
    monkeypatch.setattr(Run, "write_status", fail_with(OSError(28, "No space left on device")))
    with pytest.raises(SystemExit) as caught:
        worker.main()
    assert caught.value.code == EXIT_DISK_FULL
