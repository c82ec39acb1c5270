"""CSV, TSV and XLSX to Arrow batches.

Every cell stays the text that it is in the file: nothing is taken for a number, a date or a missing
value.
"""

import csv
import io
import itertools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import csv as arrow_csv

from core.data.reading.broken import BrokenRows
from core.data.reading.columns import unique_names
from core.data.reading.encoding import find_encoding, open_bytes, read_text
from core.errors import UserError

DELIMITERS = (",", "\t", ";", "|")
SNIFFED_CHARACTERS, SNIFFED_ROWS = 128 << 10, 20
LONGEST_ROW_BYTES = 16 << 20
MOST_COLUMNS, MOST_LINES = 2000, 1000
NEVER_CLOSED = 'Most likely a quotation mark (") is opened there and never closed.'
BATCH_CELLS = 20_000
# An XLSX file is a zip; its shared texts are held in memory while it is read.
WORKBOOK_BYTES, SHARED_TEXT_BYTES = 2 << 30, 128 << 20


@dataclass(frozen=True)
class _Table:
    """A delimited file whose form is known. `names` are its columns', each once."""

    path: Path
    encoding: str
    delimiter: str
    raw_names: list[str]
    names: list[str]


def read_tables(files: list[Path], encoding: str, broken: BrokenRows
                ) -> Iterator[pyarrow.RecordBatch]:
    """All rows of the files; a column that one file lacks is empty in its rows."""
    tables = [_look_at(path, encoding) for path in files]
    schema = _text_schema(name for table in tables for name in table.names)
    for table in tables:
        for batch in _read(table, broken):
            yield _aligned(batch.rename_columns(table.names), schema)


def _text_schema(names) -> pyarrow.Schema:
    return pyarrow.schema([(name, pyarrow.string()) for name in dict.fromkeys(names)])


def _aligned(batch: pyarrow.RecordBatch, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    there = set(batch.schema.names)
    return pyarrow.RecordBatch.from_arrays(
        [batch.column(name).cast(pyarrow.string()) if name in there
         else pyarrow.array([""] * batch.num_rows) for name in schema.names], schema=schema)


def _look_at(path: Path, encoding: str) -> _Table:
    encoding = find_encoding(path) if encoding == "auto" else encoding
    with read_text(path, encoding) as file:
        sample = file.read(SNIFFED_CHARACTERS)
    whole = len(sample) < SNIFFED_CHARACTERS
    preferred = "\t" if ".tsv" in (s.lower() for s in path.suffixes) else ","
    by_delimiter = {d: _first_rows(sample, d, whole)
                    for d in sorted(DELIMITERS, key=lambda d: d != preferred)}
    delimiter = max(by_delimiter, key=lambda d: _fit(by_delimiter[d]))
    rows = by_delimiter[delimiter]
    if not rows:
        raise UserError(f"{path.name} is empty.", "Choose a file with a line of column names.")
    if len(rows[0]) > MOST_COLUMNS:
        raise UserError(f"{path.name} has {len(rows[0]):,} columns, more than {MOST_COLUMNS:,}.",
                        "Check that the file is what its ending says.")
    return _Table(path, encoding, delimiter, rows[0], unique_names(rows[0]))


def _first_rows(sample: str, delimiter: str, whole: bool) -> list[list[str]]:
    rows = []
    try:
        for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) > SNIFFED_ROWS:
                break
    except csv.Error:  # a cell longer than the module takes
        return rows
    return rows if whole or len(rows) < 2 else rows[:-1]


def _fit(rows: list[list[str]]) -> tuple[float, int]:
    """How well a delimiter explains the rows: the share as wide as the first, then its width."""
    width = len(rows[0]) if rows else 0
    if width < 2:
        return 0.0, width
    return sum(len(row) == width for row in rows) / len(rows), width


