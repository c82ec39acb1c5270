"""Bounds of time and size for chat templates, which are programs that came with somebody's model.

transformers compiles them in Jinja's sandbox: no attribute or import leads out of it. But a sandbox
doesn't end what loops for ever, and writes as much as it is told. Here each turn of a loop and each
call looks at the clock, and whatever grows is measured before it is made."""

import re
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

from jinja2 import Template, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 10.0  # for one dialogue; a usual one takes a thousandth of a second
MOST_CHARACTERS = 64_000_000  # of all that is written for a dialogue
MOST_BITS, WIDEST = 256, 1000  # of a number; of a filled-up text
FILLING = {"ljust", "rjust", "center", "zfill", "expandtabs", "format", "format_map", "indent",
           "tojson", "batch", "slice", "wordwrap"}
WIDE = re.compile(r"\d{4,}|\*|\{[^}]*\{")  # in a format: a width, or one that comes as a value
TICKED, SAID, JOINED = "_ticked", "_said", "_joined"  # filters that no template can name itself


class _Timed(Template):
    def render(self, *args: Any, **kwargs: Any) -> str:
        self.environment.begin()
        return super().render(*args, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Iterator[str]:
        self.environment.begin()
        return super().generate(*args, **kwargs)


class Bounded(ImmutableSandboxedEnvironment):
    """transformers' environment with bounds; it takes the class of one that is made already."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    template_class = _Timed
    deadline, written, gave_up = float("inf"), 0, ""

    def begin(self) -> None:
        self._refuse_again()
        self.deadline, self.written = time.monotonic() + SECONDS, 0

    def tick(self) -> None:
        if time.monotonic() > self.deadline:
            self._give_up(f"it takes more than {SECONDS:g} s for one dialogue")

    def measure(self, characters: int) -> None:
        if characters > MOST_CHARACTERS:
            self._give_up(f"it writes more than {MOST_CHARACTERS:,} characters")

    def _give_up(self, why: str) -> None:
        self.gave_up = why
        raise SecurityError(why)

    def _refuse_again(self) -> None:
        if self.gave_up:
            raise SecurityError(self.gave_up)

    def call(self, context: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.tick()
        self._foresee(getattr(function, "__name__", ""), getattr(function, "__self__", None), args,
                      kwargs)
        return super().call(context, function, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self.tick()
        if operator == "**" or operator == "*" and _is_number(left) and _is_number(right):
            bits = abs(int(left)).bit_length() * (abs(int(right)) if operator == "**" else 1)
            if bits + (int(right).bit_length() if operator == "*" else 0) > MOST_BITS:
                self._give_up("it computes with numbers that are too large")
        elif operator == "*":
            text, count = (right, left) if _is_number(left) else (left, right)
            self.measure(_length(text) * int(count) if _is_number(count) else 0)
        elif operator == "+":
            self.measure(_length(left) + _length(right))
        elif operator == "%" and isinstance(left, str) and WIDE.search(left):
            self._give_up("it fills up texts by a format")
        return super().call_binop(context, operator, left, right)

    def _foresee(self, name: str, text: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        """Refuse a method of a text, or a filter, that would make more than is allowed."""
        if name in FILLING:
            numbers = [n for n in (*args, *kwargs.values()) if _is_number(n)]
            if any(n > WIDEST for n in numbers) or "format" in name and WIDE.search(str(text)):
                self._give_up("it fills up texts")
            self.measure(_length(text) * max([1, *map(int, numbers)]))
        elif name == "replace" and isinstance(text, str) and len(args) > 1:
            self.measure(len(text) + text.count(str(args[0])) * _length(args[1]))
        elif name == "join":
            glue, parts = (text, args[0] if args else ()) if isinstance(text, str) else (
                args[0] if args else "", text)
            if isinstance(parts, list | tuple):
                self.measure(len(parts) * _length(glue) + sum(map(_length, parts)))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _watched(super()._parse(source, name, filename))


def require() -> None:
    """See to it that transformers compiles every chat template within bounds."""
    from transformers.utils import chat_template_utils as library

    if not hasattr(library._compile_jinja_template, "is_bound"):
        compiled = lru_cache(64)(partial(_compiled, library._cached_compile_jinja_template))
        compiled.is_bound = True
        library._compile_jinja_template = compiled


def _compiled(compile_template: Callable[[str], Template], source: str) -> Template:
    # An environment of its own for each. The empty text, for compiling computes constants already.
    return bound(compile_template("").environment).from_string(source)


def bound(environment: ImmutableSandboxedEnvironment) -> Bounded:
    """The environment itself, with bounds from now on."""
    environment.__class__ = Bounded
    environment.optimized = False  # nothing is computed before the clock runs
    for name, function in list(environment.filters.items()):
        if name in FILLING | {"replace", "join"}:
            environment.filters[name] = _foreseen(environment, name, function)
    for name in ("urlize", "pprint", "xmlattr", "striptags"):
        environment.filters.pop(name)
    environment.globals.pop("lipsum")
    environment.filters |= {
        TICKED: lambda items: _Ticked(items, environment),
        SAID: pass_context(lambda _, value: _said(value, environment)),  # so it is never computed
        JOINED: lambda parts: _joined(parts, environment)}  # when the template is compiled
    return environment


class _Ticked:
    """What a loop goes through, with a look at the clock at each turn."""

    def __init__(self, items: Any, environment: Bounded):
        self._items, self._environment = items, environment

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self._environment.tick()
            yield item


def _foreseen(environment: Bounded, name: str, function: Callable) -> Callable:
    """A filter that is measured first. Some are given the environment before the value."""
    def filtered(*args: Any, **kwargs: Any) -> Any:
        at = 1 if hasattr(function, "jinja_pass_arg") else 0
        environment._foresee(name, args[at], args[at + 1:], kwargs)
        return function(*args, **kwargs)

    for mark in ("jinja_pass_arg", "jinja_async_variant"):
        if hasattr(function, mark):
            setattr(filtered, mark, getattr(function, mark))
    return filtered


def _said(value: Any, environment: Bounded) -> Any:
    environment.written += _length(value)
    environment.measure(environment.written)
    return value


def _joined(parts: list[Any], environment: Bounded) -> str:
    environment.tick()
    environment.measure(sum(map(_length, parts)))
    return "".join(map(str, parts))


def _length(value: Any) -> int:
    """Characters of a text; of lists and objects about as many as they are written with, counted
    until it is too much: a list may hold one other list many times."""
    if isinstance(value, str):
        return len(value)
    total, waiting = 0, [value]
    while waiting and total <= MOST_CHARACTERS:
        found = waiting.pop()
        if isinstance(found, str):
            total += len(found)
        elif isinstance(found, dict):
            waiting += [*found.keys(), *found.values()]
        elif isinstance(found, list | tuple):
            waiting += found
        total += 0 if isinstance(found, Undefined) else 8
    return total


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _watched(tree: nodes.Template) -> nodes.Template:
    """The same program, in which loops, joined texts and what is written go through the filters."""
    for loop in list(tree.find_all(nodes.For)):
        loop.iter = _through(TICKED, loop.iter)
    for output in list(tree.find_all(nodes.Output)):
        output.nodes = [_through(SAID, nodes.Const(part.data) if isinstance(
            part, nodes.TemplateData) else part) for part in output.nodes]
    return _without_tildes(tree)


def _without_tildes(node: Any) -> Any:
    for name, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            setattr(node, name, _without_tildes(value))
        elif isinstance(value, list):
            setattr(node, name, [_without_tildes(each) if isinstance(each, nodes.Node) else each
                                 for each in value])
    return _through(JOINED, nodes.List(node.nodes)) if isinstance(node, nodes.Concat) else node


def _through(name: str, node: nodes.Expr) -> nodes.Filter:
    made = nodes.Filter(node, name, [], [], None, None)
    return made.set_environment(node.environment) if node.environment else made
