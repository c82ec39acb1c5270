"""Two answers side by side on a CPU, against two plain generate calls one after the other."""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from core.chat import generate
from core.chat.generate import Sampling, stream
from core.chat.loaded import BASE, Loaded
from core.data.tokens.tokenize import encode_prompt
from core.files import default_folders
from core.model import hub
from core.model.catalog import STARTER
from core.model.load import load_tokenizer

PROMPTS = ("Name three colours of the rainbow.", "What is the capital of France?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-folder", default="build/bench-home")
    parser.add_argument("--new", type=int, default=48, help="new tokens an answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    generate.end_tokens = lambda *_: set()  # as min_new_tokens below: answers of one length
    dtype = getattr(torch, options.dtype)
    folder = hub.locate(STARTER, default_folders(options.data_folder).make())
    tokenizer = load_tokenizer(folder)
    with tempfile.TemporaryDirectory() as home:
        adapter = _adapter(folder, Path(home), dtype)
        plain = PeftModel.from_pretrained(_model(folder, dtype), adapter).eval()
        loaded = Loaded(_model(folder, dtype), tokenizer)
        loaded.add(adapter, "tuned")
        speeds: dict[str, list[float]] = {"plain": [], "ours": []}
        for number in range(options.rounds + 1):  # turn about, so that a busy spell hits both
            prompt = encode_prompt([{"role": "user", "content": PROMPTS[number % 2]}], tokenizer)
            pair = (("plain", lambda p=prompt: _plain(plain, p, options.new)),
                    ("ours", lambda p=prompt: _ours(loaded, p, options.new)))
            for name, work in pair:
                began = time.monotonic()
                tokens = work()
                speeds[name].append(tokens / (time.monotonic() - began))
    plainly, ours = (statistics.median(speeds[name][1:]) for name in ("plain", "ours"))
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {options.dtype}; "
          "tokens/s of both answers")
    print(f"| two generate calls, one after the other | {plainly:.1f} |")
    print(f"| side by side | {ours:.1f} |\n| ratio | {ours / plainly:.2f} |")


def _model(folder: Path, dtype: torch.dtype):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def _adapter(folder: Path, home: Path, dtype: torch.dtype) -> Path:
    config = LoraConfig(r=8, target_modules=["q_proj", "v_proj"])
    adapted = get_peft_model(_model(folder, dtype), config)
    adapted.save_pretrained(home / "tuned")
    return home / "tuned"


@torch.inference_mode()
def _plain(model, prompt: list[int], new: int) -> int:
    """Both answers by transformers, the base model's with the adapter off."""
    ids = torch.tensor([prompt])

    def once() -> int:
        said = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                              min_new_tokens=new, max_new_tokens=new)
        return said.shape[1] - len(prompt)

    with model.disable_adapter():
        total = once()
    return total + once()


def _ours(loaded: Loaded, prompt: list[int], new: int) -> int:
    *_, answers = stream(loaded, prompt, [BASE, "tuned"],
                         Sampling(temperature=0, max_new_tokens=new))
    return sum(len(answer.ids) for answer in answers)


if __name__ == "__main__":
    main()
