"""Files as people have them: every kind, encoding and delimiter, and what is broken in them."""

import gzip
import json
import os
import zipfile

import openpyxl
import pyarrow
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from pyarrow import parquet

from core.config import Config
from core.data.build import open_dataset
from core.data.reading.encoding import find_encoding
from core.data.reading.samples import kind_of
from core.data.reading.sources import Reading, left_out, open_rows
from core.errors import UserError

GERMAN = "question,answer\nWie heißt du?,Jürgen Müller\nWo wohnst du?,In Köln an der Straße\n"
CHINESE = ("question,answer\n你叫什么名字？,我叫小明，今年十岁。\n"
           "天气怎么样？,今天天气很好，适合散步。\n")
SKIP = Reading(broken_rows="skip")


def rows_of(path, folders, reading: Reading = SKIP):
    return open_rows(str(path), "train", folders, reading).to_list()


@pytest.mark.parametrize("name, text", [
    ("utf-8", CHINESE), ("utf-8-sig", CHINESE), ("utf-16", CHINESE), ("utf-16-le", GERMAN),
    ("utf-16-be", GERMAN), ("utf-32", CHINESE), ("gb18030", CHINESE), ("cp1252", GERMAN)])
def test_a_table_in_any_encoding_gives_its_words(name, text, tmp_path, folders):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode(name))
    expected = [dict(zip(["question", "answer"], line.split(","), strict=True))
                for line in text.splitlines()[1:]]
    assert rows_of(path, folders, Reading()) == expected


def test_an_encoding_is_found_by_what_stands_late_in_a_long_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"plain words\n" * 500_000 + CHINESE.encode("gb18030"))
    assert find_encoding(path) == "gb18030"


def test_a_person_can_name_the_encoding(tmp_path, folders):
    path = tmp_path / "a.csv"
    path.write_bytes("a,b\nпривет,мир\n".encode("cp1251"))
    assert rows_of(path, folders, Reading(encoding="cp1251")) == [{"a": "привет", "b": "мир"}]


def test_a_file_in_another_encoding_than_the_named_one_is_told(tmp_path, folders):
    path = tmp_path / "a.csv"
    path.write_bytes(GERMAN.encode("cp1252"))
    with pytest.raises(UserError, match="a.csv.*utf-8"):
        rows_of(path, folders, Reading(encoding="utf-8"))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter, tmp_path, folders):
    path = tmp_path / "a.csv"
    path.write_text(f'text{delimiter}label\n"one, two; three | four"{delimiter}good\n', "utf-8")
    assert rows_of(path, folders) == [{"text": "one, two; three | four", "label": "good"}]


def test_cells_stay_the_text_that_they_are(tmp_path, folders):
    path = tmp_path / "a.csv"
    path.write_text('a,b\n007,NA\n1.10,\n=1+1,"line one\nline ""two"""\n', "utf-8")
    assert rows_of(path, folders) == [
        {"a": "007", "b": "NA"}, {"a": "1.10", "b": ""},
        {"a": "=1+1", "b": 'line one\nline "two"'}]


def test_columns_without_a_name_or_with_the_same_get_one_each(tmp_path, folders):
    (tmp_path / "a.csv").write_text("a,a,\n1,2,3\n", "utf-8")
    assert rows_of(tmp_path / "a.csv", folders) == [{"a": "1", "a 2": "2", "column 3": "3"}]


@pytest.mark.parametrize("name, text", [
    ("a.csv", "a\0b, \x07\n1,2\n"), ("a.jsonl", '{"a\\u0000b": "1", "": "2"}\n')])
def test_names_of_columns_that_cannot_be_shown_are_mended(name, text, tmp_path, folders):
    (tmp_path / name).write_text(text, "utf-8")
    assert rows_of(tmp_path / name, folders) == [{"a b": "1", "column 2": "2"}]


