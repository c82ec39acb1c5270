"""What a run will take, as the head of the page tells it: memory, time, remedies, other cards."""

import html
import json
from typing import Any

from ui import words

GIB = 2**30


def html_of(about: dict[str, Any]) -> str:
    """`about` as Desk.describe tells it."""
    memory, parts = about["memory"], about["memory"]["parts"]
    needed, there_is = memory["total"] / GIB, memory["there_is"] / GIB
    sizes = [("Base weights", parts["weights"]),
             ("Adapter and optimizer", parts["adapter"] + parts["gradients"] + parts["optimizer"]),
             ("Activations", parts["activations"]),
             ("The work in between", parts["logits"] + parts["overhead"])]
    if parts["loading"] >= memory["total"]:
        sizes.append(("While it is loaded", parts["loading"]))
    shown = (
        f'<details class="td-memory" data-fits="{str(memory["fits"]).lower()}"><summary>'
        f'<meter min="0" max="{there_is:.2f}" value="{needed:.2f}" high="{0.92 * there_is:.2f}"'
        f' aria-hidden="true"></meter><span>{_peak(needed, there_is, memory["each"])}</span>'
        f"{_time(about['time']) if memory['fits'] else ''}</summary>"
        + _pairs([(label, f"{size / GIB:.1f} GiB") for label, size in sizes])
        + _advised(about["advised"]) + _cards(about["cards"], about["processes"])
        + "</details>")
    if not memory["fits"]:
        shown += _remedies("That won't fit. What costs the least speed comes first:",
                           about["remedies"])
    elif memory["streams"] and about["remedies"]:
        shown += _remedies("It fits because the weights wait in main memory, which is slow. "
                           "Without that:", about["remedies"])
    return shown


def _peak(needed: float, there_is: float, each: str) -> str:
    return {"": f"Takes about {needed:.1f} of {there_is:.0f} GiB at its peak.",
            "GPU": f"Takes about {needed:.1f} of {there_is:.0f} GiB on each GPU at its peak.",
            "process": f"Takes about {needed:.1f} of the {there_is:.0f} GiB that each process has "
                       "at its peak."}[each]


def _time(told: dict[str, Any] | None) -> str:
    if told is None:
        return ""
    speed = words.count(told["tokens_per_second"])
    basis = {"run": f"{speed} tokens a second, as a run like it here.",
             "card": f"{speed} tokens a second, by this card's data sheet.",
             "assumed": f"{speed} tokens a second, partly assumed: nothing like it was measured.",
             "products": f"{speed} tokens a second, by a short timing of this processor.",
             }[told["basis"]]
    if told["seconds"] is None:
        return f"<span>{basis}</span>"
    return f"<span>Learns for about {words.duration(told['seconds'])}.</span> <span>{basis}</span>"


def _pairs(pairs: list[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<div><dt>{html.escape(label)}</dt><dd>{html.escape(value)}</dd></div>"
                            for label, value in pairs) + "</dl>"


def _advised(parts: list[dict[str, Any]]) -> str:
    """This machine beside what is advised for models of 7B."""
    def told(part: dict[str, Any]) -> str:
        met = part["found"] >= part["advised"]
        found, wanted = f"{part['found']:,.0f}", f"{part['advised']:,.0f}"
        value = (f"{found} of {wanted} GiB advised" if part["unit"] == "GiB"
                 else f"{found} of {wanted} advised")
        mark = '<span class="td-met">✓</span>' if met else '<span class="td-short">!</span>'
        return f"<div><dt>{html.escape(part['what'])}</dt><dd>{mark} {value}</dd></div>"

    return ("<p>This machine beside what is advised for models of 7B:</p><dl>"
            + "".join(map(told, parts)) + "</dl>")


def _cards(cards: list[dict[str, Any]], processes: int) -> str:
    def row(card: dict[str, Any]) -> str:
        if card["total"] is None:
            return (f'<tr class="td-no"><td>{html.escape(card["name"])}</td><td>'
                    f'{card["there_is"] / GIB:.0f}</td><td colspan="4">can\'t run these settings'
                    "</td></tr>")
        speed, last = words.count(card["time"]["tokens_per_second"]), card["time"]["seconds"]
        fits = card["fits"]
        return (f'<tr class="{"" if fits else "td-no"}"><td>{html.escape(card["name"])}</td>'
                f'<td>{card["there_is"] / GIB:.0f}</td><td>{card["weights"]}</td>'
                f'<td>{card["total"] / GIB:.1f}</td><td>{speed if fits else "–"}</td>'
                f"<td>{words.duration(last) if fits and last is not None else '–'}</td></tr>")

    several = (f"<p>Each line is for {processes} such cards; the memory is that of one.</p>"
               if processes > 1 else "")
    return ("<details><summary>The same run on other cards</summary><p>Speeds are reckoned from an "
            "H100's, by data sheets. It is assumed that no step takes less than 0.1 s.</p>"
            f"{several}"
            '<div class="td-table-frame"><table class="td-cards"><thead><tr><th>Card</th>'
            "<th>GiB</th><th>Base weights</th><th>Takes, GiB</th><th>Tokens a second</th>"
            f"<th>Time</th></tr></thead><tbody>{''.join(map(row, cards))}</tbody></table></div>"
            "</details>")


def _remedies(why: str, remedies: list[dict[str, Any]]) -> str:
    """Buttons that change the settings, the one that costs the least speed first."""
    if not remedies:
        return words.note("That won't fit, and no setting would make it fit. Choose a smaller "
                          "model.", "warning")
    def button(each: dict[str, Any]) -> str:
        alone = "" if each["fits"] else " <small>not enough alone</small>"
        fix = html.escape(json.dumps(each["settings"]))
        return (f'<button type="button" class="td-small-button td-fix" data-fix="{fix}"><span>'
                f'{html.escape(each["label"])}</span> <small>{each["total"] / GIB:.1f} GiB</small>'
                f"{alone}</button>")

    buttons = "".join(map(button, remedies))
    return ('<div class="td-note td-note-warning" role="status"><div>'
            f'<span>{html.escape(why)}</span><div class="td-fixes">{buttons}</div></div></div>')
