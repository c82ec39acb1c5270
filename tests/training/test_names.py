"""Runs have names that people recognise and tell apart, the same wherever they are shown."""

from dataclasses import replace
from types import SimpleNamespace

from core.training.archive import Archive
from core.training.metrics import Reader
from core.training.names import begun_together, name_of, run_name
from core.training.run import Run, create
from ui.sampling import short_name


def test_a_name_says_what_was_learned_and_when_as_finely_as_it_takes():
    ids = ["20261125-150410-film-reviews-tiny", "20261125-150413-film-reviews-tiny",
           "20261125-150413-film-reviews-tiny-2", "20261125-160413-film-reviews-tiny", "brought"]
    together = begun_together(ids)
    assert [run_name(run_id, "sample:film-reviews", together) for run_id in ids] == [
        "film-reviews · 11-25 15:04:10", "film-reviews-tiny · 11-25 15:04:13",
        "film-reviews-tiny-2 · 11-25 15:04:13", "film-reviews · 11-25 16:04", "brought"]
    assert run_name(ids[0], "", together) == ids[0]  # whose settings can't be read
    assert run_name(ids[3], "/home/me/my rows.v2.csv", together) == "my rows.v2 · 11-25 16:04"


def test_a_list_and_one_run_alone_say_the_same_name(quick, folders):
    runs = [create(quick, folders.runs), create(replace(quick, seed=1), folders.runs)]
    name = short_name(SimpleNamespace(archive=Archive(folders.runs, Reader())))
    assert [name(run.id) for run in runs] == [name_of(run) for run in runs]
    assert len({name_of(run) for run in runs}) == 2
    assert name(f"{runs[0].id}/checkpoint-40") == f"{name_of(runs[0])} · step 40"
    assert name("") == "Base model" and name("gone") == "gone"


def test_a_run_whose_settings_are_damaged_keeps_its_id(folders):
    (folders.runs / "20261125-150410-film").mkdir()
    (folders.runs / "20261125-150410-film" / "config.yaml").write_text("{", encoding="utf-8")
    assert name_of(Run(folders.runs / "20261125-150410-film")) == "20261125-150410-film"
