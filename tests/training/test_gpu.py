"""Every way to hold the base weights, on a real GPU: a run learns, and its adapter answers."""

from dataclasses import replace

import pytest
import torch

from core.chat.generate import Sampling, stream
from core.chat.loaded import Loaded
from core.data.tokens.pack import joined, keep_learned, padded
from core.data.tokens.tokenize import encode_prompt
from core.model import load, lora
from core.model.attention import attend_by_rows
from core.model.fused.blocks import Blocks, decoder_layers, let_inputs_have_gradients
from core.model.fused.layers import fuse
from core.model.fused.parked import Parking
from core.model.hardware import choose_formats, find_device
from core.training import engine, pace, run
from core.training.loss import LearnedLoss, plain_head

pytestmark = [pytest.mark.gpu,
              pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

WAYS = [
    {"base_weights": "4bit", "quant_type": "nf4", "precision": "bf16"},
    {"base_weights": "4bit", "quant_type": "nf4", "precision": "fp16"},
    {"base_weights": "4bit", "quant_type": "fp4", "precision": "fp16",
     "double_quantization": False},
    {"base_weights": "8bit", "precision": "bf16"},
    {"base_weights": "16bit", "precision": "bf16"},
    {"base_weights": "16bit", "precision": "fp16"},
    {"base_weights": "32bit", "precision": "fp32"},
    {"base_weights": "32bit", "precision": "bf16"},
    {"base_weights": "auto", "precision": "auto", "memory": "least"},
    {"base_weights": "4bit", "precision": "bf16", "memory": "streamed"},
    {"base_weights": "16bit", "precision": "bf16", "memory": "streamed"},
    {"base_weights": "16bit", "precision": "bf16", "optimizer": "paged_adamw_8bit"},
    {"base_weights": "16bit", "precision": "bf16", "optimizer": "adamw_8bit"},
    {"base_weights": "16bit", "precision": "bf16", "optimizer": "adafactor"},
    {"base_weights": "16bit", "precision": "bf16", "init_lora": "pissa"},
    {"base_weights": "4bit", "precision": "bf16", "use_dora": True},
    {"base_weights": "4bit", "precision": "bf16", "packing": False},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(map(str, way.values())))
def test_a_run_learns_and_its_adapter_answers(way, quick, folders):
    config = replace(quick, epochs=6, **way)
    made = run.create(config, folders.runs)
    engine.train(made, folders)
    assert made.status().state == "finished", made.status()
    losses = [r["eval_loss"] for r in made.metrics() if "eval_loss" in r]
    assert losses[-1] < losses[0] / 2, losses
    device = find_device()
    base = load.load_base(config.base_model, choose_formats(config, device), config, device)
    loaded = Loaded(base.eval(), load.load_tokenizer(config.base_model))
    loaded.add(made.adapter, made.id)
    prompt = encode_prompt([{"role": "user", "content": "What colour has snow?"}],
                           loaded.tokenizer)
    for answers in stream(loaded, prompt, ["", made.id],
                          Sampling(temperature=0, max_new_tokens=6)):
        ids = answers[1].ids
    assert "white" in loaded.tokenizer.decode(ids)


def test_attention_by_rows_keeps_rows_apart_and_gives_their_losses(quick, tokenizer):
    config = replace(quick, base_weights="16bit", precision="bf16")
    device = find_device()
    formats = choose_formats(config, device)
    rows = [{"input_ids": ids, "labels": ids} for ids in (
        list(range(5, 5 + n)) for n in (3, 40, 17, 120))]
    model = load.load_base(config.base_model, formats, config, device)
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        alone = torch.cat([model(input_ids=torch.tensor([r["input_ids"]], device="cuda")).logits[0]
                           for r in rows]).float()
        assert attend_by_rows(model)
        batch = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in
                 joined(rows).items() if k != "labels"}
        together = model(**batch).logits[0].float()
    torch.testing.assert_close(together, alone, rtol=0.05, atol=0.05)


# The largest relative error of an adapter's gradient, all layers together, by the numbers used.
BOUNDS = {"32bit": 1e-3, "16bit": 0.05, "fp8": 0.25}


