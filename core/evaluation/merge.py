"""Adapters of several runs merged with weights into one, as a run of its own."""

import shutil
import time
from pathlib import Path
from typing import Any

from core.chat.loaded import Loaded
from core.data.tokens.plain import with_template
from core.errors import UserError
from core.evaluation.evaluate import find_contestants
from core.files import Folders, write_json
from core.model import hub, load
from core.model.hardware import choose_formats, find_device
from core.training import run as runs

# peft's names. 'cat' lays the adapters side by side, which is the weighted sum of their changes to
# the weights, exactly; 'linear' adds up their two factors apart, which also mixes them crosswise.
# TIES keeps each adapter's largest changes where their signs agree; DARE drops changes by chance
# and scales up the rest.
WAYS = ("cat", "linear", "ties", "dare_linear", "dare_ties")
DENSITY = 0.5  # the share of changes that TIES and DARE keep


def merge(wanted: list[str], weights: list[float], way: str, folders: Folders) -> runs.Run:
    """A new finished run whose adapter is the mix; its merge.json says of what. UserError where the
    adapters can't be mixed."""
    if way not in WAYS:
        raise UserError(f"Merge: found '{way}', needs one of {', '.join(WAYS)}.")
    if len(wanted) < 2 or len(wanted) != len(weights):
        raise UserError(f"Merge: found {len(wanted)} runs and {len(weights)} weights.",
                        "Choose at least two runs and give each a weight.")
    contestants = find_contestants(tuple(wanted), folders)[1:]
    config = contestants[0].run.config()
    device = find_device()
    folder = hub.locate(config.base_model, folders, config.revision)
    model = load.load_base(folder, choose_formats(config, device), config, device)
    loaded = Loaded(model, with_template(load.load_tokenizer(folder), config.chat_template))
    for contestant in contestants:
        loaded.add(contestant.adapter, contestant.id)
    made = runs.create(config, folders.runs)
    try:
        _mix(loaded, [loaded.peft_name(c.id) for c in contestants], weights, way, made.folder)
    except (ValueError, RuntimeError, KeyError) as error:
        shutil.rmtree(made.folder)
        raise UserError(f"These adapters can't be merged by '{way}': {error}",
                        "Adapters of different rank merge by 'cat' only; DoRA's not at all."
                        ) from error
    _describe(made, wanted, weights, way)
    return made


def _mix(loaded: Loaded, names: list[str], weights: list[float], way: str, folder: Path) -> None:
    options: dict[str, Any] = {} if way in ("linear", "cat") else {"density": DENSITY}
    loaded.model.add_weighted_adapter(names, weights, "mixed", combination_type=way, **options)
    aside = folder / "adapter.part"
    loaded.model.save_pretrained(aside, selected_adapters=["mixed"])
    (aside / "mixed").rename(folder / "adapter")  # peft puts each adapter in a folder of its name
    shutil.rmtree(aside)
    loaded.tokenizer.save_pretrained(folder / "adapter")


def _describe(made: runs.Run, wanted: list[str], weights: list[float], way: str) -> None:
    parts = ", ".join(f"{weight:g} of {name}" for name, weight in
                      zip(wanted, weights, strict=True))
    write_json(made.folder / "merge.json", {"runs": wanted, "weights": weights, "way": way})
    made.update(state="finished", words=f"Merged ({way}): {parts}.", phase="", ended=time.time())
