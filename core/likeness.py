"""How alike a written answer is to the right one; libraries are imported where they are used."""

import re
import string
from collections import Counter

CHARACTERS = "\u3400-\u4dbf\u4e00-\u9fff\u3040-\u30ff\uac00-\ud7af"  # Han, kana, hangul
PUNCTUATION = set(string.punctuation + "，。！？；：、“”‘’（）")
WORD = re.compile(rf"[{CHARACTERS}]|[^\W{CHARACTERS}]+")


class Words:
    """rouge-score's tokenizer: words in lower case, and each Chinese character by itself."""

    def tokenize(self, text: str) -> list[str]:
        return WORD.findall(text.lower())


def normal(text: str) -> str:
    """As SQuAD compares answers: lower case, no punctuation, no articles, single spaces."""
    plain = "".join(c for c in text.lower() if c not in PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split())


def exact_match(reference: str, text: str) -> float:
    return float(normal(reference) == normal(text))


def token_f1(reference: str, text: str) -> float:
    """Shared words of both, as SQuAD counts them; Chinese by characters."""
    wanted, found = (WORD.findall(normal(each)) for each in (reference, text))
    if not wanted or not found:
        return float(wanted == found)
    shared = sum((Counter(wanted) & Counter(found)).values())
    return 2 * shared / (len(wanted) + len(found))


def rouge(reference: str, text: str) -> dict[str, float]:
    """F of ROUGE-1, ROUGE-2 and ROUGE-L, 0 to 1."""
    from rouge_score.rouge_scorer import RougeScorer

    kinds = ["rouge1", "rouge2", "rougeL"]
    scores = RougeScorer(kinds, tokenizer=Words()).score(reference, text)
    return {kind: float(scores[kind].fmeasure) for kind in kinds}


def chrf(reference: str, text: str) -> float:
    """sacrebleu's sentence chrF, 0 to 100."""
    from sacrebleu import sentence_chrf

    return float(sentence_chrf(text, [reference]).score)


def words(text: str) -> int:
    return len(WORD.findall(text))
