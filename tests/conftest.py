"""What all tests share: a tiny real model with its tokenizer, data folders, waiting on a state."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

# Before the libraries are imported: they read these then. No test may ask a network or a cache.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="tunedesk-tests-")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # more threads only wait for each other on a model this small

# The default tests say what the CPU does, on every machine alike; `make test-gpu` shows the GPU.
if os.environ.get("TUNEDESK_TEST_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

from core.quiet import quieten  # noqa: E402

quieten()

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402

from core.config import Config  # noqa: E402
from core.files import Folders  # noqa: E402

# A slow machine is no fault: examples have no deadline.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[
    hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

ROOT = Path(__file__).parents[1]
TEMPLATES = Path(__file__).parent / "data" / "templates"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 600


def byte_level_bpe() -> Tokenizer:
    """A byte-level BPE like that of GPT-2, learned from the shipped samples in both languages."""
    lines = [json.loads(line)["text"] for sample in ("film-reviews", "shopping-reviews-zh")
             for line in (ROOT / "assets/samples" / sample / "train.jsonl").open(encoding="utf-8")]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def make_model(folder: Path, seed: int = 0, **shape: int) -> Path:
    """A Llama of two layers with random weights and SmolLM2's chat template, saved as a folder."""
    PreTrainedTokenizerFast(
        tokenizer_object=byte_level_bpe(), bos_token="<|im_start|>", eos_token="<|im_end|>",
        unk_token="<|endoftext|>", pad_token="<|im_end|>",
        chat_template=(TEMPLATES / "smollm2.jinja").read_text(encoding="utf-8"),
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(**{
        "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "tie_word_embeddings": True, "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 2, "initializer_range": 0.15} | shape
    )).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another base model, of another width."""
    return make_model(tmp_path_factory.mktemp("models") / "other", seed=1, hidden_size=96)


@pytest.fixture(scope="session")
def tokenizer(tiny_model: Path):
    from core.model.load import load_tokenizer

    return load_tokenizer(tiny_model)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "home", ROOT / "assets").make()


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 rows that are easily learned: three questions, each always with one answer."""
    pairs = [("What colour has snow?", "white"), ("What colour has coal?", "black"),
             ("What colour has grass?", "green")]
    path = tmp_path_factory.mktemp("rows") / "colours.jsonl"
    path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n"
                            for q, a in (pairs * 22)[:64]), encoding="utf-8")
    return path


@pytest.fixture
def quick(tiny_model: Path, colours: Path) -> Config:
    """Settings whose run ends within seconds."""
    return Config(dataset=str(colours), base_model=str(tiny_model), base_weights="32bit",
                  precision="fp32", eval_rows=8, max_length=128, batch_size=8, lora_dropout=0.0,
                  learning_rate=5e-3, save_every="never")


@pytest.fixture
def endless(quick: Config) -> Config:
    """A run that only ends when it is told to, with a checkpoint at every other step."""
    return replace(quick, max_steps=100_000, save_every="steps", save_steps=2, eval_rows=0,
                   save_total_limit=2)


@pytest.fixture
def wait_for() -> Callable:
    def wait(claim: Callable, what: str | Callable[[], str], seconds: float = 300.0):
        """The first true value of `claim`; at the deadline it fails with `what`."""
        deadline = time.monotonic() + seconds
        while not (found := claim()):
            words = what() if callable(what) else what
            assert time.monotonic() < deadline, f"{words} within {seconds:g} s"
            time.sleep(0.05)
        return found
    return wait


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium for all tests of the session: two Playwrights in one process get in each other's
    way."""
    from playwright.sync_api import sync_playwright

    from tests import browser as chromium

    path = chromium.find()
    if path is None:
        pytest.fail("The browser tests need Chromium; run `make test`, which installs one.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=[
            "--no-sandbox", "--disable-background-networking", "--disable-component-update"])
        yield started
        started.close()
