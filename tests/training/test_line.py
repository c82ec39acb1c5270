"""Grids, and the file that keeps the order."""

import pytest

from core.config import Config
from core.errors import UserError
from core.training import line
from core.training.run import create


def test_a_grid_is_every_combination():
    made = line.grid(Config(), {"learning_rate": "1e-4, 3e-4", "lora_r": "8; 16, 32"})
    assert len(made) == 6
    assert len({(c.learning_rate, c.lora_r) for c in made}) == 6


def test_a_setting_without_values_keeps_its_own():
    made = line.grid(Config(lora_r=5), {"learning_rate": "1e-4,1e-3", "lora_r": ""})
    assert [c.lora_r for c in made] == [5, 5]


@pytest.mark.parametrize("values", [
    {}, {"lora_r": "8"}, {"lora_r": ",".join(map(str, range(1, 66)))}], ids=str)
def test_a_grid_of_one_run_or_of_very_many_is_refused(values):
    with pytest.raises(UserError, match="run"):
        line.grid(Config(), values)


def test_values_that_are_no_numbers_are_told():
    with pytest.raises(UserError, match="Rank r"):
        line.grid(Config(), {"lora_r": "8, many"})


def test_a_spoilt_file_of_the_order_is_no_order(folders):
    (folders.runs / ".line.json").write_text('{"order": 3')
    runs = [create(Config(), folders.runs) for _ in range(3)]
    assert [run.id for run in line.waiting(folders.runs)] == [run.id for run in runs]


def test_the_order_of_joining_holds_when_the_clock_is_set_back(folders, monkeypatch):
    first = create(Config(), folders.runs)
    line.join(folders.runs, first.id)
    second = create(Config(), folders.runs)
    second.update(created=first.status().created - 3600)
    line.join(folders.runs, second.id)
    assert [run.id for run in line.waiting(folders.runs)] == [first.id, second.id]
