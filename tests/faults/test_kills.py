"""Workers killed at any moment, inside a save too: nothing lost beyond the last checkpoint, and the
run goes on as if nothing had happened."""

import os
import random
import signal
import time

import pytest

from core.training import checkpoint
from tests.faults.conftest import (
    expect_that_nothing_is_wrong,
    expect_the_same,
    to_the_end,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="forks and kills as Unix does")


def kill_at_random(count: int, seed: int, new_run, start) -> int:
    """Kill workers at random moments; each run that comes to its end meanwhile is compared and
    another one begun. Returns how many kills met a worker at work."""
    draw, kills = random.Random(seed), 0
    whole = new_run()
    began = time.monotonic()
    to_the_end(whole, start)
    seconds = time.monotonic() - began
    run = new_run()
    while kills < count:
        working = start(run)
        deadline = time.monotonic() + draw.uniform(0.1, 1.1) * seconds
        while time.monotonic() < deadline and not working.has_ended():
            time.sleep(0.002)
        ended = working.has_ended()
        kept = run.last_checkpoint()
        working.kill()
        kills += not ended
        expect_that_nothing_is_wrong(run)
        now = run.last_checkpoint()
        assert checkpoint.step_of(now or run.folder) >= checkpoint.step_of(kept or run.folder)
        if run.status().state == "finished":
            expect_the_same(run, whole)
            run = new_run()
    to_the_end(run, start)
    expect_the_same(run, whole)
    return kills


def test_a_worker_killed_at_random_moments_loses_nothing(new_run, start):
    assert kill_at_random(5, random.randrange(10**6), new_run, start) == 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(8))
def test_a_worker_killed_two_hundred_times_loses_nothing(seed, new_run, start):
    assert kill_at_random(25, seed, new_run, start) == 25


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before_the_seal(patch, run) -> None:
    patch.setattr(checkpoint, "write_json", lambda *_: die())


def before_the_rename(patch, run) -> None:
    patch.setattr(checkpoint, "put_in_place", lambda *_: die())


def between_rename_and_pruning(patch, run) -> None:
    patch.setattr(checkpoint, "prune", lambda *_: die())


def inside_the_pruning(patch, run) -> None:
    def half(folder, ignore_errors=False):
        if folder.name.startswith("pruned-"):
            (folder / "adapter_model.safetensors").unlink()
            die()
    patch.setattr(checkpoint.shutil, "rmtree", half)


def before_the_adapter_has_its_place(patch, run) -> None:
    patch.setattr("core.training.engine.put_in_place", lambda *_: die())


def before_it_is_called_finished(patch, run) -> None:
    patch.setattr("core.training.engine._summary", lambda *_: die())


@pytest.mark.parametrize("moment", [
    before_the_seal, before_the_rename, between_rename_and_pruning, inside_the_pruning,
    before_the_adapter_has_its_place, before_it_is_called_finished], ids=lambda m: m.__name__)
def test_a_worker_killed_inside_a_save_loses_nothing(moment, new_run, start, monkeypatch):
    whole, run = (new_run(max_steps=5, save_steps=2, save_total_limit=1) for _ in range(2))
    to_the_end(whole, start)
    with monkeypatch.context() as patch:
        moment(patch, run)
        assert start(run).wait() == -signal.SIGKILL
    expect_that_nothing_is_wrong(run)
    assert run.status().state == "interrupted"
    to_the_end(run, start)
    expect_the_same(run, whole)
    assert not run.saving.exists()


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_says_so(new_run, start):
    whole, run = new_run(max_steps=9), new_run(max_steps=9)
    to_the_end(whole, start)
    working = start(run)
    while checkpoint.step_of(run.last_checkpoint() or run.folder) < 6:
        time.sleep(0.01)
        assert not working.has_ended()
    working.kill()
    newest = run.last_checkpoint()
    weights = newest / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    to_the_end(run, start)
    expect_the_same(run, whole)
    assert any(f"step {checkpoint.step_of(newest)} is damaged" in sentence
               for sentence in run.facts("resumed")["notices"])


def test_an_evaluation_does_not_change_what_dropout_draws_next(new_run, start):
    often, never = (new_run(eval_every=every, eval_steps=2, eval_rows=8, max_steps=6)
                    for every in ("steps", "never"))
    to_the_end(often, start)
    to_the_end(never, start)
    assert [r["loss"] for r in often.metrics() if "loss" in r] == [
        r["loss"] for r in never.metrics() if "loss" in r]
