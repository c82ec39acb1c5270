"""The read-only server functions that the data room's scripts ask."""

from collections.abc import Callable
from typing import Any

from core.errors import UserError
from ui.services import Services


def readers(services: Services) -> list[Callable]:
    """`look(settings)`, `read_row([settings, part, index])` and `find_row([settings, part, what,
    start, text])`, as core/desk.py answers them; a UserError comes as its two sentences."""
    def look(settings: dict[str, Any]) -> dict[str, Any]:
        return _asked(services, "look", settings=settings)

    def read_row(asked: list) -> dict[str, Any]:
        settings, part, index = asked
        return _asked(services, "preview", settings=settings, part=part, index=index)

    def find_row(asked: list) -> dict[str, Any]:
        settings, part, what, start, text = asked
        return _asked(services, "find_row", settings=settings, part=part, what=what, start=start,
                      text=text)

    return [look, read_row, find_row]


def _asked(services: Services, method: str, **arguments: Any) -> dict[str, Any]:
    try:
        return services.desk.call(method, **arguments)
    except UserError as error:
        return {"state": "failed", "problem": error.problem, "remedy": error.remedy, "index": None,
                "next": 0}
