"""What a person sees of a row is what the model reads, token by token."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import Config
from core.data import build
from core.data.looking import preview
from core.data.looking.preview import CUT, LEARNED, SPECIAL
from core.data.tokens.tokenize import IGNORED, encode

MESSAGES = [{"role": "user", "content": "Ist das gut? 好吗？ 👍🏽"},
            {"role": "assistant", "content": "是的 👎 yes"}]
unicode_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])
                        | st.sampled_from("电影👍🏽🇩🇪é "), max_size=30)


@settings(max_examples=80, deadline=None)
@given(text=unicode_texts)
def test_the_pieces_join_to_the_whole_text(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    pieces = preview.pieces(ids, tokenizer)
    assert "".join(pieces) == tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert len(pieces) == len(ids)


def test_the_pieces_join_for_each_family(family, tokenizers):
    tokenizer = tokenizers[family.name]
    ids = encode(MESSAGES, tokenizer, "answers", 1000).ids
    assert "".join(preview.pieces(ids, tokenizer)) == tokenizer.decode(ids)


def test_a_character_of_several_tokens_is_shown_once(tokenizer):
    ids = tokenizer("👎")["input_ids"]
    assert len(ids) > 1
    assert preview.pieces(ids, tokenizer) == ["👎", *[""] * (len(ids) - 1)]


def test_flags_tell_what_is_learned_special_and_cut_off(tokenizer):
    whole = encode(MESSAGES, tokenizer, "answers", 1000)
    example = encode(MESSAGES, tokenizer, "answers", len(whole.ids) - 2)
    shown = preview.tokens(example, tokenizer)
    assert [token for _, token, _ in shown] == whole.ids
    assert [bool(flags & LEARNED) for _, _, flags in shown] == [
        label != IGNORED for label in whole.labels]
    assert [text for text, _, flags in shown if flags & SPECIAL].count("<|im_end|>") == 3
    assert [bool(flags & CUT) for _, _, flags in shown] == [False] * len(example.ids) + [True] * 2


@pytest.mark.parametrize("max_length, words", [(1000, ""), (16, "beyond the max length")])
def test_the_view_of_a_row_says_what_is_lost(max_length, words, tokenizer, folders):
    config = Config(max_length=max_length, eval_rows=50)
    opened = build.open_dataset(config, folders)
    row = opened.train[0]
    example = encode(opened.messages(row), tokenizer, config.loss_on, config.max_length)
    shown = preview.view(opened, example, tokenizer, 0, "train", row, len(opened.train),
                         config)
    assert words in shown["note"] and bool(words) == bool(shown["note"])
    assert shown["messages"] == opened.messages(row)
    assert shown["raw"] == {key: str(value) for key, value in row.items()}
    assert shown["layout"] == "labelled"


def test_a_row_that_teaches_nothing_says_so(tokenizer, folders):
    opened = build.open_dataset(Config(), folders)
    example = encode([], tokenizer, "answers", 100)
    shown = preview.view(opened, example, tokenizer, 0, "eval", opened.held_out[0], 1,
                         Config())
    assert "left out" in shown["note"]


def test_what_the_model_reads_and_learns_is_told_as_text(tokenizer, folders):
    opened = build.open_dataset(Config(), folders)
    row = opened.train[0]
    example = encode(opened.messages(row), tokenizer, "answers", 1000)
    shown = preview.view(opened, example, tokenizer, 0, "train", row, 1, Config())
    assert shown["taught"] == [opened.messages(row)[-1]["content"] + "<|im_end|>"]
    assert shown["seen"] == tokenizer.decode(example.ids)


def test_a_row_tells_what_the_template_leaves_out(tokenizers):
    messages = [{"role": "user", "content": "Is snow cold?"},
                {"role": "assistant", "content": "<think>\nSnow is ice.\n</think>\n\nYes."},
                *MESSAGES]
    told = " ".join(preview.left_out(messages, tokenizers["deepseek_r1_distill"]))
    assert "Snow is ice." in told and "turn 2" in told
    assert not preview.left_out(messages, tokenizers["smollm2"])


def test_the_template_isnt_blamed_for_an_answer_that_a_row_says_not_to_learn(tokenizers):
    messages = [MESSAGES[0], {**MESSAGES[1], "weight": 0}, MESSAGES[0],
                {"role": "assistant", "content": "Nein."}]
    assert not preview.left_out(messages, tokenizers["smollm2"])


@pytest.mark.parametrize("too_long", ["drop", "split"])
def test_what_is_seen_of_a_row_that_is_too_long_is_what_is_learned(too_long, tokenizer, folders,
                                                                  tmp_path):
    """Answers in the middle of long questions, so that some pieces teach nothing."""
    turns = [{"role": role, "content": word * times} for role, word, times in (
        ("user", "why ", 150), ("assistant", "so ", 60), ("user", "and ", 150),
        ("assistant", "ah ", 9))]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": turns}) + "\n")
    config = Config(dataset=str(path), eval_rows=0, max_length=64, too_long=too_long)
    opened = build.open_dataset(config, folders)
    row = opened.train[0]
    learned = list(build.tokenize_rows(opened, opened.train, config, tokenizer)[0])
    example = opened.example(row, config, tokenizer)
    shown = preview.view(opened, example, tokenizer, 0, "train", row, 1, config)
    seen = [token for _, token, flags in shown["tokens"] if flags & LEARNED and not flags & CUT]
    assert seen == [label for piece in learned for label in piece.labels if label != IGNORED]
    begins = [flags for _, _, flags in shown["tokens"] if flags & preview.PIECE and not flags & CUT]
    if too_long == "drop":
        assert not learned and "is left out" in shown["note"]
        assert all(flags & CUT for _, _, flags in shown["tokens"]) and shown["taught"] == []
    else:
        assert f"learned in {len(learned)} pieces" in shown["note"]
        assert len(learned) > 2 and len(begins) == len(learned)
        assert any(flags & CUT for _, _, flags in shown["tokens"])
        assert shown["seen"].count("why") < 150 > shown["seen"].count("and")
