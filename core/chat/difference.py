"""Where two answers differ, word by word."""

import difflib
import re

Pieces = list[tuple[str, bool]]  # text, and whether the other answer has it too
WORD = re.compile(r"\s+|[\w']+|[^\w\s]")


def differences(one: str, other: str) -> tuple[Pieces, Pieces]:
    """Both texts in pieces that join to what they were."""
    first, second = WORD.findall(one), WORD.findall(other)
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    left: Pieces = []
    right: Pieces = []
    for kind, a, b, c, d in matcher.get_opcodes():
        same = kind == "equal"
        if b > a:
            left.append(("".join(first[a:b]), same))
        if d > c:
            right.append(("".join(second[c:d]), same))
    return left, right


def against_first(texts: list[str]) -> list[Pieces]:
    """Each text in pieces: all others against the first, the first against the second."""
    if len(texts) < 2:
        return [[(text, True)] for text in texts]
    return [differences(texts[0], texts[1])[0],
            *(differences(texts[0], text)[1] for text in texts[1:])]
