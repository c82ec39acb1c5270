"""Parquet and Arrow files to Arrow batches, each checked before anybody trusts its buffers."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow
from datasets import Features
from pyarrow import parquet

from core.data.reading.broken import BrokenRows
from core.errors import UserError

BATCH_ROWS = 1000
FEATURES = b"huggingface"  # where datasets keeps label names and the like


def read_parquet(files: list[Path], encoding: str, broken: BrokenRows
                 ) -> Iterator[pyarrow.RecordBatch]:
    schema = _common([parquet.read_schema(path) for path in files], files)
    for path in files:
        with closing(parquet.ParquetFile(path, memory_map=True)) as file:
            for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
                yield _checked(batch, schema)


def read_arrow(files: list[Path], encoding: str, broken: BrokenRows
               ) -> Iterator[pyarrow.RecordBatch]:
    schema = _common([_schema_of(path) for path in files], files)
    for path in files:
        with pyarrow.memory_map(str(path)) as source:
            for batch in _arrow_batches(source):
                for at in range(0, batch.num_rows, BATCH_ROWS):
                    yield _checked(batch.slice(at, BATCH_ROWS), schema)


def _schema_of(path: Path) -> pyarrow.Schema:
    with pyarrow.memory_map(str(path)) as source:
        return _opened(source).schema


def _opened(source: pyarrow.NativeFile):
    """Arrow files come with a footer, or as a stream without one."""
    try:
        return pyarrow.ipc.open_file(source)
    except pyarrow.ArrowInvalid:
        source.seek(0)
        return pyarrow.ipc.open_stream(source)


def _arrow_batches(source: pyarrow.NativeFile) -> Iterator[pyarrow.RecordBatch]:
    reader = _opened(source)
    if isinstance(reader, pyarrow.RecordBatchFileReader):
        yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
    else:
        yield from reader


def _common(schemas: list[pyarrow.Schema], files: list[Path]) -> pyarrow.Schema:
    try:
        schema = pyarrow.unify_schemas(schemas, promote_options="permissive")
    except pyarrow.ArrowException as error:
        raise UserError(f"The columns of {files[0].name} and the other files don't fit together: "
                        f"{str(error).splitlines()[0]}", "Choose files of one data set.") from error
    features = (schemas[0].metadata or {}).get(FEATURES)
    schema = pyarrow.schema([f.with_type(_plain(f.type)).with_metadata({}) for f in schema])
    if features is None or len(schemas) > 1 and schemas[0].names != schema.names:
        return schema
    named = schema.with_metadata({FEATURES: features})
    try:
        Features.from_arrow_schema(named)
    except Exception:  # words of a newer or broken writer about the same columns; they can go
        return schema
    return named


def _plain(kind: pyarrow.DataType) -> pyarrow.DataType:
    """Texts that are written once and pointed to are written out."""
    if isinstance(kind, pyarrow.DictionaryType):
        return kind.value_type
    return kind.storage_type if isinstance(kind, pyarrow.ExtensionType) else kind


def _checked(batch: pyarrow.RecordBatch, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    batch.validate(full=True)
    columns = []
    for field in schema:
        at = batch.schema.get_field_index(field.name)
        column = pyarrow.nulls(batch.num_rows, field.type) if at < 0 else batch.column(at)
        if isinstance(column, pyarrow.ExtensionArray):
            column = column.storage
        columns.append(column if column.type == field.type else column.cast(field.type))
    return pyarrow.RecordBatch.from_arrays(columns, schema=schema)
