"""Tokenizers of the families whose chat templates lie in templates/."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from tokenizers import AddedToken, processors
from transformers import AutoTokenizer, PreTrainedTokenizerBase

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Family:
    """A model family's special tokens. `opening` is what its tokenizer puts before any text, `end`
    what ends an answer; `lead` and `tail` stand around the answer's own words; `rewrites`
    says that the template changes an answer once it isn't the last; `strips` that it cuts the
    white space around a message; `writes_end` that it writes `end` behind an answer."""

    name: str
    eos: str
    bos: str | None = None
    opening: tuple[str, ...] = ()
    end: str = ""
    lead: str = ""
    tail: str = ""
    special: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    rewrites: bool = False
    strips: bool = False
    takes_system: bool = True
    writes_end: bool = True

    @property
    def turn_end(self) -> str:
        return self.end or self.eos


THINK = ("<think>", "</think>")
DEEPSEEK = {"bos": "<｜begin▁of▁sentence｜>", "eos": "<｜end▁of▁sentence｜>",
            "opening": ("<｜begin▁of▁sentence｜>",)}
FAMILIES = [
    Family("smollm2", eos="<|im_end|>", bos="<|im_start|>"),
    Family("qwen2_5", eos="<|im_end|>"),
    Family("qwen3", eos="<|im_end|>", lead="<think>\n\n</think>\n\n", words=THINK, rewrites=True),
    Family("deepseek_chat", **DEEPSEEK, lead=" "),
    Family("deepseek_r1_distill", **DEEPSEEK, lead="\n</think>\n\n", words=THINK, rewrites=True,
           special=("<｜User｜>", "<｜Assistant｜>")),
    Family("deepseek_r1_0528", **DEEPSEEK, words=THINK,
           special=("<｜User｜>", "<｜Assistant｜>")),
    Family("deepseek_coder", bos="<｜begin▁of▁sentence｜>", eos="<|EOT|>", tail="\n",
           opening=("<｜begin▁of▁sentence｜>",)),
    Family("deepseek_v2_chat", **DEEPSEEK, lead=" "),
    Family("llama3", eos="<|eot_id|>", bos="<|begin_of_text|>", opening=("<|begin_of_text|>",),
           special=("<|start_header_id|>", "<|end_header_id|>"), strips=True),
    Family("llama3_1", eos="<|eot_id|>", bos="<|begin_of_text|>", opening=("<|begin_of_text|>",),
           special=("<|start_header_id|>", "<|end_header_id|>"), strips=True),
    Family("mistral_v0_2", eos="</s>", bos="<s>", opening=("<s>",), lead=" "),
    Family("mistral_v0_3", eos="</s>", bos="<s>", opening=("<s>",), lead=" ",
           special=("[INST]", "[/INST]")),
    Family("mistral_nemo", eos="</s>", bos="<s>", opening=("<s>",), special=("[INST]", "[/INST]")),
    Family("gemma", eos="<eos>", bos="<bos>", opening=("<bos>",), end="<end_of_turn>",
           special=("<start_of_turn>",), strips=True, takes_system=False),
    Family("gemma3", eos="<eos>", bos="<bos>", opening=("<bos>",), end="<end_of_turn>",
           special=("<start_of_turn>",), strips=True),
    Family("glm4_0414", eos="<|endoftext|>", opening=("[gMASK]", "<sop>"), lead="\n",
           special=("<|user|>", "<|assistant|>", "<|system|>"), writes_end=False),
    Family("glm4_5", eos="<|endoftext|>", opening=("[gMASK]", "<sop>"),
           lead="\n<think></think>\n", words=THINK, strips=True,
           special=("<|user|>", "<|assistant|>", "<|system|>"), writes_end=False),
    Family("phi3", eos="<|endoftext|>", end="<|end|>",
           special=("<|user|>", "<|assistant|>", "<|system|>")),
]
BY_NAME = {family.name: family for family in FAMILIES}


def make_tokenizer(family: Family, tiny_model: Path) -> PreTrainedTokenizerBase:
    """The tiny tokenizer with the family's special tokens, opening and chat template."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    special = dict.fromkeys([*family.opening, family.eos, family.turn_end, *family.special])
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in family.words])
    tokenizer.eos_token, tokenizer.pad_token = family.eos, family.eos
    tokenizer.bos_token = family.bos
    tokenizer.chat_template = (TEMPLATES / f"{family.name}.jinja").read_text(encoding="utf-8")
    if family.opening:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join([*family.opening, "$A"]),
            special_tokens=[(t, tokenizer.convert_tokens_to_ids(t)) for t in family.opening])
    return tokenizer


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(scope="session")
def tokenizers(tiny_model: Path) -> dict[str, PreTrainedTokenizerBase]:
    """By family name."""
    return {family.name: make_tokenizer(family, tiny_model) for family in FAMILIES}
