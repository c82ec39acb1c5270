"""Energy is told where the driver tells it, added up over resumes, and never made up."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core.evaluation.report import cost
from core.training import energy
from core.training.run import create


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """An nvidia-smi that says what it is told to say."""
    def say(answer: str, code: int = 0) -> None:
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\nprintf '{answer}'\nexit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(Path(program).parent), prepend=os.pathsep)

    return say


@pytest.fixture
def run(quick, folders):
    made = create(quick, folders.runs)
    made.update(devices=("0", "1"))
    return made


def test_what_two_cards_draw_is_added_up_and_goes_on_after_a_resume(driver, run, monkeypatch):
    driver("300.5\\n99.5\\n")
    monkeypatch.setattr(energy, "SECONDS", 0.05)
    began = time.monotonic()
    with energy.metered(run):
        time.sleep(0.4)
    took = time.monotonic() - began
    first = run.facts("energy")["joules"]
    assert 400 * 0.3 < first <= 400 * took + 1
    with energy.metered(run):
        time.sleep(0.1)
    assert run.facts("energy")["joules"] > first
    label, told = next(pair for pair in cost(run) if pair[0] == "Energy")
    assert told.startswith(f"{run.facts('energy')['joules'] / 3600:.1f} Wh")


@pytest.mark.parametrize("answer, code", [("[N/A]\\n", 0), ("300\\n", 0), ("", 9)],
                         ids=["not told", "one card missing", "failed"])
def test_a_driver_that_does_not_tell_leaves_nothing(driver, run, answer, code):
    driver(answer, code)
    with energy.metered(run):
        time.sleep(0.05)
    assert run.facts("energy") == {}
    assert "Energy" not in dict(cost(run))


def test_without_a_gpu_no_driver_is_asked(driver, run):
    driver("300\\n")
    run.write_status(replace(run.status(), devices=()))
    with energy.metered(run):
        time.sleep(0.05)
    assert run.facts("energy") == {}
