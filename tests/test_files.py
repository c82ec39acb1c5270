"""Files that are whole or absent."""

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from core.files import (
    Folders,
    append_json_line,
    default_folders,
    read_json_lines,
    write_json,
    write_whole,
)


def test_a_reader_sees_the_old_content_or_the_new_and_never_a_part(tmp_path):
    path, contents = tmp_path / "a.txt", ["a" * 100_000, "b" * 200_000]
    write_whole(path, contents[0])
    done = threading.Event()

    def write():
        for number in range(60):
            write_whole(path, contents[number % 2])
        done.set()

    threading.Thread(target=write).start()
    while not done.is_set():
        assert path.read_text() in contents


def test_a_write_that_fails_leaves_the_old_content_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_whole(path, "old")

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_keeps_words_of_any_language_readable(tmp_path):
    write_json(tmp_path / "a.json", {"name": "电影 👍"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "电影 👍" in text and json.loads(text) == {"name": "电影 👍"}


def test_lines_come_back_in_order(tmp_path):
    for number in range(3):
        append_json_line(tmp_path / "a.jsonl", {"step": number})
    assert read_json_lines(tmp_path / "a.jsonl") == [{"step": 0}, {"step": 1}, {"step": 2}]


@pytest.mark.parametrize("torn", [b'{"step": 2, "lo', b"\xe7\x94", b"\0\0\0\0", b"42\n", b"[]\n"])
def test_a_torn_last_line_is_left_out(torn, tmp_path):
    path = tmp_path / "a.jsonl"
    append_json_line(path, {"step": 1})
    with path.open("ab") as file:
        file.write(torn)
    assert read_json_lines(path) == [{"step": 1}]


def test_a_line_after_a_torn_one_is_not_lost(tmp_path):
    path = tmp_path / "a.jsonl"
    append_json_line(path, {"step": 1})
    with path.open("ab") as file:
        file.write(b'{"step": 2, "lo')
    append_json_line(path, {"step": 3})
    append_json_line(path, {"step": 4})
    assert [record["step"] for record in read_json_lines(path)] == [1, 3, 4]


def test_a_file_that_is_not_there_has_no_lines(tmp_path):
    assert read_json_lines(tmp_path / "none.jsonl") == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_the_data_folder_is_the_owners_alone(tmp_path):
    folders = Folders(tmp_path / "home", tmp_path).make()
    for folder in (folders.home, folders.runs, folders.models, folders.uploads, folders.presets):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_data_folder_is_the_given_one_then_the_environments_then_the_homes(
        tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEDESK_HOME", str(tmp_path / "environment"))
    assert default_folders(tmp_path / "given").home == (tmp_path / "given").resolve()
    assert default_folders().home == (tmp_path / "environment").resolve()
    monkeypatch.delenv("TUNEDESK_HOME")
    assert default_folders().home == Path.home().resolve() / "TuneDesk"
    assert (default_folders().assets / "catalogue.json").is_file()
