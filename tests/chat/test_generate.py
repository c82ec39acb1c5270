"""Answers are those that transformers itself gives, for the base model and for each adapter."""

import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from core.chat import decoder
from core.chat.adapter import Adapter
from core.chat.decoder import agrees
from core.chat.generate import Sampling, Wishes, stream, stream_each
from core.chat.loaded import BASE, Loaded
from core.chat.score import log_probability
from core.data.tokens.tokenize import encode, encode_prompt
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


def test_a_step_without_an_adapters_part_is_told_from_one_with_it(loaded, adapters):
    for name in ("one", "two"):  # on q, v and down
        loaded.add(adapters[name], name)
    assert loaded.hold([BASE]).tuned_parts() == ()
    parts = loaded.hold([BASE, "one"]).tuned_parts()
    assert parts == (True, False, False, True) * len(loaded.decoder.layers)
    assert loaded.hold(["two"]).tuned_parts() == parts
    loaded.plain["q only"] = Adapter(4, {at: pair for at, pair in loaded.plain["one"].pairs.items()
                                         if at[1] == "self_attn.q_proj"})
    q_only = loaded.hold(["q only", "q only"]).tuned_parts()
    assert q_only == (True, False, False, False) * len(loaded.decoder.layers)


def test_a_decoder_that_computes_something_else_is_found_out(loaded):
    assert agrees(loaded.decoder)
    loaded.decoder.sin.neg_()  # positions turned the wrong way
    assert not agrees(loaded.decoder)


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
    grown = next(found for found in answers if found[0].ids)
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


def each(loaded, prompts, names, sampling=GREEDY, wishes=None):
    *_, answers = stream_each(loaded, prompts, names, sampling, wishes or Wishes())
    return answers


def test_plain_adapters_share_a_batch_and_others_take_turns(loaded, adapters):
    for name in adapters:
        loaded.add(adapters[name], name)
    assert loaded.runs_together([BASE, "one", "two"])
    assert not loaded.runs_together([BASE, "biased"])


def test_rows_with_prompts_of_their_own_answer_as_each_does_alone(loaded, adapters):
    loaded.add(adapters["one"], "one")
    prompts = [encode_prompt([{"role": "user", "content": q}], loaded.tokenizer)
               for q in QUESTIONS[:3]]
    names = [BASE, "one", "one"]
    together = [a.ids for a in each(loaded, prompts, names)]
    assert together == [each(loaded, [p], [n])[0].ids
                        for p, n in zip(prompts, names, strict=True)]


def test_a_prompt_read_in_chunks_is_answered_as_one_read_at_once(loaded, monkeypatch):
    prompt = encode_prompt([{"role": "user", "content": "a b c d " * 30}], loaded.tokenizer)
    expected = each(loaded, [prompt], [BASE])[0].ids
    monkeypatch.setattr(decoder, "CHUNK", 16)
    loaded.decoder.rows.clear()
    assert each(loaded, [prompt], [BASE])[0].ids == expected


def test_a_conversation_that_goes_on_reads_only_what_is_new(loaded, monkeypatch):
    monkeypatch.setattr(decoder, "CHUNK", 16)
    first = list(range(5, 90))
    each(loaded, [first], [BASE])
    assert loaded.decoder.known(0, [*first, *range(20)]) == 80
    assert loaded.decoder.known(0, [9, *first]) == 0
    again = each(loaded, [[*first, 7, 8, 9]], [BASE])[0].ids
    loaded.decoder.rows.clear()
    assert each(loaded, [[*first, 7, 8, 9]], [BASE])[0].ids == again


def test_an_adapter_put_in_a_row_forgets_what_another_had_read(loaded, adapters, monkeypatch):
    monkeypatch.setattr(decoder, "CHUNK", 16)
    loaded.add(adapters["one"], "one")
    prompt = list(range(5, 60))
    expected = each(loaded, [prompt], ["one"])[0].ids
    each(loaded, [prompt], [BASE])
    assert each(loaded, [prompt], ["one"])[0].ids == expected


