"""'Stop now' ends a worker soon, whatever it does, and leaves no process and nothing half written.

How soon is printed (-s); bench/README.md has it for a machine that does nothing else."""

import os
import random
import signal
import threading
import time

import psutil
import pytest
import torch

from core.training import checkpoint, engine
from core.training.queue import Queue

pytestmark = pytest.mark.skipif(os.name == "nt", reason="forks and kills as Unix does")
LATEST_SECONDS = 20.0  # ends what hangs; two are meant, on a machine at rest


def endlessly(run, function):
    """The same work again and again, after a word that it has begun."""
    def work(*given, **named):
        (run.folder / "at-it").touch()
        while True:
            function(*given, **named)
    return work


def reading(patch, run) -> None:
    patch.setattr(engine.data, "open_dataset", endlessly(run, engine.data.open_dataset))


def tokenizing(patch, run) -> None:
    patch.setattr(engine.data, "tokenize_rows", endlessly(run, engine.data.tokenize_rows))


def loading(patch, run) -> None:
    patch.setattr(engine.load, "load_base", endlessly(run, engine.load.load_base))


def compiling(patch, run) -> None:
    def compile_one(*_) -> None:
        width = random.randrange(8, 10_000)  # or the compiler would find it in its cache
        torch.compile(lambda x: torch.nn.functional.gelu(x * width) + x)(torch.ones(2, width))

    patch.setattr(engine, "learn", endlessly(run, compile_one))


def evaluating(patch, run) -> None:
    patch.setattr(engine.Trainer, "evaluate", endlessly(run, engine.Trainer.evaluate))


def saving(patch, run) -> None:
    patch.setattr(checkpoint, "_sha256", endlessly(run, checkpoint._sha256))


def deaf(patch, run) -> None:
    def ignore(*_) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        torch.ones(400, 400) @ torch.ones(400, 400)

    patch.setattr(engine, "learn", endlessly(run, ignore))


@pytest.mark.parametrize("phase", [reading, tokenizing, loading, compiling, evaluating, saving,
                                   deaf], ids=lambda phase: phase.__name__)
def test_stop_now_ends_a_worker_whatever_it_does(phase, new_run, start, folders, monkeypatch,
                                                 wait_for):
    run = new_run(eval_every="steps", eval_steps=2)
    with monkeypatch.context() as patch:
        phase(patch, run)
        working = start(run)
    threading.Thread(target=working.wait, daemon=True).start()  # as init does: no zombie is left
    wait_for((run.folder / "at-it").exists, "it is at it", 200)
    children = psutil.Process(working.pid).children(recursive=True)
    queue = Queue(folders, keep_spare=False)
    queue.start()
    try:
        began = time.monotonic()
        queue.stop(run.id, at_once=True)
        status = wait_for(lambda: (s := run.written_status()).state == "stopped" and s,
                          "the run is stopped", LATEST_SECONDS)
        print(f"\n{phase.__name__}: {time.monotonic() - began:.2f} s")
        assert "at once" in status.words
        assert not any(psutil.pid_exists(pid) for pid in (working.pid,
                                                          *(child.pid for child in children)))
    finally:
        queue.close()
    assert all(not checkpoint.damage(each) for each in checkpoint.list_checkpoints(run.checkpoints))
    assert not (run.adapter / "adapter_config.json").exists()
