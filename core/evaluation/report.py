"""One run on one page: what it learned from what, its curves, before and after, what it cost."""

from collections.abc import Iterator
from typing import Any

from core.config import GROUPS, Config
from core.evaluation.blocks import (
    Block,
    Drawing,
    Heading,
    Paragraph,
    table,
    to_html,
    to_markdown,
)
from core.evaluation.curves import curve_svg
from core.evaluation.findings import LIMITS, findings, samples
from core.training import energy
from core.training.names import name_of
from core.training.overfitting import overfitting
from core.training.run import Run


def html_page(run: Run, evaluation: dict[str, Any] | None) -> str:
    """A self-contained page, made to be printed."""
    return to_html(name_of(run), [*_begin(run), *_curves(run), *_measured(evaluation),
                            *(samples(evaluation) if evaluation else []), *_end(run),
                            *_settings(run.config())])


def markdown(run: Run, evaluation: dict[str, Any] | None) -> str:
    """The same for a model card, without curves and rows."""
    return to_markdown(name_of(run), [*_begin(run), *_measured(evaluation), *_end(run)])


def _begin(run: Run) -> Iterator[Block]:
    yield Paragraph(_what(run, run.config()))
    yield Heading("Learned from")
    yield table([], _facts(run, run.config()))


def _curves(run: Run) -> Iterator[Block]:
    yield Heading("Curves")
    yield Drawing(curve_svg(run.metrics()))
    if warning := overfitting(run.metrics()):
        yield Paragraph(warning)


def _measured(evaluation: dict[str, Any] | None) -> Iterator[Block]:
    if evaluation:
        yield from findings(evaluation)
    else:
        yield Heading("Before and after")
        yield Paragraph("Not evaluated yet: the Evaluate tab adds numbers with intervals here.")


def _end(run: Run) -> Iterator[Block]:
    yield Heading("Cost")
    yield table([], cost(run))
    yield Heading("Limits")
    yield Paragraph(LIMITS)


def cost(run: Run) -> list[tuple[str, str]]:
    """Time, tokens, memory; energy where the GPU's driver told it."""
    status, records = run.status(), run.metrics()
    seconds = max(0.0, status.ended - status.started) if status.started else 0.0
    memory = max((r.get("gpu_bytes", r.get("ram_bytes", 0.0)) for r in records), default=0.0)
    speeds = sorted(r["tokens_per_second"] for r in records if "tokens_per_second" in r)
    joules = run.facts(energy.FACTS).get("joules", 0.0)
    found = [("Time", f"{seconds / 60:.1f} minutes"), ("Steps", f"{status.step:,}"),
             ("Device", str(run.facts("environment").get("device", "?")))]
    found += [("Speed", f"{speeds[len(speeds) // 2]:,.0f} tokens a second")] if speeds else []
    found += [("Most memory", f"{memory / 2**30:.1f} GiB")] if memory else []
    return found + ([("Energy", f"{joules / 3600:.1f} Wh, whole cards, as their driver tells it")]
                    if joules else [])


def _what(run: Run, config: Config) -> str:
    base = config.base_model.removeprefix("starter:")
    grown = f" that goes on from '{config.adapter}'" if config.adapter else ""
    return (f"A LoRA adapter for {base}{grown}, trained on {config.dataset} with TuneDesk. "
            f"{run.status().words}")


def _facts(run: Run, config: Config) -> list[tuple[str, str]]:
    train, held = (run.facts("data").get(part) or {} for part in ("train", "eval"))
    return [("Run", run.id), ("Base model", config.base_model.removeprefix("starter:")),
            ("Data set", f"{config.dataset} (layout {run.facts('data').get('layout', '?')})"),
            ("Rows learned", f"{train.get('used_rows', '?')}, with "
             f"{train.get('learned_tokens', '?')} learned tokens of {train.get('tokens', '?')}"),
            ("Rows held out", str(held.get("used_rows", 0))),
            ("LoRA", f"rank {config.lora_r}, alpha {config.lora_alpha}, on "
                     f"{', '.join(config.target_modules)}"),
            ("Training", f"{config.epochs:g} epochs, batch {config.batch_size} x "
             f"{config.gradient_accumulation}, learning rate {config.learning_rate:g}"),
            ("Against bias", f"counterfactual rows: {config.counterfactual}, balanced answers: "
             f"{'yes' if config.balance_answers else 'no'}, adversarial strength: "
             f"{config.adversarial_strength:g}")]


def _settings(config: Config) -> Iterator[Block]:
    raw = config.to_dict()
    raw.pop("webhook_url")  # it may hold a token
    yield Heading("All settings")
    for group, title in GROUPS.items():
        yield Heading(title, 3)
        yield table([], [(name, str(raw[name])) for name, f in config.__dataclass_fields__.items()
                         if f.metadata["group"] == group and name in raw], own=True)
