"""A run that is taken elsewhere trains there from what was carried, and can be brought home."""

import importlib.metadata
import importlib.util
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
from core.data import build
from core.data.changing import paraphrase
from core.data.changing.counterfactual import load_groups
from core.errors import UserError
from core.export import elsewhere, luggage
from core.files import Folders
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
    monkeypatch.setattr(luggage, "LARGEST_BYTES", 1000)
    with pytest.raises(UserError, match="too much to carry"):
        elsewhere.pack(quick, folders, tmp_path / "run.zip")
    assert not list(tmp_path.glob("*run.zip*"))


def test_the_notebook_is_a_notebook():
    made = nbformat.reads(json.dumps(elsewhere.notebook("my run.zip")), as_version=4)
    nbformat.validate(made)
    for cell in made.cells:
        if cell.cell_type == "code" and not cell.source.startswith("!"):
            compile(cell.source, "cell", "exec")


@pytest.fixture
def own_rows(tmp_path):
    """A file of rows by its name, each in a folder of its own, as a person's lie anywhere."""
    def write(name: str) -> str:
        path = tmp_path / f"of {name}" / "rows.jsonl"
        path.parent.mkdir()
        path.write_text("".join(json.dumps({"question": f"{name} {n}", "answer": str(n)}) + "\n"
                                for n in range(40)))
        return str(path)
    return write


@pytest.fixture
def script(monkeypatch):
    """train.py of a folder as a module, as if it were started there."""
    def load(folder: Path):
        monkeypatch.chdir(folder)
        spec = importlib.util.spec_from_file_location("train_elsewhere", folder / "train.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    return load


def test_every_place_that_settings_name_is_carried(packed, quick, own_rows, folders, script):
    one, two, three, four = map(own_rows, ("one", "two", "three", "four"))
    config = replace(quick, dataset=f"{one}; {two}", eval_dataset=three, eval_rows=4,
                     mix=f"four = {four} * 0.5\nplain = sample:general * 0.25\nmore = {one}",
                     general_share=0.1)
    folder = packed(config)
    there = Folders(folder / "home", folder / "assets").make()
    found = script(folder).settings(there)
    at_home = [place for place in (one, two, three, four, str(quick.base_model))
               if place in found.to_yaml()]
    assert not at_home
    here, away = build.open_dataset(config, folders), build.open_dataset(found, there)
    assert sorted(map(str, away.train.to_list())) == sorted(map(str, here.train.to_list()))
    assert away.held_out.to_list() == here.held_out.to_list()
    assert len(list(folder.glob("data*/rows.jsonl"))) == 4  # none is carried twice


def test_a_folder_of_rows_keeps_its_name_among_those_that_are_mixed(packed, quick, own_rows,
                                                                   folders, script):
    main, other = (str(Path(own_rows(name)).parent) for name in ("films", "data"))
    config = replace(quick, dataset=main, mix=f"data = {other} * 0.5")
    folder = packed(config)
    there = Folders(folder / "home", folder / "assets").make()
    away = build.open_dataset(script(folder).settings(there), there)
    assert away.train.to_list() == build.open_dataset(config, folders).train.to_list()


def test_word_lists_against_bias_are_carried_with_the_persons_own(packed, quick, folders, script):
    own = folders.home / "fairness" / "en.json"
    own.parent.mkdir()
    own.write_text(json.dumps({"language": "en", "templates": [], "groups": {
        "gender": {"swap": [["snow", "coal"]], "people": []}}}))
    config = replace(quick, counterfactual="gender")
    folder = packed(config)
    there = Folders(folder / "home", folder / "assets").make()
    assert load_groups("all", there) == load_groups("all", folders) != []
    away = build.open_dataset(script(folder).settings(there), there)
    assert len(away.train) == len(build.open_dataset(config, folders).train) > 56


def test_paraphrases_are_carried_and_found_under_the_carried_model(packed, quick, folders, script):
    config = replace(quick, paraphrase_share=1.0)
    with pytest.raises(UserError, match="paraphrases are wanted"):
        packed(config)
    for text in ("What colour has snow?", "What colour has coal?", "What colour has grass?"):
        assert paraphrase.keep(text, f"Tell me: {text}", [], config, folders)
    folder = packed(config)
    there = Folders(folder / "home", folder / "assets").make()
    found = script(folder).settings(there)
    away, here = build.open_dataset(found, there), build.open_dataset(config, folders)
    assert len(away.train) == len(here.train) == 112


def test_a_place_where_nothing_is_is_named_before_anything_is_rented(packed, quick):
    with pytest.raises(UserError, match="gone.csv"):
        packed(replace(quick, general_dataset="/tmp/gone.csv"))


@pytest.mark.parametrize("found, keeps", [
    ("2.13.0+cu130", True), ("2.11.0", True), ("3.0.0a0", True), ("2.10.1", False),
    ("2.4.0+cu121", False), (None, False)])
def test_an_old_torch_is_replaced_and_said(quick, packed, script, monkeypatch, capsys, found,
                                           keeps):
    module = script(packed(quick))

    def version(name):
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found
    monkeypatch.setattr(importlib.metadata, "version", version)
    asked = []
    monkeypatch.setattr(module.subprocess, "run", lambda command, check: asked.extend(command))
    module.install()
    assert any(each.startswith("torch==") for each in asked) != keeps
    assert ("older than 2.11" in capsys.readouterr().out) == (found is not None and not keeps)


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
