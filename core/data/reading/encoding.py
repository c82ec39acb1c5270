"""A text file of any encoding, packed or not, as characters."""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
from charset_normalizer import from_bytes

from core.data.reading.samples import PACKED
from core.errors import UserError

PIECE_BYTES = 4 << 20
SAMPLE_BYTES = 256 << 10
# A packed file may grow to this at once, and beyond it to so many times its size.
FREE_BYTES, LARGEST_RATIO = 256 << 20, 200
MARKS = [(codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"),
         (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
         (codecs.BOM_UTF16_BE, "utf-16")]
# Asked in this order where a file is no UTF-8.
OTHERS = ["gb18030", "big5", "shift_jis", "euc_kr", "cp1251", "cp1252"]


def open_bytes(path: Path) -> io.BufferedIOBase:
    """The file's bytes, unpacked; UserError where they grow as only a trap would."""
    packing = PACKED.get(path.suffix.lower())
    if packing is None:
        return path.open("rb")
    return io.BufferedReader(_Unpacked(path, packing), PIECE_BYTES)


class _Unpacked(io.RawIOBase):
    """Owns the stream of a packed file and counts what comes out of it."""

    def __init__(self, path: Path, packing: str):
        self._stream = pyarrow.input_stream(str(path), compression=packing)
        self._left = FREE_BYTES + LARGEST_RATIO * path.stat().st_size
        self._name = path.name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(len(buffer))
        self._left -= len(piece)
        if self._left < 0:
            raise UserError(f"{self._name} unpacks to more than {LARGEST_RATIO} times its size.",
                            "Unpack it yourself if you trust it, and choose the unpacked file.")
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._stream.close()
        super().close()


def find_encoding(path: Path) -> str:
    """The name of the file's encoding: by its mark, UTF-8 where all of it is, else by its looks."""
    with open_bytes(path) as file:
        first = file.read(SAMPLE_BYTES)
        marked = next((name for mark, name in MARKS if first.startswith(mark)), "")
        if marked:
            return marked
        wide = _utf16_without_mark(first)
        if wide:
            return wide
        piece, offset = _first_wrong_piece(first, file)
    if piece is None:
        return "utf-8"
    return _by_looks(piece[max(0, offset - SAMPLE_BYTES // 2): offset + SAMPLE_BYTES])


def _utf16_without_mark(sample: bytes) -> str:
    """Plain letters in UTF-16 have a zero byte in each pair, always on the same side."""
    pairs = len(sample) // 2
    if pairs < 2:
        return ""
    for side, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = sample[side: pairs * 2: 2].count(0)
        if zeros > pairs * 0.4 and sample[1 - side: pairs * 2: 2].count(0) < pairs * 0.02:
            return name
    return ""


def _first_wrong_piece(first: bytes, file: io.BufferedIOBase) -> tuple[bytes | None, int]:
    """The first piece that isn't UTF-8 and where in it; None where all is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    piece = first
    while True:
        try:
            decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            return piece or b"\xff", error.start
        if not piece:
            return None, 0
        piece = file.read(PIECE_BYTES)


def _by_looks(sample: bytes) -> str:
    if _gb_share(sample) > 0.85:
        return "gb18030"
    best = from_bytes(sample, cp_isolation=OTHERS).best()
    return codecs.lookup(best.encoding).name if best else "cp1252"


def _gb_share(sample: bytes) -> float:
    """Which share of the bytes above 127 stands in pairs of common Chinese characters, first those
    of the 3,755 most frequent. Letters with accents stand alone, other scripts' rarely fit."""
    high = common = at = 0
    while at < len(sample) - 1:
        if sample[at] < 0x80:
            at += 1
        elif sample[at + 1] >= 0xA1 and (0xB0 <= sample[at] <= 0xD7 or 0xA1 <= sample[at] <= 0xA3):
            high, common, at = high + 2, common + 2, at + 2
        else:
            high, at = high + 1, at + 1
    return common / high if high else 0.0


def read_text(path: Path, encoding: str) -> io.TextIOWrapper:
    """The file's characters; line ends stay as they are."""
    return io.TextIOWrapper(open_bytes(path), encoding, newline="")


def text_lines(path: Path, encoding: str, longest: int) -> Iterator[str]:
    """Its lines without their ends; UserError for one of more than `longest` characters."""
    with io.TextIOWrapper(open_bytes(path), encoding) as file:
        number = 0
        while line := file.readline(longest + 1):
            number += 1
            if len(line) > longest:
                raise UserError(f"{path.name}, line {number:,} is longer than "
                                f"{longest >> 20} million characters.",
                                "Check that the file is what its ending says.")
            yield line.removesuffix("\n")
