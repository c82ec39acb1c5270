"""The forms in which a tuned model can be carried away, and how near each must stay to it."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

# llama.cpp's own file types; its tool makes them from a bf16 file.
TOOL = "llama-quantize"


@dataclass(frozen=True)
class Bounds:
    """How far an export may be from base model plus adapter on the same rows. `rounding` is the KL
    divergence that the form's rounding alone may come to: below it an adapter's effect can't be
    told from rounding. `same_tokens` is the least share of positions with the same likeliest
    token, `same_answer` of answered tokens before a greedy answer first differs."""

    mean_kl: float
    rounding: float
    largest_logit: float
    same_tokens: float
    same_answer: float


@dataclass(frozen=True)
class Form:
    """`bits` a weight takes, at the peak of the work `work_bits` with what lies beside it; `kind`
    is GGUF's name of the number format, `tool_kind` that of llama.cpp's quantizer."""

    label: str
    help: str
    bits: float
    bounds: Bounds
    work_bits: float = 0.0
    kind: str = field(default="")
    tool_kind: str = field(default="")


# Merged and q8_0 were measured on a tuned starter model (bench/README.md); the other bounds are
# estimates. All leave room for other models.
EXACT = Bounds(1e-5, 1e-6, 0.01, 0.999, 0.999)
ROUNDED = Bounds(0.02, 0.002, 2.0, 0.95, 0.8)
EIGHT_BIT = Bounds(0.04, 0.006, 3.0, 0.93, 0.7)
SIX_BIT = Bounds(0.08, 0.015, 4.0, 0.90, 0.6)
FIVE_BIT = Bounds(0.15, 0.03, 6.0, 0.85, 0.5)
FOUR_BIT = Bounds(0.4, 0.1, 10.0, 0.75, 0.3)

FORMS = {
    "adapter": Form("Adapter as it is", "A few megabytes; needs the base model beside it (peft, "
                    "vLLM).", 0, EXACT),
    "merged": Form("Merged model, 16 bit", "A whole model of safetensors, for transformers, vLLM, "
                   "SGLang and others.", 16, ROUNDED),
    "gguf-f16": Form("GGUF, f16", "One file for llama.cpp, Ollama, LM Studio; 16 bit.", 16,
                     ROUNDED, kind="f16"),
    "gguf-bf16": Form("GGUF, bf16", "Like f16 with a wider range; as the base model was made.", 16,
                      ROUNDED, kind="bf16"),
    "gguf-q8_0": Form("GGUF, q8_0", "Half the size of f16, hardly different.", 8.5, EIGHT_BIT,
                      kind="q8_0"),
    "gguf-q6_k": Form("GGUF, q6_k (llama.cpp)", "By llama.cpp's quantizer.", 6.6, SIX_BIT,
                      16, "bf16", "Q6_K"),
    "gguf-q5_k_m": Form("GGUF, q5_k_m (llama.cpp)", "By llama.cpp's quantizer.", 5.7, FIVE_BIT,
                        16, "bf16", "Q5_K_M"),
    "gguf-q4_k_m": Form("GGUF, q4_k_m (llama.cpp)", "By llama.cpp's quantizer; a third of f16, "
                        "answers change a little.", 4.9, FOUR_BIT, 16, "bf16", "Q4_K_M"),
}


def gguf_name(run_id: str, form: str) -> str:
    return f"{run_id}-{form.removeprefix('gguf-')}.gguf"


def find_tool(name: str = TOOL) -> str | None:
    """llama.cpp's program `name`: on PATH, or in the folder that $LLAMA_CPP names."""
    folder = Path(os.environ.get("LLAMA_CPP", "")).expanduser()
    for place in (folder, folder / "build" / "bin", folder / "bin"):
        if os.environ.get("LLAMA_CPP") and (found := shutil.which(name, path=str(place))):
            return found
    return shutil.which(name)
