"""A quick test stands for a long run: a tenth of its rows, its settings kept, its time foretold."""

from dataclasses import replace

import pytest

from core.config import Config
from core.training import engine
from core.training.quick import long_config, mark, outlook, quick_config
from core.training.run import create
from ui import run_view


def test_it_learns_a_tenth_once_and_changes_nothing_else():
    long = Config(epochs=3, learning_rate=3e-4, train_rows=320)
    assert quick_config(long, 320) == replace(long, train_rows=32, epochs=1)


@pytest.mark.parametrize("long, rows, steps", [
    (Config(epochs=0.5), 320, 0), (Config(max_steps=500), 320, 50), (Config(max_steps=3), 5, 1)],
    ids=["half an epoch", "steps decide", "hardly any"])
def test_it_is_never_longer_than_the_long_run_and_never_nothing(long, rows, steps):
    found = quick_config(long, rows)
    assert found.max_steps == steps and found.epochs <= long.epochs and found.train_rows >= 1


def test_its_end_tells_what_the_long_run_takes_and_has_its_settings(quick, folders):
    long = replace(quick, epochs=4, batch_size=2)
    run = create(quick_config(long, 56), folders.runs)
    mark(run, long, 56)
    assert outlook(run) is None  # nothing is known before its end
    engine.train(run, folders)
    assert long_config(run) == long
    told = outlook(run)
    assert (told.rows, told.of_rows, told.steps, told.long_steps) == (5, 56, 3, 112)
    stepping = run.status().ended - run.status().stepping_since
    assert told.long_seconds == pytest.approx(stepping * 112 / 3)
    assert told.memory_bytes > 2**20
    assert "learned 5 of 56 rows" in run_view._notices(run)[0]


def test_another_run_is_no_quick_test(quick, folders):
    run = create(quick, folders.runs)
    assert long_config(run) is None and outlook(run) is None
    assert run_view._notices(run) == []
