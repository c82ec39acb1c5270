"""Messages to text by real chat templates: what is context, and what is the model's own."""

import pytest

from core.data.tokens.plain import NAMED, PLAIN_TEMPLATE, with_template
from core.data.tokens.template import dropped, prompt_text, segments
from core.errors import UserError

USER = {"role": "user", "content": "Is snow white?"}
ANSWER = {"role": "assistant", "content": "Yes, it is."}
TURNS = [USER, ANSWER, {"role": "user", "content": "And coal?"},
         {"role": "assistant", "content": "Coal is black."}]


def text(parts):
    return "".join(part.text for part in parts)


def test_the_prompt_is_what_the_template_writes_before_an_answer(family, tokenizers):
    tokenizer = tokenizers[family.name]
    assert prompt_text([USER], tokenizer) == tokenizer.apply_chat_template(
        [USER], tokenize=False, add_generation_prompt=True)


def test_one_turn_is_the_prompt_and_then_the_answer_with_its_end(family, tokenizers):
    tokenizer = tokenizers[family.name]
    context, answer = segments([USER, ANSWER], tokenizer)
    assert (context.text, context.learned) == (prompt_text([USER], tokenizer), False)
    end = family.turn_end if family.writes_end else ""
    assert answer.learned
    assert answer.text.startswith(f"{family.lead}{ANSWER['content']}{family.tail}{end}")


def test_a_dialogue_joins_to_the_text_of_the_template(family, tokenizers):
    if family.rewrites:
        pytest.skip("changes earlier answers")
    tokenizer = tokenizers[family.name]
    whole = tokenizer.apply_chat_template(TURNS, tokenize=False)
    assert text(segments(TURNS, tokenizer)) == whole.rstrip()


def test_where_earlier_answers_are_rewritten_only_the_last_is_learned(family, tokenizers):
    if not family.rewrites:
        pytest.skip("keeps earlier answers")
    parts = segments(TURNS, tokenizers[family.name])
    assert [part.learned for part in parts] == [False, True]
    assert parts[0].text == prompt_text(TURNS[:3], tokenizers[family.name])
    assert TURNS[3]["content"] in parts[1].text


def test_the_context_of_a_dialogue_is_what_chat_would_have_read(family, tokenizers):
    tokenizer = tokenizers[family.name]
    parts = segments(TURNS, tokenizer)
    assert text(parts[:-1]) == prompt_text(TURNS[:3], tokenizer)


def test_a_dialogue_that_ends_with_the_user_is_learned_up_to_the_last_answer(family, tokenizers):
    tokenizer = tokenizers[family.name]
    assert segments([*TURNS, USER], tokenizer) == segments(TURNS, tokenizer)


def test_reasoning_is_learned_behind_an_opening_that_the_template_wrote(tokenizers):
    answer = {"role": "assistant", "content": "<think>\nSnow is ice.\n</think>\n\nYes."}
    context, learned = segments([USER, answer], tokenizers["deepseek_r1_distill"])
    assert context.text.endswith("<｜Assistant｜><think>\n")
    assert learned.text == "Snow is ice.\n</think>\n\nYes.<｜end▁of▁sentence｜>"


def test_reasoning_without_its_opening_word_is_learned_as_it_is(tokenizers):
    answer = {"role": "assistant", "content": "Snow is ice.\n</think>\n\nYes."}
    _, learned = segments([USER, answer], tokenizers["deepseek_r1_distill"])
    assert learned.text == "Snow is ice.\n</think>\n\nYes.<｜end▁of▁sentence｜>"


def test_an_answer_without_reasoning_closes_the_opening_first(tokenizers):
    _, learned = segments([USER, ANSWER], tokenizers["deepseek_r1_distill"])
    assert learned.text == "\n</think>\n\nYes, it is.<｜end▁of▁sentence｜>"


def test_reasoning_of_qwen3_is_kept_in_the_learned_turn(tokenizers):
    answer = {"role": "assistant", "content": "<think>\nSnow is ice.\n</think>\n\nYes."}
    _, learned = segments([USER, answer], tokenizers["qwen3"])
    assert learned.text == "<think>\nSnow is ice.\n</think>\n\nYes.<|im_end|>"


