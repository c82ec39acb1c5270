"""The model card that lies beside an adapter: what was learned, from what, with which settings."""

from core.config import Config
from core.training.run import Run

CARD = """---
library_name: peft
base_model: {base_model}
tags: [lora, tunedesk]
---

# {name}

A LoRA adapter for `{base_model}`, trained with TuneDesk.

{facts}
All settings are in `config.yaml` of the run's folder. The licence of the base model and of the
data set apply to what is made from them. It was measured on held-out rows of the same data set
only; what it does elsewhere wasn't measured.
"""
FACTS = """| | |
|---|---|
| data set | {dataset} (layout {layout}) |
| training rows | {rows} ({learned} learned tokens in {tokens}) |
| held-out loss | {losses} |
| LoRA | r {r}, alpha {alpha}, dropout {dropout}, on {targets} |
| learning rate | {learning_rate:g}, {scheduler} |
| epochs, batch | {epochs:g}, {batch} x {accumulation} |
| trained on | {device}, {precision}, base weights {weights} |
"""


def model_card(run: Run, config: Config) -> str:
    """Markdown with a YAML head, as the Hugging Face hub reads it."""
    return CARD.format(base_model=config.base_model.removeprefix("starter:"), name=run.id,
                       facts=model_facts(run, config))


def model_facts(run: Run, config: Config) -> str:
    """What was learned, from what and with which effect, as a Markdown table."""
    train = run.facts("data").get("train", {})
    environment = run.facts("environment")
    losses = run.effect()
    return FACTS.format(
        dataset=config.dataset, layout=run.facts("data").get("layout", ""),
        rows=train.get("used_rows", "?"), learned=train.get("learned_tokens", "?"),
        tokens=train.get("tokens", "?"),
        losses=f"{losses[0]:.3f} before, {losses[1]:.3f} after" if losses else "not measured",
        r=config.lora_r, alpha=config.lora_alpha, dropout=config.lora_dropout,
        targets=", ".join(config.target_modules), learning_rate=config.learning_rate,
        scheduler=config.lr_scheduler, epochs=config.epochs, batch=config.batch_size,
        accumulation=config.gradient_accumulation, device=environment.get("device", "?"),
        precision=environment.get("precision", "?"), weights=environment.get("base_weights", "?"))
