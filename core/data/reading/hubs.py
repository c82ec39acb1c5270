"""Data sets of the Hugging Face hub and of ModelScope."""

from pathlib import Path

from datasets import Dataset, load_dataset

from core.data.reading.places import ALTERNATIVES
from core.errors import UserError
from core.files import Folders
from core.reach import require_hub


def read_hugging_face(dataset: str, config_name: str, split: str, revision: str) -> Dataset:
    require_hub(f"The data set '{dataset}'", ALTERNATIVES)
    try:
        return load_dataset(dataset, config_name or None, split=split, revision=revision or None)
    except Exception as error:  # the hub, its mirrors and their readers raise a dozen kinds
        raise UserError(
            f"The data set '{dataset}' (split '{split}') can't be opened: {_first_line(error)}",
            f"Check its name, configuration, split and revision on the hub. {ALTERNATIVES}"
        ) from error


def fetch_modelscope(name: str, revision: str, folders: Folders) -> Path:
    """The folder with the files of a ModelScope data set."""
    try:
        from modelscope import dataset_snapshot_download
    except ImportError as error:
        raise UserError(f"'{name}' is on ModelScope, whose package isn't installed.",
                        "Run: pip install modelscope. Then try again.") from error
    try:
        return Path(dataset_snapshot_download(name, revision=revision or None,
                                              cache_dir=str(folders.home / "cache" / "modelscope")))
    except Exception as error:  # its client raises classes of its own and of requests
        raise UserError(
            f"The data set '{name}' can't be fetched from ModelScope: {_first_line(error)}",
            f"Check its id and revision. {ALTERNATIVES}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
