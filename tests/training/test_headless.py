"""A run without a page."""

from core.config import Config
from core.training.headless import named_settings


def test_files_are_named_from_where_the_person_stands(tmp_path, folders, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("question,answer\n1,2\n")
    (tmp_path / "own.yaml").write_text("dataset: rows.csv\nbase_model: owner/name\n")
    (tmp_path / "more.csv").write_text("question,answer\n3,4\n")
    (tmp_path / "several.yaml").write_text(
        "dataset: rows.csv; more.csv\neval_dataset: more.csv\nmix: more.csv * 0.5\n")
    (tmp_path / "sample.yaml").write_text("dataset: sample:film-reviews\n")
    own = named_settings("own.yaml", folders)
    assert (own.dataset, own.base_model) == (str(tmp_path / "rows.csv"), "owner/name")
    several = named_settings("several.yaml", folders)
    assert several.dataset == f"{tmp_path}/rows.csv; {tmp_path}/more.csv"
    assert several.eval_dataset == f"{tmp_path}/more.csv"
    assert several.mix == f"more.csv = {tmp_path}/more.csv * 0.5"
    assert named_settings("sample.yaml", folders) == Config(dataset="sample:film-reviews")
    assert named_settings("Tutorial run", folders).lora_r == 8
