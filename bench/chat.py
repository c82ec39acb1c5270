"""Speed of answers on one GPU: 7B shape, random weights, an adapter on all linear layers."""

import argparse
import gc
import importlib
import tempfile
import time
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from core.chat import graph
from core.chat.generate import Sampling, Wishes, stream_each
from core.chat.loaded import BASE, Loaded
from core.chat.together import Together
from core.files import default_folders
from core.model.catalog import load_catalog

PROMPT, NEW, PLAIN_NEW = 256, 256, 48
PARTS = "gate_up", "down", "qkv", "o"
GREEDY = Sampling(temperature=0, max_new_tokens=NEW)
CANDIDATES = {"dense": [(1, 2048, 4), (2, 2048, 4), (8, 512, 4), (1, 4096, 4)],
              "packed": [(8, 4), (4, 4), (16, 4), (8, 2), (4, 2), (8, 8), (4, 8), (16, 2)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="deepseek-ai/deepseek-llm-7b-base")
    parser.add_argument("--weights", default="bf16,nf4", help="in this order")
    parser.add_argument("--layers", type=int, help="fewer layers, to try the script out")
    parser.add_argument("--tune", action="store_true", help="tell the speed of other tiles first")
    parser.add_argument("--profile", action="store_true", help="show where a step's time goes")
    options = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.model}", flush=True)
    with tempfile.TemporaryDirectory() as home:
        model = _random_model(options)
        folders = [_adapter(model, Path(home) / name, seed) for seed, name in enumerate("ab")]
        for title in options.weights.split(","):
            model = _quantize(model) if title == "nf4" else model
            loaded = _try("load", lambda model=model: Loaded(model, _tokenizer(model)))
            print(f"\n{title}: decoder {'agrees' if loaded.decoder else 'does not fit'}, "
                  f"{torch.cuda.memory_allocated() / 2**30:.1f} GiB", flush=True)
            packed = "packed" if title == "nf4" else "dense"
            if options.tune:
                _try("tune", lambda p=packed, at=loaded: _tune(at, p, folders))
            _measure(title, loaded, folders, options.profile)
            model = loaded.model
            model = model.unload() if isinstance(model, PeftModel) else model
            del loaded
            gc.collect()
            torch.cuda.empty_cache()


def _random_model(options: argparse.Namespace):
    torch.manual_seed(0)
    about = dict(load_catalog(default_folders(tempfile.gettempdir()))[options.model].config)
    if options.layers:
        about["num_hidden_layers"] = options.layers
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**about),
                                                 dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(eos_token_id=None, pad_token_id=0)
    return model.eval()


def _tokenizer(model):
    """Stands for a tokenizer: random weights say nothing that could be read."""
    class Words(SimpleNamespace):
        def __call__(self, text, add_special_tokens=False):
            return {"input_ids": [1, 2, 3, 4, 5, 6, 7, 8]}

        def decode(self, ids, skip_special_tokens=False):
            return ""

    return Words(eos_token_id=None, added_tokens_decoder={})


