"""On a GPU the proof compares in 16 bit there, and the bounds still hold: `make test-gpu`."""

import pytest
import torch

from core.export.work import Exporter
from tests.export.made import finished_run

pytestmark = [pytest.mark.gpu,
              pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]


@pytest.mark.parametrize("form", ["adapter", "merged", "gguf-f16", "gguf-q8_0"])
def test_an_export_passes_its_proof_on_the_gpu(form, folders, tiny_model, colours):
    run = finished_run(folders, tiny_model, colours)
    *_, last = Exporter(folders).export(run.id, form)
    proof = last["done"]["proof"]
    assert proof["place"].startswith("GPU")
    assert proof["passed"], proof["checks"]


def test_of_a_run_that_learned_in_4_bit_the_difference_is_told(folders, tiny_model, colours):
    run = finished_run(folders, tiny_model, colours)
    run.write_facts("environment", {"base_weights": "4bit"})
    *_, last = Exporter(folders).export(run.id, "merged")
    card = (folders.exports / run.id / "merged" / "README.md").read_text(encoding="utf-8")
    assert last["done"]["proof"]["passed"] and "held in 4bit" in card
