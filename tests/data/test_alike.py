"""Texts that are the same, or nearly, are found; others aren't."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.choosing import alike

WORDS = """river stone cloud lamp winter garden letter window music bread paper storm island clock
mirror forest bridge candle horse silver"""


def sentence(seed: int, length: int = 40) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS.split()) for _ in range(length))


def copies(texts: list[str], near: bool = True) -> dict[int, int]:
    return alike.copies(alike.prints(texts), texts.__getitem__, near)


def test_equal_texts_are_found_whatever_their_case_width_and_punctuation():
    texts = [sentence(1), "Other words.", sentence(1).upper() + "!", "Ｏｔｈｅｒ   words", "other"]
    assert copies(texts, near=False) == {2: 0, 3: 1}


@pytest.mark.parametrize("seed", range(10))
def test_a_text_with_a_few_changed_words_is_found_and_named_with_the_first(seed):
    words = sentence(seed).split()
    words[20] = "entirely"
    texts = [sentence(seed + 100), sentence(seed), " ".join(words), sentence(seed) + " indeed"]
    assert copies(texts) == {2: 1, 3: 1}


def test_chinese_texts_without_spaces_are_compared_too():
    first = "这家酒店的房间非常干净，服务员态度很好，早餐也很丰富，下次来还会住在这里。"
    texts = [first, first.replace("非常", "很"), "快递太慢了，等了整整一个星期才收到东西。"]
    assert copies(texts) == {1: 0}


def test_different_texts_of_the_same_words_are_kept_apart():
    assert copies([sentence(seed, 25) for seed in range(300)]) == {}


def test_texts_with_other_numbers_are_other_texts():
    texts = [f"What is the sum of all the numbers from one to {n} in words?" for n in range(9)]
    assert copies(texts) == {}


def test_only_equal_texts_count_when_near_ones_are_not_asked_for():
    assert copies([sentence(1), sentence(1) + " indeed"], near=False) == {}


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["a"], ["好"], ["!", "?"]], ids=repr)
def test_texts_of_hardly_anything_do_no_harm(texts):
    assert copies(texts) in ({}, {1: 0})


def test_thousands_of_equal_texts_cost_no_square():
    assert len(copies(["the same text"] * 5000)) == 4999


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_the_signature_of_any_text_is_that_of_its_copy(text):
    first, second = (alike.signature(alike.shingles(alike.normal(text))) for _ in range(2))
    assert (first == second).all()


def test_the_signature_estimates_how_alike_two_texts_are():
    first, second = sentence(1, 400), sentence(1, 300) + " " + sentence(2, 100)
    hashes = [alike.shingles(alike.normal(text)) for text in (first, second)]
    estimate = np.mean(alike.signature(hashes[0]) == alike.signature(hashes[1]))
    assert estimate == pytest.approx(alike.likeness(*hashes), abs=0.2)