def _read(table: _Table, broken: BrokenRows) -> Iterator[pyarrow.RecordBatch]:
    met: list[Any] = []
    last = 1

    def on_wrong_width(row: Any) -> str:
        met.append(row)
        return "skip" if broken.skip else "error"

    try:
        with open_bytes(table.path) as file:
            batches = arrow_csv.open_csv(
                file,
                read_options=arrow_csv.ReadOptions(  # serial, so that rows have numbers
                    use_threads=False, encoding=table.encoding.replace("utf-8-sig", "utf8"),
                    block_size=LONGEST_ROW_BYTES),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=table.delimiter, newlines_in_values=True,
                    invalid_row_handler=on_wrong_width),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(table.raw_names, pyarrow.string()),
                    strings_can_be_null=False))
            for batch in batches:
                _tell(met, table.path.name, broken)
                last += batch.num_rows
                yield batch
        _tell(met, table.path.name, broken)
    except pyarrow.ArrowInvalid as error:
        _tell(met, table.path.name, broken)
        if "straddling" in str(error):
            raise UserError(
                f"{table.path.name}: a row behind row {last + broken.count:,} is longer than "
                f"{LONGEST_ROW_BYTES >> 20} MB.", NEVER_CLOSED) from error
        raise


def _tell(met: list[Any], file: str, broken: BrokenRows) -> None:
    """Of rows of a wrong width; one that runs over very many lines is no single row to be left
    out."""
    while met:
        row = met.pop(0)
        lines = row.text.count("\n") + 1
        if lines > MOST_LINES:
            raise UserError(f"{file}, row {row.number or 0:,} runs over {lines:,} lines and has "
                            f"{row.actual_columns} cells.", NEVER_CLOSED)
        broken.met(file, row.number or 0, f"it has {row.actual_columns} cells where the first row "
                                          f"has {row.expected_columns}.")


def read_workbooks(files: list[Path], encoding: str, broken: BrokenRows
                   ) -> Iterator[pyarrow.RecordBatch]:
    """The first sheet of each file that holds rows; its first row names the columns."""
    import openpyxl

    names: list[str] = []
    for path in files:
        _refuse_bombs(path)
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            sheet = next((s for s in book.worksheets if _has_rows(s)), None)
            if sheet is None:
                continue
            if (sheet.max_column or 0) > MOST_COLUMNS:
                raise UserError(f"{path.name} has {sheet.max_column:,} columns.",
                                f"Leave at most {MOST_COLUMNS:,}.")
            rows = (row for row in sheet.iter_rows(values_only=True)
                    if any(cell is not None for cell in row))
            names = names or _sheet_names(next(rows, ()))
            yield from _sheet_batches(rows, names)
        finally:
            book.close()


def _has_rows(sheet: Any) -> bool:
    return hasattr(sheet, "iter_rows") and any(
        any(cell is not None for cell in row)
        for row in sheet.iter_rows(max_row=100, max_col=MOST_COLUMNS, values_only=True))


def _sheet_names(header: tuple) -> list[str]:
    cells = [_cell_text(cell) for cell in header]
    while cells and not cells[-1]:
        cells.pop()
    return unique_names(cells)


def _sheet_batches(rows: Iterator[tuple], names: list[str]) -> Iterator[pyarrow.RecordBatch]:
    schema = _text_schema(names)
    count = max(1, BATCH_CELLS // max(1, len(names)))
    while chunk := list(itertools.islice(rows, count)):
        cells = [[_cell_text(row[at]) if at < len(row) else "" for row in chunk]
                 for at in range(len(names))]
        yield pyarrow.RecordBatch.from_arrays(
            [pyarrow.array(column, pyarrow.string()) for column in cells], schema=schema)


def _cell_text(cell: Any) -> str:
    return "" if cell is None else str(cell).encode("utf-8", "replace").decode("utf-8")


def _refuse_bombs(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    shared = sum(p.file_size for p in parts if not p.filename.startswith("xl/worksheets/"))
    if sum(p.file_size for p in parts) > WORKBOOK_BYTES or shared > SHARED_TEXT_BYTES:
        raise UserError(f"{path.name} unpacks to more than this program reads of a workbook.",
                        "Save the sheet as CSV and choose that.")
