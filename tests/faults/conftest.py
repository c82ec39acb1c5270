"""What the fault tests share: real workers that start within milliseconds, and what must hold
whenever one was killed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from core.config import Config
from core.files import Folders
from core.training import alive, checkpoint, engine, worker  # engine: a child needn't import it
from core.training.run import Run, create

ROOT = Path(__file__).parents[2]


@dataclass
class Worker:
    """A child of this process that works on a run: its imports are done, so that it can be killed
    two hundred times. All else is the trainer's own code."""

    run: Run
    pid: int

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)
        self.wait()

    def wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


@pytest.fixture
def start() -> Iterator[Callable[[Run], Worker]]:
    """Starts workers; those that are left are killed when the test is over."""
    started: list[Worker] = []

    def begin(run: Run) -> Worker:
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                run.withdraw_stop()
                run.update(state="starting", words="The trainer starts.", pid=os.getpid(),
                           pid_started=alive.start_time(os.getpid()), boot=alive.boot_id(),
                           memory_kills=alive.memory_kills(), started=time.time(), ended=0.0)
                worker.work(run.folder)
            finally:
                os._exit(0)
        started.append(Worker(run, child))
        return started[-1]

    yield begin
    for each in started:
        try:
            os.kill(each.pid, signal.SIGKILL)
            os.waitpid(each.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


@pytest.fixture(scope="session")
def config(tiny_model: Path, colours: Path) -> Config:
    """All that makes resuming hard: dropout, accumulation, an epoch that ends between two
    checkpoints, evaluations that draw numbers."""
    return Config(dataset=str(colours), base_model=str(tiny_model), base_weights="32bit",
                  precision="fp32", eval_rows=8, max_length=128, batch_size=4,
                  gradient_accumulation=2, lora_dropout=0.2, learning_rate=5e-3, epochs=2,
                  save_every="steps", save_steps=3, save_total_limit=2)


@pytest.fixture
def new_run(folders: Folders, config: Config) -> Callable[..., Run]:
    return lambda **changes: create(replace(config, **changes), folders.runs)


def to_the_end(run: Run, start: Callable[[Run], Worker]) -> None:
    assert engine and start(run).wait() == 0
    assert run.status().state == "finished", run.status()


def curve(run: Run, name: str) -> dict[int, float]:
    """The last value of each step; no step may be there twice."""
    found = [(r["step"], r[name]) for r in run.metrics() if name in r]
    assert len(dict(found)) == len(found), "a step was measured twice"
    return dict(found)


def expect_that_nothing_is_wrong(run: Run) -> None:
    """What must hold at any moment at which a worker may be gone."""
    status = run.status()
    assert status.state in ("interrupted", "finished"), status
    for folder in checkpoint.list_checkpoints(run.checkpoints):
        assert checkpoint.damage(folder) == "", folder
    if status.state == "finished":
        assert load_file(run.adapter / "adapter_model.safetensors")
        assert status.step == status.total_steps
    steps = sorted(curve(run, "loss"))
    assert steps == list(range(1, len(steps) + 1))


def expect_the_same(run: Run, whole: Run) -> None:
    """Bit for bit the losses and the adapter of a run that never stopped."""
    for name in ("loss", "eval_loss", "grad_norm", "learning_rate"):
        assert curve(run, name) == curve(whole, name), name
    mine, other = (load_file(r.adapter / "adapter_model.safetensors") for r in (run, whole))
    assert mine.keys() == other.keys()
    assert all(mine[name].equal(other[name]) for name in mine)
