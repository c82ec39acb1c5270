"""An answer ends at the same tokens wherever it is written: in chat, judged, or while training."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from core.evaluation.answer import answers
from core.model.ends import end_tokens, until_end
from core.training.samples import write


@pytest.fixture
def model(tiny_model):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def test_the_ends_are_those_of_model_and_tokenizer(model, tokenizer):
    assert tokenizer.eos_token_id in end_tokens(model, tokenizer)
    model.generation_config.eos_token_id = [7, 8]
    assert {7, 8, tokenizer.eos_token_id} <= end_tokens(model, tokenizer)


def test_an_answer_while_training_ends_where_the_judged_one_ends(model, tokenizer):
    """As with Gemma, whose turns end with a token that isn't the end of a text."""
    prompts = [tokenizer("What colour has snow?")["input_ids"], tokenizer("Hello")["input_ids"]]
    asked = torch.tensor(prompts[:1])
    free = model.generate(asked, attention_mask=torch.ones_like(asked), do_sample=False,
                          max_new_tokens=12, eos_token_id=None)[0][len(prompts[0]):].tolist()
    end = free[-1]
    model.generation_config.eos_token_id = end
    whole = tokenizer.decode(until_end(free, {end}), skip_special_tokens=True)
    judged = next(answers(model, tokenizer, prompts[:1], 12))[0]
    assert write(model, tokenizer, prompts)[0] == judged == whole
    assert until_end([1, end, 2, end], {end}) == [1]
