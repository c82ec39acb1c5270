"""A run as it lies on the disk after training, its adapter made of random matrices."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.config import Config
from core.files import Folders
from core.training import run as runs
from core.training.run import Run


def add_adapter(base: Path, into: Path, **lora):
    """An adapter that changes much, so that merging it wrongly shows; the adapted model."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(1)
    adapted = get_peft_model(model, LoraConfig(**{
        "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"],
        "task_type": "CAUSAL_LM"} | lora))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    adapted.save_pretrained(into)
    AutoTokenizer.from_pretrained(base).save_pretrained(into)
    return adapted.eval()


def finished_run(folders: Folders, base: Path, rows: Path, **lora) -> Run:
    config = Config(dataset=str(rows), base_model=str(base), base_weights="32bit",
                    precision="fp32", eval_rows=8, max_length=128)
    made = runs.create(config, folders.runs)
    add_adapter(base, made.adapter, **lora)
    made.update(state="finished", words="Finished.")
    made.write_facts("data", {"layout": "question", "train": {"used_rows": 56}})
    made.write_facts("environment", {"base_weights": "32bit", "device": "CPU"})
    for step, loss in enumerate((4.0, 2.0, 1.0), 1):
        made.append_metrics({"step": step, "loss": loss})
    return made
