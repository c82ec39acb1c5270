"""Every way to hold the base weights, on a real GPU: a run learns, and its adapter answers."""

from dataclasses import replace

import pytest
import torch

from core.chat.generate import Sampling, stream
from core.chat.loaded import Loaded
from core.data.tokens.pack import joined
from core.data.tokens.tokenize import encode_prompt
from core.model import load
from core.model.attention import use_varlen
from core.model.hardware import choose_formats, find_device
from core.training import engine, run

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
    {"base_weights": "auto", "precision": "auto", "gradient_checkpointing": True},
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


def test_varlen_attention_keeps_rows_apart_and_gives_their_losses(quick, tokenizer):
    config = replace(quick, base_weights="16bit", precision="bf16")
    device = find_device()
    formats = choose_formats(config, device)
    rows = [{"input_ids": ids, "labels": ids} for ids in (
        list(range(5, 5 + n)) for n in (3, 40, 17, 120))]
    model = load.load_base(config.base_model, formats, config, device)
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        alone = torch.cat([model(input_ids=torch.tensor([r["input_ids"]], device="cuda")).logits[0]
                           for r in rows]).float()
        assert use_varlen(model, device, formats)
        batch = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in
                 joined(rows).items() if k != "labels"}
        together = model(**batch).logits[0].float()
    torch.testing.assert_close(together, alone, rtol=0.05, atol=0.05)
