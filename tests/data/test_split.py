"""Which rows are learned and which are held out."""

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from core.data.choosing.split import draw, hold_out


def numbered(count: int) -> Dataset:
    return Dataset.from_dict({"number": list(range(count))})


def test_the_draw_of_the_tutorial_is_that_of_datasets_itself():
    rows = numbered(2000)
    expected = rows.shuffle(seed=42).select(range(500))
    assert draw(rows, 500, 42)["number"][:] == expected["number"][:]


@pytest.mark.parametrize("count", [0, 10, 11])
def test_all_rows_are_drawn_when_none_or_more_than_there_are_were_asked_for(count):
    assert sorted(draw(numbered(10), count, 1)["number"]) == list(range(10))


def test_another_seed_draws_other_rows():
    rows = numbered(1000)
    assert draw(rows, 20, 1)["number"][:] != draw(rows, 20, 2)["number"][:]


@given(rows=st.integers(2, 60), train=st.integers(0, 70), held=st.integers(1, 70),
       seed=st.integers(0, 2**32 - 1))
def test_no_row_is_both_learned_and_held_out(rows, train, held, seed):
    learned, held_out = hold_out(numbered(rows), train, held, seed)
    assert not {*learned["number"]} & {*held_out["number"]}
    assert len(learned) >= 1 and len(held_out) == min(held, rows // 2)
    assert train == 0 or len(learned) <= train


def test_more_training_rows_leave_the_held_out_rows_as_they_are():
    rows = numbered(100)
    assert (hold_out(rows, 10, 20, 42)[1]["number"][:]
            == hold_out(rows, 0, 20, 42)[1]["number"][:])
