"""Merged weights are those that peft's own model computes with, for every kind of adapter."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from core.errors import UserError
from core.export import merge, tensors
from tests.conftest import make_model
from tests.export.made import add_adapter

IDS = torch.arange(40)[None]
KINDS = {
    "plain": {},
    "rslora with patterns": {"use_rslora": True, "rank_pattern": {"layers.1.self_attn.q_proj": 2}},
    "dora": {"use_dora": True},
    "all biases": {"bias": "all"},
    "biases of adapted layers": {"bias": "lora_only"},
    "head trained in full": {"modules_to_save": ["lm_head"]},
    "embedding trained in full": {"modules_to_save": ["embed_tokens"]},
    "adapter on the head": {"target_modules": ["q_proj", "lm_head"]},
    "adapter on the embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "everything": {"modules_to_save": ["lm_head", "embed_tokens"], "use_dora": True,
                   "use_rslora": True},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The tiny model with biases, its embedding and head one tensor."""
    return make_model(tmp_path_factory.mktemp("base") / "biased", attention_bias=True)


def write(planned, base, folder):
    folder.mkdir()
    shares = list(tensors.write_tensors(folder, planned.merged_specs, planned.tensors()))
    config = merge.merged_config(base, planned)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return shares


def answers(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(IDS).logits


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_model_computes_what_base_and_adapter_compute(kind, base, tmp_path):
    adapted = add_adapter(base, tmp_path / "adapter", **KINDS[kind])
    with torch.inference_mode():
        wanted = adapted(IDS).logits
    planned = merge.prepare(base, tmp_path / "adapter")
    assert not planned.missing
    exact = replace(planned, dtype=torch.float32)  # so that only the arithmetic shows
    assert write(exact, base, tmp_path / "merged")[-1] == 1
    torch.testing.assert_close(answers(tmp_path / "merged"), wanted, atol=1e-4, rtol=0)
    assert (wanted - answers(base)).abs().max() > 0.1


def test_a_merged_model_is_written_in_16_bit(base, tmp_path):
    add_adapter(base, tmp_path / "adapter")
    write(merge.prepare(base, tmp_path / "adapter"), base, tmp_path / "merged")
    assert {s.dtype for s in tensors.read_specs(tmp_path / "merged").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "merged/config.json").read_text())["dtype"] == "bfloat16"


def test_a_large_model_is_written_in_parts_that_transformers_reads(base, tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "SHARD_BYTES", 40_000)
    add_adapter(base, tmp_path / "adapter")
    write(merge.prepare(base, tmp_path / "adapter"), base, tmp_path / "merged")
    assert len(list((tmp_path / "merged").glob("model-*.safetensors"))) > 2
    assert torch.isfinite(answers(tmp_path / "merged")).all()
    assert tensors.read_specs(tmp_path / "merged").keys() == tensors.read_specs(base).keys()


def test_only_one_layer_is_in_memory_at_a_time(base, tmp_path):
    add_adapter(base, tmp_path / "adapter")
    planned = merge.prepare(base, tmp_path / "adapter")
    for _ in planned.tensors():
        held = sum(layer.get_base_layer().weight.untyped_storage().nbytes()
                   for layer in planned.layers.values())
        assert held < 100  # bytes: shapes without weights


def test_an_adapter_of_another_model_is_refused_in_words(base, other_model, tmp_path):
    add_adapter(other_model, tmp_path / "adapter")
    with pytest.raises(UserError, match="fit"):
        merge.prepare(base, tmp_path / "adapter")


def test_quantized_base_weights_are_refused(base, tmp_path):
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="16-bit"):
        merge.prepare(tmp_path, tmp_path)


def test_an_adapter_that_is_not_finite_is_refused(base, tmp_path):
    adapted = add_adapter(base, tmp_path / "adapter")
    with torch.no_grad():
        next(p for n, p in adapted.named_parameters() if "lora_B" in n).fill_(float("nan"))
    adapted.save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match="merged"):
        list(merge.prepare(base, tmp_path / "adapter").tensors())


def test_an_architecture_with_other_names_is_merged_in_memory(base, tmp_path):
    adapted = add_adapter(base, tmp_path / "adapter")
    with torch.inference_mode():
        wanted = adapted(IDS).logits
    whole = merge.merge_whole(base, tmp_path / "adapter", torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(whole(IDS).logits, wanted, atol=1e-4, rtol=0)
