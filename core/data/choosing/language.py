"""Guesses the language of a text from its letters and commonest words; '' where it can't tell."""

import re
from collections import Counter

# The first match decides: kana before Chinese signs, because Japanese is written with both.
SCRIPTS = (
    ("ja", re.compile("[\u3040-\u30ff]")), ("ko", re.compile("[\uac00-\ud7af]")),
    ("zh", re.compile("[\u4e00-\u9fff\u3400-\u4dbf]")), ("ru", re.compile("[\u0400-\u04ff]")),
    ("el", re.compile("[\u0370-\u03ff]")), ("ar", re.compile("[\u0600-\u06ff]")),
    ("he", re.compile("[\u0590-\u05ff]")), ("hi", re.compile("[\u0900-\u097f]")),
    ("th", re.compile("[\u0e00-\u0e7f]")))

# Short words that are common in one language and rare in the others of this table.
COMMON = {
    "en": "the of and to is that it was for with as his on be at by this had not are but from or "
          "have an they which you were her all she there would their we him been has when who will "
          "what if how why does can do a",
    "de": "der die und das ist nicht ein eine zu den mit von sich auf dem für auch wie wird sind "
          "ich sie er wir aber oder nach bei einem einen war",
    "fr": "le la les des est et une dans que qui pour pas sur avec plus ce sont au par il elle "
          "nous vous mais ou du cette être",
    "es": "el los las es y una que por con para no del se lo como más pero sus este al muy está "
          "son fue",
    "it": "il di che è un della per non con del si le gli una sono più anche come questo nella ma "
          "alla",
    "pt": "o os que não uma com para do da em um mais dos como mas foi ao ele das seu sua são você",
    "nl": "het een van en dat niet zijn voor met op aan ook maar bij naar wordt deze hij ik",
}
WORDS = {language: frozenset(words.split()) for language, words in COMMON.items()}
LANGUAGES = ("en", "zh", *sorted({*COMMON, *(name for name, _ in SCRIPTS)} - {"en", "zh"}))
LOOK_AT = 500  # characters; enough to tell, and a long row costs no more than a short one
LATIN_WORD = re.compile(r"[^\W\d_]+")
FEW_LETTERS = 4


def guess(text: str) -> str:
    """Its code ('en', 'zh', ...). A script counts when it writes a fifth of the letters, so that a
    foreign name doesn't decide; English where Latin letters are all that is known."""
    text = text[:LOOK_AT]
    letters = sum(map(str.isalpha, text))
    if letters < FEW_LETTERS:
        return "zh" if SCRIPTS[2][1].search(text) else ""
    for language, script in () if text.isascii() else SCRIPTS:
        if len(script.findall(text)) >= letters / 5:
            return language
    words = Counter(LATIN_WORD.findall(text.lower()))
    hits = {language: sum(words[word] for word in known & words.keys())
            for language, known in WORDS.items()}
    best = max(hits, key=hits.__getitem__)
    return best if hits[best] else "en" if text.isascii() else ""


def has_two(text: str) -> bool:
    """Whether Chinese and Latin words both write a fifth or more of a text."""
    text = text[:LOOK_AT]
    chinese = len(SCRIPTS[2][1].findall(text))
    latin = sum(len(word) > 1 and word.isascii() for word in LATIN_WORD.findall(text))
    return min(chinese / 2, latin) >= max(3, (chinese / 2 + latin) / 5)
