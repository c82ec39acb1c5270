"""The model catalogue: complete entries whose shapes build the sizes that they claim."""

import copy
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

CATALOGUE = Path(__file__).parents[2] / "assets" / "catalogue.json"
ENTRIES = json.loads(CATALOGUE.read_text(encoding="utf-8"))

REQUIRED = {
    "id": str,
    "name": str,
    "family": str,
    "kind": str,
    "parameters": int,
    "license": str,
    "context_length": int,
    "gated": bool,
    "config": dict,
}
OPTIONAL = {"active_parameters": int, "license_note": str, "modelscope": str, "wheel": dict}
WHEEL = {"requirement": str, "file": str, "sha256": str, "wheel_bytes": int, "note": str}
KINDS = {"base", "chat", "reasoning", "code"}

each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["id"])


def build_on_meta(config: dict) -> torch.nn.Module:
    # for_model() writes into a nested rope_scaling, and ENTRIES is shared by the tests.
    config = AutoConfig.for_model(**copy.deepcopy(config))
    # The meta device holds shapes only, so a 70B model costs no memory.
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def count_parameters(model: torch.nn.Module, name_part: str = "") -> int:
    # named_parameters() yields a tied embedding once.
    return sum(p.numel() for name, p in model.named_parameters() if name_part in name)


@each_entry
def test_an_entry_has_every_field_it_needs_and_no_unknown_one(entry):
    assert REQUIRED.keys() <= entry.keys() <= REQUIRED.keys() | OPTIONAL.keys()
    for field, value in entry.items():
        assert type(value) is (REQUIRED | OPTIONAL)[field], field
        assert value != "", field
    assert entry["kind"] in KINDS


@each_entry
def test_context_length_fits_the_positions_of_the_model(entry):
    assert 0 < entry["context_length"] <= entry["config"]["max_position_embeddings"]


@each_entry
def test_the_config_builds_exactly_the_parameters_stated(entry):
    model = build_on_meta(entry["config"])
    assert count_parameters(model) == entry["parameters"]


@each_entry
def test_active_parameters_are_what_one_token_multiplies_with(entry):
    config = entry["config"]
    is_moe = "n_routed_experts" in config
    assert ("active_parameters" in entry) == is_moe
    if not is_moe:
        return
    routed = count_parameters(build_on_meta(config), ".experts.")
    idle = routed * (config["n_routed_experts"] - config["num_experts_per_tok"])
    # The input embedding is looked up, not multiplied: the published count leaves it out too.
    embedding = config["vocab_size"] * config["hidden_size"]
    expected = entry["parameters"] - idle // config["n_routed_experts"] - embedding
    assert entry["active_parameters"] == expected


def test_ids_and_names_are_unique():
    for field in ("id", "name"):
        values = [entry[field] for entry in ENTRIES]
        assert len(set(values)) == len(values)


def test_the_starter_comes_first_and_names_the_wheel_it_comes_from():
    starters = [entry for entry in ENTRIES if "wheel" in entry]
    assert starters == ENTRIES[:1]
    assert starters[0]["id"].startswith("starter:")
    wheel = starters[0]["wheel"]
    assert {field: type(value) for field, value in wheel.items()} == WHEEL
    assert len(bytes.fromhex(wheel["sha256"])) == 32


def test_deepseek_comes_right_after_the_starter():
    families = [entry["family"] for entry in ENTRIES[1:]]
    deepseek_count = families.count("DeepSeek")
    assert deepseek_count > 0
    assert set(families[:deepseek_count]) == {"DeepSeek"}
