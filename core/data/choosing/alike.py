"""Finds texts that are the same or nearly so: exactly after normalising, or by MinHash."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# One permutation hashing (Li, Owen, Zhang 2012) with rotation for empty bins (Shrivastava, Li
# 2014): one pass over the shingles fills all BINS of a signature.
BINS, BAND = 64, 4  # 16 bands of 4: texts as alike as 0.5 meet in a band in two of three cases,
ALIKE = 0.8         # as alike as 0.8 in all but one of 5,000; then the shingles decide
SHINGLE = 5         # characters; about a word
SHINGLE_EASTERN = 3  # Chinese, Japanese, Korean signs say more each
EASTERN = 0x2E80    # their first code
EMPTY = np.uint32(0xFFFFFFFF)
DIGITS = re.compile(r"\d+")
NOISE = re.compile(r"[\W_]+")


def normal(text: str) -> str:
    """A text without what doesn't make it another: width, case, punctuation, white space."""
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return NOISE.sub(" ", plain.casefold()).strip()


def key(normalised: str) -> int:
    """64 bits, equal for texts that are equal when normalised."""
    written = normalised.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(written, digest_size=8).digest(), "little")


def shingles(normalised: str) -> np.ndarray:
    """Hashes (uint32) of all runs of so many characters; of a shorter text the hash of all of
    it."""
    codes = np.frombuffer(normalised.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    if not len(codes):
        return np.empty(0, dtype=np.uint32)
    width = SHINGLE_EASTERN if np.mean(codes >= EASTERN) > 0.5 else SHINGLE
    width = min(width, len(codes))
    hashes = np.zeros(len(codes) - width + 1, dtype=np.uint64)
    for offset in range(width):
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes += codes[offset: offset + len(hashes)]
        hashes ^= hashes >> np.uint64(29)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    return (hashes >> np.uint64(32)).astype(np.uint32)


def signature(hashes: np.ndarray) -> np.ndarray:
    """BINS minima (uint32); the share of equal ones estimates how alike two texts are."""
    bins = np.full(BINS, EMPTY, dtype=np.uint32)
    if not len(hashes):
        return bins
    np.minimum.at(bins, hashes % BINS, hashes // BINS)
    if (bins != EMPTY).all():
        return bins
    filled = np.flatnonzero(bins != EMPTY)
    nearest = filled[np.searchsorted(filled, np.arange(BINS)) % len(filled)]
    distance = (nearest - np.arange(BINS)) % BINS
    return bins[nearest] + distance.astype(np.uint32) * np.uint32(0x01000193)


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """The share of shingles that two texts have in common (Jaccard), 0 to 1."""
    if not len(first) or not len(second):
        return float(len(first) == len(second))
    first, second = np.unique(first), np.unique(second)
    common = len(np.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)


@dataclass(frozen=True)
class Prints:
    """What is kept of N texts to find those alike: `keys` (N,) equal for equal texts, `bands`
    (N, bands) of which any is equal where two texts are likely alike; both uint64."""

    keys: np.ndarray
    bands: np.ndarray


def prints(texts: Iterable[str]) -> Prints:
    keys, signatures = [], []
    for text in texts:
        normalised = normal(text)
        keys.append(key(normalised))
        signatures.append(signature(shingles(normalised)))
    stacked = np.array(signatures, dtype=np.uint64).reshape(len(keys), BINS // BAND, BAND)
    bands = np.zeros(stacked.shape[:2], dtype=np.uint64)
    for column in range(BAND):
        bands = (bands ^ stacked[:, :, column]) * np.uint64(0x9E3779B97F4A7C15)
        bands ^= bands >> np.uint64(32)
    return Prints(np.array(keys, dtype=np.uint64), bands)


def together(first: Prints, second: Prints) -> Prints:
    return Prints(np.concatenate([first.keys, second.keys]),
                  np.concatenate([first.bands, second.bands]))


def copies(found: Prints, text_of: Callable[[int], str], near: bool = True) -> dict[int, int]:
    """Number of each text that repeats an earlier one -> the number of the first of its kind.
    `text_of` gives a text back by its number, so that the texts needn't be kept."""
    first = list(range(len(found.keys)))

    def root(number: int) -> int:
        while first[number] != number:
            first[number] = first[first[number]]
            number = first[number]
        return number

    for one, other in _pairs(found.keys):
        first[root(other)] = root(one)

    @lru_cache(1000)
    def look(number: int) -> tuple[np.ndarray, list[str]]:
        text = normal(text_of(number))
        return shingles(text), DIGITS.findall(text)

    def alike(one: int, other: int) -> bool:
        (hashes, numbers), (other_hashes, other_numbers) = look(one), look(other)
        # "What is 12 + 45?" is another question than "What is 12 + 46?".
        return numbers == other_numbers and likeness(hashes, other_hashes) >= ALIKE

    for column in range(found.bands.shape[1] if near else 0):
        for one, other in _pairs(found.bands[:, column]):
            one, other = sorted((root(one), root(other)))
            if one != other and alike(one, other):
                first[other] = one
    return {number: root(number) for number in range(len(first)) if root(number) != number}


def _pairs(values: np.ndarray) -> Iterator[tuple[int, int]]:
    """Each number with the first one of equal value: a group of n costs n - 1 comparisons."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[starts, len(ordered)])
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
        for other in order[start + 1: start + size]:
            yield int(order[start]), int(other)
