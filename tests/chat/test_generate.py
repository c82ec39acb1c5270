"""Answers are those that transformers itself gives, for the base model and for each adapter."""

import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from core.chat.generate import Sampling, end_tokens, pick, stream
from core.chat.loaded import BASE, Loaded
from core.data.tokenize import encode_prompt
from core.errors import UserError

GREEDY = Sampling(temperature=0, max_new_tokens=24)
QUESTIONS = ["What colour has snow?", "好吗？", "x", "def f(x):\n    return", "a " * 100]


def make_base(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def with_biases(tiny_model, tmp_path_factory):
    """The tiny model with biases of attention, all zero."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model, attention_bias=True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    folder = tmp_path_factory.mktemp("models") / "biased"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapters(with_biases, tmp_path_factory):
    """Folders of three adapters, each of which changes the answers: two plain, one with biases."""
    made = {}
    for seed, (name, bias) in enumerate({"one": "none", "two": "none", "biased": "all"}.items()):
        base = make_base(with_biases)
        torch.manual_seed(seed)
        adapted = get_peft_model(base, LoraConfig(
            r=4, target_modules=["q_proj", "v_proj", "down_proj"], bias=bias,
            task_type="CAUSAL_LM"))
        with torch.no_grad():
            for key, parameter in adapted.named_parameters():
                if "lora_B" in key or (bias == "all" and key.endswith("bias")):
                    parameter.normal_(std=0.3)
        made[name] = tmp_path_factory.mktemp("adapters") / name
        adapted.save_pretrained(made[name])
    return made


@pytest.fixture
def loaded(tokenizer, with_biases) -> Loaded:
    return Loaded(make_base(with_biases), tokenizer)


def ask(loaded: Loaded, names: list[str], question: str, sampling: Sampling) -> list[list[int]]:
    prompt = encode_prompt([{"role": "user", "content": question}], loaded.tokenizer)
    *_, answers = stream(loaded, prompt, names, sampling)
    assert all(answer.done for answer in answers)
    return [answer.ids for answer in answers]


def expect(model, tokenizer, question: str) -> list[int]:
    prompt = encode_prompt([{"role": "user", "content": question}], tokenizer)
    found = model.generate(torch.tensor([prompt]), max_new_tokens=GREEDY.max_new_tokens,
                           do_sample=False, eos_token_id=tokenizer.eos_token_id,
                           pad_token_id=tokenizer.pad_token_id)[0, len(prompt):].tolist()
    return found[:-1] if found[-1] == tokenizer.eos_token_id else found


@pytest.mark.parametrize("question", QUESTIONS, ids=range(len(QUESTIONS)))
def test_the_base_model_answers_as_transformers_generates(question, loaded, with_biases):
    assert ask(loaded, [BASE], question, GREEDY) == [
        expect(make_base(with_biases), loaded.tokenizer, question)]


@pytest.mark.parametrize("question", QUESTIONS, ids=range(len(QUESTIONS)))
@pytest.mark.parametrize("name", ["one", "biased"])
def test_an_adapter_answers_as_transformers_generates(
        question, name, loaded, with_biases, adapters):
    loaded.add(adapters[name], name)
    tuned = PeftModel.from_pretrained(make_base(with_biases), adapters[name]).eval()
    assert ask(loaded, [name], question, GREEDY) == [expect(tuned, loaded.tokenizer, question)]


def test_adapters_side_by_side_answer_as_each_does_alone(loaded, with_biases, adapters):
    names = [BASE, "one", "biased", "two"]
    for name in names[1:]:
        loaded.add(adapters[name], name)
    together = ask(loaded, names, QUESTIONS[0], GREEDY)
    for name, answer in zip(names, together, strict=True):
        alone = Loaded(make_base(with_biases), loaded.tokenizer)
        if name:
            alone.add(adapters[name], name)
        assert ask(alone, [name], QUESTIONS[0], GREEDY) == [answer]
    assert len({tuple(answer) for answer in together}) == 4


def test_the_base_answers_unchanged_after_a_bias_trained_adapter_was_added(loaded, adapters):
    before = ask(loaded, [BASE], QUESTIONS[0], GREEDY)
    loaded.add(adapters["biased"], "biased")
    assert ask(loaded, [BASE], QUESTIONS[0], GREEDY) == before
    assert ask(loaded, ["biased"], QUESTIONS[0], GREEDY) != before
    assert ask(loaded, [BASE], QUESTIONS[0], GREEDY) == before
    loaded.add(adapters["one"], "one")
    assert ask(loaded, [BASE], QUESTIONS[0], GREEDY) == before


def test_an_adapter_is_loaded_once(loaded, adapters):
    loaded.add(adapters["one"], "one")
    count = len(loaded.model.state_dict())
    loaded.add(adapters["one"], "one")
    assert len(loaded.model.state_dict()) == count


def test_an_adapter_of_another_base_is_refused_in_words(loaded, other_model, adapters, tokenizer):
    other = Loaded(make_base(other_model), tokenizer)
    with pytest.raises(UserError, match="fit"):
        other.add(adapters["one"], "one")
    assert ask(other, [BASE], "x", GREEDY)


def test_a_damaged_adapter_is_told_in_words(loaded, adapters, tmp_path):
    damaged = shutil.copytree(adapters["one"], tmp_path / "damaged")
    weights = damaged / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(UserError):
        loaded.add(damaged, "damaged")


def test_after_an_adapter_was_refused_the_right_ones_still_answer(
        loaded, adapters, tmp_path, with_biases, other_model):
    wrong = get_peft_model(make_base(other_model), LoraConfig(r=4, target_modules=["q_proj"]))
    wrong.save_pretrained(tmp_path / "wrong")
    loaded.add(adapters["one"], "one")
    expected = ask(loaded, [BASE, "one"], QUESTIONS[0], GREEDY)
    with pytest.raises(UserError):
        loaded.add(tmp_path / "wrong", "wrong")
    assert ask(loaded, [BASE, "one"], QUESTIONS[0], GREEDY) == expected
    loaded.add(adapters["two"], "two")
    alone = Loaded(make_base(with_biases), loaded.tokenizer)
    alone.add(adapters["two"], "two")
    assert (ask(loaded, ["two"], QUESTIONS[0], GREEDY)
            == ask(alone, ["two"], QUESTIONS[0], GREEDY))


def test_sampling_with_a_seed_is_repeatable_and_another_seed_differs(loaded):
    sampling = Sampling(temperature=1.0, max_new_tokens=20, seed=1)
    first = ask(loaded, [BASE], "x", sampling)
    assert ask(loaded, [BASE], "x", sampling) == first
    assert ask(loaded, [BASE, BASE], "x", sampling) == first * 2
    assert ask(loaded, [BASE], "x", Sampling(temperature=1.0, max_new_tokens=20, seed=2)) != first


def test_closing_the_stream_stops_the_work(loaded, monkeypatch):
    monkeypatch.setattr("core.chat.generate.YIELD_SECONDS", 0.0)
    prompt = encode_prompt([{"role": "user", "content": "x"}], loaded.tokenizer)
    answers = stream(loaded, prompt, [BASE], Sampling(temperature=0, max_new_tokens=400))
    grown = next(answers)
    answers.close()
    assert 1 <= len(grown[0].ids) < 5


def test_an_answer_ends_where_the_models_room_ends(loaded):
    prompt = [5] * 500
    *_, answers = stream(loaded, prompt, [BASE], Sampling(temperature=0, max_new_tokens=400))
    assert answers[0].done and len(answers[0].ids) <= 12


def test_a_conversation_that_is_too_long_is_told_with_the_counts(loaded):
    with pytest.raises(UserError, match="600.*512"):
        list(stream(loaded, [5] * 600, [BASE], GREEDY))


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"temperature": 6}, {"top_p": 0},
                                   {"top_p": 1.1}, {"top_k": -1}, {"max_new_tokens": 0},
                                   {"temperature": float("nan")}], ids=str)
def test_sampling_out_of_range_is_told(wrong):
    with pytest.raises(UserError):
        Sampling(**wrong)


def test_top_k_and_top_p_leave_the_likeliest_tokens():
    logits = torch.tensor([[1.0, 4.0, 3.0, 0.0]])
    generator = torch.Generator().manual_seed(0)

    def picked(**settings):
        sampling = Sampling(temperature=2.0, **{"top_p": 1.0} | settings)
        return {pick(logits.clone(), sampling, generator) for _ in range(200)}

    assert picked() == {0, 1, 2, 3}
    assert picked(top_k=2) == {1, 2}
    assert picked(top_p=0.5) == {1}
    assert pick(logits, GREEDY, generator) == 1


def test_the_ends_of_a_turn_are_those_of_model_and_tokenizer(loaded):
    assert loaded.tokenizer.eos_token_id in end_tokens(loaded.model, loaded.tokenizer)
    loaded.model.generation_config.eos_token_id = [7, 8]
    assert {7, 8, loaded.tokenizer.eos_token_id} <= end_tokens(loaded.model, loaded.tokenizer)
