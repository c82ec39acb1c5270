"""The exports of a tuned starter model pass their proof, at real size."""

import os

import pytest

from core.config import Config
from core.data.reading.samples import list_samples
from core.export.work import Exporter
from core.files import default_folders
from core.training import engine
from core.training import run as runs
from tests.e2e.conftest import STARTER, starter_model


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A data folder with a run that learned for a few steps."""
    folders = default_folders(tmp_path_factory.mktemp("starter") / "home").make()
    os.symlink(starter_model(), folders.models / STARTER)
    assert "sample:film-reviews" in list_samples(folders)
    run = runs.create(Config(
        dataset="sample:film-reviews", base_model=f"starter:{STARTER}", train_rows=32,
        eval_rows=16, max_length=128, target_modules=("attention q and v",), batch_size=4,
        max_steps=6, learning_rate=2e-3, warmup_ratio=0.0, eval_every="never",
        save_every="never"), folders.runs)
    engine.train(run, folders)
    return folders, run.id


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", ["merged", "gguf-f16", "gguf-q8_0"])
def test_an_export_of_a_tuned_starter_passes_its_proof(form, tuned):
    folders, run_id = tuned
    *_, last = Exporter(folders).export(run_id, form)
    proof = last["done"]["proof"]
    assert proof["passed"] and proof["effect_shows"], proof["checks"]
    print(form, {check["name"]: check["found"] for check in proof["checks"]},
          "effect", proof["effect_kl"])
