"""Every way to hold the base weights, on a real GPU: a run learns, and its adapter answers."""

from dataclasses import replace

import pytest
import torch

from core.chat.generate import Sampling, stream
from core.chat.loaded import Loaded
from core.data.tokenize import encode_prompt
from core.model import load
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
