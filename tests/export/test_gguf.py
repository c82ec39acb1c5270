"""A GGUF file holds the merged model, its tokenizer and template: read back, it answers alike."""

import json

import gguf
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from core.errors import UserError
from core.export import gguf_file, gguf_words, merge
from core.export.proof import Place, load_folder
from tests.conftest import make_model
from tests.export.made import add_adapter

IDS = torch.arange(40)[None]
CPU = Place("cpu", torch.float32)
SHAPE = {"vocab_size": 600, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
         "initializer_range": 0.15, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
CONFIGS = {"mistral": MistralConfig(**SHAPE),
           "qwen2": Qwen2Config(**SHAPE, tie_word_embeddings=True),
           # transformers reads every Qwen3 back with heads of 128, as all published ones have
           "qwen3": Qwen3Config(**SHAPE, head_dim=128)}


@pytest.fixture(params=["llama", "llama, head trained in full", *CONFIGS])
def tuned(request, tiny_model, tokenizer, tmp_path):
    """A base model's folder, its adapter's, and the logits of both together."""
    base = tiny_model
    if request.param in CONFIGS:
        base = tmp_path / "base"
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(CONFIGS[request.param]).save_pretrained(base)
        tokenizer.save_pretrained(base)
    full = {"modules_to_save": ["lm_head"]} if "full" in request.param else {}
    with torch.inference_mode():
        wanted = add_adapter(base, tmp_path / "adapter", **full)(IDS).logits
    return base, tmp_path / "adapter", wanted


def write(base, adapter, file, kind):
    config, tokenizer = AutoConfig.from_pretrained(base), AutoTokenizer.from_pretrained(adapter)
    gguf_file.require_known(config, tokenizer)
    return list(gguf_file.write(file, merge.prepare(base, adapter), config, tokenizer, kind,
                                "tiny"))


@pytest.mark.parametrize(("kind", "most"), [("f16", 0.05), ("q8_0", 0.8)])
def test_a_gguf_file_answers_as_base_and_adapter_do(tuned, kind, most, tmp_path):
    base, adapter, wanted = tuned
    assert write(base, adapter, tmp_path / "tiny.gguf", kind)[-1] == 1
    with torch.inference_mode():
        found = load_folder(tmp_path, CPU, "tiny.gguf")(IDS).logits
    assert (found - wanted).abs().max() < most


def test_the_tokenizer_in_a_gguf_file_is_the_runs_own(tiny_model, tokenizer, tmp_path):
    add_adapter(tiny_model, tmp_path / "adapter")
    write(tiny_model, tmp_path / "adapter", tmp_path / "tiny.gguf", "bf16")
    found = AutoTokenizer.from_pretrained(tmp_path, gguf_file="tiny.gguf")
    text = "<|im_start|>user\nHello 电影 12345, it's  fine!\n<|im_end|>"
    assert (found(text, add_special_tokens=False)["input_ids"]
            == tokenizer(text, add_special_tokens=False)["input_ids"])
    assert found.chat_template == tokenizer.chat_template
    fields = gguf.GGUFReader(tmp_path / "tiny.gguf").fields
    assert fields["tokenizer.ggml.pre"].contents() == "gpt-2"
    assert fields["tokenizer.ggml.eos_token_id"].contents() == tokenizer.eos_token_id
    assert not fields["tokenizer.ggml.add_bos_token"].contents()
    assert fields["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_BF16


def test_an_unknown_architecture_is_told_with_the_way_out(tmp_path, tokenizer):
    config = AutoConfig.for_model("gemma2")
    with pytest.raises(UserError, match="convert_hf_to_gguf"):
        gguf_file.require_known(config, tokenizer)


def with_splits(step) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    made.pre_tokenizer = step
    return PreTrainedTokenizerFast(tokenizer_object=made)


def split(regex: str):
    from tokenizers import Regex

    return pre_tokenizers.Split(Regex(regex), "isolated")


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
WORDS = pre_tokenizers.ByteLevel(add_prefix_space=False)
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")


@pytest.mark.parametrize(("step", "name"), [
    (WORDS, "gpt-2"),
    (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), WORDS]), "smollm"),
    (pre_tokenizers.Sequence([split(QWEN), BYTES]), "qwen2"),
    (pre_tokenizers.Sequence([split(QWEN.replace(r"\p{N}| ", r"\p{N}{1,3}| ")), BYTES]),
     "llama-bpe")], ids=["gpt-2", "smollm", "qwen2", "llama-bpe"])
def test_the_way_to_split_words_is_told_by_llama_cpps_name(step, name):
    assert gguf_words.read_vocabulary(with_splits(step), 3).split == name


def test_a_way_to_split_words_without_a_name_is_refused():
    with pytest.raises(UserError, match="convert_hf_to_gguf"):
        gguf_words.read_vocabulary(with_splits(split("x+")), 3)


def test_a_sentencepiece_tokenizer_merges_what_it_learned_first(colours):
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"),
                                            normalizers.Replace(" ", "▁")])
    made.decoder = decoders.ByteFallback()
    rows = [json.loads(line)["question"] for line in colours.open()]
    made.train_from_iterator(rows, trainers.BpeTrainer(
        vocab_size=300, show_progress=False,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256))]))
    words = gguf_words.read_vocabulary(PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>"), 310)
    assert words.kind == "llama" and len(words.tokens) == 310
    assert words.types[0] == gguf.TokenType.UNKNOWN
    assert words.types[3] == gguf.TokenType.BYTE
    assert words.types[309] == gguf.TokenType.UNUSED
    first, *_ = json.loads(made.to_str())["model"]["merges"]
    assert words.scores[words.tokens.index("".join(first))] == max(words.scores)


def test_llama_3s_long_waves_are_slowed(tiny_model):
    config = AutoConfig.from_pretrained(tiny_model)
    assert gguf_file._llama3_factors(config) is None
    config.rope_parameters = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0,
                              "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                              "original_max_position_embeddings": 8192}
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    slowed, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1 / 500000.0 ** (torch.arange(0, 16, 2) / 16)
    torch.testing.assert_close(torch.tensor(gguf_file._llama3_factors(config)), plain / slowed,
                               rtol=1e-4, atol=0)


def test_rows_that_fill_no_block_stay_in_16_bit(tmp_path):
    base = make_model(tmp_path / "narrow", hidden_size=72, num_attention_heads=4,
                      num_key_value_heads=4)
    add_adapter(base, tmp_path / "adapter")
    write(base, tmp_path / "adapter", tmp_path / "narrow.gguf", "q8_0")
    kinds = {t.name: t.tensor_type.name for t in
             gguf.GGUFReader(tmp_path / "narrow.gguf").tensors}
    assert kinds["token_embd.weight"] == "F16" and kinds["output_norm.weight"] == "F32"
    assert kinds["blk.0.ffn_down.weight"] == "Q8_0"