RAGGED = ("a.csv", 'a,b\n1,2\n3\n"x\ny",4\n5,6,7\n')
BROKEN_LINE = ("a.jsonl", '{"a": 1}\n\n{"a": \n{"a": 2}\n[1]\n')


@pytest.mark.parametrize("name, text, numbers", [(*RAGGED, "row 3"), (*BROKEN_LINE, "row 3")])
def test_the_first_broken_row_is_named_where_reading_stops(name, text, numbers, tmp_path, folders):
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(UserError, match=f"{name}, {numbers}") as caught:
        rows_of(tmp_path / name, folders, Reading())
    assert "skip" in caught.value.remedy


@pytest.mark.parametrize("name, text, rows, numbers", [
    (*RAGGED, [{"a": "1", "b": "2"}, {"a": "x\ny", "b": "4"}], ("row 3", "row 5")),
    (*BROKEN_LINE, [{"a": 1}, {"a": 2}], ("row 3", "row 5"))])
def test_broken_rows_are_left_out_and_named_where_that_is_chosen(
        name, text, rows, numbers, tmp_path, folders):
    (tmp_path / name).write_text(text, "utf-8")
    for _ in range(2):  # the second time from the cache
        found = open_rows(str(tmp_path / name), "train", folders, SKIP)
        assert found.to_list() == rows
        assert all(f"{name} {number}" in left_out(found) for number in numbers)


def test_what_was_left_out_is_a_note_of_the_opened_data_set(tmp_path, folders):
    (tmp_path / "a.csv").write_text("question,answer\n1,2\n3\n4,5\n", "utf-8")
    config = Config(dataset=str(tmp_path / "a.csv"), eval_rows=0, broken_rows="skip")
    assert "row 3" in open_dataset(config, folders).notes[0]


@pytest.mark.parametrize("block", [16 << 20, 4096], ids=["one block", "many blocks"])
def test_a_quotation_mark_that_is_never_closed_is_guessed(block, tmp_path, folders, monkeypatch):
    monkeypatch.setattr("core.data.reading.tables.LONGEST_ROW_BYTES", block)
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,2\n"open,3\n' + "4,5\n" * 2_000, "utf-8")
    with pytest.raises(UserError, match="a.csv") as caught:
        rows_of(path, folders)
    assert "quotation" in str(caught.value)


