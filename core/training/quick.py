"""A quick test on a tenth of the rows, and the long run for which it was made."""

from dataclasses import dataclass, replace

from core.config import Config
from core.training.run import Run
from core.training.verdict import steps_of

PART = 10
FACTS = "quick"


@dataclass(frozen=True)
class Outlook:
    """What a quick test took, and what the long run is likely to take at that speed. `memory_bytes`
    is the most that was seen, 0 where it wasn't measured; passes are of like size in both."""

    rows: int
    of_rows: int
    seconds: float
    steps: int
    long_steps: int
    long_seconds: float
    memory_bytes: float


def quick_config(config: Config, rows: int) -> Config:
    """The same run on a tenth of `rows`, once: whether all works, and a first number."""
    return replace(config, train_rows=max(1, rows // PART), epochs=min(config.epochs, 1.0),
                   max_steps=config.max_steps and max(1, config.max_steps // PART))


def mark(run: Run, long: Config, rows: int) -> None:
    """Keep with a quick test for which run over how many rows it was made."""
    run.write_facts(FACTS, {"settings": long.to_dict(), "rows": rows})


def long_config(run: Run) -> Config | None:
    """The settings of the long run that a quick test stands for; None where it is none."""
    settings = run.facts(FACTS).get("settings")
    return Config.forgiving(settings)[0] if settings else None


def outlook(run: Run) -> Outlook | None:
    """None for a run that is no quick test, or hasn't finished."""
    status, long = run.status(), long_config(run)
    if long is None or status.state != "finished" or not status.step:
        return None
    rows, own = int(run.facts(FACTS)["rows"]), run.config()
    seconds = max(0.0, status.ended - (status.stepping_since or status.started))
    long_steps = steps_of(long, rows)
    records = run.metrics()
    return Outlook(own.train_rows, rows, max(0.0, status.ended - status.started), status.step,
                   long_steps, seconds * long_steps / status.step,
                   max((r.get("gpu_bytes", r.get("ram_bytes", 0.0)) for r in records),
                       default=0.0))
