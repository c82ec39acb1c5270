"""The process that tries out a person's chat template, within bounds of memory."""

import json
import sys

from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY_BYTES = 512 << 20
QUESTION, ANSWER = "Qv7-asked", "Qv7-answered"


def main() -> None:
    _bound_memory()
    asked = json.load(sys.stdin)
    print(json.dumps({"problem": problem_of(asked["template"], asked["longest"])}))


def _bound_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such bound; time is bounded there too
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def problem_of(template: str, longest: int) -> str:
    """What is wrong with a template, in words; empty where it writes a dialogue as it should."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: "2025-01-01"
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<eos>", "unk_token": "<unk>"}
    try:
        compiled = environment.from_string(template)
        full = compiled.render(messages=turns * 2, add_generation_prompt=False, **names)
        prompt = compiled.render(messages=turns[:1], add_generation_prompt=True, **names)
    except TemplateError as error:
        line = f"line {error.lineno}: " if getattr(error, "lineno", None) else ""
        return f"{line}{str(error).rstrip('.')}"
    except MemoryError:
        return "it needs too much memory"
    except (TypeError, ValueError, KeyError, ArithmeticError, RecursionError) as error:
        return f"{type(error).__name__}: {str(error).rstrip('.')}"
    if len(full) > longest:
        return f"it writes {len(full):,} characters for a dialogue of four short turns"
    if QUESTION not in prompt or ANSWER not in full:
        return "it leaves out what the user or the assistant says"
    return ""


def _refuse(words: str) -> None:
    raise TemplateError(words)


if __name__ == "__main__":
    main()
