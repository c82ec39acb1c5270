"""Fused layers teach exactly what peft's own do, in each form of the weights."""

import gc
import weakref

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from core.model.fused import frozen
from core.model.fused.blocks import (
    ENDS_IN_SUM,
    Blocks,
    decoder_layers,
    let_inputs_have_gradients,
)
from core.model.fused.layers import forget_waiting, fuse
from core.model.fused.parked import Parking, Streamed

IDS = torch.randint(0, 256, (2, 17), generator=torch.Generator().manual_seed(0))
FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "glm", "phi3", "gemma3_text"]


def made(family: str = "qwen2", dropout: float = 0.0):
    """A tiny model with biases where its family has them, and an adapter that isn't zero."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, pad_token_id=0)
    model = get_peft_model(AutoModelForCausalLM.from_config(config), LoraConfig(
        r=4, lora_alpha=8, lora_dropout=dropout, target_modules="all-linear",
        task_type="CAUSAL_LM"))
    model.get_base_model().config.use_cache = False
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def gradients(model) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(input_ids=IDS, labels=IDS).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def farthest(ours: dict, theirs: dict) -> float:
    """The largest relative distance of a gradient from another."""
    assert ours.keys() == theirs.keys()
    return max(((ours[name] - theirs[name]).norm() / theirs[name].norm()).item()
               for name in theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_peft(family):
    model = made(family)
    theirs = gradients(model)
    assert fuse(model, False) == len([n for n in theirs if "lora_A" in n])
    assert farthest(gradients(model), theirs) < 1e-5


def test_compiled_layers_teach_the_same_and_are_compiled_once():
    model = made()
    theirs = gradients(model)
    fuse(model, False)
    let_inputs_have_gradients(model.get_base_model())
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for layer in decoder_layers(model.get_base_model()):
        layer.compile(backend="aot_eager", dynamic=True, fullgraph=True)
    assert farthest(gradients(model), theirs) < 1e-5
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


class Shelf(Parking):
    """A parking that tells how much was in it."""

    def __init__(self):
        super().__init__(torch.device("cpu"))
        self.most, self.widest = 0, 0

    def leave(self, number, tensors):
        super().leave(number, tensors)
        self.most = max(self.most, len(self._left))
        self.widest = max(self.widest, len(tensors))

    @property
    def is_empty(self):
        return not self._left and not self._coming


def blocks_of(model, *shares, shelf=None) -> Blocks:
    base = model.get_base_model()
    return Blocks(decoder_layers(base), base.config.model_type, *shares, parking=shelf)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("recomputed, parked", [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (1.0, 1.0)])
def test_recomputed_layers_teach_the_same(family, recomputed, parked):
    model = made(family)
    theirs = gradients(model)
    fuse(model, False)
    shelf = Shelf() if parked else None
    blocks_of(model, recomputed, parked, shelf=shelf)
    model.train()
    assert farthest(gradients(model), theirs) < 1e-5
    if shelf:
        assert shelf.most == 3 and shelf.widest > 1 and shelf.is_empty


@pytest.mark.parametrize("parked", [0.0, 0.4, 1.0])
def test_recomputed_layers_drop_what_they_dropped_the_first_time(parked):
    model = made("llama", dropout=0.3)
    fuse(model, False)
    model.train()
    torch.manual_seed(1)
    plain = gradients(model)
    blocks_of(model, 1.0, parked, shelf=Shelf())
    torch.manual_seed(1)
    assert farthest(gradients(model), plain) < 1e-5
    torch.manual_seed(2)
    assert farthest(gradients(model), plain) > 0.01


@pytest.mark.parametrize("parked", [0.0, 1.0])
def test_recomputed_layers_are_compiled_once_and_teach_the_same(parked, monkeypatch):
    model = made("llama")
    theirs = gradients(model)
    fuse(model, False)
    let_inputs_have_gradients(model.get_base_model())
    shelf = Shelf()
    blocks = blocks_of(model, 1.0, parked, shelf=shelf)
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *a, **named: compiled(
        *a, backend="aot_eager", fullgraph=True, **named))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    blocks.run(compiled=True)
    model.train()
    assert farthest(gradients(model), theirs) < 1e-5
    assert farthest(gradients(model), theirs) < 1e-5
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # the first time, and again


def test_the_last_product_is_not_computed_again_where_nobody_reads_it(monkeypatch):
    """Nor are the wide ones, where they were kept."""
    counted = []
    times = frozen.times
    monkeypatch.setattr("core.model.fused.product.times",
                        lambda *a: counted.append(1) or times(*a))
    for family in ("llama", "gemma3_text"):
        model = made(family)
        fuse(model, False)
        for parked, spared in ((0.0, 0), (1.0, 2)):
            blocks_of(model, 1.0, parked, shelf=Shelf())
            model.train()
            counted.clear()
            gradients(model)
            assert len(counted) == 3 * (7 + 7 - spared - (family in ENDS_IN_SUM))


@pytest.mark.parametrize("compiled", [False, True])
def test_streamed_weights_teach_and_answer_the_same(compiled, monkeypatch):
    model = made("llama")
    model.eval()
    answer = model(input_ids=IDS).logits
    theirs = gradients(model.train())
    fuse(model, False)
    let_inputs_have_gradients(model.get_base_model())
    layers = decoder_layers(model.get_base_model())
    frozen = [p for layer in layers for p in layer.parameters() if not p.requires_grad]
    held = sum(p.numel() for p in frozen)
    streamed = Streamed(layers, torch.device("cpu"))
    assert not any(p.numel() for p in frozen)
    if compiled:
        compiler = torch.compile
        monkeypatch.setattr(torch, "compile",
                            lambda *a, **named: compiler(*a, backend="aot_eager", **named))
    blocks = Blocks(layers, "llama", 1.0, parking=Shelf(), streamed=streamed)
    blocks.run(compiled)
    for _ in range(2):
        assert farthest(gradients(model.train()), theirs) < 1e-5
        torch.testing.assert_close(model.eval()(input_ids=IDS).logits, answer)
    assert sum(slot.numel() for slot in streamed._slots) < held * 4  # of 32 bits: two of 3 layers


def test_a_broken_pass_leaves_the_layers_as_they_were():
    model = made("llama")
    fuse(model, False)
    shelf = Shelf()
    blocks = blocks_of(model, 1.0, 1.0, shelf=shelf)
    model.train()
    expected = gradients(model)
    layer = decoder_layers(model.get_base_model())[1]
    breaking = layer.mlp.down_proj.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gradients(model)
    breaking.remove()
    assert not shelf.is_empty
    blocks.forget()
    assert shelf.is_empty
    assert farthest(gradients(model), expected) < 1e-5


def test_dropout_changes_what_the_adapter_reads_while_it_learns_only():
    model = made(dropout=0.5)
    fuse(model, False)
    model.eval()
    still = [model(input_ids=IDS).logits for _ in range(2)]
    assert torch.equal(*still)
    model.train()
    assert not torch.equal(*[model(input_ids=IDS).logits for _ in range(2)])
    with model.disable_adapter():
        bare = [model(input_ids=IDS).logits for _ in range(2)]
    assert torch.allclose(*bare) and not torch.allclose(bare[0], still[0])


def test_without_the_adapter_the_base_model_answers():
    model = made()
    with model.disable_adapter():
        theirs = model(input_ids=IDS).logits
        fuse(model, False)
        assert torch.allclose(model(input_ids=IDS).logits, theirs, atol=1e-5)


def test_4bit_weights_are_multiplied_as_they_are_stored():
    bitsandbytes = pytest.importorskip("bitsandbytes")
    model = made()
    for layer in [m for m in model.modules() if hasattr(m, "lora_A") and hasattr(m, "base_layer")]:
        old = layer.base_layer
        new = bitsandbytes.nn.Linear4bit(old.in_features, old.out_features,
                                         bias=old.bias is not None, quant_type="nf4",
                                         compute_dtype=torch.float32)
        new.weight = bitsandbytes.nn.Params4bit(old.weight.data, requires_grad=False,
                                                quant_type="nf4", module=new)
        new.bias = old.bias
        layer.base_layer = new.to("cpu")
    theirs = gradients(model)
    assert fuse(model, False) == 21
    assert farthest(gradients(model), theirs) < 1e-4


def test_fp8_weights_stay_near_and_their_gradients_too(monkeypatch):
    """With the product of fp8 numbers done in float32, which every machine can."""
    def product(a, b, scale_a, scale_b, out_dtype, use_fast_accum):
        return ((a.float() * scale_a) @ (b.float() * scale_b)).to(out_dtype)

    monkeypatch.setattr(torch, "_scaled_mm", product)
    model = made()
    theirs = gradients(model)
    fuse(model, True)
    assert model.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight.dtype == frozen.FP8
    assert 0 < farthest(gradients(model), theirs) < 0.25


def test_a_row_in_fp8_is_off_by_its_last_bits_only():
    rows = torch.randn(8, 64) * torch.logspace(-3, 3, 8)[:, None]
    values, scale = frozen.by_row(rows)
    assert torch.allclose(values.float() * scale, rows, rtol=2 ** -3, atol=0) or (
        ((values.float() * scale - rows).norm(dim=1) / rows.norm(dim=1)).max() < 0.04)


def test_layers_with_dora_keep_their_own_way():
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", vocab_size=64, hidden_size=32, intermediate_size=64,
                                  num_hidden_layers=1, num_attention_heads=4)
    model = get_peft_model(AutoModelForCausalLM.from_config(config), LoraConfig(
        use_dora=True, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert fuse(model, False) == 0


def test_a_pass_that_was_broken_off_leaves_nothing_behind():
    model = made()
    fuse(model, False)
    layer = decoder_layers(model.get_base_model())[0].mlp
    x = torch.randn(3, 32)
    kept = weakref.ref(layer.gate_proj(x)._base)  # up_proj isn't asked any more
    group, _ = layer.up_proj.__dict__["_fused"]
    assert group.waiting is not None
    forget_waiting(model)
    gc.collect()
    assert group.waiting is None and group.input is None and kept() is None
