"""Where exports lie, and what is known of each: one folder a run, in it one a form."""

import json
import shutil
from pathlib import Path
from typing import Any

from core.confine import child
from core.errors import UserError
from core.export.forms import FORMS

RECORD = "export.json"
OLD = "-old"  # behind the name of an export that is being replaced


def place(exports: Path, run_id: str, form: str) -> Path:
    return _of_run(exports, run_id, form) / form


def aside(exports: Path, run_id: str, form: str) -> Path:
    """Where an export is made; a name with a dot is never taken for a whole one."""
    return _of_run(exports, run_id, form) / f".{form}.part"


def _of_run(exports: Path, run_id: str, form: str) -> Path:
    folder = child(exports, run_id)
    if folder is None or form not in FORMS:
        raise UserError(f"There is no export '{form}' of a run '{run_id}'.",
                        f"Forms are {', '.join(FORMS)}.")
    return folder


def sweep(exports: Path) -> None:
    """Remove what an export left that was killed, and put back what it was about to replace. Only
    its maker may call it, or one who knows that there is none."""
    for left in exports.glob("*/.*.part*"):
        whole = left.with_name(left.name[1:].partition(".part")[0])
        if left.name.endswith(OLD) and not whole.exists():
            left.rename(whole)
        else:
            shutil.rmtree(left, ignore_errors=True)
        drop_if_empty(left.parent)


def drop_part(exports: Path, run_id: str, form: str) -> None:
    """Remove what a killed export of this form left."""
    left = aside(exports, run_id, form)
    shutil.rmtree(left, ignore_errors=True)
    drop_if_empty(left.parent)


def drop_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def find(exports: Path, run_id: str, form: str) -> dict[str, Any] | None:
    """What is known of a whole export; None where there is none."""
    try:
        record = json.loads((place(exports, run_id, form) / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record | {"folder": str(place(exports, run_id, form))}


def read(exports: Path, run_id: str, form: str) -> dict[str, Any]:
    record = find(exports, run_id, form)
    if record is None:
        raise UserError(f"The run '{run_id}' has no export '{form}'.", "Export it first.")
    return record


def list_all(exports: Path) -> list[dict[str, Any]]:
    """All whole exports, the newest first."""
    found = [find(exports, folder.parent.name, folder.name) for folder in exports.glob("*/*")
             if folder.name in FORMS and not folder.parent.name.startswith(".")]
    return sorted(filter(None, found), key=lambda record: record["made"], reverse=True)


def remove(exports: Path, run_id: str, form: str) -> None:
    folder = Path(read(exports, run_id, form)["folder"])
    shutil.rmtree(folder)
    drop_if_empty(folder.parent)


def refusal(proof: dict[str, Any]) -> str:
    """What an export that isn't passed means, in one sentence or two."""
    if proof.get("effect_is_small"):  # proofs of earlier versions don't tell
        return ("Training changed the model too little for this form: rounding to its numbers "
                "changes the answers about as much. Train longer, or export the adapter as it is.")
    return ("This export doesn't answer as the tuned model does. Don't rely on it; choose another "
            "form.")


def difference_in_words(record: dict[str, Any]) -> str:
    """Why a merged model isn't the very model that was measured while it learned."""
    if record["learned_on"] in ("4bit", "8bit") and record["form"] != "adapter":
        return (f"The adapter learned beside a base model held in {record['learned_on']}, whose "
                "weights were rounded. It is merged into the 16-bit weights, not the rounded ones: "
                "those are nearer to the model as it was published, and no rounding is frozen in. "
                "So answers can differ a little from those seen while it was trained; the proof "
                "compares with the adapter on the 16-bit base model.")
    return ("Merged weights are computed in 32 bit from the base model's own weights and rounded "
            "once." if record["form"] != "adapter" else
            "The files are those that training wrote.")