def test_a_base_model_without_a_template_gets_a_plain_one(tokenizers):
    tokenizer = tokenizers["smollm2"]
    kept, tokenizer.chat_template = tokenizer.chat_template, None
    try:
        parts = segments([{"role": "system", "content": "Be brief."}, *TURNS], tokenizer)
        assert text(parts) == (
            "Be brief.\n\n### Instruction:\nIs snow white?\n\n### Response:\nYes, it is.<|im_end|>"
            "\n\n### Instruction:\nAnd coal?\n\n### Response:\nCoal is black.<|im_end|>")
        assert [part.learned for part in parts] == [False, True, False, True]
        assert "generation" in PLAIN_TEMPLATE
    finally:
        tokenizer.chat_template = kept


def test_plain_text_is_learned_whole_and_continued_as_it_is(tokenizers):
    message = {"role": "text", "content": "Once upon"}
    assert [(p.text, p.learned) for p in segments([message], tokenizers["smollm2"])] == [
        ("Once upon", True)]
    assert prompt_text([message], tokenizers["smollm2"]) == "Once upon"


THOUGHT = {"role": "assistant", "content": "<think>\nSnow is ice.\n</think>\n\nYes, it is."}


def told(tokenizers, name: str) -> list[tuple[int, str, bool]]:
    messages = [USER, THOUGHT, *TURNS[2:]]
    return [(d.index, d.text, d.read_only) for d in dropped(messages, tokenizers[name])]


def test_what_the_template_drops_of_earlier_turns_is_told(tokenizers):
    assert told(tokenizers, "deepseek_r1_distill") == [
        (1, "Snow is ice.", False), (1, "Yes, it is.", True)]


def test_a_template_that_keeps_all_drops_nothing(tokenizers):
    assert told(tokenizers, "smollm2") == []


def test_an_answer_of_weight_0_is_read_and_not_learned(family, tokenizers):
    messages = [TURNS[0], {**TURNS[1], "weight": 0}, *TURNS[2:]]
    learned = [part for part in segments(messages, tokenizers[family.name]) if part.learned]
    assert len(learned) == 1 and "Coal is black." in learned[0].text


@pytest.mark.parametrize("chosen", [*NAMED])
def test_each_named_template_writes_a_dialogue_and_ends_its_answers(tokenizers, chosen):
    tokenizer = with_template(tokenizers["llama3"], chosen)
    parts = segments([{"role": "system", "content": "Be brief."}, *TURNS], tokenizer)
    assert [part.learned for part in parts] == [False, True, False, True]
    for part, turn in zip(parts[1::2], TURNS[1::2], strict=True):
        assert part.text.startswith(turn["content"])
        assert part.text.endswith(tokenizer.eos_token)
    assert tokenizers["llama3"].chat_template != tokenizer.chat_template


def test_no_choice_keeps_the_models_own_template(tokenizers):
    assert with_template(tokenizers["llama3"], "") is tokenizers["llama3"]


def test_a_template_that_a_person_wrote_is_used(tokenizers):
    mine = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}"
    tokenizer = with_template(tokenizers["smollm2"], mine)
    assert text(segments(TURNS[:2], tokenizer)) == (
        "[user] Is snow white?<|im_end|>[assistant] Yes, it is.<|im_end|>")


@pytest.mark.parametrize("template, words", [
    ("{% for m in messages %}{{ m.content }}", "line 1"),
    ("{{ messages[0].content }}", "leaves out"),
    ("{{ raise_exception('not so') }}", "not so"),
    ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "takes"),
    ("{{ 'x' * 9999999999 }}", "memory"),
    ("{% for i in range(99999) %}{{ 'x' * 20 }}{% endfor %}"
     "{% for m in messages %}{{ m.content }}{% endfor %}", "characters"),
    ("x" * 200_000, "characters"), ("{{ 1 / 0 }}", "ZeroDivision"),
], ids=["syntax", "no answers", "refuses", "breaks out", "endless", "memory", "long text",
        "long template", "arithmetic"])
def test_a_template_that_cannot_be_used_is_told(tokenizers, template, words, monkeypatch):
    monkeypatch.setattr("core.data.tokens.plain.PROBE_SECONDS", 10 if words != "takes" else 3)
    with pytest.raises(UserError, match=words):
        with_template(tokenizers["smollm2"], template)
