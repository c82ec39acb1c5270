"""Opens a data set by its name: a sample, a file, several, a folder or a hub id."""

import itertools
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import pyarrow
from datasets import Dataset

from core.data.reading import columnar, hubs, records, tables
from core.data.reading.broken import BrokenRows
from core.data.reading.columns import cleaned
from core.data.reading.places import find_files
from core.data.reading.samples import kind_of
from core.data.reading.store import kept, key_of
from core.errors import UserError
from core.files import Folders

FORMAT = 1  # of what the cache keeps; another number reads all files anew
READ: dict[str, Callable[..., Iterator[pyarrow.RecordBatch]]] = {
    "table": tables.read_tables, "workbook": tables.read_workbooks, "json": records.read_json,
    "lines": records.read_lines, "text": records.read_texts, "parquet": columnar.read_parquet,
    "arrow": columnar.read_arrow}


@dataclass(frozen=True)
class Reading:
    """How files and hubs are read. `config_name` and `revision` are a hub's; `encoding` is 'auto'
    or a codec; `broken_rows` 'stop' or 'skip'; `text_rows` 'paragraph', 'line' or 'file'."""

    config_name: str = ""
    revision: str = ""
    encoding: str = "auto"
    broken_rows: str = "stop"
    text_rows: str = "paragraph"


def open_rows(dataset: str, split: str, folders: Folders, reading: Reading = Reading()  # noqa: B008
              ) -> Dataset:
    """The rows of one split, memory-mapped. UserError where there are none or none can be read."""
    if dataset.startswith("modelscope:"):
        name = dataset.removeprefix("modelscope:")
        folder = hubs.fetch_modelscope(name, reading.revision, folders)
        files = find_files(str(_inner(folder, reading.config_name)), split, folders)
    else:
        files = find_files(dataset, split, folders)
    rows = _from_files(files, folders, reading) if files else hubs.read_hugging_face(
        dataset, reading.config_name, split, reading.revision)
    if len(rows) == 0:
        named = ", ".join(path.name for path in files[:3]) or dataset
        raise UserError(f"The data set '{named}' has no rows.", "Choose another file or split.")
    return rows


def nested_columns(rows: Dataset) -> frozenset[str]:
    """The columns whose cells are JSON text for lists or objects."""
    schema = rows.data.schema
    return frozenset(field.name for field in schema
                     if (field.metadata or {}).items() >= records.NESTED.items())


def left_out(rows: Dataset) -> str:
    """A sentence on the broken rows that reading left out; empty where there were none."""
    for file in rows.cache_files:
        about = Path(file["filename"]).with_name("about.json")
        if about.is_file():
            return json.loads(about.read_text(encoding="utf-8"))["broken"]
    return ""


def _inner(folder: Path, config_name: str) -> Path:
    """Where a hub's repository holds its files: the configuration's folder, 'data', or its top."""
    named = [folder / config_name] if config_name else []
    return next((p for p in (*named, folder / "data") if p.is_dir()), folder)


def _from_files(files: list[Path], folders: Folders, reading: Reading) -> Dataset:
    """Read once into Arrow on disk; as long as the files stay the same it is only mapped again."""
    about = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    key = key_of(FORMAT, about, reading.encoding, reading.broken_rows, reading.text_rows)
    folder = kept(folders, "rows", key, partial(_write_rows, files, reading))
    return Dataset.from_file(str(folder / "rows.arrow"))


def _write_rows(files: list[Path], reading: Reading, into: Path) -> None:
    kind = kind_of(files[0].name)
    broken = BrokenRows(skip=reading.broken_rows == "skip")
    options = {"rows_are": reading.text_rows} if kind == "text" else {}
    try:
        _write(READ[kind](files, reading.encoding, broken, **options), files, into / "rows.arrow")
    except UserError:
        raise
    except UnicodeError as error:
        raise UserError(f"{_names(files)} isn't all in the encoding {error.args[0]}: {error}.",
                        "Choose its encoding, or save it as UTF-8.") from error
    except (pyarrow.ArrowException, BadZipFile, EOFError, zlib.error) as error:
        raise _unreadable(files, error) from error
    except OSError as error:
        if error.errno is not None and not isinstance(error, PermissionError):
            raise  # the disk, and not what lies on it
        raise _unreadable(files, error) from error
    except Exception as error:
        if kind not in ("workbook", "arrow", "parquet"):  # ours: anything else is a bug
            raise
        raise _unreadable(files, error) from error  # their readers raise what they meet
    (into / "about.json").write_text(json.dumps({"broken": broken.in_words()}), encoding="utf-8")


def _write(batches: Iterator[pyarrow.RecordBatch], files: list[Path], path: Path) -> None:
    first = next((batch for batch in batches if batch.num_rows), None)
    if first is None:
        raise UserError(f"{_names(files)} has no rows.", "Choose another file.")
    schema = cleaned(first.schema)
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as writer:
        for batch in itertools.chain([first], batches):
            writer.write_batch(pyarrow.RecordBatch.from_arrays(batch.columns, schema=schema))


def _unreadable(files: list[Path], error: Exception) -> UserError:
    ending = "".join(s for s in files[0].suffixes[-2:] if kind_of(f"a{s}") or s in (".gz", ".zst"))
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(f"{_names(files)} can't be read as {ending.lstrip('.').upper()}: {first}",
                     "Check that the file is whole and what its ending says.")


def _names(files: list[Path]) -> str:
    return ", ".join(path.name for path in files[:3])