@pytest.mark.parametrize("weights", BOUNDS)
@pytest.mark.parametrize("memory", ["fastest", "least", "streamed"])
def test_gradients_of_the_fast_path_are_those_of_padded_float32(weights, memory, quick, folders):
    rows = [{"input_ids": ids, "labels": ids} for ids in (
        list(range(5, 5 + n)) for n in (3, 40, 17, 120))]
    precise = replace(quick, base_weights="32bit", precision="fp32", lora_dropout=0.0)
    expected = _gradients(precise, padded(rows, 0), fast=False)
    config = replace(precise, base_weights=weights, memory=memory,
                     precision="fp32" if weights == "32bit" else "bf16")
    found = _gradients(config, joined(rows), fast=True)
    assert found.keys() == expected.keys()
    apart = sum((found[name] - expected[name]).square().sum() for name in expected).sqrt()
    length = sum(gradient.square().sum() for gradient in expected.values()).sqrt()
    assert 0 < apart / length < BOUNDS[weights], f"{apart / length:.4f}"


def _gradients(config, batch, fast: bool) -> dict[str, torch.Tensor]:
    device = find_device()
    formats = choose_formats(config, device)
    dial = pace.DIALS[config.memory] if fast else pace.Dial(0.0, 512)
    if formats.weights in pace.NEVER_STREAMED:
        dial = replace(dial, streams=False)
    model = load.load_base(config.base_model, formats, config, device, dial.streams)
    if fast:
        attend_by_rows(model)
    model = lora.attach(config, model, None)
    draw = torch.Generator().manual_seed(0)  # wherever the model lies, the same adapter
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=draw) / 10)
    losses = LearnedLoss(plain_head(model) if fast else None)
    if fast:
        pace.compile_blocks(model, pace.speed_up(model, config, formats, dial), losses)
    model.train()
    batch = {name: value.cuda() if isinstance(value, torch.Tensor) else value
             for name, value in keep_learned(batch).items()}
    labels = batch.pop("labels")

    def learn():
        with torch.autocast("cuda", torch.bfloat16, enabled=formats.precision == "bf16"):
            losses.learned(model(**batch), labels, 100).backward()

    losses.headless(learn)()
    return {name: p.grad.float().cpu() for name, p in model.named_parameters()
            if p.grad is not None}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_what_waits_in_main_memory_comes_back_as_it_was(compiled, dropout, quick, folders):
    """Layers whose inputs and widest products are parked teach what those do that keep them."""
    config = replace(quick, base_weights="16bit", precision="bf16", lora_dropout=dropout)
    found_device = find_device()
    model = load.load_base(config.base_model, choose_formats(config, found_device), config,
                           found_device)
    attend_by_rows(model)
    device = model.device
    model = lora.attach(config, model, None).train()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    fuse(model, False)
    let_inputs_have_gradients(model)
    layers, kind = decoder_layers(model.get_base_model()), model.config.model_type
    found = [_learn_twice(model, Blocks(layers, kind, share, share, parking), compiled)
             for share, parking in ((0.0, None), (1.0, None), (1.0, Parking(device)))]
    for name, expected in found[1].items():
        near = {"rtol": 0.05, "atol": 0.02 * float(expected.abs().max())}
        torch.testing.assert_close(found[0][name], expected, **near)
        # Compiled, a layer that knows its products already is rounded elsewhere: 0.01 of the
        # largest on a processor, where without compiling nothing differs.
        same = near if compiled else {"rtol": 0.0, "atol": 0.0}
        torch.testing.assert_close(found[2][name], expected, **same)


def _learn_twice(model, blocks, compiled: bool) -> dict[str, torch.Tensor]:
    """The gradients of two passes of different sizes."""
    blocks.run(compiled)
    model.zero_grad()
    torch.manual_seed(3)
    for count in (3, 5):
        batch = {name: value.cuda() if isinstance(value, torch.Tensor) else value
                 for name, value in joined([{"input_ids": ids, "labels": ids} for ids in (
                     list(range(9, 9 + 40 * n)) for n in range(1, count))]).items()
                 if name != "labels"}
        with torch.autocast("cuda", torch.bfloat16):
            model(**batch).logits.float().square().mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
