"""Opening a data set by its name: every kind of file, and words for all that can't be read."""

import json
import socket
import threading
import time
from pathlib import Path

import pandas
import pytest

from core.data.reading.samples import default_instruction, list_samples
from core.data.reading.sources import open_rows
from core.errors import UserError

ROWS = [{"question": "Wie heißt du?", "answer": "Ann, 你好"},
        {"question": "2+2?", "answer": "four"}]


def write(path: Path) -> Path:
    """ROWS as a file of the kind that the name's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pandas.DataFrame(ROWS)
    kind = path.suffix.lower()
    if kind in (".csv", ".tsv"):
        frame.to_csv(path, index=False, sep="\t" if kind == ".tsv" else ",")
    elif kind == ".parquet":
        frame.to_parquet(path)
    elif kind == ".json":
        path.write_text(json.dumps(ROWS), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet", "A.CSV"])
def test_a_file_of_each_kind_gives_its_rows(name, tmp_path, folders):
    assert open_rows(str(write(tmp_path / name)), "train", folders).to_list() == ROWS


@pytest.mark.parametrize("name", ["a.txt", "a.md"])
def test_a_text_file_gives_its_paragraphs(name, tmp_path, folders):
    path = tmp_path / name
    path.write_text("One.\nStill one.\n\nTwo.\n", encoding="utf-8")
    rows = open_rows(str(path), "train", folders)
    assert [text.strip() for text in rows["text"]] == ["One.\nStill one.", "Two."]


def test_a_folder_gives_the_file_that_is_named_for_the_split(tmp_path, folders):
    write(tmp_path / "set" / "train.jsonl")
    (tmp_path / "set" / "test.jsonl").write_text('{"question": "Test?", "answer": "yes"}\n')
    assert open_rows(str(tmp_path / "set"), "train", folders).to_list() == ROWS
    assert open_rows(str(tmp_path / "set"), "test", folders)["question"][:] == ["Test?"]


def test_numbered_files_of_a_split_are_read_together(tmp_path, folders):
    for part in ("00000-of-00002", "00001-of-00002"):
        write(tmp_path / "set" / f"train-{part}.parquet")
    assert open_rows(str(tmp_path / "set"), "train", folders).to_list() == [*ROWS, *ROWS]


def test_a_folder_without_the_split_names_the_files_that_it_has(tmp_path, folders):
    write(tmp_path / "set" / "train.jsonl")
    with pytest.raises(UserError, match="'validation'.*train.jsonl"):
        open_rows(str(tmp_path / "set"), "validation", folders)


def test_a_file_named_for_another_split_is_not_learned(tmp_path, folders):
    write(tmp_path / "set" / "rows.jsonl")
    (tmp_path / "set" / "test.jsonl").write_text('{"question": "Test?", "answer": "yes"}\n')
    assert "Test?" not in open_rows(str(tmp_path / "set"), "train", folders)["question"][:]


def test_a_file_that_has_changed_is_read_anew(tmp_path, folders):
    path = write(tmp_path / "a.jsonl")
    open_rows(str(path), "train", folders)
    path.write_text('{"question": "Changed?", "answer": "yes"}\n')
    assert open_rows(str(path), "train", folders)["question"][:] == ["Changed?"]


def test_each_sample_opens_and_says_what_it_is(folders):
    samples = list_samples(folders)
    assert "sample:film-reviews" in samples
    for name, about in samples.items():
        rows = open_rows(name, "train", folders)
        assert f"({len(rows)} rows)" in about["name"] or f", {len(rows)} rows)" in about["name"]
        assert about["license"] and about["origin"]
        assert default_instruction(name, folders) or "instruction" in rows.column_names


@pytest.mark.parametrize("name", ["/nowhere/a.jsonl", "./nowhere", "~/nowhere.csv", "nowhere.csv",
                                  "Nowhere.CSV", "sample:nothing", "sample:../presets"])
def test_a_name_without_a_file_behind_it_is_told_at_once(name, folders, monkeypatch):
    monkeypatch.setattr("core.data.reading.hubs.read_hugging_face",
                        lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(UserError):
        open_rows(name, "train", folders)


@pytest.mark.parametrize("name, content", [
    ("a.json", '[{"question": "Hi?", '), ("a.jsonl", '{"question": "Hi?"}\nno json\n'),
    ("a.parquet", "no parquet"), ("a.csv", 'a,b\n"open quote,1\n2,3,4,5\n'),
    ("a.arrow", "no arrow"), ("a.xlsx", "no workbook"), ("a.jsonl.gz", "not packed"),
], ids=["json", "jsonl", "parquet", "csv", "arrow", "xlsx", "gz"])
def test_a_damaged_file_is_named_in_a_user_error(name, content, tmp_path, folders):
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=name):
        open_rows(str(tmp_path / name), "train", folders)


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet", "txt"])
def test_an_empty_file_is_told(kind, tmp_path, folders):
    (tmp_path / f"a.{kind}").touch()
    with pytest.raises(UserError, match=f"a.{kind}"):
        open_rows(str(tmp_path / f"a.{kind}"), "train", folders)


def test_a_table_without_rows_is_told(tmp_path, folders):
    (tmp_path / "a.csv").write_text("question,answer\n")
    with pytest.raises(UserError, match="a.csv"):
        open_rows(str(tmp_path / "a.csv"), "train", folders)


def test_a_file_of_an_unknown_kind_is_told_with_the_known_ones(tmp_path, folders):
    (tmp_path / "a.docx").touch()
    with pytest.raises(UserError) as caught:
        open_rows(str(tmp_path / "a.docx"), "train", folders)
    assert ".jsonl" in caught.value.remedy


@pytest.mark.parametrize("others", [("a.csv", "b.jsonl"), ("a.csv", "b.tsv")])
def test_files_of_different_kinds_in_one_folder_are_told(others, tmp_path, folders):
    for name in others:
        write(tmp_path / "set" / name)
    with pytest.raises(UserError, match=others[1]):
        open_rows(str(tmp_path / "set"), "train", folders)


@pytest.fixture
def server():
    """Listens, and answers each caller with these bytes (None: never); gives its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    callers = []

    def serve(answer: bytes | None) -> str:
        def work() -> None:
            while True:
                try:
                    caller, _ = listening.accept()
                except OSError:
                    return
                callers.append(caller)
                if answer is not None:
                    caller.recv(65536)
                    caller.sendall(answer)
                    caller.close()
        threading.Thread(target=work, daemon=True).start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield serve
    listening.close()
    for caller in callers:
        caller.close()


def expect_words_within_seconds(folders) -> UserError:
    began = time.monotonic()
    with pytest.raises(UserError, match="stanfordnlp/imdb") as caught:
        open_rows("stanfordnlp/imdb", "train", folders)
    assert time.monotonic() - began < 60  # not after many retries
    assert caught.value.remedy
    return caught.value


def test_a_hub_data_set_is_refused_at_once_where_the_hub_is_forbidden(folders):
    assert "HF_HUB_OFFLINE" in expect_words_within_seconds(folders).problem


def test_a_hub_data_set_is_refused_at_once_where_nobody_listens(folders, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "127.0.0.1:9" in expect_words_within_seconds(folders).problem


@pytest.mark.parametrize("answer", [None, b"", b"no http\r\n\r\n"],
                         ids=["silent", "hangs up", "not http"])
def test_a_hub_that_does_not_speak_is_told_in_seconds(answer, folders, monkeypatch, server):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", server(answer))
    expect_words_within_seconds(folders)


@pytest.mark.parametrize("endpoint", ["huggingface.co", "", "http://", "http://[", "http://a b"])
def test_a_mistyped_endpoint_is_told(endpoint, folders, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(UserError):
        open_rows("stanfordnlp/imdb", "train", folders)
