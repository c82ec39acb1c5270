"""The shipped data sets, and which kinds of files can be read; light, for the page."""

import json

from core.files import Folders

READERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet",
           ".txt": "text", ".md": "text"}


def list_samples(folders: Folders) -> dict[str, dict]:
    """The shipped data sets: 'sample:<folder>' to what its about.json says."""
    return {f"sample:{about.parent.name}": json.loads(about.read_text(encoding="utf-8"))
            for about in sorted((folders.assets / "samples").glob("*/about.json"))}


def default_instruction(dataset: str, folders: Folders) -> str:
    """What a sample says its texts should be asked with; empty for other data sets."""
    return list_samples(folders).get(dataset, {}).get("instruction", "")
