"""Of the last words of several processes, the one that is the reason is told."""

import pytest

from core.config import Config
from core.training import failures
from core.training.run import EXIT_DISK_FULL, Run, create

ECHO = "RuntimeError: [pair.cc:537] Read error: Connection closed by peer"


@pytest.fixture
def run(folders) -> Run:
    made = create(Config(), folders.runs)
    made.update(state="running", step=7)
    return made


def test_the_first_error_is_the_reason(run):
    failures.leave(run, 1, "The memory of the device ran out.", "Choose less.", "")
    failures.leave(run, 0, "Something later.", "", "")
    failures.conclude(run, {0: 1, 1: 1}, processes=2)
    status = run.status()
    assert (status.state, status.words, status.remedy) == (
        "failed", "The memory of the device ran out.", "Choose less.")
    assert status.ended


def test_what_another_process_says_of_the_loss_is_no_reason(run):
    failures.leave(run, 0, ECHO, "", "Traceback")
    failures.leave(run, 1, "KeyError: 'missing'", "", "")
    failures.conclude(run, {0: 1, 1: 1}, processes=2)
    assert run.status().words == "KeyError: 'missing'"
    assert failures.is_final(run)


def test_a_killed_process_interrupts_the_run_and_is_named(run):
    failures.leave(run, 0, ECHO, "", "Traceback")
    failures.conclude(run, {0: 1, 1: -9}, processes=2)
    status = run.status()
    assert status.state == "interrupted" and "Resume" in status.remedy and not status.detail
    for words in ("Process 2 of 2", "SIGKILL", "step 7"):
        assert words in status.words
    assert not failures.is_final(run)


def test_those_that_the_launcher_ended_are_not_called_killed(run):
    failures.conclude(run, {0: -15, 1: -11}, processes=2)
    assert "Process 2 of 2" in run.status().words and "SIGSEGV" in run.status().words


def test_processes_that_all_vanish_interrupt_the_run(run):
    failures.conclude(run, {}, processes=2)
    assert run.status().state == "interrupted" and "step 7" in run.status().words


def test_a_run_that_ended_well_stays_as_it_is(run):
    run.update(state="finished", words="Finished.")
    failures.conclude(run, {}, processes=2)
    assert run.status().words == "Finished."


def test_last_words_that_were_cut_off_are_passed_over(run):
    failures.leave(run, 0, "The disk is full.", "", "")
    (run.folder / "failures" / "1.json").write_text('{"words": "The di')
    failures.conclude(run, {0: EXIT_DISK_FULL}, processes=2)
    assert run.status().words == "The disk is full."


def test_last_words_of_an_earlier_start_are_forgotten(run):
    failures.leave(run, 0, "Long ago.", "", "")
    failures.forget(run)
    failures.conclude(run, {1: -9}, processes=2)
    assert run.status().state == "interrupted"