@pytest.mark.parametrize("text, rows", [
    ('[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
    ('{"data": [{"a": 1}, {"a": 2}]}', [{"a": 1}, {"a": 2}]),
    ('{"a": [1, 2], "b": ["x", "y"]}', [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
    ('{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
    ('{\n "a": "one row"\n}', [{"a": "one row"}]),
    ('["first", "second"]', [{"text": "first"}, {"text": "second"}]),
    ('[{"a": NaN}, {"a": 1.5}]', [{"a": None}, {"a": 1.5}]),
    ('[{"a": 1}, {"b": "x"}]', [{"a": 1, "b": None}, {"a": None, "b": "x"}]),
    ('[{"a": 1}, {"a": "x"}]', [{"a": "1"}, {"a": "x"}]),
], ids=["list", "object of a list", "columns", "lines", "one object", "texts", "NaN",
        "other columns", "other kinds"])
def test_json_of_any_form_gives_its_rows(text, rows, tmp_path, folders):
    (tmp_path / "a.json").write_text(text, "utf-8")
    assert rows_of(tmp_path / "a.json", folders) == rows


def test_a_long_json_list_is_read_in_pieces(tmp_path, folders):
    rows = [{"a": f"{n} " + "x" * 997, "b": n} for n in range(3000)]
    (tmp_path / "a.json").write_text(json.dumps(rows), "utf-8")
    assert rows_of(tmp_path / "a.json", folders) == rows


def test_no_rows_shape_is_forced_on_another(tmp_path, folders):
    call = {"role": "assistant", "content": None, "tool_calls": [
        {"function": {"name": "weather", "arguments": {"city": "Rome"}}}]}
    rows = [{"messages": [{"role": "user", "content": "Hi?"}, call]},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Yo?"}]},
                          {"role": "assistant", "content": "Yo!"}]}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    opened = open_dataset(Config(dataset=str(tmp_path / "a.jsonl"), eval_rows=0), folders)
    assert sorted((opened.row(row) for row in opened.train), key=str) == sorted(rows, key=str)
    assert {opened.messages(row)[0]["content"] for row in opened.train} == {"Hi?", "Yo?"}


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_packed_lines_give_their_rows(ending, tmp_path, folders):
    path = tmp_path / f"a.jsonl.{ending}"
    with pyarrow.output_stream(str(path), compression={"gz": "gzip", "zst": "zstd"}[ending]) as out:
        out.write(b'{"a": "one"}\n{"a": "two"}\n')
    assert rows_of(path, folders) == [{"a": "one"}, {"a": "two"}]


def test_a_file_that_unpacks_to_a_thousand_times_its_size_is_refused(
        tmp_path, folders, monkeypatch):
    monkeypatch.setattr("core.data.reading.encoding.FREE_BYTES", 1 << 20)
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=9) as out:
        for _ in range(20):
            out.write(b" " * (1 << 20))
    with pytest.raises(UserError, match="a.jsonl.gz unpacks"):
        rows_of(path, folders)


def test_a_workbook_gives_its_first_sheet_that_holds_rows(tmp_path, folders):
    book = openpyxl.Workbook()
    sheet = book.create_sheet("rows")
    for row in (["question", "answer", None], ["2+2?", 4], [None, None], ["Wann?", "7 Uhr"]):
        sheet.append(row)
    book.save(tmp_path / "a.xlsx")
    assert rows_of(tmp_path / "a.xlsx", folders) == [
        {"question": "2+2?", "answer": "4"}, {"question": "Wann?", "answer": "7 Uhr"}]


def test_a_workbook_that_unpacks_to_gigabytes_is_refused(tmp_path, folders, monkeypatch):
    monkeypatch.setattr("core.data.reading.tables.SHARED_TEXT_BYTES", 1 << 20)
    book = openpyxl.Workbook()
    book.active.append(["a"])
    book.save(tmp_path / "a.xlsx")
    with zipfile.ZipFile(tmp_path / "a.xlsx", "a", zipfile.ZIP_DEFLATED) as archive, \
            archive.open("xl/sharedStrings2.xml", "w") as part:
        for _ in range(2):
            part.write(b"<" * (1 << 20))
    with pytest.raises(UserError, match="a.xlsx unpacks"):
        rows_of(tmp_path / "a.xlsx", folders)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "file"])
