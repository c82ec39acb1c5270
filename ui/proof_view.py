"""What the Export tab draws: the work that goes on, an export's proof, its place on the disk."""

import html
import math
from typing import Any

from core.export.exports import Job
from core.export.forms import FORMS
from core.export.records import difference_in_words, refusal
from ui import words


def progress(job: Job) -> str:
    """A bar and the phase of a job at work; how it ended, else."""
    if job.is_working:
        share = "" if job.share is None else f' style="width:{job.share:.0%}"'
        waiting = " td-bar-waiting" if job.share is None else ""
        text = job.phase + ("…" if job.share is None else f", {job.share:.0%}")
        return (f'<div class="td-card" role="status" data-state="working">'
                f"<h3>{html.escape(_title(job))}</h3><p class='td-line'>{html.escape(text)}</p>"
                f'<div class="td-bar{waiting}"><div class="td-bar-fill"{share}></div></div></div>')
    if job.state == "cancelled":
        return words.note("Cancelled. Nothing of it was left behind.")
    if job.state == "failed":
        return words.note(f"{job.problem}\n{job.remedy}".strip(), "error")
    if job.state == "done" and job.kind == "push":
        return words.note(f"Uploaded: {job.done['address']}")
    return ""


def _title(job: Job) -> str:
    verb = "Uploads" if job.kind == "push" else "Exports"
    return f"{verb} {job.run}: {FORMS[job.form].label}"


def proof(record: dict[str, Any] | None) -> str:
    """An export's proof as a card; what there will be, where it isn't made yet."""
    if record is None:
        return ('<div class="td-card td-proof" data-state="none"><h3>Not exported yet</h3>'
                '<p class="td-line">Each export is loaded back and asked held-out rows beside the '
                "base model with the adapter. What differs, and whether it is within the bounds of "
                "the form, shows here.</p></div>")
    told = record["proof"]
    state = "finished" if told["passed"] else "failed"
    pill = "Proof passed" if told["passed"] else "Proof not passed"
    warning = "" if told["passed"] else words.note(refusal(told), "warning")
    unclear = "" if told["effect_shows"] or told.get("effect_is_small") else words.note(
        "The adapter changes the answers less than this form's rounding does, so a merge that "
        "forgot it couldn't be told by these numbers.", "warning")
    facts = words.facts((
        ("Size", words.memory(record["size_bytes"]) if record["size_bytes"] > 2**28
         else f"{record['size_bytes'] / 2**20:.1f} MiB"),
        ("Made", words.when(record["made"])), ("Took", words.duration(record["seconds"])),
        ("Asked", f"{told['rows']}, {told['positions']} tokens"),
        ("Compared on", told["place"])))
    return (f'<div class="td-card td-proof" data-state="{state}"><div class="td-card-head">'
            f"<h3>{html.escape(FORMS[record['form']].label)}</h3>"
            f'<span class="td-pill" data-passed="{str(told["passed"]).lower()}">{pill}</span>'
            f"</div>{warning}{unclear}{facts}{_table(told)}"
            f'<p class="td-line">{html.escape(difference_in_words(record))}</p>'
            f'{_answers(told)}<p class="td-line">It lies in <code>'
            f"{html.escape(record['folder'])}</code></p></div>")


def _table(told: dict[str, Any]) -> str:
    lines = "".join(
        f"<tr><th scope='row'>{html.escape(check['name'])}</th><td>{_measure(check, 'found')}</td>"
        f"<td>{'at most' if check['at_most'] else 'at least'} {_measure(check, 'bound')}</td>"
        f"<td class='td-{'good' if check['passed'] else 'bad'}'>"
        f"{'passed' if check['passed'] else 'not passed'}</td></tr>" for check in told["checks"])
    return ('<div class="td-scroll"><table class="td-checks"><thead><tr><th scope="col">Measure'
            '</th><th scope="col">Found</th><th scope="col">Bound</th><th scope="col">Result</th>'
            f"</tr></thead><tbody>{lines}</tbody></table></div>"
            f'<p class="td-line">For scale: the adapter itself moves the base model by a mean KL '
            f"divergence of {_number(told['effect_kl'])}.</p>")


def _measure(check: dict[str, Any], which: str) -> str:
    value = check[which]
    return f"{100 * value:.4g} %" if check["unit"] == "share" else _number(value)


def _number(value: float) -> str:
    """0.0000521 -> '0.000052', 0.0531 -> '0.053', 2.0 -> '2'."""
    digits = 3 if value >= 0.1 or value <= 0 else min(9, 1 - math.floor(math.log10(value)))
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def _answers(told: dict[str, Any]) -> str:
    """The greedy answers side by side, folded."""
    same = sum(answer["same"] for answer in told["answers"])
    rows = "".join(
        f"<tr><td>{_cell(answer['prompt'][-160:])}</td><td>{_cell(answer['adapter'])}</td>"
        f"<td>{_cell(answer['export'])}</td><td>{'same' if answer['same'] else 'differs'}</td></tr>"
        for answer in told["answers"])
    return (f'<details class="td-detail"><summary>Greedy answers: {same} of '
            f"{len(told['answers'])} the same, word for word</summary><div class='td-scroll'>"
            '<table class="td-checks td-answers"><thead><tr><th scope="col">Prompt (its end)</th>'
            '<th scope="col">Base and adapter</th><th scope="col">Export</th><th scope="col">'
            f"</th></tr></thead><tbody>{rows}</tbody></table></div></details>")


def _cell(text: str) -> str:
    return html.escape(text.strip())
