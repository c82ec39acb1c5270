"""One run on one page: what it learned from what, its curves, before and after, what it cost."""

import html
import math
from typing import Any

from core.config import GROUPS, Config
from core.evaluation.curves import curve_svg
from core.training.overfitting import overfitting
from core.training.run import Run

SAMPLES = 6  # rows shown, half of them where tuning helped most, half where it hurt most
STYLE = """
body{font:15px/1.55 system-ui,"Noto Sans CJK SC",sans-serif;color:#14212a;max-width:900px;
margin:32px auto;padding:0 20px}
h1{font-size:24px}h2{font-size:18px;margin:28px 0 6px}p,td,th{overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;margin:6px 0;font-variant-numeric:tabular-nums}
td,th{border-bottom:1px solid #dce3e7;padding:6px 12px 6px 0;text-align:left;vertical-align:top}
th{font-weight:400;color:#4d5f6b}small{color:#4d5f6b;display:block}
.better{color:#17703f}.worse{color:#b02318}pre{white-space:pre-wrap;margin:0;font:inherit}
svg{width:100%;height:auto}@media print{h2{break-after:avoid}tr,svg{break-inside:avoid}}
"""
LIMITS = ("These numbers hold for rows like those that were judged; elsewhere the model wasn't "
          "measured. An interval covers the chance in which rows were drawn, not a change of the "
          "data. The licences of the base model and of the data apply to what is made from them.")


def html_page(run: Run, evaluation: dict[str, Any] | None) -> str:
    """A self-contained page: no script, nothing fetched, made to be printed. All text from data is
    escaped."""
    config = run.config()
    parts = [f"<h1>{html.escape(run.id)}</h1>", _paragraph(_what(run, config)),
             "<h2>Learned from</h2>", _pairs(_facts(run, config)),
             "<h2>Curves</h2>", curve_svg(run.metrics())]
    warning = overfitting(run.metrics())
    parts += [_paragraph(warning)] if warning else []
    parts += _measured(evaluation) if evaluation else [
        "<h2>Before and after</h2>",
        _paragraph("Not evaluated yet: the Evaluate tab adds numbers with intervals here.")]
    parts += ["<h2>Cost</h2>", _pairs(cost(run)), "<h2>Limits</h2>", _paragraph(LIMITS),
              "<h2>All settings</h2>", _settings(config)]
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width"><title>{html.escape(run.id)}</title>'
            f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>")


def markdown(run: Run, evaluation: dict[str, Any] | None) -> str:
    """The same for a model card, without curves and rows."""
    config = run.config()
    lines = [f"# {run.id}", "", _what(run, config), "", "## Learned from", "",
             *_md_table(["", ""], [list(pair) for pair in _facts(run, config)])]
    if evaluation:
        titles = [model["title"] for model in evaluation["models"]]
        for table in evaluation["tables"]:
            lines += ["", f"## {table['title']}", "", table["help"], "",
                      *_md_table(["", *titles],
                                 [[f"{n['label']} ({n['rows']} rows)", *_cells(n)]
                                  for n in table["numbers"]])]
        lines += ["", "Intervals are 95 % bootstrap intervals over rows."]
    lines += ["", "## Cost", "", *_md_table(["", ""], [list(pair) for pair in cost(run)]), "",
              "## Limits", "", LIMITS, ""]
    return "\n".join(lines)


def cost(run: Run) -> list[tuple[str, str]]:
    """Time, tokens and memory; energy isn't measured, so it isn't told."""
    status, records = run.status(), run.metrics()
    seconds = max(0.0, status.ended - status.started) if status.started else 0.0
    memory = max((r.get("gpu_bytes", r.get("ram_bytes", 0.0)) for r in records), default=0.0)
    speeds = sorted(r["tokens_per_second"] for r in records if "tokens_per_second" in r)
    found = [("Time", f"{seconds / 60:.1f} minutes"), ("Steps", f"{status.step:,}"),
             ("Device", str(run.facts("environment").get("device", "?")))]
    found += [("Speed", f"{speeds[len(speeds) // 2]:,.0f} tokens a second")] if speeds else []
    return found + ([("Most memory", f"{memory / 2**30:.1f} GiB")] if memory else [])