def test_an_arrow_file_gives_its_rows(stream, tmp_path, folders):
    table = pyarrow.table({"a": ["x", "y"], "n": [1, 2]})
    open_writer = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with open_writer(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert rows_of(tmp_path / "a.arrow", folders) == table.to_pylist()


def test_label_names_and_lists_of_parquet_are_kept(tmp_path, folders):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    Dataset.from_dict({"text": ["x"], "label": [1]}, features).to_parquet(tmp_path / "a.parquet")
    opened = open_dataset(Config(dataset=str(tmp_path / "a.parquet"), eval_rows=0), folders)
    assert opened.messages(opened.train[0])[-1]["content"] == "good"


def test_words_that_are_pointed_to_are_written_out(tmp_path, folders):
    table = pyarrow.table({"a": pyarrow.array(["x", "y", "x"]).dictionary_encode()})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert rows_of(tmp_path / "a.parquet", folders) == [{"a": "x"}, {"a": "y"}, {"a": "x"}]


@pytest.mark.parametrize("rows_are, texts", [
    ("paragraph", ["One.\nStill one.", "Two."]), ("line", ["One.", "Still one.", "Two."]),
    ("file", ["One.\nStill one.\n\nTwo.\n"])])
def test_a_person_chooses_what_a_row_of_a_text_is(rows_are, texts, tmp_path, folders):
    (tmp_path / "a.md").write_text("One.\nStill one.\n\nTwo.\n", "utf-8")
    found = rows_of(tmp_path / "a.md", folders, Reading(text_rows=rows_are))
    assert [row["text"] for row in found] == texts


def test_several_files_are_one_data_set(tmp_path, folders):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n", "utf-8")
    (tmp_path / "b.csv").write_text("b;c\n3;4\n", "utf-8")
    found = open_rows(f"{tmp_path / 'a.csv'}; {tmp_path / 'b.csv'}", "train", folders)
    assert found.to_list() == [{"a": "1", "b": "2", "c": ""}, {"a": "", "b": "3", "c": "4"}]


def test_a_file_that_is_missing_among_several_is_named(tmp_path, folders):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n", "utf-8")
    with pytest.raises(UserError, match="none.csv"):
        open_rows(f"{tmp_path / 'a.csv'};none.csv", "train", folders)


def test_a_link_that_leads_out_of_a_folder_brings_nothing_in(tmp_path, folders):
    (tmp_path / "secret.txt").write_text("secret", "utf-8")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.txt").write_text("open", "utf-8")
    (tmp_path / "set" / "b.txt").symlink_to(tmp_path / "secret.txt")
    assert rows_of(tmp_path / "set", folders) == [{"text": "open"}]


@pytest.mark.parametrize("name", [
    "/dev/zero", "/proc/kcore", "/proc/self/environ", "a\0b.csv", "/" + "x" * 5000 + ".csv",
    "~no-such-user/a.csv", "sample:../../../etc", "../" * 60 + "nothing.csv"])
def test_a_path_that_is_a_trick_is_refused_at_once(name, folders):
    with pytest.raises(UserError):
        open_rows(name, "train", folders)


def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path, folders):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(UserError):
        open_rows(str(tmp_path / "a.csv"), "train", folders)


@pytest.mark.parametrize("name, kind", [
    ("a.csv", "table"), ("A.JSONL.GZ", "lines"), ("a.b.txt.zst", "text"), ("a.parquet.gz", ""),
    ("a.gz", ""), ("a", ""), ("a.docx", ""), (".csv", "")])
def test_a_files_kind_is_told_by_its_ending(name, kind):
    assert kind_of(name) == kind


def test_a_modelscope_data_set_is_fetched_and_read(tmp_path, folders, monkeypatch):
    (tmp_path / "repo" / "data").mkdir(parents=True)
    (tmp_path / "repo" / "data" / "train-00000.jsonl").write_text('{"a": "x"}\n', "utf-8")
    asked = []

    def fetch(name, revision, cache_dir):
        asked.append((name, revision))
        return str(tmp_path / "repo")

    module = type("modelscope", (), {"dataset_snapshot_download": staticmethod(fetch)})
    monkeypatch.setitem(__import__("sys").modules, "modelscope", module)
    found = open_rows("modelscope:owner/name", "train", folders, Reading(revision="v2"))
    assert (found.to_list(), asked) == ([{"a": "x"}], [("owner/name", "v2")])


def test_a_modelscope_data_set_without_its_package_says_what_to_install(folders, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "modelscope", None)
    with pytest.raises(UserError, match="owner/name") as caught:
        open_rows("modelscope:owner/name", "train", folders)
    assert "pip install modelscope" in caught.value.remedy


def test_the_revision_of_a_hub_data_set_is_asked_for(folders, monkeypatch):
    asked = {}
    monkeypatch.setattr("core.data.reading.hubs.require_hub", lambda *_: None)
    monkeypatch.setattr(
        "core.data.reading.hubs.load_dataset", lambda *names, **options:
        asked.update(names=names, **options) or Dataset.from_dict({"text": ["x"]}))
    open_rows("stanfordnlp/imdb", "test", folders, Reading("plain_text", "main"))
    assert asked == {"names": ("stanfordnlp/imdb", "plain_text"), "split": "test",
                     "revision": "main"}