def _adapter(model, folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    adapted = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=[
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    adapted.save_pretrained(folder)
    adapted.unload()
    return folder


def _quantize(model):
    """The linear layers as bitsandbytes loads them in 4 bit."""
    bnb: Any = importlib.import_module("bitsandbytes")
    for _, parent in list(model.named_modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear and name != "lm_head":
                small = bnb.nn.Linear4bit(child.in_features, child.out_features, bias=False,
                                          compute_dtype=torch.bfloat16, quant_type="nf4",
                                          device="meta")
                small.weight = bnb.nn.Params4bit(child.weight.data.contiguous(),
                                                 requires_grad=False, quant_type="nf4").cuda()
                setattr(parent, name, small)
    gc.collect()
    torch.cuda.empty_cache()
    return model


def _try(what: str, work):
    """What `work` gives; where it fails, its traceback is printed and the others go on."""
    try:
        return work()
    except Exception:  # one contestant that fails must not cost the run of all others
        said = "\n".join(traceback.format_exc().strip().splitlines()[-4:])
        print(f"FAILED {what}\n{said}", flush=True)
        return None


def _measure(title: str, loaded: Loaded, folders: list[Path], profile: bool) -> None:
    def told(what: str, work) -> None:
        found = _try(what, work)
        print(f"| {title} | {what} | {found} |", flush=True)

    began = time.monotonic()
    loaded.add(folders[0], "a")
    print(f"| {title} | first reading of an adapter, s | {time.monotonic() - began:.3f} |")
    loaded.add(folders[1], "b")
    told("largest difference of a captured step from plain torch", lambda: _difference(loaded))
    for what, names in (("base", [BASE]), ("tuned", ["a"]), ("base and tuned, each", [BASE, "a"]),
                        ("two tuned, each", ["a", "b"]), ("four, each", [BASE, "a", "b", "a"])):
        told(f"ours, {what}: new tokens/s (GiB)", lambda n=names: _speed(loaded, n, GREEDY))
    drawn = Sampling(temperature=0.7, top_p=0.95, repetition_penalty=1.1, max_new_tokens=NEW)
    told("ours, tuned, drawn with top-p and penalty", lambda: _speed(loaded, ["a"], drawn))
    told("first token of 512, tuned, s", lambda: _first_token(loaded, ["a"]))
    told("first token of 512, base and tuned, s", lambda: _first_token(loaded, [BASE, "a"]))
    told("switch of adapter, s", lambda: _switch(loaded))
    if profile:
        told("profile", lambda: _profile(loaded))
    told("plain generate, tuned: new tokens/s", lambda: _plain(loaded, "a"))


def _prompt(count: int = PROMPT, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, 90_000, (count,), generator=generator).tolist()


def _run(loaded: Loaded, names: list[str], sampling: Sampling, prompt: list[int]):
    *_, answers = stream_each(loaded, [prompt] * len(names), names, sampling, Wishes())
    return answers


def _speed(loaded: Loaded, names: list[str], sampling: Sampling) -> str:
    began = time.monotonic()
    _run(loaded, names, sampling, _prompt())  # compiles and captures
    warm = time.monotonic() - began
    torch.cuda.reset_peak_memory_stats()
    answers = _run(loaded, names, sampling, _prompt(seed=1))
    assert all(len(a.ids) == sampling.max_new_tokens for a in answers)
    speed = min(a.tokens_per_second for a in answers)
    return f"{speed:.1f} ({torch.cuda.max_memory_allocated() / 2**30:.1f}), first call {warm:.1f} s"


def _first_token(loaded: Loaded, names: list[str]) -> str:
    short = Sampling(temperature=0, max_new_tokens=4)
    times = [_run(loaded, names, short, _prompt(512, seed))[0].first_seconds for seed in range(6)]
    return f"{sorted(times)[3]:.4f}"


def _switch(loaded: Loaded) -> str:
    short, times = Sampling(temperature=0, max_new_tokens=2), []
    for name in ("a", "b", "a", "b"):
        began = time.monotonic()
        loaded.hold([name])
        torch.cuda.synchronize()
        times.append(time.monotonic() - began)
        _run(loaded, [name], short, _prompt(16))
    return f"{max(times[1:]):.4f}"


@torch.no_grad()
def _difference(loaded: Loaded) -> str:
    """The captured step's logits against those of plain torch operations, for three rows."""
    names, prompts = [BASE, "a", "b"], [_prompt(40, 1), _prompt(77, 2), _prompt(9, 3)]
    way = Together(loaded.hold(names), prompts, GREEDY)
    for _ in way.read():
        pass
    decoder = loaded.decoder
    first = way._sampler.draw(decoder.logits(way._hidden), slice(0, 3))
    lengths = [row.length for row in decoder.rows]
    expected = decoder.step([0, 1, 2], first)
    for row, length in zip(decoder.rows, lengths, strict=False):
        row.length = length
    steps = way._steps
    steps._tokens[:3].copy_(first)
    steps._positions[:3].copy_(torch.tensor(lengths[:3]))
    buffers = steps._buffers(3)
    steps._step(3, buffers)
    spread = (buffers.logits - expected).abs().amax(1) / expected.abs().amax(1)
    same = (buffers.logits.argmax(-1) == expected.argmax(-1)).tolist()
    return f"{spread.max():.4f} of the largest logit; same first choice {same}"


def _plain(loaded: Loaded, name: str) -> str:
    ids = torch.tensor([_prompt()], device="cuda")
    with loaded.using(name) as model, torch.no_grad():
        times = []
        for new in (2, PLAIN_NEW):
            torch.cuda.synchronize()
            began = time.monotonic()
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                           min_new_tokens=new, max_new_tokens=new, use_cache=True)
            torch.cuda.synchronize()
            times.append(time.monotonic() - began)
    return f"{(PLAIN_NEW - 2) / (times[1] - times[0]):.1f}"


@torch.no_grad()
def _tune(loaded: Loaded, packed: str, folders: list[Path]) -> None:
    """GB/s of weights for each tile and kind of layer. What is measured afterwards is as it is
    shipped: one tile for all layers would be slower."""
    began, shipped = time.monotonic(), (graph.TILES, graph.SHARES)
    loaded.add(folders[0], "a")
    layers = loaded.hold(["a"]).layers
    for tile in CANDIDATES[packed]:
        if time.monotonic() - began > 60:
            print("  out of time for tuning")
            break
        graph.TILES, graph.SHARES = {"dense": tile}, {1 << 30: tile}
        for rows in (1, 2):
            try:
                speeds = [_bandwidth([getattr(layer, part) for layer in layers], rows)
                          for part in PARTS]
            except Exception as error:  # a tile may need more of the chip than there is
                print(f"  tile {tile}: {str(error).splitlines()[0][:100]}")
                break
            told = ", ".join(f"{part} {speed:.0f}" for part, speed in
                             zip(PARTS, speeds, strict=True))
            print(f"  tile {tile}, {rows} rows: {told} GB/s", flush=True)
    graph.TILES, graph.SHARES = shipped


def _bandwidth(all_joined: list, rows: int) -> float:
    one = all_joined[0]
    x = torch.randn(rows, one.width, device="cuda", dtype=torch.bfloat16)
    y = torch.empty(rows, one.out, device="cuda", dtype=torch.bfloat16)
    low = torch.zeros(rows, 256, device="cuda")

    def once() -> None:
        for joined in all_joined:
            graph.linear(joined, x, y, low, tuned=False)

    once()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        once()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    captured.replay()
    start.record()
    for _ in range(5):
        captured.replay()
    end.record()
    end.synchronize()
    size = sum(j.weight.numel() * j.weight.element_size()
               + (0 if j.scales is None else j.scales.numel() * 4) for j in all_joined)
    return size * 5 / (start.elapsed_time(end) / 1e3) / 1e9


def _profile(loaded: Loaded) -> str:
    short = Sampling(temperature=0, max_new_tokens=12)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        _run(loaded, ["a"], short, _prompt(32))
    print(seen.key_averages().table(sort_by="cuda_time_total", row_limit=22,
                                    max_name_column_width=60))
    return "above"


if __name__ == "__main__":
    main()
