"""The model card of an export: the run's card with what this form is, and its proof."""

from typing import Any

from core.config import Config
from core.export.records import difference_in_words
from core.files import Folders
from core.model.catalog import load_catalog
from core.training.card import model_facts
from core.training.run import Run

CARD = """---
library_name: {library}
base_model: {base_model}
license: {license}
tags: [{tags}]
---

# {name}

{what}

{facts}
{curve}
## Proof

The export was loaded back and asked {rows} ({place}), beside the 16-bit base model with the
adapter. It {passed}.

| measure | found | bound |
|---|---|---|
{checks}

{difference}

## Limits

It was measured on held-out rows of the same data set only; what it does elsewhere, what it forgot,
and whether it treats people fairly wasn't measured here. Don't let it decide about people.

## Licence

{licence}

<details><summary>All settings</summary>

```yaml
{settings}```

</details>
"""
WHAT = {
    "adapter": "A LoRA adapter for `{base_model}`, trained with TuneDesk. It needs the base model "
               "beside it.",
    "merged": "`{base_model}` with a LoRA adapter merged into its 16-bit weights, trained with "
              "TuneDesk.",
    "gguf": "`{base_model}` with a LoRA adapter merged into it, as a GGUF file ({kind}), trained "
            "with TuneDesk. `ollama create {name} -f Modelfile` makes it known to Ollama."}


def export_card(run: Run, config: Config, record: dict[str, Any], folders: Folders,
                has_curve: bool) -> str:
    """Markdown with a YAML head, as the hubs read it."""
    form = record["form"]
    group = form.partition("-")[0]
    base = config.base_model.removeprefix("starter:").removeprefix("modelscope:")
    proof = record["proof"]
    return CARD.format(
        library={"adapter": "peft", "merged": "transformers", "gguf": "gguf"}[group],
        base_model=base, license=_license_id(config, folders),
        tags="lora, tunedesk" + (", gguf" if group == "gguf" else ""), name=run.id,
        what=WHAT[group].format(base_model=base, name=run.id, kind=form.removeprefix("gguf-")),
        facts=model_facts(run, config),
        curve="\n![Loss by step](loss.svg)\n" if has_curve else "",
        rows=proof["rows"], place=proof["place"],
        passed="passed" if proof["passed"] else "did **not** pass",
        checks="\n".join(check_line(check) for check in proof["checks"]),
        difference=difference_in_words(record), licence=_licence(config, folders),
        settings=config.to_yaml())


def check_line(check: dict[str, Any]) -> str:
    sign = "≤" if check["at_most"] else "≥"
    return f"| {check['name']} | {check['found']:.3g} | {sign} {check['bound']:.3g} |"


def _license_id(config: Config, folders: Folders) -> str:
    """As the hub writes it: its own short names in lower case, else 'other'."""
    entry = load_catalog(folders).get(config.base_model)
    name = entry.license.lower() if entry else ""
    return name if name in ("apache-2.0", "mit", "gemma", "llama3", "llama3.1", "llama3.2",
                            "llama3.3") else "other"


def _licence(config: Config, folders: Folders) -> str:
    entry = load_catalog(folders).get(config.base_model)
    known = (f"The base model is under {entry.license}"
             f"{f' ({entry.license_note})' if entry.license_note else ''}."
             if entry else "The base model's licence isn't known here: see where it came from.")
    return (f"{known} The licences of the base model and of the data set apply to what is made "
            "from them. Check both before you give this away.")
