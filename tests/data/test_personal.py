"""Likely personal data is recognised, and numbers that only look so aren't."""

import pytest

from core.data.choosing.language import guess, has_two
from core.data.choosing.personal import is_chinese_id, kinds


@pytest.mark.parametrize(("text", "kind"), [
    ("Write to ann.lee+news@mail.example.org today", "e-mail"),
    ("联系我：wang@example.cn", "e-mail"),
    ("call 555-123-4567", "phone number"), ("+49 170 1234567", "phone number"),
    ("(415) 555-2671 after six", "phone number"), ("手机13800138000", "phone number"),
    ("手机号是+86 138 0013 8000。", "phone number"), ("电话 010-12345678", "phone number"),
    ("身份证11010519491231002X", "ID number"), ("SSN 123-45-6789", "ID number"),
    ("card 4111 1111 1111 1111", "card number")])
def test_personal_data_is_recognised(text, kind):
    assert kinds(text) == {kind}


@pytest.mark.parametrize("text", [
    "", "no digits", "born 2019-03-04 12:30", "1998-2004", "1,234,567 dollars", "version 1.2.3.4",
    "pi is 3.14159265358979", "ISBN 3", "a@b", "room 12345", "11010519491231002",
    "1234567890123456", "10 20 30 40", "@handle", "5 - 10 - 15"])
def test_other_numbers_are_left_in_peace(text):
    assert kinds(text) == set()


@pytest.mark.parametrize(("number", "valid"), [("11010519491231002X", True),
                                                ("110105194912310021", False)])
def test_the_check_sign_of_an_identity_number_decides(number, valid):
    assert is_chinese_id(number) is valid


@pytest.mark.parametrize(("text", "language"), [
    ("What is the capital of France?", "en"), ("这个电影很好看", "zh"), ("好", "zh"),
    ("Das ist nicht gut für dich", "de"), ("これは本です", "ja"), ("이것은 책입니다", "ko"),
    ("C'est une belle journée pour vous", "fr"), ("Привет, как дела", "ru"), ("12345", ""),
    ("", ""), ("El perro no está aquí con las niñas", "es"), ("هذا كتاب جديد", "ar"),
    ("I live in 北京 and it is a large city", "en")])
def test_the_language_of_a_text_is_guessed(text, language):
    assert guess(text) == language


@pytest.mark.parametrize(("text", "two"), [
    ("Translate to English: 今天的天气非常好，我们去公园散步吧", True),
    ("今天的天气非常好，我们去 park 散步吧", False), ("Only English words in this text", False)])
def test_a_text_in_two_languages_is_told(text, two):
    assert has_two(text) is two
