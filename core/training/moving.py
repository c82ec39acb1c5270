"""Which settings name places on a computer, and the same settings with those places renamed."""

from collections.abc import Callable
from dataclasses import replace

from core.config import Config
from core.data.choosing import parts
from core.data.reading import places

DATA = ("dataset", "eval_dataset", "general_dataset")  # several files may stand in one
ALONE = ("base_model", "adapter")

Rename = Callable[[str, str], str]


def renamed(config: Config, rename: Rename) -> Config:
    """`config` with `rename(setting, name)` for each name that may be of a place: every file of a
    list, every data set that is mixed in. Names of samples and of hubs are asked for, too."""
    def data(setting: str, names: str) -> str:
        return places.renamed(names, lambda name: rename(setting, name))

    changes = {setting: data(setting, names) for setting in DATA
               if (names := getattr(config, setting))}
    changes |= {setting: rename(setting, name) for setting in ALONE
                if (name := getattr(config, setting))}
    mix = parts.renamed(config.mix, lambda names: data("mix", names))
    return replace(config, mix=mix, **changes)
