"""One form of a tuned model written into a folder: weights, tokenizer, how to use them."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from core.config import Config
from core.data.tokens.template import PLAIN_TEMPLATE, learned_end
from core.errors import UserError
from core.export import gguf_file, merge, ollama
from core.export.forms import FORMS, TOOL, Form, find_tool, gguf_name
from core.export.tensors import read_specs, write_tensors
from core.model.load import load_tokenizer
from core.training.run import Run

Report = dict[str, Any]  # {"phase": words, "share": 0..1 or None}
SPARE_BYTES = 200 * 10**6  # what a disk should have left
POLL_SECONDS = 0.3


@dataclass(frozen=True)
class Source:
    """What is exported: a run's adapter and the folder of its 16-bit base model. `plain_text`
    means that it goes on with a text instead of answering by a chat template."""

    run: Run
    config: Config
    base: Path
    tokenizer: Any
    parameters: int
    plain_text: bool

    @property
    def name(self) -> str:
        return self.run.id


def open_source(run: Run, base: Path) -> Source:
    plain_text = run.facts("data").get("layout", run.config().layout) == "text"
    tokenizer = load_tokenizer(run.adapter)
    if tokenizer.chat_template is None and not plain_text:
        tokenizer.chat_template = PLAIN_TEMPLATE  # with which it was trained
    parameters = sum(spec.count for spec in read_specs(base).values())
    return Source(run, run.config(), base, tokenizer, parameters, plain_text)


def require_room(source: Source, form: str, folder: Path) -> int:
    """The bytes that the export will take. UserError where the disk hasn't got them free."""
    about = FORMS[form]
    size = int(source.parameters * about.bits / 8)
    if form == "adapter":
        size = sum(file.stat().st_size for file in source.run.adapter.rglob("*"))
    needed = size + int(source.parameters * about.work_bits / 8) + SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"The export needs {needed / 1e9:.1f} GB on the disk of '{folder}'; "
            f"{free / 1e9:.1f} GB are free.", "Free some space, or choose a smaller form.")
    return size


def require_means(source: Source, form: str) -> None:
    """UserError where this form can't be made of this model here; asked before the work begins."""
    about = FORMS[form]
    if about.kind:
        gguf_file.require_known(
            AutoConfig.from_pretrained(source.base, trust_remote_code=False), source.tokenizer)
    if about.tool_kind and find_tool() is None:
        raise UserError(
            f"{form.removeprefix('gguf-')} is made by llama.cpp's {TOOL}, which wasn't found.",
            f"Install llama.cpp and put {TOOL} on PATH, or name its folder in LLAMA_CPP. By hand: "
            f"export gguf-bf16, then run {TOOL} model-bf16.gguf model.gguf {about.tool_kind}")


def write_form(source: Source, form: str, into: Path) -> Iterator[Report]:
    """Write everything that belongs to the form but what proves and tells of it."""
    about = FORMS[form]
    if form == "adapter":
        yield {"phase": "Copying the adapter", "share": None}
        shutil.copytree(source.run.adapter, into, dirs_exist_ok=True)
        source.tokenizer.save_pretrained(into)
        return
    yield {"phase": "Reading the adapter", "share": None}
    planned = merge.prepare(source.base, source.run.adapter)
    if about.kind:
        yield from _write_gguf(source, form, planned, into)
    else:
        yield from _write_merged(source, planned, into)
    for licence in [*source.base.glob("LICENSE*"), *source.base.glob("LICENCE*")]:
        shutil.copy(licence, into)


def _write_merged(source: Source, planned: merge.Merge, into: Path) -> Iterator[Report]:
    if planned.missing:
        yield {"phase": "Merging in memory", "share": None}
        merge.merge_whole(source.base, source.run.adapter, planned.dtype).save_pretrained(into)
    else:
        for share in write_tensors(into, planned.merged_specs, planned.tensors()):
            yield {"phase": "Merging, layer by layer", "share": share}
        config = merge.merged_config(source.base, planned)
        (into / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    source.tokenizer.save_pretrained(into)
    _write_ends(source, into)
    (into / "Modelfile").write_text(ollama.modelfile(source.tokenizer, ".", source.plain_text),
                                    encoding="utf-8")


def _write_ends(source: Source, into: Path) -> None:
    """generation_config.json with the token that ends an answer as it was learned: without it some
    models talk on."""
    file = source.base / "generation_config.json"
    about = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    own = about.get("eos_token_id")
    ends = [*(own if isinstance(own, list) else [own]), source.tokenizer.eos_token_id,
            None if source.plain_text else learned_end(source.tokenizer)]
    ends = [end for end in dict.fromkeys(ends) if end is not None]
    about["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    (into / file.name).write_text(json.dumps(about, indent=2), encoding="utf-8")


def _write_gguf(source: Source, form: str, planned: merge.Merge, into: Path
                ) -> Iterator[Report]:
    about = FORMS[form]
    if planned.missing:
        raise UserError("This model's files name their tensors in their own way, which can't be "
                        "written as GGUF here.", "Export it merged, then let llama.cpp convert "
                        "that folder: python convert_hf_to_gguf.py <folder> --outtype q8_0")
    config = AutoConfig.from_pretrained(source.base, trust_remote_code=False)
    done = into / gguf_name(source.name, form)
    first = into / "unpacked.gguf" if about.tool_kind else done
    for share in gguf_file.write(first, planned, config, source.tokenizer, about.kind,
                                 source.name):
        yield {"phase": f"Merging and writing {about.kind}", "share": share}
    if about.tool_kind:
        yield from _quantize(first, done, about)
        first.unlink()
    (into / "Modelfile").write_text(
        ollama.modelfile(source.tokenizer, f"./{done.name}", source.plain_text),
        encoding="utf-8")


def quantize_command(first: Path, done: Path, about: Form) -> list[str]:
    return [find_tool() or TOOL, str(first), str(done), about.tool_kind]


def _quantize(first: Path, done: Path, about: Form) -> Iterator[Report]:
    log = done.with_suffix(".log")
    with log.open("w") as out:
        tool = subprocess.Popen(quantize_command(first, done, about), stdout=out,
                                stderr=subprocess.STDOUT)
    try:
        while tool.poll() is None:
            yield {"phase": f"{TOOL} makes {about.tool_kind}", "share": None}
            time.sleep(POLL_SECONDS)
    finally:
        if tool.poll() is None:
            tool.kill()
            tool.wait()
    words = log.read_text(errors="replace").strip().splitlines()
    log.unlink()
    if tool.returncode != 0 or not done.is_file():
        raise UserError(f"{TOOL} failed: {words[-1] if words else tool.returncode}",
                        "Check that your llama.cpp is recent, or choose gguf-q8_0.")
