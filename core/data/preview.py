"""One row as a person sees it: raw, as a dialogue, and token by token with what is learned."""

from typing import Any

from core.data.build import Opened, Report
from core.data.template import special_texts
from core.data.tokenize import IGNORED, Example

LEARNED, SPECIAL, CUT = 1, 2, 4
LONGEST_CHARACTER = 8  # tokens; a byte-level tokenizer may need several for one character

Token = tuple[str, int, int]  # text, id, flags


def tokens(example: Example, tokenizer: Any) -> list[Token]:
    """(text, id, flags) of each token, those that were cut off included, where they stood. Tokens
    that are later bytes of one character have the text ''."""
    first = len(example.ids) if example.lost_at is None else example.lost_at
    ids = [*example.ids[:first], *example.lost[0], *example.ids[first:]]
    labels = [*example.labels[:first], *example.lost[1], *example.labels[first:]]
    special = set(special_texts(tokenizer))
    last = first + len(example.lost[0])
    result = []
    for position, text in enumerate(pieces(ids, tokenizer)):
        flags = ((labels[position] != IGNORED) * LEARNED
                 + (text in special) * SPECIAL + (first <= position < last) * CUT)
        result.append((text, ids[position], flags))
    return result


def pieces(ids: list[int], tokenizer: Any) -> list[str]:
    """The text of each id, so that they join to the whole text. Decoded behind the token before,
    because SentencePiece drops a leading space at the start of a text."""
    texts: list[str] = []
    anchor: list[int] = []
    group: list[int] = []
    for token in ids:
        group.append(token)
        before = _decode(anchor, tokenizer)
        text = _decode(anchor + group, tokenizer)[len(before):]
        if text.endswith("\ufffd") and len(group) < LONGEST_CHARACTER:
            continue
        texts += [text] + [""] * (len(group) - 1)
        anchor, group = group, []
    if group:
        texts += [_decode(group, tokenizer)] + [""] * (len(group) - 1)
    return texts


def _decode(ids: list[int], tokenizer: Any) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def view(opened: Opened, example: Example, tokenizer: Any, index: int, part: str,
         row: dict[str, Any], total: int) -> dict[str, Any]:
    """What the Data set tab shows of row `index` (from 0) of `part` ('train' or 'eval')."""
    note = ""
    if example.lost[0]:
        note = (f"{len(example.lost[0])} tokens lie beyond the max length and won't be seen, "
                f"{example.lost_learned} of them part of what should be learned.")
    elif not example.learned:
        note = "Nothing is learned from this row; it is left out."
    return {
        "title": f"{'Training' if part == 'train' else 'Held-out'} row {index + 1:,} of {total:,}",
        "tokens": tokens(example, tokenizer), "note": note,
        "empty": "This row holds no tokens.",
        "messages": opened.messages(row),
        "raw": {key: str(value)[:2000] for key, value in row.items()},
        "layout": opened.layout.name, "columns": list(row),
    }


def facts(report: Report, held_out_rows: int, whole: bool) -> list[tuple[str, str]]:
    """Label and value of the counts beside the preview; `whole` is False for a first part only."""
    of = "" if whole else " (first part)"
    share = report.learned_tokens / report.tokens if report.tokens else 0.0
    return [
        (f"Training rows{of}", f"{report.used_rows:,}"),
        ("Held-out rows", f"{held_out_rows:,}"),
        (f"Tokens{of}", f"{report.tokens:,}"),
        ("Learned", f"{report.learned_tokens:,} ({share:.0%})"),
        ("Rows cut off", f"{report.cut_rows:,} (losing {report.lost_learned_tokens:,} learned "
                         "tokens)" if report.cut_rows else "0"),
        ("Rows left out", f"{report.empty_rows + report.dropped_rows:,}"),
    ]
