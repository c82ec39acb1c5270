"""A run's losses as a small picture for its model card."""

from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 260, 46, 30, 26
MOST_POINTS = 400


def loss_curve(records: list[dict[str, Any]]) -> str:
    """An SVG of training and held-out loss by step; '' where nothing was measured."""
    learned = [(r["step"], r["loss"]) for r in records if "loss" in r]
    held_out = [(r["step"], r["eval_loss"]) for r in records if "eval_loss" in r]
    points = [*learned, *held_out]
    if len(learned) < 2:
        return ""
    last = max(step for step, _ in points) or 1
    highest = max(loss for _, loss in points) * 1.05 or 1.0

    def at(step: float, loss: float) -> str:
        x = LEFT + (WIDTH - LEFT - 12) * step / last
        y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * loss / highest
        return f"{x:.1f},{y:.1f}"

    thinned = learned[::max(1, len(learned) // MOST_POINTS)]
    grid = "".join(
        f'<path d="M{at(0, mark)} L{at(last, mark)}" stroke="#dce3e7"/>'
        f'<text x="{LEFT - 6}" y="{float(at(0, mark).split(",")[1]) + 4:.1f}" text-anchor="end">'
        f"{mark:.2g}</text>" for mark in (0, highest / 2, highest))
    dots = "".join(f'<circle cx="{at(*point).split(",")[0]}" cy="{at(*point).split(",")[1]}" r="4"'
                   ' fill="#ad4f06"/>' for point in held_out)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#4d5f6b">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>{grid}'
        f'<text x="{LEFT}" y="16" fill="#0b6a7d">training loss</text>'
        f'<text x="{LEFT + 110}" y="16" fill="#ad4f06">held-out loss</text>'
        f'<text x="{WIDTH - 12}" y="{HEIGHT - 8}" text-anchor="end">step {last}</text>'
        f'<polyline fill="none" stroke="#0b6a7d" stroke-width="2" points="'
        f'{" ".join(at(*point) for point in thinned)}"/>{dots}</svg>')
