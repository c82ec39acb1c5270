"""A Modelfile's template writes what the model's chat template writes."""

import re
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from core.export import ollama
from tests.conftest import TEMPLATES, byte_level_bpe

ENDS = ("<|im_end|>", "<|eot_id|>", "<｜end▁of▁sentence｜>", "<end_of_turn>", "<|end|>", "</s>")
NAMES = sorted(file.stem for file in TEMPLATES.glob("*.jinja"))


def tokenizer_of(template: str | None) -> PreTrainedTokenizerFast:
    special = sorted(set(re.findall(r"<[|｜][^<>]*?[|｜]>|<(?:start|end)_of_turn>|</s>|<s>",
                                    template or "")))
    made = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_bpe(), bos_token="<s>", additional_special_tokens=special,
        eos_token=next((end for end in ENDS if end in special), "<|endoftext|>"))
    made.chat_template = template
    return made


@pytest.fixture(params=[*NAMES, ""])
def tokenizer(request):
    return tokenizer_of((TEMPLATES / f"{request.param}.jinja").read_text(encoding="utf-8")
                        if request.param else None)


def test_a_template_put_together_from_its_pieces_is_the_template(tokenizer):
    pieces = ollama.take_apart(tokenizer)
    assert pieces is not None
    talk = [("user", "Ask  me"), ("assistant", "it is"), ("user", "and?"), ("assistant", "no"),
            ("user", "so")]
    if pieces.system:
        talk.insert(0, ("system", "Be brief."))
    assert ollama.put_together(pieces, talk) == ollama._render(tokenizer, talk)


def test_a_modelfile_names_the_file_the_template_and_where_an_answer_ends():
    chatml = tokenizer_of((TEMPLATES / "qwen2_5.jinja").read_text(encoding="utf-8"))
    told = ollama.modelfile(chatml, "./tiny.gguf", plain_text=False)
    assert told.startswith("FROM ./tiny.gguf\n")
    assert "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ else }}" in told
    assert '{{ if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n' in told
    assert told.endswith('PARAMETER stop "<|im_end|>"\n')


def test_a_template_that_cannot_be_told_is_left_to_ollama():
    odd = tokenizer_of("{% for m in messages %}{{ loop.index }}{{ m['content'] }}{% endfor %}")
    told = ollama.modelfile(odd, ".", plain_text=False)
    assert "TEMPLATE" not in told.replace("# ", "") and "Ollama" in told


def test_a_model_of_plain_text_gets_the_text_as_it_is():
    assert '{{ .Prompt }}' in ollama.modelfile(tokenizer_of(None), Path("x").name, plain_text=True)
