"""JSON, JSONL and plain texts to Arrow batches.

Values that are lists or objects become JSON text in their column, so that no row's shape is forced
on another's.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow

from core.data.reading.broken import BrokenRows, ignore
from core.data.reading.encoding import find_encoding, read_text, text_lines
from core.errors import UserError

NESTED = {b"tunedesk": b"json"}  # marks a column of JSON text in a file's schema
LONGEST_ROW = 64 << 20  # characters
BATCH_CHARACTERS, BATCH_ROWS = 8 << 20, 5000
MOST_COLUMNS = 1000
PIECE = 1 << 20

Row = dict[str, Any]
Sized = tuple[Row, int]  # a row and about how many characters it took
OnBroken = Callable[[str, int, str], None]
TYPES = {"null": pyarrow.string(), "bool": pyarrow.bool_(), "int": pyarrow.int64(),
         "float": pyarrow.float64(), "text": pyarrow.string(), "json": pyarrow.string()}


def read_lines(files: list[Path], encoding: str, broken: BrokenRows
               ) -> Iterator[pyarrow.RecordBatch]:
    """JSONL: an object a line."""
    yield from _batches(files, encoding, broken, _json_lines)


def read_json(files: list[Path], encoding: str, broken: BrokenRows
              ) -> Iterator[pyarrow.RecordBatch]:
    """JSON: a list of objects, an object of such a list or of columns, or an object a line."""
    yield from _batches(files, encoding, broken, _json_values)


def read_texts(files: list[Path], encoding: str, broken: BrokenRows, rows_are: str = "paragraph"
               ) -> Iterator[pyarrow.RecordBatch]:
    """Plain text and Markdown; `rows_are` is 'paragraph', 'line' or 'file'."""
    cut = {"paragraph": _paragraphs, "line": _text_lines, "file": _whole_text}[rows_are]
    yield from _batches(files, encoding, broken, cut)


def _batches(files: list[Path], encoding: str, broken: BrokenRows, rows_of: Callable
             ) -> Iterator[pyarrow.RecordBatch]:
    """Reads twice: what kind of value each column holds is known only at the end."""
    named = [(path, find_encoding(path) if encoding == "auto" else encoding) for path in files]
    kinds: dict[str, str] = {}
    for path, name in named:
        for row, _ in rows_of(path, name, broken.met):
            _widen(kinds, row, path)
    schema = pyarrow.schema([pyarrow.field(column, TYPES[kind],
                                           metadata=NESTED if kind == "json" else None)
                             for column, kind in kinds.items()])
    every = itertools.chain.from_iterable(rows_of(path, name, ignore) for path, name in named)
    for chunk in _chunks(every):
        yield pyarrow.RecordBatch.from_arrays(
            [_column([row.get(column) for row in chunk], kind) for column, kind in kinds.items()],
            schema=schema)


def _widen(kinds: dict[str, str], row: Row, path: Path) -> None:
    for column, value in row.items():
        kind, known = _kind(value), kinds.get(column)
        if kind != known:
            kinds[column] = _wider(known or "null", kind)
    if len(kinds) > MOST_COLUMNS:
        raise UserError(f"{path.name} has more than {MOST_COLUMNS:,} columns.",
                        "Its keys may be data: write one object a row, with the same keys.")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {str: "text", bool: "bool", int: "int", float: "float"}.get(type(value), "json")


def _wider(first: str, second: str) -> str:
    """The kind that holds values of both."""
    if first == second or second == "null":
        return first
    if first == "null":
        return second
    if {first, second} == {"int", "float"}:
        return "float"
    return "json" if "json" in (first, second) else "text"


def _chunks(rows: Iterator[Sized]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    size = 0
    for row, characters in rows:
        chunk.append(row)
        size += characters
        if size > BATCH_CHARACTERS or len(chunk) >= BATCH_ROWS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _column(values: list[Any], kind: str) -> pyarrow.Array:
    if kind == "json":
        values = [None if v is None else orjson.dumps(v).decode() for v in values]
    elif kind == "text":
        values = [v if v is None or isinstance(v, str) else orjson.dumps(v).decode()
                  for v in values]
    elif kind == "float":
        values = [None if v is None else float(v) for v in values]
    return pyarrow.array(values, TYPES[kind])


def _parsed(text: str) -> Any:
    """JSON to values; ValueError where it is none, or nothing that JSON can write again."""
    try:
        return orjson.loads(text)
    except ValueError:  # NaN and Infinity, which Python's own writer makes
        try:
            return orjson.loads(orjson.dumps(json.loads(text)))
        except (RecursionError, TypeError) as error:  # too deep, or a number beyond 64 bits
            raise ValueError(str(error)) from error


def _row(value: Any) -> Row:
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"text": value}
    raise ValueError(f"it is a {type(value).__name__}, and an object with columns is needed")


def _json_lines(path: Path, encoding: str, on_broken: OnBroken) -> Iterator[Sized]:
    for number, line in enumerate(text_lines(path, encoding, LONGEST_ROW), start=1):
        if not line.strip():
            continue
        try:
            yield _row(_parsed(line)), len(line)
        except ValueError as error:
            on_broken(path.name, number, f"{str(error).rstrip('.')}.")


def _json_values(path: Path, encoding: str, on_broken: OnBroken) -> Iterator[Sized]:
    first = next((line for line in text_lines(path, encoding, LONGEST_ROW) if line.strip()), "")
    if first.lstrip().startswith("{") and _is_json(first) and _has_more_lines(path, encoding):
        yield from _json_lines(path, encoding, on_broken)
        return
    with read_text(path, encoding) as file:
        if first.lstrip().startswith("["):
            yield from _elements(path, file)
        elif first:
            yield from _of_one_object(path, file)


def _is_json(text: str) -> bool:
    try:
        _parsed(text)
    except ValueError:
        return False
    return True


def _has_more_lines(path: Path, encoding: str) -> bool:
    lines = (line for line in text_lines(path, encoding, LONGEST_ROW) if line.strip())
    return next(lines, None) is not None and next(lines, None) is not None


def _elements(path: Path, file: Any) -> Iterator[Sized]:
    """The elements of one long list, read a piece at a time."""
    decoder, buffer, at, number, piece = json.JSONDecoder(), "", 0, 0, PIECE
    opened = False
    while True:
        at = _skip(buffer, at, " \t\r\n," if opened and number else " \t\r\n")
        if at < len(buffer) and not opened:
            opened, at = True, at + 1
            continue
        if at < len(buffer) and buffer[at] == "]":
            return
        try:
            if at >= len(buffer):
                raise ValueError("the list is never closed")
            value, end = decoder.raw_decode(buffer, at)
            if end >= len(buffer):  # a number may go on in the next piece
                raise ValueError("the list is never closed")
        except (ValueError, RecursionError) as error:
            more = file.read(piece)
            if not more or len(buffer) - at > LONGEST_ROW or isinstance(error, RecursionError):
                raise _wrong_element(path, number + 1, error) from error
            buffer, at = buffer[at:] + more, 0
            piece = max(PIECE, len(buffer))  # so that a long element isn't tried too often
            continue
        number += 1
        try:
            row = _row(orjson.loads(orjson.dumps(value)))
        except (ValueError, TypeError) as error:
            raise _wrong_element(path, number, error) from error
        yield row, end - at
        at = end


def _skip(text: str, at: int, blanks: str) -> int:
    while at < len(text) and text[at] in blanks:
        at += 1
    return at


def _wrong_element(path: Path, number: int, error: Exception) -> UserError:
    return UserError(f"{path.name}, row {number:,} is broken: {str(error).rstrip('.')}.",
                     "Mend the file. In a JSON list nothing behind a broken row can be read; "
                     "in JSONL, one object a line, it could be skipped.")


def _of_one_object(path: Path, file: Any) -> Iterator[Sized]:
    text = file.read(LONGEST_ROW * 2)
    if file.read(1):
        raise UserError(f"{path.name} is one JSON object of more than {LONGEST_ROW >> 19} million "
                        "characters.", "Write it as JSONL: one object a line.")
    try:
        value = _parsed(text)
    except ValueError as error:
        raise _wrong_element(path, 1, error) from error
    lists = {key: item for key, item in value.items() if isinstance(item, list)}
    of_rows = [item for item in lists.values() if item and all(isinstance(r, dict) for r in item)]
    if len(of_rows) == 1 and len(lists) == 1 and not {"messages", "conversations"} & set(lists):
        rows = of_rows[0]
    elif lists and len(lists) == len(value) and len({len(item) for item in lists.values()}) == 1 \
            and not of_rows:
        rows = [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
    else:
        rows = [value]
    size = len(text) // max(1, len(rows))
    yield from ((row, size) for row in rows)


def _text_lines(path: Path, encoding: str, _on_broken: OnBroken) -> Iterator[Sized]:
    for line in text_lines(path, encoding, LONGEST_ROW):
        if line.strip():
            yield {"text": line}, len(line)


def _paragraphs(path: Path, encoding: str, _on_broken: OnBroken) -> Iterator[Sized]:
    lines: list[str] = []
    for line in itertools.chain(text_lines(path, encoding, LONGEST_ROW), [""]):
        if line.strip():
            lines.append(line)
        elif lines:
            text = "\n".join(lines)
            yield {"text": text}, len(text)
            lines = []


def _whole_text(path: Path, encoding: str, _on_broken: OnBroken) -> Iterator[Sized]:
    with read_text(path, encoding) as file:
        text = file.read(LONGEST_ROW)
        if file.read(1):
            raise UserError(f"{path.name} is longer than {LONGEST_ROW >> 20} million characters.",
                            "Let a paragraph or a line be a row.")
    if text.strip():
        yield {"text": text}, len(text)
