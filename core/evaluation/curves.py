"""A run's losses as one SVG for the report."""

import math
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM = 860, 260, 54, 30
MOST_POINTS = 400


def curve_svg(records: list[dict[str, Any]]) -> str:
    """Training loss as a line, held-out loss as a dashed line with dots; a sentence where there is
    nothing to draw."""
    train, held = _points(records, "loss"), _points(records, "eval_loss")
    if not train:
        return "<p>No step was logged.</p>"
    steps = max(step for step, _ in [*train, *held]) or 1
    top = max(value for _, value in [*train, *held]) or 1.0

    def place(point: tuple[float, float]) -> tuple[float, float]:
        step, value = point
        return (LEFT + (WIDTH - LEFT - 10) * step / steps,
                HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 10) * value / top)

    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#ad4f06"/>'
                   for x, y in map(place, held))
    marks = "".join(_mark(top * part / 4, place((0, top * part / 4))[1]) for part in range(5))
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Loss by step">{marks}'
            f'{_line(map(place, train), "#0b6a7d", "")}'
            f'{_line(map(place, held), "#ad4f06", "5 5")}{dots}'
            f'<text x="{WIDTH - 10}" y="{HEIGHT - 8}" text-anchor="end" font-size="13" '
            f'fill="#4d5f6b">step {steps:g} · line: training loss · dashed: held-out loss</text>'
            "</svg>")


def _points(records: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    found = [(r["step"], r[name]) for r in records if name in r and math.isfinite(r[name])]
    return found[::max(1, len(found) // MOST_POINTS)]


def _line(points: Any, colour: str, dashes: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dashes}"/>')


def _mark(value: float, y: float) -> str:
    return (f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dce3e7"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" font-size="13" '
            f'fill="#4d5f6b">{value:.2f}</text>')
