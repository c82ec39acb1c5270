"""A tokenizer as a GGUF file holds it: tokens, merges, special tokens, the chat template."""

import json
from dataclasses import dataclass
from typing import Any

import gguf

from core.data.tokens.template import learned_end
from core.errors import UserError

# How llama.cpp splits text into words before it merges. It knows these ways by name, a tokenizer's
# own file spells them out; a way that isn't listed here can't be told to it.
_LATE_WORDS = (r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
               r"|\s+(?!\S)|\s+")
_SHORT_FORMS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_HAN = "[一-龥ࠀ-一가-퟿]+"
SPLITS = {
    ("words",): "gpt-2",
    ("digits", "words"): "smollm",
    (_SHORT_FORMS + _LATE_WORDS % "{1,3}", "bytes"): "llama-bpe",
    (_SHORT_FORMS + _LATE_WORDS % "", "bytes"): "qwen2",
    ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _HAN, "digits", "bytes"): "deepseek-coder",
}
SPACE = "▁"  # how SentencePiece writes a space


@dataclass(frozen=True)
class Vocabulary:
    """`kind` is llama.cpp's name of the sort of tokenizer: gpt2 (byte-level) or llama
    (SentencePiece); `split` the name of its way to split words."""

    kind: str
    split: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float]


def write(writer: gguf.GGUFWriter, tokenizer: Any, size: int) -> None:
    """Put the tokenizer into a GGUF file's head. `size` is the number of the model's embedding
    rows, which may be more than there are tokens."""
    words = read_vocabulary(tokenizer, size)
    writer.add_tokenizer_model(words.kind)
    writer.add_tokenizer_pre(words.split)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    if words.merges:
        writer.add_token_merges(words.merges)
    if words.scores:
        writer.add_token_scores(words.scores)
        writer.add_add_space_prefix(_begins_with_space(tokenizer))
    opening = tokenizer("", add_special_tokens=True)["input_ids"]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None
                             and opening[:1] == [tokenizer.bos_token_id])
    writer.add_add_eos_token(False)  # chat prompts go on
    end = learned_end(tokenizer)
    for add, token in ((writer.add_bos_token_id, tokenizer.bos_token_id),
                       (writer.add_eos_token_id, tokenizer.eos_token_id),
                       (writer.add_unk_token_id, tokenizer.unk_token_id),
                       (writer.add_pad_token_id, tokenizer.pad_token_id),
                       (writer.add_eot_token_id, end)):
        if token is not None:
            add(token)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def read_vocabulary(tokenizer: Any, size: int) -> Vocabulary:
    """UserError for a sort of tokenizer that is not known here."""
    about = json.loads(tokenizer.backend_tokenizer.to_str())
    model = about["model"]
    if model["type"] != "BPE":
        raise _unknown(f"a {model['type']} tokenizer")
    by_id = {number: text for text, number in tokenizer.get_vocab().items()}
    tokens = [by_id.get(number, f"[PAD{number}]") for number in range(size)]
    added = {token["id"]: token for token in about["added_tokens"]}
    types = [_type(number, text, number in by_id, added, model)
             for number, text in enumerate(tokens)]
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    if model.get("byte_fallback"):
        return Vocabulary("llama", "default", tokens, types, [], _scores(tokens, pairs))
    way = tuple(_splits(about["pre_tokenizer"]))
    if way not in SPLITS and not _is_deepseek_llm(way):
        raise _unknown("a tokenizer that splits words in its own way")
    return Vocabulary("gpt2", SPLITS.get(way, "deepseek-llm"), tokens, types,
                      [" ".join(pair) for pair in pairs], [])


def _type(number: int, text: str, is_there: bool, added: dict[int, Any], model: dict) -> int:
    if not is_there:
        return gguf.TokenType.UNUSED
    if model.get("byte_fallback") and len(text) == 6 and text.startswith("<0x"):
        return gguf.TokenType.BYTE
    if model.get("byte_fallback") and text == model.get("unk_token"):
        return gguf.TokenType.UNKNOWN
    if number in added:
        return (gguf.TokenType.CONTROL if added[number]["special"]
                else gguf.TokenType.USER_DEFINED)
    return gguf.TokenType.NORMAL


def _scores(tokens: list[str], pairs: list[list[str]]) -> list[float]:
    """SentencePiece joins the pair whose result scores best: the one that was learned first. Single
    characters, which nothing makes, come last."""
    rank: dict[str, int] = {}
    for number, (left, right) in enumerate(pairs):
        rank.setdefault(left + right, number)
    return [-float(rank.get(token, len(pairs) + number)) for number, token in enumerate(tokens)]


def _splits(step: dict[str, Any] | None) -> list[str]:
    """A tokenizer's steps before merging, each as one text."""
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [text for inner in step["pretokenizers"] for text in _splits(inner)]
    if step["type"] == "Split":
        return [step["pattern"].get("Regex") or step["pattern"].get("String", "")]
    if step["type"] == "Digits":
        return ["digits" if step["individual_digits"] else "numbers"]
    if step["type"] == "ByteLevel" and not step["add_prefix_space"]:
        return ["words" if step["use_regex"] else "bytes"]
    return [step["type"]]


def _is_deepseek_llm(way: tuple[str, ...]) -> bool:
    """DeepSeek LLM's letters are listed one range after the other; its other steps tell it."""
    return (len(way) == 7 and way[0] == "[\r\n]" and way[1].startswith(r"\s?[A-Za-zµÀ-Ö")
            and way[3:] == (r"\s+$", _HAN, "digits", "bytes"))


def _begins_with_space(tokenizer: Any) -> bool:
    return tokenizer.tokenize("a", add_special_tokens=False)[0].startswith(SPACE)


def _unknown(what: str) -> UserError:
    return UserError(
        f"This model has {what}, which can't be written as GGUF here.",
        "Export it merged, then let llama.cpp convert that folder: "
        "python convert_hf_to_gguf.py <folder> --outtype q8_0")
