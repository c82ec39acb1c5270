"""Losses of one run, or of several, as one SVG for the report; colours are the page's own."""

import html
import math
from collections.abc import Iterable
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM = 860, 260, 54, 30
LEGEND = 20  # height of a line of it
MOST_POINTS = 400
COLOURS = 6  # named in blocks.STYLE
Point = tuple[float, float]
NOTHING = "<p>No step was logged.</p>"


def curve_svg(records: list[dict[str, Any]]) -> str:
    """Training loss as a line, held-out loss as a dashed line with dots; a sentence where there is
    nothing to draw."""
    train, held = _points(records, "loss"), _points(records, "eval_loss")
    if not train:
        return NOTHING
    place = _Frame([*train, *held])
    return _svg("Loss by step", HEIGHT, place, [
        _line(map(place, train), 0), _line(map(place, held), 1, dashes="5 5"),
        _dots(map(place, held), 1),
        f'<text x="{WIDTH - 10}" y="{HEIGHT - 8}" text-anchor="end">step {place.steps:g} · line: '
        "training loss · dashed: held-out loss</text>"])


def curves_svg(runs: list[tuple[str, list[dict[str, Any]]]]) -> str:
    """Held-out loss of each run, or its training loss where none was held out; the numbers at the
    lines' ends are those of the legend."""
    found = [(name, _points(records, "eval_loss") or _points(records, "loss"))
             for name, records in runs]
    if not any(points for _, points in found):
        return NOTHING
    place = _Frame([point for _, points in found for point in points])
    drawn = [f'<text x="{WIDTH - 10}" y="{HEIGHT - 8}" text-anchor="end">step {place.steps:g} · '
             "held-out loss</text>"]
    for number, (name, points) in enumerate(found):
        drawn.append(_legend(number, name))
        if points:
            x, y = place(points[-1])
            drawn += [_line(map(place, points), number), _dots(map(place, points), number),
                      f'<text x="{min(x + 7, WIDTH - 9):.1f}" y="{y - 6:.1f}">{number + 1}</text>']
    return _svg("Held-out loss by step", HEIGHT + LEGEND * len(runs), place, drawn)


class _Frame:
    """Where a (step, loss) lies in the picture."""

    def __init__(self, points: list[Point]):
        self.steps = max(step for step, _ in points) or 1
        self.top = max(value for _, value in points) or 1.0

    def __call__(self, point: Point) -> Point:
        step, value = point
        return (LEFT + (WIDTH - LEFT - 24) * step / self.steps,
                HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 10) * value / self.top)


def _svg(label: str, height: int, place: _Frame, drawn: list[str]) -> str:
    marks = "".join(_mark(place.top * part / 4, place((0, place.top * part / 4))[1])
                    for part in range(5))
    return (f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{marks}'
            f"{''.join(drawn)}</svg>")


def _points(records: list[dict[str, Any]], name: str) -> list[Point]:
    """At most MOST_POINTS of them, the last one among them."""
    found = [(r["step"], r[name]) for r in records if name in r and math.isfinite(r[name])]
    every = max(1, math.ceil(len(found) / MOST_POINTS))
    return found[::-1][::every][::-1]


def _line(points: Iterable[Point], number: int, dashes: str = "") -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (f'<polyline points="{path}" fill="none" style="stroke:{_colour(number)}" '
            f'stroke-width="2" stroke-dasharray="{dashes}"/>')


def _dots(points: Iterable[Point], number: int) -> str:
    return "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" style="fill:{_colour(number)}"/>'
                   for x, y in points)


def _legend(number: int, name: str) -> str:
    y = HEIGHT + LEGEND * number + 12
    return (f'<circle cx="{LEFT + 6}" cy="{y - 4}" r="5" style="fill:{_colour(number)}"/>'
            f'<text x="{LEFT + 20}" y="{y}">{number + 1} · {html.escape(name)}</text>')


def _colour(number: int) -> str:
    return f"var(--c{number % COLOURS})"


def _mark(value: float, y: float) -> str:
    return (f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" style="stroke:var(--line)"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>')
