"""An export is proven and whole, or it isn't there."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import numpy
import pytest
import torch

from core.errors import UserError
from core.export import make, merge, proof, records
from core.export.work import Exporter, one_at_a_time
from core.files import why_not_written
from core.model.hardware import Device
from tests.export.made import finished_run


@pytest.fixture
def run(folders, tiny_model, colours):
    return finished_run(folders, tiny_model, colours)


def export(folders, run, form="merged", **options):
    *phases, last = Exporter(folders).export(run.id, form, **options)
    assert all("phase" in phase for phase in phases)
    return last["done"]


def nothing_is_left(folders) -> bool:
    return [file.name for file in folders.exports.rglob("*")] in ([], [".lock"])


@pytest.mark.parametrize("form", ["adapter", "merged", "gguf-f16", "gguf-q8_0"])
def test_an_export_passes_its_proof_and_tells_how_it_is_used(form, folders, run):
    record = export(folders, run, form)
    assert record["proof"]["passed"], record["proof"]["checks"]
    assert record["proof"]["effect_shows"]
    found = records.find(folders.exports, run.id, form)
    assert found == record and record["folder"] == str(folders.exports / run.id / form)
    assert run.id in str(record["commands"])
    card = (folders.exports / run.id / form / "README.md").read_text(encoding="utf-8")
    assert "passed" in card and "## Licence" in card and "Mean KL divergence" in card
    assert (folders.exports / run.id / form / "loss.svg").read_text().startswith("<svg")


def test_a_chat_template_is_carried_along_even_where_the_base_has_none(folders, run):
    (run.adapter / "chat_template.jinja").unlink()
    record = export(folders, run)
    template = (folders.exports / run.id / "merged/chat_template.jinja").read_text()
    assert "### Response:" in template and record["proof"]["passed"]
    ends = json.loads((folders.exports / run.id / "merged/generation_config.json").read_text())
    assert ends["eos_token_id"] == 2


def forgets_the_adapter(self, name, tensor):
    return tensor


def doubles_the_adapter(self, name, tensor, really=merge.Merge._merged):
    merged = really(self, name, tensor)
    return merged if merged is tensor else 2 * merged - tensor


def misses_a_layer(self, name, tensor, really=merge.Merge._merged):
    return tensor if "layers.1" in name else really(self, name, tensor)


@pytest.mark.parametrize("broken", [forgets_the_adapter, doubles_the_adapter, misses_a_layer])
@pytest.mark.parametrize("form", ["merged", "gguf-q8_0"])
def test_a_broken_merge_fails_its_proof(broken, form, folders, run, monkeypatch):
    monkeypatch.setattr(merge.Merge, "_merged", broken)
    assert not export(folders, run, form)["proof"]["passed"]


def test_an_export_that_fails_half_way_leaves_nothing(folders, run, monkeypatch):
    def write(*_):
        yield 0.5
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(make, "write_tensors", write)
    with pytest.raises(OSError):
        export(folders, run)
    assert nothing_is_left(folders)


def full(*_, **__):
    raise OSError(28, "No space left on device")


def full_for_numpy(*_):
    with open("/dev/full", "wb") as out:
        numpy.zeros(100_000).tofile(out)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("form, place, write", [
    ("adapter", "shutil.copyfile", full), ("merged", "core.export.tensors._raw", full),
    ("gguf-f16", "gguf.GGUFWriter.write_tensor_data", full_for_numpy)])
def test_a_disk_that_fills_up_is_told_in_words(form, place, write, folders, run, monkeypatch):
    monkeypatch.setattr(place, write)
    with pytest.raises(OSError) as caught:
        export(folders, run, form)
    assert "full" in why_not_written(caught.value).problem
    assert nothing_is_left(folders)


def test_an_older_export_stays_where_a_newer_one_fails(folders, run, monkeypatch):
    first = export(folders, run, "adapter")
    monkeypatch.setattr(proof, "compare", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(folders, run, "adapter")
    assert records.find(folders.exports, run.id, "adapter") == first


def test_a_cancelled_export_leaves_nothing_and_the_next_one_works(folders, run):
    exporter = Exporter(folders)
    with pytest.raises(UserError, match="cancelled"):
        for report in exporter.export(run.id, "merged"):
            if report["phase"].startswith("Merging"):
                assert not nothing_is_left(folders)
                exporter.cancel()
    assert nothing_is_left(folders)
    *_, last = exporter.export(run.id, "adapter")
    assert last["done"]["proof"]["passed"]


def test_what_a_killed_export_left_is_swept_by_the_next(folders, run):
    left = records.aside(folders.exports, "gone", "merged")
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    export(folders, run, "adapter")
    assert not left.parent.exists()


def test_two_exports_do_not_work_at_once(folders, run):
    with one_at_a_time(folders.exports), pytest.raises(UserError, match="at work"):
        export(folders, run)


def test_a_disk_without_room_is_told_before_the_work(folders, run, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    with pytest.raises(UserError, match="0.2 GB"):
        export(folders, run)
    assert nothing_is_left(folders)


def test_a_machine_without_memory_for_the_proof_is_told():
    with pytest.raises(UserError, match="memory"):
        proof.choose_place(10**13, Device("cpu", "CPU", 10**9, False), 0)
    gpu = Device("cuda", "GPU", 80 * 10**9, True)
    assert proof.choose_place(10**6, gpu, 10**9).device == "cuda"
    assert proof.choose_place(10**6, gpu, 10**6).device == "cpu"


def test_a_run_on_the_gpu_is_not_disturbed(folders, run, monkeypatch):
    monkeypatch.setattr("core.export.work.find_device",
                        lambda: Device("cuda", "GPU", 80 * 10**9, True))
    with pytest.raises(UserError, match="GPU"):
        export(folders, run, gpu_is_taken=True)


@pytest.mark.parametrize("form", ["gguf-q9", ""])
def test_an_unknown_form_is_told(form, folders, run):
    with pytest.raises(UserError, match="gguf-q8_0"):
        export(folders, run, form)


def test_a_run_without_an_adapter_is_told(folders, run):
    shutil.rmtree(run.adapter)
    with pytest.raises(UserError, match="no adapter"):
        export(folders, run)


def test_k_quants_are_made_by_llama_cpps_tool_or_told_how(folders, run, tmp_path, monkeypatch):
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="llama-quantize model-bf16.gguf model.gguf Q6_K"):
        export(folders, run, "gguf-q6_k")
    tool = tmp_path / "llama-quantize"  # packs nothing, so that it runs anywhere
    tool.write_text('#!/bin/sh\n[ "$3" = Q6_K ] && /bin/cp "$1" "$2"\n')
    tool.chmod(0o755)
    assert export(folders, run, "gguf-q6_k")["proof"]["passed"]
    tool.write_text("#!/bin/sh\necho bad block\nexit 1\n")
    with pytest.raises(UserError, match="bad block"):
        export(folders, run, "gguf-q5_k_m")


def test_rows_that_are_gone_are_replaced_by_a_sample(folders, run, colours):
    config = (run.folder / "config.yaml").read_text()
    (run.folder / "config.yaml").write_text(config.replace(str(colours), "/gone.jsonl"))
    record = export(folders, run, "adapter")
    assert "sample" in record["proof"]["rows"] and record["proof"]["passed"]


def test_an_export_that_is_not_finite_fails_its_proof():
    asked = proof.Seen([torch.zeros(3, 5)], [[1, 2]])
    broken = proof.Seen([torch.full((3, 5), float("nan"))], [[1, 2]])
    told = proof.compare(asked, broken, asked, make.FORMS["gguf-q4_k_m"].bounds)
    assert not told["passed"]


@pytest.mark.parametrize(("trained", "rounded", "small"), [
    (0.15, 0.15, True),  # the rounding is in the form's bounds, the training as small
    (0.01, 0.15, True),
    (0.15, 3.0, False),  # a bad form
    (3.0, 0.01, False),  # it passes
])
def test_a_training_too_small_for_the_form_is_told_from_a_bad_export(trained, rounded, small):
    before, learned, lost = torch.randn(3, 200, 50, generator=torch.Generator().manual_seed(0))
    before[:, 0] += 5  # what is likeliest doesn't change by itself
    after = before + trained * learned
    base, adapter, export = (proof.Seen([logits], [[1]]) for logits in (
        before, after, after + rounded * lost))
    told = proof.compare(adapter, export, base, make.FORMS["merged"].bounds)
    assert told["effect_is_small"] == small
    assert told["passed"] == (rounded < trained)
    forgot = proof.compare(adapter, base, base, make.FORMS["merged"].bounds)
    assert not forgot["effect_is_small"]
    assert (records.refusal(told) == records.refusal(forgot)) != small