def test_a_stop_string_ends_the_answer_before_it(loaded):
    prompt = encode_prompt([{"role": "user", "content": "x"}], loaded.tokenizer)
    whole = each(loaded, [prompt], [BASE])[0].text
    stop = whole[8:11]
    cut = each(loaded, [prompt], [BASE], Sampling(temperature=0, max_new_tokens=24, stop=(stop,)))
    assert cut[0].text == whole[:whole.find(stop)] and cut[0].ended_by == "stop"


def test_a_long_stop_string_is_found_too(loaded):
    prompt = encode_prompt([{"role": "user", "content": QUESTIONS[0]}], loaded.tokenizer)
    whole = each(loaded, [prompt], [BASE], Sampling(temperature=0, max_new_tokens=60))[0]
    assert len(whole.ids) == 60
    stop = loaded.tokenizer.decode(whole.ids[5:45], skip_special_tokens=True)
    cut = each(loaded, [prompt], [BASE], Sampling(temperature=0, max_new_tokens=60, stop=(stop,)))
    assert cut[0].ended_by == "stop" and cut[0].text == whole.text[:whole.text.find(stop)]


def test_one_column_is_stopped_and_the_other_goes_on(loaded):
    prompt = encode_prompt([{"role": "user", "content": "x"}], loaded.tokenizer)
    answers = each(loaded, [prompt] * 2, [BASE] * 2, wishes=Wishes(stop={0}))
    assert [a.ended_by for a in answers] == ["person", "length"]
    assert len(answers[0].ids) == 1 and len(answers[1].ids) == GREEDY.max_new_tokens


def opened_prompt(loaded):
    """A prompt that opened the reasoning, as R1's template does."""
    return loaded.tokenizer("<|im_start|>x<think>\n", add_special_tokens=False)["input_ids"]


def test_a_template_that_opened_the_reasoning_is_honoured(loaded):
    answer = each(loaded, [opened_prompt(loaded)], [BASE])[0]
    assert answer.text.startswith("<think>\n") and answer.think_tokens == 24


@pytest.mark.parametrize("budget, wishes", [(5, Wishes()), (0, Wishes(answer_now={0}))],
                         ids=["budget", "answer now"])
def test_reasoning_is_closed_by_its_budget_or_by_a_person(loaded, budget, wishes):
    answer = each(loaded, [opened_prompt(loaded)], [BASE],
                  Sampling(temperature=0, max_new_tokens=40, think_budget=budget), wishes)[0]
    _, closed, rest = answer.text.partition("</think>\n\n")
    assert closed and rest and answer.think_tokens < 24
    assert answer.think_seconds <= answer.first_seconds + answer.more_seconds


@pytest.mark.parametrize("name", [BASE, "one", "biased"])
def test_the_log_probability_of_an_answer_is_that_of_transformers(name, loaded, adapters,
                                                                  with_biases):
    model = make_base(with_biases)
    if name:
        loaded.add(adapters[name], name)
        model = PeftModel.from_pretrained(model, adapters[name]).eval()
    example = encode([{"role": "user", "content": "x"}, {"role": "assistant", "content": "snow"}],
                     loaded.tokenizer, "answers", 512)
    with torch.no_grad():
        loss = model(torch.tensor([example.ids]), labels=torch.tensor([example.labels])).loss
    found = log_probability(loaded, name, example)
    assert found["tokens"] == example.learned
    assert found["log_probability"] == pytest.approx(-float(loss) * example.learned, rel=1e-4)


def test_what_is_kept_between_answers_may_be_written_to_at_any_time(loaded, adapters):
    """Tensors made in torch's inference mode may not, outside of it; a first answer went well and
    its end failed."""
    loaded.add(adapters["one"], "one")
    each(loaded, [[5, 6, 7]] * 2, [BASE, "one"])
    decoder = loaded.decoder
    kept = [decoder.keys, decoder.values, decoder.cos, decoder.sin]
    kept += [tensor for layer in decoder.layers for joined in layer.joined
             for tensor in (joined.down, joined.up)]
    assert not any(tensor.is_inference() for tensor in kept)
