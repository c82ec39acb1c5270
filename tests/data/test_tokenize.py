"""Messages to ids and labels: exactly the answers are learned, behind what chat would read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.tokens.tokenize import IGNORED, encode, encode_prompt

LONG = 100_000
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Is snow white?"}
ANSWER = {"role": "assistant", "content": "Yes, it is."}
TURNS = [USER, ANSWER, {"role": "user", "content": "And coal?"},
         {"role": "assistant", "content": "Coal is black."}]


def learned_text(example, tokenizer) -> str:
    return tokenizer.decode([label for label in example.labels if label != IGNORED])


def turn(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def test_what_chat_reads_is_how_the_training_row_begins(family, tokenizers):
    tokenizer = tokenizers[family.name]
    prompt = encode_prompt([USER], tokenizer)
    example = encode([USER, ANSWER], tokenizer, "answers", LONG)
    assert example.ids[: len(prompt)] == prompt
    assert set(example.labels[: len(prompt)]) == {IGNORED}
    assert IGNORED not in example.labels[len(prompt):]


def test_what_chat_reads_in_a_later_turn_is_how_the_training_row_begins(family, tokenizers):
    tokenizer = tokenizers[family.name]
    prompt = encode_prompt(TURNS[:3], tokenizer)
    example = encode(TURNS, tokenizer, "last answer", LONG)
    assert example.ids[: len(prompt)] == prompt
    assert set(example.labels[: len(prompt)]) == {IGNORED}
    assert IGNORED not in example.labels[len(prompt):]


def test_a_system_turn_is_read_and_never_learned(family, tokenizers):
    if not family.takes_system:
        pytest.skip("its template refuses system turns")
    tokenizer = tokenizers[family.name]
    example = encode([SYSTEM, USER, ANSWER], tokenizer, "answers", LONG)
    assert SYSTEM["content"] in tokenizer.decode(example.ids)
    assert SYSTEM["content"] not in learned_text(example, tokenizer)


@pytest.mark.parametrize("messages", [[USER, ANSWER], TURNS], ids=["one turn", "two turns"])
def test_the_tokenizers_opening_comes_exactly_once(family, tokenizers, messages):
    tokenizer = tokenizers[family.name]
    opening = tokenizer.convert_tokens_to_ids(list(family.opening))
    for ids in (encode_prompt(messages[:-1], tokenizer),
                encode(messages, tokenizer, "answers", LONG).ids,
                encode([{"role": "text", "content": "Once"}], tokenizer, "all tokens", LONG).ids):
        assert ids[: len(opening)] == opening
        assert all(ids.count(token) == 1 for token in opening)


def test_the_learned_ids_are_the_answer_and_its_end(family, tokenizers):
    tokenizer = tokenizers[family.name]
    example = encode([USER, ANSWER], tokenizer, "answers", LONG)
    text = learned_text(example, tokenizer)
    assert text.startswith(
        f"{family.lead}{ANSWER['content']}{family.tail}{family.turn_end}")
    end = tokenizer.convert_tokens_to_ids(family.turn_end)
    assert example.labels.count(end) >= 1


def test_all_answers_of_a_dialogue_are_learned(family, tokenizers):
    if family.rewrites:
        pytest.skip("changes earlier answers, so only the last can be learned")
    tokenizer = tokenizers[family.name]
    text = learned_text(encode(TURNS, tokenizer, "answers", LONG), tokenizer)
    assert [text.count(m["content"]) for m in TURNS] == [0, 1, 0, 1]
    if family.writes_end:
        assert text.count(family.turn_end) == 2


def test_the_last_answer_alone_is_learned_where_that_is_chosen(family, tokenizers):
    tokenizer = tokenizers[family.name]
    text = learned_text(encode(TURNS, tokenizer, "last answer", LONG), tokenizer)
    assert [text.count(m["content"]) for m in TURNS] == [0, 0, 0, 1]
    assert text.count(family.turn_end) == 1


def test_all_tokens_but_the_first_are_learned_where_that_is_chosen(family, tokenizers):
    example = encode(TURNS, tokenizers[family.name], "all tokens", LONG)
    assert example.labels == [IGNORED, *example.ids[1:]]


def test_reasoning_is_learned_and_the_opened_think_not_doubled(tokenizers):
    tokenizer = tokenizers["deepseek_r1_distill"]
    messages = turn("Is snow white?", "<think>\nSnow is ice.\n</think>\n\nYes.")
    example = encode(messages, tokenizer, "answers", LONG)
    assert tokenizer.decode(example.ids).count("<think>") == 1
    assert learned_text(example, tokenizer) == (
        "Snow is ice.\n</think>\n\nYes.<｜end▁of▁sentence｜>")


def test_tokens_beyond_the_max_length_are_kept_apart(tokenizers):
    tokenizer = tokenizers["smollm2"]
    whole = encode(TURNS, tokenizer, "answers", LONG)
    cut = encode(TURNS, tokenizer, "answers", len(whole.ids) - 3)
    assert cut.ids + cut.lost[0] == whole.ids
    assert cut.labels + cut.lost[1] == whole.labels
    assert (len(cut.lost[0]), cut.lost_learned, cut.learned) == (3, 3, whole.learned - 3)


def test_plain_text_ends_with_the_end_token(tokenizers):
    tokenizer = tokenizers["smollm2"]
    example = encode([{"role": "text", "content": "Once upon a time"}], tokenizer, "answers", LONG)
    assert tokenizer.decode(example.ids) == "Once upon a time<|im_end|>"
    assert example.labels == [IGNORED, *example.ids[1:]]


def test_no_messages_make_an_example_that_teaches_nothing(tokenizers):
    assert encode([], tokenizers["smollm2"], "answers", LONG).learned == 0


words = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="<"), min_size=1),
    st.text("电影很好看，我不喜欢这个房间。！？", min_size=1),
    st.text("👍🏽👎😀🇩🇪é\u200d\u0301\u00a0", min_size=1),
    st.sampled_from(["def f(x):\n\treturn x ** 2\n", "  {\n  }\n\n", " ", "\n\n", "\r\n\t x",
                     "SELECT *\nFROM t;  ", "a\n", " a", "\\n{{ x }}{% y %}"]),
)
texts = st.lists(words, min_size=1, max_size=4).map("".join)


@pytest.mark.parametrize("name", ["smollm2", "qwen2_5", "deepseek_chat", "mistral_v0_2"])
@settings(max_examples=60, deadline=None)
@given(question=texts, answer=texts)
def test_any_answer_comes_back_from_the_ids_that_are_learned(tokenizers, name, question, answer):
    tokenizer = tokenizers[name]
    messages = turn(question, answer)
    example = encode(messages, tokenizer, "answers", LONG)
    assert all(label in (IGNORED, token) for token, label in
               zip(example.ids, example.labels, strict=True))
    prompt = encode_prompt(messages[:1], tokenizer)
    assert example.ids[: len(prompt)] == prompt
    lead = " " if name in ("deepseek_chat", "mistral_v0_2") else ""
    assert learned_text(example, tokenizer) == lead + answer + tokenizer.eos_token


@pytest.mark.parametrize(
    "name", ["llama3", "gemma", "mistral_v0_3", "deepseek_r1_distill", "qwen3"])
@settings(max_examples=40, deadline=None)
@given(question=texts, answer=texts.filter(lambda text: text.strip()))
def test_any_answer_comes_back_where_templates_strip_or_reason(tokenizers, name, question, answer):
    tokenizer = tokenizers[name]
    example = encode(turn(question, answer), tokenizer, "answers", LONG)
    end = "<end_of_turn>" if name == "gemma" else tokenizer.eos_token
    text = learned_text(example, tokenizer)
    assert text.endswith(end)
    assert text.removesuffix(end).rpartition("</think>")[2].strip() == answer.strip()