def _what(run: Run, config: Config) -> str:
    base = config.base_model.removeprefix("starter:")
    grown = f" that goes on from '{config.adapter}'" if config.adapter else ""
    return (f"A LoRA adapter for {base}{grown}, trained on {config.dataset} with TuneDesk. "
            f"{run.status().words}")


def _facts(run: Run, config: Config) -> list[tuple[str, str]]:
    train, held = (run.facts("data").get(part) or {} for part in ("train", "eval"))
    return [("Base model", config.base_model.removeprefix("starter:")),
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


def _measured(evaluation: dict[str, Any]) -> list[str]:
    titles = [model["title"] for model in evaluation["models"]]
    parts = [_paragraph(remark) for remark in evaluation["remarks"]]
    for table in evaluation["tables"]:
        head = "".join(f"<th>{html.escape(title)}</th>" for title in ["", *titles])
        body = "".join(_number_row(number) for number in table["numbers"])
        parts += [f"<h2>{html.escape(table['title'])}</h2>", _paragraph(table["help"]),
                  f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"]
    return [*parts, "<h2>Samples</h2>", _samples(evaluation, titles)]


def _number_row(number: dict[str, Any]) -> str:
    cells = "".join(f'<td class="{_verdict(compared)}">{html.escape(cell)}</td>'
                    for cell, compared in zip(_cells(number), number["compared"], strict=True))
    return (f"<tr><th>{html.escape(number['label'])}<small>{number['rows']} rows</small></th>"
            f"{cells}</tr>")


def _verdict(compared: dict[str, Any] | None) -> str:
    return compared["verdict"] if compared and compared["verdict"] in ("better", "worse") else ""


def _cells(number: dict[str, Any]) -> list[str]:
    """'95.5 % (92.0 to 98.0), better, p 0.001' for each model."""
    told = []
    for value, compared in zip(number["values"], number["compared"], strict=True):
        shown, low, high = (_shown(value[at], number["unit"]) for at in ("value", "low", "high"))
        verdict = f", {compared['verdict']}, p {compared['p']:.3f}" if compared else ""
        told.append(f"{shown} ({low} to {high}){verdict}")
    return told


def _shown(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "not known"
    return f"{100 * value:.1f} %" if unit == "%" else f"{value:.4g}"


def _samples(evaluation: dict[str, Any], titles: list[str]) -> str:
    def gain(row: dict[str, Any]) -> float:
        first, last = (by.get("probability", by["log_probability"]) for by in
                       (row["by"][0], row["by"][-1]))
        return last - first

    ordered = sorted(evaluation["rows"], key=gain, reverse=True)
    half = SAMPLES // 2
    shown = ordered if len(ordered) <= SAMPLES else [*ordered[:half], *ordered[-half:]]
    head = "".join(f"<th>{html.escape(t)}</th>" for t in ["Asked", "In the data", *titles])
    body = "".join("<tr>" + "".join(f"<td><pre>{html.escape(cell)}</pre></td>" for cell in [
        row["prompt"], row["answer"], *(by.get("text") or by.get("label", "") for by in row["by"])
        ]) + "</tr>" for row in shown)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _settings(config: Config) -> str:
    raw = config.to_dict()
    by_group = {title: [(name, str(raw[name])) for name, f in config.__dataclass_fields__.items()
                        if f.metadata["group"] == group] for group, title in GROUPS.items()}
    return "".join(f"<h3>{html.escape(title)}</h3>{_pairs(pairs)}"
                   for title, pairs in by_group.items())


def _pairs(pairs: list[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><th>{html.escape(label)}</th><td>{html.escape(value)}</td></tr>"
                    for label, value in pairs)
    return f"<table><tbody>{lines}</tbody></table>"


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _md_table(head: list[str], lines: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ")
                                 for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *map(line, lines)]
