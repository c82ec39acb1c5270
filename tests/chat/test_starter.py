"""On the starter model: token for token what transformers generates, over many prompts."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from core.chat.generate import Sampling, stream
from core.chat.loaded import BASE, Loaded
from core.data.tokens.tokenize import encode_prompt
from core.model.ends import end_tokens
from core.model.load import load_tokenizer
from tests.conftest import ROOT
from tests.e2e.conftest import starter_model


@pytest.fixture(scope="module")
def starter():
    return starter_model()


@pytest.fixture(scope="module")
def adapter(starter, tmp_path_factory):
    """An adapter that changes what the starter model says."""
    torch.manual_seed(0)
    adapted = get_peft_model(load(starter), LoraConfig(r=8, target_modules=["q_proj", "v_proj",
                                                                            "down_proj"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    folder = tmp_path_factory.mktemp("adapter") / "tuned"
    adapted.save_pretrained(folder)
    return folder


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def prompts(count: int) -> list[str]:
    lines = (ROOT / "assets/samples/film-reviews/train.jsonl").read_text(encoding="utf-8")
    return [json.loads(line)["text"] for line in lines.splitlines()[:count]]


def check(starter, adapter, count: int, new: int) -> None:
    tokenizer = load_tokenizer(starter)
    loaded = Loaded(load(starter), tokenizer)
    loaded.add(adapter, "tuned")
    assert loaded.runs_together([BASE, "tuned"])
    base, tuned = load(starter), PeftModel.from_pretrained(load(starter), adapter).eval()
    ends = end_tokens(base, tokenizer)
    differing = 0
    for text in prompts(count):
        prompt = encode_prompt([{"role": "user", "content": text}], tokenizer)
        *_, answers = stream(loaded, prompt, [BASE, "tuned"],
                             Sampling(temperature=0, max_new_tokens=new))
        for model, answer in zip((base, tuned), answers, strict=True):
            expected = model.generate(
                torch.tensor([prompt]), max_new_tokens=new, do_sample=False,
                eos_token_id=sorted(ends), pad_token_id=tokenizer.pad_token_id)[0, len(prompt):]
            assert answer.ids == [i for i in expected.tolist() if i not in ends], text
        differing += answers[0].ids != answers[1].ids
    assert differing


def test_base_and_tuned_side_by_side_say_what_transformers_generates(starter, adapter):
    check(starter, adapter, 2, 8)


def test_rounding_to_16_bits_costs_no_model_the_fast_way(starter):
    loaded = Loaded(load(starter).to(torch.bfloat16), load_tokenizer(starter))
    assert loaded.runs_together([BASE])


@pytest.mark.slow
def test_so_they_do_over_fifty_prompts(starter, adapter):
    check(starter, adapter, 50, 16)
