"""Which layers learn, how many numbers that are, and that each kind of adapter does learn."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig

from core.config import Config
from core.errors import UserError
from core.model import lora
from core.model.load import load_shape

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])


@pytest.fixture
def model(tiny_model):
    """The tiny model with biases, so that learning them can be tried too."""
    config = LlamaConfig.from_pretrained(tiny_model)
    config.attention_bias = True
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("wanted, targets", [
    (("all linear",), LINEAR),
    (("attention",), LINEAR[:4]),
    (("attention q and v",), ["q_proj", "v_proj"]),
    (("q_proj", "down_proj"), ["q_proj", "down_proj"]),
    (("attention q and v", "q_proj", "attention"), ["q_proj", "v_proj", "k_proj", "o_proj"]),
    (("layers.0.self_attn.q_proj",), ["layers.0.self_attn.q_proj"]),
], ids=str)
def test_names_and_presets_become_layers(wanted, targets, model):
    assert lora.resolve_targets(wanted, model) == targets


def test_presets_find_the_joint_layers_of_gpt2():
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=50))
    assert lora.resolve_targets(("attention q and v",), model) == ["c_attn"]
    assert {*lora.resolve_targets(("all linear",), model)} == {"c_attn", "c_proj", "c_fc"}


@pytest.mark.parametrize("wanted", [("q_porj",), ("q_proj", "nothing"), ("proj",)])
def test_a_name_that_matches_nothing_is_told_with_the_names_there_are(wanted, model):
    with pytest.raises(UserError, match=wanted[-1]) as caught:
        lora.resolve_targets(wanted, model)
    assert all(name in caught.value.remedy for name in LINEAR)


def test_a_module_to_train_in_full_that_is_not_there_is_told(model):
    with pytest.raises(UserError, match="'head'"):
        lora.lora_config(Config(modules_to_save=("head",)), model)


KINDS = {
    "default": {}, "pissa": {"init_lora": "pissa"}, "olora": {"init_lora": "olora"},
    "rsLoRA": {"use_rslora": True}, "DoRA": {"use_dora": True},
    "all biases": {"lora_bias": "all"}, "biases of adapted layers": {"lora_bias": "lora_only"},
    "a module in full": {"modules_to_save": ("lm_head",)},
    "all at once": {"use_rslora": True, "use_dora": True, "lora_bias": "all",
                    "modules_to_save": ("embed_tokens",)},
}


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS.keys())
def test_counts_without_weights_are_those_of_the_real_model(settings, tiny_model, folders):
    config = Config(base_model=str(tiny_model), lora_r=4, **settings)
    found = lora.describe(config, load_shape(config, folders))
    real = AutoModelForCausalLM.from_pretrained(tiny_model)
    total = sum(p.numel() for p in real.parameters())
    adapted = lora.attach(config, real, None)
    assert found.total == total
    assert found.trainable == sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert found.modules == LINEAR and found.targets == sorted(LINEAR)


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS.keys())
def test_each_kind_of_adapter_learns_and_leaves_the_rest_as_it_was(settings, model):
    config = Config(lora_r=4, lora_dropout=0.0, **settings)
    adapted = lora.attach(config, model, None)
    before = {name: p.detach().clone() for name, p in adapted.named_parameters()}
    optimizer = torch.optim.Adam([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(5):
        loss = adapted(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    moved = {name for name, p in adapted.named_parameters() if not p.equal(before[name])}
    assert losses[-1] < losses[0]
    assert moved == {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert any("lora_B" in name for name in moved)


def test_an_adapter_begins_as_the_base_model(model):
    plain = copy.deepcopy(model)(input_ids=IDS).logits
    for settings in KINDS.values():
        adapted = lora.attach(Config(lora_r=4, **settings), copy.deepcopy(model), None).eval()
        torch.testing.assert_close(adapted(input_ids=IDS).logits, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("use_rslora, scale", [(False, 32 / 4), (True, 32 / 2)])
def test_alpha_over_r_is_the_scale_and_over_its_root_with_rslora(use_rslora, scale, model):
    config = Config(lora_r=4, lora_alpha=32, use_rslora=use_rslora)
    adapted = lora.attach(config, model, None)
    layer = adapted.base_model.model.model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == scale


def test_an_adapter_can_be_gone_on_from(model, tmp_path):
    config = Config(lora_r=4)
    first = lora.attach(config, copy.deepcopy(model), None)
    with torch.no_grad():
        for name, p in first.named_parameters():
            if "lora_B" in name:
                p.fill_(0.01)
    first.save_pretrained(tmp_path / "adapter")
    again = lora.attach(config, copy.deepcopy(model), str(tmp_path / "adapter")).eval()
    torch.testing.assert_close(again(input_ids=IDS).logits, first.eval()(input_ids=IDS).logits)
    assert any(p.requires_grad for p in again.parameters())


def test_an_adapter_of_another_base_is_refused(model, tmp_path, other_model):
    config = Config(lora_r=4, adapter=str(tmp_path / "adapter"))
    lora.attach(config, model, None).save_pretrained(tmp_path / "adapter")
    other = AutoModelForCausalLM.from_pretrained(other_model)
    with pytest.raises(UserError, match="doesn't fit"):
        lora.attach(config, other, str(tmp_path / "adapter"))


def test_a_damaged_adapter_is_refused_in_words(model, tmp_path):
    config = Config(lora_r=4, adapter=str(tmp_path / "adapter"))
    lora.attach(config, copy.deepcopy(model), None).save_pretrained(tmp_path / "adapter")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(UserError, match="adapter"):
        lora.attach(config, model, str(tmp_path / "adapter"))


def test_what_an_architecture_cannot_do_is_told_in_words(model):
    with pytest.raises(UserError, match="adapter"):
        lora.attach(replace(Config(), target_modules=("input_layernorm",)), model, None)
