"""Damaged files of every kind: a correct reading or words that a person can act on, in bounded time
and memory."""

import gzip
import io
import json
import random
import resource
import shutil
import time
import zipfile
from pathlib import Path

import openpyxl
import pyarrow
import pytest
from pyarrow import feather, parquet

from core.config import Config
from core.data.build import open_dataset
from core.errors import UserError
from core.files import Folders

ROWS = [{"question": f"Wie heißt Nummer {n}? 叫什么",
         "answer": f'Nummer {n}, "sagt" man\n👍 =1+{n}'}
        for n in range(40)]
SECONDS, MEMORY_BYTES = 60, 2 << 30  # on a machine that is shared with others


def csv_bytes(delimiter: str = ",") -> bytes:
    cells = [[*ROWS[0]], *([*row.values()] for row in ROWS)]
    return "\n".join(delimiter.join('"' + c.replace('"', '""') + '"' for c in line)
                     for line in cells).encode()


def lines_bytes() -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def dialogue_bytes() -> bytes:
    return "".join(json.dumps({"messages": [
        {"role": "user", "content": row["question"]},
        {"role": "assistant", "content": row["answer"], "tool_calls": None}],
        "meta": {"n": [None, {"deep": [[[None]]]}]}}) + "\n" for row in ROWS).encode()


def columnar_bytes(kind: str) -> bytes:
    table, out = pyarrow.Table.from_pylist(ROWS), io.BytesIO()
    if kind == "parquet":
        parquet.write_table(table, out)
    elif kind == "feather":
        feather.write_feather(table, out)
    else:
        with pyarrow.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
    return out.getvalue()


def workbook_bytes() -> bytes:
    book, out = openpyxl.Workbook(), io.BytesIO()
    book.active.append([*ROWS[0]])
    for row in ROWS:
        book.active.append([*row.values()])
    book.save(out)
    return out.getvalue()


def packed(data: bytes, kind: str) -> bytes:
    return gzip.compress(data) if kind == "gz" else pyarrow.compress(
        data, codec="zstd", asbytes=True)


def whole_files() -> dict[str, bytes]:
    return {
        "a.csv": csv_bytes(), "b.csv": csv_bytes(";"), "a.tsv": csv_bytes("\t"),
        "a.json": json.dumps(ROWS).encode(), "a.jsonl": lines_bytes(), "b.jsonl": dialogue_bytes(),
        "a.jsonl.gz": packed(lines_bytes(), "gz"), "a.jsonl.zst": packed(lines_bytes(), "zst"),
        "a.csv.gz": packed(csv_bytes(), "gz"), "a.parquet": columnar_bytes("parquet"),
        "a.arrow": columnar_bytes("stream"), "a.feather": columnar_bytes("feather"),
        "a.xlsx": workbook_bytes(), "a.txt": "\n\n".join(r["answer"] for r in ROWS).encode(),
        "a.md": b"# Title\n\n" + lines_bytes()}


