"""The shipped data sets, and which kinds of files can be read; light, for the page."""

import json
from pathlib import Path

from core.files import Folders

READERS = {".csv": "table", ".tsv": "table", ".json": "json", ".jsonl": "lines",
           ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow", ".xlsx": "workbook",
           ".txt": "text", ".md": "text"}
PACKED = {".gz": "gzip", ".zst": "zstd"}  # around a kind that is text
TEXT_KINDS = ("table", "json", "lines", "text")


def kind_of(name: str) -> str:
    """How a file of this name is read, for example 'table'; empty where it can't be."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    packed = bool(suffixes) and suffixes[-1] in PACKED
    ending = suffixes[-2:-1] if packed else suffixes[-1:]
    kind = READERS.get(ending[0], "") if ending else ""
    return kind if not packed or kind in TEXT_KINDS else ""


def list_samples(folders: Folders) -> dict[str, dict]:
    """The shipped data sets: 'sample:<folder>' to what its about.json says."""
    return {f"sample:{about.parent.name}": json.loads(about.read_text(encoding="utf-8"))
            for about in sorted((folders.assets / "samples").glob("*/about.json"))}


def default_instruction(dataset: str, folders: Folders) -> str:
    """What a sample says its texts should be asked with; empty for other data sets."""
    return list_samples(folders).get(dataset, {}).get("instruction", "")
