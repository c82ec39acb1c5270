"""Small changes to a text: typing errors, dropped and swapped words, synonyms; pure functions."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

# Words that turn a meaning round are never touched, nor is what only looks like words.
NEGATING = """no not nor never none nothing nobody nowhere neither without hardly barely scarcely
    cannot isn't aren't wasn't weren't don't doesn't didn't won't wouldn't can't couldn't shouldn't
    hasn't haven't hadn't ain't but except unless too only"""
NEGATIONS = frozenset(NEGATING.split())
CHINESE_NEGATIONS = frozenset("不没無无非别別莫勿未否")
PIECE = re.compile(
    r"(?P<fixed>https?://\S+|[\w.+-]+@[\w-]+\.[\w.]+|`[^`]*`|<[^<>\s][^<>]*>|\{[^{}]*\}|\S*\d\S*)"
    r"|(?P<word>[^\W\d_]+(?:['’][^\W\d_]+)*)|(?P<other>\s+|.)", re.DOTALL)
CHINESE = re.compile(r"[\u4e00-\u9fff]")
NEIGHBOURS = {letter: row[max(0, i - 1): i] + row[i + 1: i + 2]
              for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm") for i, letter in enumerate(row)}
SHORTEST_WORD = 4     # letters; an error in a shorter word makes another word of it
LONGEST_CHINESE = 4   # characters of a word that is looked up

Thesaurus = Callable[[str], list[str]]


@dataclass(frozen=True)
class Piece:
    """A word, a Chinese character, or what stands between; only `free` ones may change."""

    text: str
    free: bool = False


def pieces(text: str, protected: Iterable[str] = ()) -> list[Piece]:
    """The text in pieces that join to it. `protected` are words and phrases that stay as they
    are; names (a capital inside a sentence), numbers, addresses and code do so anyway."""
    found: list[Piece] = []
    start = 0
    for phrase in _phrases(text, protected):
        found += [*_loose(text[start: phrase.start()]), Piece(phrase.group())]
        start = phrase.end()
    return found + _loose(text[start:])


def _phrases(text: str, protected: Iterable[str]) -> Iterable[re.Match]:
    words = sorted({word for word in protected if word.strip()}, key=len, reverse=True)
    if not words:
        return ()
    edges = [(r"\b" if word[0].isascii() and word[0].isalnum() else "") + re.escape(word)
             + (r"\b" if word[-1].isascii() and word[-1].isalnum() else "") for word in words]
    return re.finditer("|".join(edges), text, re.IGNORECASE)


def _loose(text: str) -> list[Piece]:
    found: list[Piece] = []
    opens = True  # a capital there may be grammar only
    for match in PIECE.finditer(text):
        part = match.group()
        if match.lastgroup != "word":
            found.append(Piece(part))
            opens = opens if part.isspace() else part in ".!?。！？\n\"“"
            continue
        if CHINESE.search(part):
            found += [Piece(sign, sign not in CHINESE_NEGATIONS) for sign in part]
        else:
            is_name = part[0].isupper() and not opens or part.isupper() and len(part) > 1
            negates = part.lower().replace("’", "'") in NEGATIONS
            found.append(Piece(part, not is_name and not negates))
        opens = False
    return found


def joined(parts: list[Piece]) -> str:
    return "".join(part.text for part in parts)


def typing_errors(parts: list[Piece], rate: float, draw: random.Random) -> list[Piece]:
    """A slip of the keyboard in a share `rate` of the free words of SHORTEST_WORD letters."""
    return [Piece(_slip(part.text, draw), True)
            if part.free and (len(part.text) >= SHORTEST_WORD or CHINESE.match(part.text))
            and draw.random() < rate else part for part in parts]


def _slip(word: str, draw: random.Random) -> str:
    if len(word) == 1:
        return word * 2 if draw.random() < 0.5 else ""
    at = draw.randrange(1, len(word) - 1)  # the first letter is seldom wrong
    kind = draw.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2:]
    if kind == 1:
        return word[:at] + word[at + 1:]
    if kind == 2:
        return word[:at] + word[at] * 2 + word[at + 1:]
    near = NEIGHBOURS.get(word[at].lower(), "")
    return word[:at] + (draw.choice(near) if near else word[at]) + word[at + 1:]


def dropped(parts: list[Piece], rate: float, draw: random.Random) -> list[Piece]:
    """Without a share `rate` of the free words, nor the space behind each."""
    kept: list[Piece] = []
    just_dropped = False
    for part in parts:
        if part.free and draw.random() < rate:
            just_dropped = True
        elif not (just_dropped and part.text == " "):
            kept.append(part)
            just_dropped = False
        else:
            just_dropped = False
    return kept


def swapped(parts: list[Piece], rate: float, draw: random.Random) -> list[Piece]:
    """A share `rate` of the free words changes place with the next word, where that is free and
    nothing but a space is between."""
    parts = list(parts)
    at = 0
    while at < len(parts) - 1:
        other = at + 2 if parts[at + 1].text == " " else at + 1
        if other < len(parts) and parts[at].free and parts[other].free and draw.random() < rate:
            parts[at], parts[other] = parts[other], parts[at]
            at = other
        at += 1
    return parts


def with_synonyms(parts: list[Piece], rate: float, draw: random.Random, thesaurus: Thesaurus
                  ) -> list[Piece]:
    """Another word for a share `rate` of those free words that have one. Chinese, which has no
    spaces, is read by the longest word that the thesaurus knows."""
    result: list[Piece] = []
    at = 0
    while at < len(parts):
        length, found = _longest_known(parts, at, thesaurus)
        if found and draw.random() < rate:
            word = draw.choice(found)
            original = parts[at].text
            result.append(Piece(word.capitalize() if original[0].isupper() else word, True))
        else:
            result += parts[at: at + length]
        at += length
    return result


def _longest_known(parts: list[Piece], at: int, thesaurus: Thesaurus) -> tuple[int, list[str]]:
    if not parts[at].free:
        return 1, []
    if not CHINESE.match(parts[at].text):
        return 1, thesaurus(parts[at].text.lower())
    for length in range(LONGEST_CHINESE, 1, -1):
        run = parts[at: at + length]
        if len(run) == length and all(p.free and len(p.text) == 1 for p in run):
            found = thesaurus(joined(run))
            if found:
                return length, found
    return 1, []


def keeps_meaning(before: str, after: str, protected: Iterable[str]) -> bool:
    """Whether a changed text still has the protected phrases, negations and numbers of the
    original, each as often, and neither lost nor gained half of its length."""
    if not after.strip() or after.strip() == before.strip():
        return False
    if not 0.5 <= len(after) / len(before) <= 2:
        return False
    return _anchors(before, protected) == _anchors(after, protected)


def _anchors(text: str, protected: Iterable[str]) -> Counter:
    lowered = text.lower().replace("’", "'")
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", lowered)
    anchors = Counter(word for word in words if word in NEGATIONS or word.endswith("n't"))
    anchors += Counter(sign for sign in text if sign in CHINESE_NEGATIONS)
    anchors += Counter(re.findall(r"\d+(?:[.,:]\d+)*", text))
    return anchors + Counter(match.group().lower() for match in _phrases(text, protected))
