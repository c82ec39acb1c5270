"""Rows are shared out so that several processes learn what one would, step by step."""

import math
import random

import pytest
from accelerate.data_loader import BatchSamplerShard, SeedableRandomSampler
from torch.utils.data import BatchSampler

from core.config import Config
from core.training.shares import Dealt, WithBlanks, blank, even, measured_at_once, share

COUNTS = [1, 2, 3, 4, 7, 8]
each_count = pytest.mark.parametrize("processes", COUNTS)


def rows_of(count: int) -> list[dict[str, list[int]]]:
    draw = random.Random(count)
    return [{"input_ids": [1] * draw.randint(1, 500), "labels": []} for _ in range(count)]


def lengths_of(rows: list) -> list[int]:
    return [len(row["input_ids"]) for row in rows]


def passes(rows: list, shares, seed: int, epoch: int = 0) -> list[list[list[int]]]:
    """What each process gets in each pass, the way accelerate hands batches out."""
    hands = []
    for at in range(shares.processes):
        dealt = Dealt(lengths_of(rows), shares, seed)
        dealt.set_epoch(epoch)
        hands.append(list(BatchSamplerShard(BatchSampler(dealt, shares.rows, drop_last=False),
                                            shares.processes, at)))
    return [list(each) for each in zip(*hands, strict=True)]


@each_count
@pytest.mark.parametrize("batch, accumulation", [(8, 1), (8, 4), (1, 8), (12, 3)])
def test_a_step_has_the_rows_that_the_person_set(processes, batch, accumulation):
    shares = share(Config(batch_size=batch, gradient_accumulation=accumulation), processes)
    assert shares.pass_rows * shares.passes == batch * accumulation
    assert shares.rows * processes >= shares.pass_rows
    assert shares.rows <= max(batch, 1)


@each_count
@pytest.mark.parametrize("count", [1, 7, 64, 100])
def test_each_step_learns_the_rows_that_one_process_would(processes, count):
    rows = rows_of(count)
    shares = share(Config(batch_size=8), processes)
    alone = SeedableRandomSampler(range(count), data_seed=3)
    for epoch in range(2):
        wanted = [set(batch) for batch in BatchSampler(alone, 8, drop_last=False)]
        found = passes(rows, shares, seed=3, epoch=epoch)
        assert [{row for hand in hands for row in hand} - {count} for hands in found] == wanted
        assert all(len(hand) == shares.rows for hands in found for hand in hands)
        assert len(found) == math.ceil(count / 8)


def test_no_row_is_dealt_twice():
    shares = share(Config(batch_size=8), 3)
    order = [row for row in Dealt(lengths_of(rows_of(50)), shares, seed=0) if row != 50]
    assert sorted(order) == list(range(50))


def test_processes_have_about_as_many_tokens_each():
    rows = rows_of(512)
    shares = share(Config(batch_size=64), 4)
    for hands in passes(rows, shares, seed=0):
        tokens = [sum(len(rows[row]["input_ids"]) for row in hand) for hand in hands]
        assert max(tokens) < 1.03 * min(tokens)


@each_count
def test_held_out_rows_are_evened_out_with_rows_that_teach_nothing(processes):
    rows = rows_of(21)
    evened = even(rows, 8, processes, 5)
    assert list(evened)[:21] == rows and len(evened) % (8 * processes) == 0
    assert all(row == blank(5) and set(row["labels"]) == {-100} for row in list(evened)[21:])


def test_rows_before_blank_ones_are_read_when_they_are_asked_for():
    class Rows(list):
        read = 0

        def __getitem__(self, index):
            self.read += 1
            return super().__getitem__(index)

    rows = Rows(rows_of(100))
    evened = WithBlanks(rows, 2, 5)
    assert evened[7] == list.__getitem__(rows, 7) and evened[101] == blank(5)
    assert rows.read == 1


def test_what_is_measured_at_once_fits_where_passes_are_learned():
    assert measured_at_once([2048, 100], 8192, most=256) == 16
    assert measured_at_once([270] * 9, 8192, most=8) == 8
    assert measured_at_once([100_000], 1024, most=8) == 1
    assert measured_at_once([], 1024, most=8) == 8
