"""Settings to widgets and back: draws each field of Config by its metadata; owns no defaults."""

from collections.abc import Iterable
from dataclasses import Field, fields
from typing import Any

import gradio as gr

from core.config import Config

FIELDS: dict[str, Field] = {f.name: f for f in fields(Config)}


class Form:
    """The widgets of all settings, drawn where each tab wants them. `values` in and out of events
    are in the order of `names`, so an event takes `inputs=form.widgets`."""

    def __init__(self, choices: dict[str, list]):
        self._choices = choices
        self._by_name: dict[str, gr.components.Component] = {}

    def choices(self, name: str) -> list:
        return self._choices.get(name, [])

    def draw(self, *names: str, min_width: int = 200) -> None:
        """Widgets for these settings, in this order, in the layout block that is open; `min_width`
        in pixels decides how many stand side by side."""
        for name in names:
            self._by_name[name] = _widget(FIELDS[name], self._choices.get(name), min_width)

    def draw_group(self, group: str, simple: bool | None = None) -> None:
        """The settings of a group that aren't drawn yet; `simple` picks those shown at first
        (True) or those behind "More" (False)."""
        self.draw(*(name for name, f in FIELDS.items() if name not in self._by_name
                    and f.metadata["group"] == group
                    and simple in (None, f.metadata["simple"])))

    def __getitem__(self, name: str) -> gr.components.Component:
        return self._by_name[name]

    def items(self) -> Iterable[tuple[str, gr.components.Component]]:
        return self._by_name.items()

    @property
    def widgets(self) -> list[gr.components.Component]:
        missing = FIELDS.keys() - self._by_name.keys()
        assert not missing, f"settings that no tab draws: {missing}"
        return [self._by_name[name] for name in FIELDS]

    def raw(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """What the widgets hold, by name, not checked yet."""
        return dict(zip(FIELDS, values, strict=True))

    def show(self, raw: dict[str, Any]) -> list[Any]:
        """Values for all widgets, in order. Numbers show as people write them: 3e-4, not 0.0003."""
        return [_shown(FIELDS[name], raw[name]) for name in FIELDS]


def _widget(f: Field, choices: list | None, min_width: int) -> gr.components.Component:
    about = f.metadata
    common = {"label": about["label"], "info": about["help"], "elem_id": f"set-{f.name}",
              "min_width": min_width}
    if choices is not None:
        return gr.Dropdown(choices, value=list(f.default) if isinstance(f.default, tuple)
                           else f.default, allow_custom_value=True,
                           multiselect=isinstance(f.default, tuple), **common)
    if about["choices"]:
        return gr.Dropdown(list(about["choices"]), value=f.default, **common)
    if isinstance(f.default, bool):
        return gr.Checkbox(value=f.default, **common)
    if about["step"]:
        return gr.Slider(about["low"], about["high"], f.default, step=about["step"], **common)
    return gr.Textbox(value=_shown(f, f.default), max_lines=3, **common)


def _shown(f: Field, value: Any) -> Any:
    if f.metadata["step"]:
        return _within(f, value)
    if isinstance(value, float):
        return f"{value:.0e}".replace("e-0", "e-") if 0 < value < 0.001 and float(
            f"{value:.0e}") == value else f"{value:g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _within(f: Field, value: Any) -> float:
    """A number that a slider can show; a draft may hold anything."""
    try:
        return min(max(float(value), f.metadata["low"]), f.metadata["high"])
    except (TypeError, ValueError):
        return f.default
