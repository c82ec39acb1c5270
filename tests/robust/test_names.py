"""Names in any script, of any length: kept as they are, or refused in words."""

import json

import pytest

from core.config import Config
from core.data.reading.sources import open_rows
from core.errors import UserError
from core.presets import list_presets, load_preset, save_preset
from core.training import archive, line, trash
from core.training.archive import Archive
from core.training.metrics import Reader
from core.training.run import create, find_run, list_runs
from ui.tabs.data import keep_upload, keep_uploads

NAMES = {
    "long": "x" * 300, "Chinese": "数据" * 100, "emoji": "😀🎬" * 50, "Hebrew": "עברית",
    "accents": "e\u0301" * 200, "invisible": "\u200b\u202ex", "lines": "a\nb\u2028c\x85d",
    "a tab": "a\tb", "NUL": "a\x00b", "YAML": "{a: b} # 'x' \"y\" %", "HTML": "<b onclick=x>",
    "dots": "..", "slashes": "a/../../b", "blanks": "   ", "nothing": "",
}
NO_TEXT = ["bad\udcff", "\ud800"]
each_name = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
all_names = pytest.mark.parametrize("name", [*NAMES.values(), *NO_TEXT], ids=ascii)


@each_name
def test_a_run_keeps_the_names_of_its_settings(folders, name):
    settings = Config(dataset=f"/data/{name}.jsonl", base_model=f"/models/{name}x",
                      instruction=name.strip())
    made = create(settings, folders.runs)
    assert made.config() == settings
    assert find_run(folders.runs, made.id) == made and list_runs(folders.runs) == [made]


@pytest.mark.parametrize("name", NO_TEXT, ids=ascii)
def test_bytes_that_are_no_text_are_refused_before_a_run_is_made_of_them(name):
    with pytest.raises(UserError, match="Data set: found .* no text"):
        Config(dataset=f"/data/{name}.jsonl")
    with pytest.raises(UserError, match="Target modules: found .* no text"):
        Config(target_modules=(name,))


@all_names
def test_a_run_that_cannot_be_is_said_not_to_be(folders, name):
    for ask in (lambda: find_run(folders.runs, name), lambda: trash.restore(name, folders),
                lambda: line.hold(folders.runs, name, True)):
        with pytest.raises(UserError):
            ask()


@each_name
def test_a_preset_is_kept_under_its_name_or_another_is_asked_for(folders, name):
    own = Config(lora_r=37)
    try:
        save_preset(name, own, folders)
    except UserError as refused:
        assert "name" in refused.problem
        assert not list(folders.presets.iterdir())
    else:
        kept = [each for each in list_presets(folders) if load_preset(each, folders) == own]
        assert len(kept) == 1


@each_name
def test_tags_and_notes_come_back_and_the_list_can_be_sent(folders, name):
    made = create(Config(), folders.runs)
    archive.describe(made, tags=[name, name], note=name)
    shown = Archive(folders.runs, Reader()).look()["runs"][0]
    assert shown["note"] == name.strip()
    assert shown["tags"] == ([name.strip()] if name.strip() else [])
    assert json.loads(json.dumps(shown)) == shown


@pytest.mark.parametrize("name", ["数据" * 40, "😀" * 60, "a b  c", "x" * 250, "ё.tar"], ids=ascii)
def test_an_uploaded_file_keeps_its_name(folders, name):
    uploaded = folders.temporary / f"{name}.csv"
    uploaded.write_text("question,answer\n1,2\n")
    first = keep_upload(uploaded, folders.uploads)
    uploaded.write_text("question,answer\n3,4\n")
    second = keep_upload(uploaded, folders.uploads)
    assert first.name == uploaded.name and first != second
    assert second.read_text() == uploaded.read_text() != first.read_text()


def test_several_uploaded_files_are_one_data_set(folders):
    paths = [folders.temporary / name for name in ("first rows.csv", "second.csv")]
    for number, path in enumerate(paths):
        path.write_text(f"question,answer\n{number},{number + 1}\n")
    name = keep_uploads(paths, folders.uploads)
    assert [str(q) for q in open_rows(name, "train", folders)["question"]] == ["0", "1"]
    assert open_rows(keep_uploads(paths[:1], folders.uploads), "train", folders).num_rows == 1


def test_a_name_that_cannot_stand_in_a_list_is_refused_before_any_file_is_kept(folders):
    paths = [folders.temporary / name for name in ("a.csv", "b;c.csv")]
    for path in paths:
        path.write_text("question,answer\n1,2\n")
    with pytest.raises(UserError, match="b;c.csv"):
        keep_uploads(paths, folders.uploads)
    assert not list(folders.uploads.iterdir())
    assert open_rows(keep_uploads(paths[1:], folders.uploads), "train", folders).num_rows == 1
