"""A grade for each answer from a language model behind an OpenAI-compatible address; optional."""

import json
import os
import re
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

from core.errors import UserError

KEY_NAMES = ("TUNEDESK_JUDGE_KEY", "OPENAI_API_KEY")
RUBRIC = "Is the answer correct, complete and in the form that the reference shows?"
ORDER = ("You grade an answer. Question:\n{prompt}\n\nReference answer:\n{reference}\n\nAnswer to "
         "grade:\n{text}\n\nRubric: {rubric}\nReply with one whole number from 1 (bad) to 5 "
         "(excellent) and nothing else.")
SECONDS = 60


def grades(address: str, model: str, rubric: str, asked: list[tuple[str, str, str]]
           ) -> Iterator[float | None]:
    """A grade from 1 to 5 for each (prompt, reference, text); None where the judge gave none. The
    key comes from the environment, never from the page."""
    if urlsplit(address).scheme not in ("http", "https"):
        raise UserError(f"Judge: '{address}' is no address.",
                        "Give one such as http://127.0.0.1:8000/v1.")
    for prompt, reference, text in asked:
        order = ORDER.format(prompt=prompt, reference=reference, text=text,
                             rubric=rubric or RUBRIC)
        yield read_grade(_reply(address, model, order))


def read_grade(reply: str) -> float | None:
    """The first single digit from 1 to 5, reasoning left aside."""
    found = re.search(r"(?<!\d)[1-5](?!\d)", reply.rpartition("</think>")[2])
    return float(found.group()) if found else None


def _reply(address: str, model: str, order: str) -> str:
    key = next((os.environ[name] for name in KEY_NAMES if os.environ.get(name)), "")
    request = urllib.request.Request(
        f"{address.rstrip('/')}/chat/completions", method="POST",
        data=json.dumps({"model": model, "temperature": 0,
                         "messages": [{"role": "user", "content": order}]}).encode(),
        headers={"Content-Type": "application/json",
                 **({"Authorization": f"Bearer {key}"} if key else {})})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.load(answer)["choices"][0]["message"]["content"] or ""
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"The judge at {address} didn't answer: {error}.",
                        f"Check the address, the model's name, and {KEY_NAMES[0]}.") from error