def cut_short(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def flipped(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice([1, 3, 30])):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def with_rubbish(data: bytes, draw: random.Random) -> bytes:
    rubbish = draw.choice([draw.randbytes(9), b'"', b"\0" * 5, b"\xff\xfe", b"\xef\xbb\xbf", b"{[",
                           b"\xed\xa0\x80", b'\\ud800', b"\r\n\r", b"\x1a", b"1e999", b"]" * 9])
    at = draw.choice([0, draw.randrange(len(data)), len(data)])
    return data[:at] + rubbish + data[at:]


def without_a_piece(data: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(data))
    return data[:start] + data[start + draw.randrange(1, 200):]


def with_a_piece_twice(data: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(data))
    return data[: start + draw.randrange(1, 300)] + data[start:]


def in_another_encoding(data: bytes, draw: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(draw.choice(["utf-16", "utf-16-le", "utf-32", "gb18030", "cp1252", "cp037",
                                    "shift_jis", "utf-7"]), "replace")


DAMAGES = [cut_short, flipped, with_rubbish, without_a_piece, with_a_piece_twice,
           in_another_encoding]


def long_line(name: str) -> bytes:
    text = "wort " * 2_000_000
    return {"csv": f"question,answer\nx,{text}\n", "jsonl": json.dumps({"text": text}),
            "json": json.dumps([{"text": text}]), "txt": text,
            "md": "#" * 10_000_000}[name].encode()


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<a/>")
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as part:
            for _ in range(40):
                part.write(b"<c/>" * (1 << 20))
    return out.getvalue()


def entities() -> bytes:
    """A workbook whose shared texts are an XML bomb."""
    out, whole = io.BytesIO(), zipfile.ZipFile(io.BytesIO(workbook_bytes()))
    laughs = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in whole.namelist():
            archive.writestr(part, f'<!DOCTYPE s [<!ENTITY l0 "lol">{laughs}]><sst><si><t>&l9;</t>'
                             "</si></sst>" if "shared" in part else whole.read(part))
    return out.getvalue()


TRAPS = {
    **{f"line.{kind}": lambda kind=kind: long_line(kind)
       for kind in ("csv", "jsonl", "json", "txt", "md")},
    "deep.jsonl": lambda: b'{"text": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n",
    "deep.json": lambda: b"[" * 500_000,
    "wide.csv": lambda: ",".join(f"c{n}" for n in range(50_000)).encode() + b"\n1\n",
    "keys.jsonl": lambda: b"".join(b'{"k%d": null}\n' % n for n in range(5_000)),
    "nulls.jsonl": lambda: b'{"messages": null}\n{"messages": [null]}\n{"messages": [[null]]}\n',
    "big.jsonl": lambda: b'{"text": "x", "n": ' + b"9" * 400 + b"}\n",
    "open.csv": lambda: b'question,answer\n"' + b"x,y\n" * 3_000_000,
    "quotes.csv": lambda: b'"' * 3_000_000,
    "names.csv": lambda: b",,,\n,,,\n",
    "formula.csv": lambda: b'question,answer\n=cmd|"/c calc"!A1,@SUM(A1)\n',
    "bomb.xlsx": bomb, "laugh.xlsx": entities,
    "bomb.jsonl.gz": lambda: gzip.compress(b" " * (400 << 20), 9),
    "bomb.csv.zst": lambda: pyarrow.compress(b"a,b\n" * (100 << 20), codec="zstd", asbytes=True),
    "list.json.gz": lambda: gzip.compress(b"[" + b'{"a":1},' * 300_000, 9),
}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read(path: Path, folders: Folders, broken_rows: str = "stop") -> str:
    """'rows' or 'words'; anything else that rises is a bug."""
    began = time.monotonic()
    try:
        opened = open_dataset(Config(dataset=str(path), eval_rows=4, broken_rows=broken_rows),
                              folders)
        for row in opened.train.select(range(min(30, len(opened.train)))):
            assert all(isinstance(m["content"], str) for m in opened.messages(row))
        outcome = "rows"
    except UserError as error:
        assert error.problem and error.remedy
        outcome = "words"
    assert time.monotonic() - began < SECONDS
    return outcome


def damaged(count: int, seed: int, folder: Path, folders: Folders) -> dict[str, int]:
    draw, whole = random.Random(seed), whole_files()
    found = {"rows": 0, "words": 0}
    for number in range(count):
        name = draw.choice([*whole])
        data = whole[name]
        for _ in range(draw.choice([1, 1, 2])):
            data = draw.choice(DAMAGES)(data, draw) if data else data
        place = folder / draw.choice(["plain", "..", "a;b", "-rf", "$(x)", "ü 名", "train", "%s"])
        place = folder / f"{number}{place.name.replace('..', '.. ')}"
        place.mkdir()
        (place / name).write_bytes(data)
        found[read(draw.choice([place, place / name]), folders,
                   draw.choice(["stop", "skip"]))] += 1
        shutil.rmtree(place)
        if number % 50 == 0:
            shutil.rmtree(folders.home / "cache", ignore_errors=True)
    return found


def test_damaged_files_give_rows_or_words(tmp_path, folders):
    found = damaged(150, 1, tmp_path, folders)
    assert found["rows"] > 20 and found["words"] > 20


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_thousand_damaged_files_give_rows_or_words(tmp_path, folders):
    before = peak_bytes()
    found = damaged(2000, 2, tmp_path, folders)
    assert sum(found.values()) == 2000
    assert peak_bytes() - before < MEMORY_BYTES


QUICK_TRAPS = ["deep.jsonl", "deep.json", "wide.csv", "keys.jsonl", "nulls.jsonl", "big.jsonl",
               "names.csv", "formula.csv", "laugh.xlsx", "quotes.csv"]


@pytest.mark.parametrize("name", QUICK_TRAPS)
def test_a_trap_gives_rows_or_words(name, tmp_path, folders):
    (tmp_path / name).write_bytes(TRAPS[name]())
    read(tmp_path / name, folders)


@pytest.mark.slow
@pytest.mark.parametrize("broken_rows", ["stop", "skip"])
@pytest.mark.parametrize("name", TRAPS)
def test_a_large_trap_stays_within_memory(name, broken_rows, tmp_path, folders):
    (tmp_path / name).write_bytes(TRAPS[name]())
    before = peak_bytes()
    read(tmp_path / name, folders, broken_rows)
    assert peak_bytes() - before < MEMORY_BYTES
