"""A run in several processes: learns what one does, ends as a whole, and goes on where it was."""

import importlib.util
import os
import signal
from dataclasses import replace

import psutil
import pytest
import torch
from safetensors.torch import load_file

from core.training import engine, failures
from core.training.queue import Queue
from core.training.run import ACTIVE, FINAL, create, list_runs
from tests.ranks import train_together

pytestmark = pytest.mark.skipif(os.name == "nt", reason="forks and kills as Unix does")
SECONDS = 900.0  # starting processes takes long on a machine that is busy with other tests
LEAVING_SECONDS = 180.0  # Ray's agents first try to tell the killed cluster, for a minute
TWO = {"processes": 2}
SHARDED = {"processes": 2, "strategy": "fsdp2"}
RAY = pytest.param({"processes": 2, "cluster": "local"}, id="Ray", marks=pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray isn't installed"))
each_way = pytest.mark.parametrize("way", [pytest.param(TWO, id="DDP"),
                                           pytest.param(SHARDED, id="FSDP2"), RAY])


def losses(run) -> list[float]:
    return [r.get("loss", r.get("eval_loss")) for r in run.metrics()]


def weights(run) -> list[torch.Tensor]:
    return [value for _, value in sorted(
        load_file(run.adapter / "adapter_model.safetensors").items())]


@pytest.fixture
def together(folders):
    """Trains in forked processes; the run, whose state is told by its folder."""
    def train(config):
        run = create(config, folders.runs)
        failures.conclude(run, train_together(run, folders, config.processes), config.processes)
        return run
    return train


@pytest.fixture
def alone(folders):
    def train(config):
        run = create(replace(config, processes=1), folders.runs)
        engine.train(run, folders)
        return run
    return train


def test_two_processes_learn_what_one_does(quick, together, alone):
    """Rows and held-out rows that two can't share evenly, over an epoch's end."""
    config = replace(quick, train_rows=13, eval_rows=7, epochs=2, processes=2)
    one, two = alone(config), together(config)
    status = two.status()
    assert (status.state, status.step) == ("finished", one.status().step), status
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    for ours, theirs in zip(weights(two), weights(one), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-4)
    steps = [r["step"] for r in two.metrics() if "loss" in r]
    assert steps == list(range(1, status.step + 1))


def test_an_error_in_one_process_ends_the_run_with_its_words(quick, together, tmp_path):
    run = together(replace(quick, base_model=str(tmp_path / "none"), processes=2))
    assert run.status().state == "failed"
    assert "none" in run.status().words and run.status().remedy


@pytest.mark.slow
@pytest.mark.parametrize("settings", [
    {"strategy": "fsdp2"}, {"processes": 3, "batch_size": 8}, {"gradient_accumulation": 2},
    {"strategy": "fsdp2", "memory": "least", "gradient_accumulation": 4},
    {"memory": "least", "packing": False},
    {"strategy": "fsdp2", "processes": 3, "packing": False},
    {"modules_to_save": ("lm_head",)},
    {"use_dora": True}, {"strategy": "fsdp2", "lora_bias": "all"}, {"init_lora": "pissa"},
    {"eval_every": "steps", "eval_steps": 2, "early_stopping_patience": 3},
    {"strategy": "fsdp2", "eval_every": "steps", "eval_steps": 2, "early_stopping_patience": 3},
], ids=str)
def test_each_way_of_sharing_learns_what_one_process_does(settings, quick, together, alone):
    config = replace(quick, **{"train_rows": 27, "eval_rows": 5, "max_steps": 6, "processes": 2,
                               "learning_rate": 1e-3} | settings)
    one, several = alone(config), together(config)
    assert several.status().state == "finished", several.status()
    assert losses(several) == pytest.approx(losses(one), rel=2e-3)
    for ours, theirs in zip(weights(several), weights(one), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=5e-2, atol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_4bit_weights_are_shared(strategy, quick, together, alone):
    config = replace(quick, base_weights="4bit", precision="bf16", max_steps=6, eval_rows=0,
                     processes=2, strategy=strategy)
    one, two = alone(config), together(config)
    assert two.status().state == "finished", two.status()
    assert losses(two) == pytest.approx(losses(one), rel=1e-2)


# With the real launchers, as the queue starts them.

@pytest.fixture
def queue(folders):
    made = Queue(folders, keep_spare=False)
    made.start()
    yield made
    made.close()
    for run in list_runs(folders.runs):
        if run.status().state in ACTIVE and run.status().pid:
            os.killpg(run.status().pid, signal.SIGKILL)


@pytest.fixture
def settles(wait_for):
    def settle(run, *states):
        return wait_for(lambda: (found := run.status()).state in (states or FINAL) and found,
                        lambda: f"{states or FINAL}, not {run.status()}", SECONDS)
    return settle


@pytest.fixture
def begun(wait_for):
    """Waits until a run has a checkpoint; then its processes, the launcher's first."""
    def wait(run) -> list[psutil.Process]:
        wait_for(lambda: run.last_checkpoint() or run.status().state in FINAL,
                 lambda: f"a checkpoint, not {run.status()}", SECONDS)
        launcher = psutil.Process(run.status().pid)
        return [launcher, *launcher.children(recursive=True)]
    return wait


def rank_of(process: psutil.Process) -> str:
    try:
        return process.environ().get("RANK", "")
    except psutil.Error:
        return ""


def trainers(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that train: Ray's carry a title, torch's a number."""
    return [p for p in processes[1:] if rank_of(p) or "RayTrainWorker" in " ".join(p.cmdline())]


def expect_that_none_is_left(processes: list[psutil.Process]) -> None:
    _, left = psutil.wait_procs(processes, timeout=LEAVING_SECONDS)
    assert not left, [p.cmdline() for p in left]


@pytest.mark.slow
@pytest.mark.timeout(3000)
@each_way
def test_a_run_is_stopped_and_saved_in_all_processes(way, queue, settles, begun, endless):
    run = queue.submit(replace(endless, **way))
    processes = begun(run)
    queue.stop(run.id)
    status = settles(run)
    assert status.state == "stopped" and f"step {status.step}" in status.words, status
    assert (run.adapter / "adapter_model.safetensors").is_file()
    expect_that_none_is_left(processes)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@each_way
def test_a_run_is_stopped_at_once_in_all_processes(way, queue, settles, begun, endless):
    run = queue.submit(replace(endless, **way))
    processes = begun(run)
    queue.stop(run.id, at_once=True)
    assert "at once" in settles(run, "stopped").words
    expect_that_none_is_left(processes)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@each_way
def test_no_process_outlives_a_launcher_that_is_killed(way, queue, settles, begun, endless):
    run = queue.submit(replace(endless, **way))
    processes = begun(run)
    processes[0].kill()
    assert settles(run).state == "interrupted"
    expect_that_none_is_left(processes)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("way", [pytest.param(TWO, id="DDP"), pytest.param(SHARDED, id="FSDP2")])
def test_a_process_that_is_killed_ends_the_run_with_words_and_it_resumes(
        way, queue, settles, begun, endless):
    run = queue.submit(replace(endless, **way))
    processes = begun(run)
    next(p for p in processes if rank_of(p) == "1").kill()
    status = settles(run)
    assert status.state == "interrupted" and "Process 2 of 2" in status.words, status
    expect_that_none_is_left(processes)
    shown = max(r["step"] for r in run.metrics())
    (run.folder / "config.yaml").write_text(replace(endless, max_steps=shown + 2, **way).to_yaml())
    queue.resume(run.id)
    status = settles(run)
    assert (status.state, status.step) == ("finished", shown + 2), status
    assert [r["step"] for r in run.metrics()] == list(range(1, shown + 3))


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray isn't installed")
def test_a_cluster_goes_on_by_itself_when_a_process_is_killed(
        queue, settles, begun, wait_for, endless):
    run = queue.submit(replace(endless, processes=2, cluster="local"))
    processes = begun(run)
    lost = trainers(processes)[-1]
    seen = run.status().step
    lost.kill()
    wait_for(lambda: run.status().step > seen + 10, lambda: f"it goes on: {run.status()}", SECONDS)
    assert run.status().state == "running"
    steps = [r["step"] for r in run.metrics()]
    assert steps == list(range(1, len(steps) + 1))
    queue.stop(run.id)
    assert settles(run).state == "stopped"
