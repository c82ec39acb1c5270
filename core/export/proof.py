"""Whether an export answers as base model plus adapter do: both are asked held-out rows."""

import gc
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
from peft import PeftModel
from transformers import AutoModelForCausalLM

from core.data.tokens.tokenize import IGNORED, Example
from core.errors import UserError
from core.export.forms import Bounds
from core.model.hardware import Device

ROWS, POSITIONS, ANSWERS, ANSWER_TOKENS = 16, 512, 6, 24
HEADROOM = 1.25  # memory for activations beside the weights
REPORT = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """A row that both models read. `asked` of its `ids` come before the answer; `positions` are
    those whose next token is learned."""

    ids: list[int]
    asked: int
    positions: list[int]


@dataclass(frozen=True)
class Seen:
    """What a model did: logits of shape (positions, vocabulary) a row, greedy answers as ids."""

    logits: list[torch.Tensor]
    answers: list[list[int]]


@dataclass(frozen=True)
class Place:
    """Where the models are compared, and in which numbers."""

    device: str
    dtype: torch.dtype

    @property
    def words(self) -> str:
        device = "CPU" if self.device == "cpu" else "GPU"
        return f"{device}, {str(self.dtype).removeprefix('torch.')}"


def questions(examples: Iterable[Example]) -> list[Question]:
    """The first rows that teach something, cut so that their logits fit into memory."""
    made: list[Question] = []
    left = POSITIONS
    for example in islice(examples, ROWS):
        learned = [i for i, label in enumerate(example.labels) if label != IGNORED and i > 0]
        positions = [i - 1 for i in learned][:max(1, left)]
        if not positions or left <= 0:
            continue
        left -= len(positions)
        # Of plain text, where all is learned, the first half is the question.
        asked = learned[0] if learned[0] > 1 else max(1, len(example.ids) // 2)
        ids = [int(token) for token in example.ids[:positions[-1] + 2]]
        made.append(Question(ids, min(asked, len(example.ids) - 1), positions))
    return made


def choose_place(parameters: int, device: Device, free_gpu_bytes: int) -> Place:
    """The GPU where a 16-bit model has room, else the CPU: in 32 bit where that fits. UserError
    where even 16 bit don't fit."""
    if device.kind == "cuda" and parameters * 2 * HEADROOM < free_gpu_bytes:
        return Place("cuda", torch.bfloat16 if device.has_bf16 else torch.float16)
    free = psutil.virtual_memory().available
    if parameters * 4 * HEADROOM < free:
        return Place("cpu", torch.float32)
    if parameters * 2 * HEADROOM < free:
        return Place("cpu", torch.bfloat16)
    raise UserError(
        f"Proving the export needs {parameters * 2 * HEADROOM / 1e9:.1f} GB of free memory; "
        f"{free / 1e9:.1f} GB are free.", "Close other programs, or export on a larger machine.")


def load_folder(folder: Path, place: Place, gguf: str = "", config: Any = None) -> Any:
    """A model to compare; `gguf` is the name of a GGUF file in the folder, unpacked on the way, and
    `config` the model's own where transformers can't read all of it from such a file."""
    options: dict[str, Any] = {"dtype": place.dtype, "trust_remote_code": False}
    if gguf:
        options["gguf_file"] = gguf
        if hasattr(transformers, "GgufConfig"):  # newer versions keep the blocks packed unless told
            options["quantization_config"] = transformers.GgufConfig(dequantize=True)
        if config is not None:
            options["config"] = config
    elif place.device != "cpu":
        options["device_map"] = {"": 0}
    return AutoModelForCausalLM.from_pretrained(folder, **options).to(place.device).eval()


def with_adapter(model: Any, adapter: Path) -> Any:
    return PeftModel.from_pretrained(model, str(adapter)).eval()


def forget() -> None:
    """Give back the memory of models that nothing names any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def watch(model: Any, asked: list[Question], answer: bool = True
          ) -> Generator[float, None, Seen]:
    """What `model` does with the questions; yields the share that is done."""
    logits: list[torch.Tensor] = []
    answers: list[list[int]] = []
    steps = len(asked) + (min(ANSWERS, len(asked)) if answer else 0)
    for question in asked:
        logits.append(_logits(model, question))
        yield len(logits) / steps
    for question in asked[:ANSWERS] if answer else []:
        answers.append(_answer(model, question))
        yield (len(logits) + len(answers)) / steps
    return Seen(logits, answers)


@torch.inference_mode()
def _logits(model: Any, question: Question) -> torch.Tensor:
    ids = torch.tensor([question.ids], device=model.device)
    return model(input_ids=ids, use_cache=False).logits[0, question.positions].float().cpu()


@torch.inference_mode()
def _answer(model: Any, question: Question) -> list[int]:
    """The likeliest tokens one after the other. Plain settings: a model's own generation settings,
    such as a repetition penalty, would hide or invent differences."""
    ids = torch.tensor([question.ids[:question.asked]], device=model.device)
    own = model.generation_config
    said = model.generate(
        ids, attention_mask=torch.ones_like(ids),
        generation_config=transformers.GenerationConfig(
            max_new_tokens=ANSWER_TOKENS, do_sample=False, eos_token_id=own.eos_token_id,
            pad_token_id=own.pad_token_id if own.pad_token_id is not None else 0))
    return said[0, ids.shape[1]:].tolist()


def divergence(wanted: Seen, found: Seen) -> torch.Tensor:
    """KL(wanted || found) at each position, in nats."""
    return torch.cat([
        torch.nn.functional.kl_div(other.log_softmax(-1), one.log_softmax(-1), log_target=True,
                                   reduction="none").sum(-1)
        for one, other in zip(_finite(wanted.logits), _finite(found.logits), strict=True)])


def _finite(logits: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    for each in logits:
        yield torch.nan_to_num(each, nan=0.0, posinf=1e4, neginf=-1e4)


def compare(adapter: Seen, export: Seen, base: Seen, bounds: Bounds) -> REPORT:
    """The differences, each with its bound, and whether all are within."""
    vocabulary = min(adapter.logits[0].shape[-1], export.logits[0].shape[-1])
    export = Seen([each[:, :vocabulary] for each in export.logits], export.answers)
    kl = divergence(adapter, export)
    effect = float(divergence(adapter, base).mean())
    difference = torch.cat([(one - other).abs().amax(-1) for one, other in
                            zip(_finite(adapter.logits), _finite(export.logits), strict=True)])
    same = torch.cat([one.argmax(-1) == other.argmax(-1) for one, other in
                      zip(adapter.logits, export.logits, strict=True)])
    # An export that forgot the adapter is as far from it as the base model is.
    limit = min(bounds.mean_kl, max(bounds.rounding, effect / 4))
    near = float(kl.mean())
    finite = torch.cat([each.isfinite().all(-1) for each in export.logits])
    checks = [
        _check("Finite numbers", float(finite.float().mean()), 1.0, "share", at_most=False),
        _check("Mean KL divergence", near, limit, "nats", at_most=True),
        _check("Largest logit difference", float(difference.max()), bounds.largest_logit, "",
               at_most=True),
        _check("Same likeliest token", float(same.float().mean()), bounds.same_tokens, "share",
               at_most=False),
        _check("Greedy answers agree", _agreement(adapter.answers, export.answers),
               bounds.same_answer, "share", at_most=False)]
    # What would pass after a longer training: it is as near as the form's rounding allows, and the
    # adapter is in it, or can't be told from rounding.
    failed = [check["name"] for check in checks if not check["passed"]]
    effect_is_small = failed == ["Mean KL divergence"] and near <= bounds.mean_kl and (
        effect <= bounds.rounding or float(divergence(base, export).mean()) >= near)
    return {"passed": not failed, "checks": checks,
            "largest_kl": float(kl.max()), "effect_kl": effect,
            "effect_shows": effect > bounds.rounding, "effect_is_small": effect_is_small,
            "positions": len(kl)}


def _check(name: str, found: float, bound: float, unit: str, at_most: bool) -> REPORT:
    return {"name": name, "found": found, "bound": bound, "unit": unit, "at_most": at_most,
            "passed": found <= bound if at_most else found >= bound}


def _agreement(wanted: list[list[int]], found: list[list[int]]) -> float:
    """Share of the answers' tokens that come before the first different one."""
    agreed = total = 0
    for one, other in zip(wanted, found, strict=True):
        pairs = [a == b for a, b in zip(one, other, strict=False)]
        agreed += pairs.index(False) if False in pairs else len(pairs)
        total += max(len(one), len(other))
    return agreed / total if total else 1.0


def told_answers(asked: list[Question], adapter: Seen, export: Seen, tokenizer: Any
                 ) -> list[REPORT]:
    """The greedy answers side by side, as text."""
    return [{"prompt": tokenizer.decode(question.ids[:question.asked], skip_special_tokens=True),
             "adapter": tokenizer.decode(one, skip_special_tokens=True),
             "export": tokenizer.decode(other, skip_special_tokens=True), "same": one == other}
            for question, one, other in
            zip(asked, adapter.answers, export.answers, strict=False)]
