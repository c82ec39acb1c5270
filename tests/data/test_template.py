"""Messages to text by real chat templates: what is context, and what is the model's own."""

import pytest

from core.data.template import PLAIN_TEMPLATE, prompt_text, segments

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
