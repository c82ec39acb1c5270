"""A run that is taken elsewhere trains there from what was carried, and can be brought home."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from core.config import Config, load_yaml
from core.errors import UserError
from core.export import elsewhere
from core.training.run import create


@pytest.fixture
def packed(folders, tmp_path):
    """Packs settings; the folder in which the zip file was unpacked."""
    def pack(config: Config) -> Path:
        target = elsewhere.pack(config, folders, tmp_path / "my run.zip")
        with zipfile.ZipFile(target) as archive:
            archive.extractall(tmp_path / "away")
        return tmp_path / "away" / "my run"
    return pack


def test_program_data_and_model_are_carried_and_the_settings_name_them(packed, quick):
    folder = packed(replace(quick, cluster="head:6379"))
    away, home = load_yaml(folder / "settings.yaml"), load_yaml(folder / "settings-at-home.yaml")
    assert home == replace(quick, cluster="head:6379")
    assert away.dataset == "./data/colours.jsonl" and away.base_model == "./model"
    assert replace(away, dataset=quick.dataset, base_model=quick.base_model) == quick
    for name in ("data/colours.jsonl", "model/config.json", "core/training/engine.py",
                 "assets/catalogue.json", "train.py", "README.txt"):
        assert (folder / name).is_file(), name


def test_what_the_page_needs_stays_at_home(packed, quick):
    folder = packed(quick)
    wanted = (folder / "requirements.txt").read_text()
    assert "torch==" in wanted and "gradio" not in wanted
    assert not (folder / "ui").exists() and not list(folder.rglob("*.js"))


def test_what_a_hub_or_the_program_has_is_named_as_it_is(packed):
    folder = packed(Config(base_model="own/model"))
    away = load_yaml(folder / "settings.yaml")
    assert (away.base_model, away.dataset) == ("own/model", "sample:film-reviews")
    assert (folder / "assets/samples/film-reviews/train.jsonl").is_file()
    assert not (folder / "model").exists()


def test_an_adapter_to_go_on_from_is_carried(packed, quick, folders):
    origin = create(quick, folders.runs)
    origin.adapter.mkdir()
    (origin.adapter / "adapter_config.json").write_text("{}")
    folder = packed(replace(quick, adapter=origin.id))
    assert load_yaml(folder / "settings.yaml").adapter == "./adapter"
    assert (folder / "adapter/adapter_config.json").is_file()


def test_what_is_too_large_to_carry_is_told_and_nothing_is_left(folders, quick, tmp_path,
                                                                monkeypatch):
    monkeypatch.setattr(elsewhere, "LARGEST_BYTES", 1000)
    with pytest.raises(UserError, match="data set|base model"):
        elsewhere.pack(quick, folders, tmp_path / "run.zip")
    assert not list(tmp_path.glob("*run.zip*"))


def test_the_notebook_is_a_notebook():
    made = nbformat.reads(json.dumps(elsewhere.notebook("my run.zip")), as_version=4)
    nbformat.validate(made)
    for cell in made.cells:
        if cell.cell_type == "code" and not cell.source.startswith("!"):
            compile(cell.source, "cell", "exec")


@pytest.mark.slow
def test_the_script_trains_in_a_clean_folder_and_packs_the_run(packed, quick):
    folder = packed(quick)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TUNEDESK_HOME")}
    done = subprocess.run([sys.executable, "train.py", "--no-install"], cwd=folder,
                          env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [brought] = folder.glob("*.zip")
    with zipfile.ZipFile(brought) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
        settings = archive.read(f"{brought.stem}/config.yaml").decode()
        status = json.loads(archive.read(f"{brought.stem}/status.json"))
    assert {"config.yaml", "status.json", "metrics.jsonl", "log.txt",
            "adapter/adapter_model.safetensors"} <= names
    assert not any(name.startswith("checkpoints") for name in names)
    assert settings == quick.to_yaml() and status["state"] == "finished"
    again = subprocess.run([sys.executable, "train.py", "--no-install"], cwd=folder,
                           env=environment, capture_output=True, timeout=280, check=False)
    assert again.returncode == 0 and len(list(folder.glob("home/runs/*/config.yaml"))) == 1
