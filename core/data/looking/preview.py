"""One row as a person sees it: raw, as a dialogue, and token by token with what is learned."""

from typing import Any

from core.config import Config
from core.data.build import Opened
from core.data.messages.dialogues import CHANGE, ORIGIN
from core.data.tokens.fit import regions
from core.data.tokens.template import dropped, special_texts
from core.data.tokens.tokenize import IGNORED, Example, Marks

LEARNED, SPECIAL, CUT, PIECE = 1, 2, 4, 8  # PIECE: a piece of a split row begins here
SHOWN_CHARACTERS = 80  # of a part that the template leaves out
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


def in_pieces(example: Example, tokenizer: Any, max_length: int) -> tuple[list[Token], int]:
    """The tokens of a row that is split, with marks where a piece begins; a piece that teaches
    nothing is left out of the run and so is shown as cut. And how many pieces are learned."""
    shown, learned = tokens(example, tokenizer), 0
    for start, stop in regions(len(shown), len(Marks(tokenizer).opening), max_length):
        teaches = any(flags & LEARNED for _, _, flags in shown[start:stop])
        learned += teaches
        for position in range(start, stop):
            text, token, flags = shown[position]
            begins = position == start and (start > 0 or not teaches)
            shown[position] = text, token, flags + begins * PIECE + (not teaches) * CUT
    return shown, learned


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
         row: dict[str, Any], total: int, config: Config) -> dict[str, Any]:
    """What the Data set tab shows of row `index` (from 0) of `part` ('train' or 'eval'). `example`
    is what tokenize.encode makes of it."""
    length = len(example.ids) + len(example.lost[0])
    is_split = (config.too_long == "split" and length > config.max_length
                and example.learned > 0)
    shown, note = [], ""
    if config.too_long == "drop" and example.lost[0]:
        example = Example([], [], ([*example.ids, *example.lost[0]],
                                   [*example.labels, *example.lost[1]]))
        note = f"This row has {length:,} tokens, more than Max length, and is left out."
    elif is_split:
        shown, pieces = in_pieces(example, tokenizer, config.max_length)
        note = (f"This row has {length:,} tokens, more than Max length, and is learned in {pieces} "
                "pieces.")
    elif example.lost[0]:
        note = (f"{len(example.lost[0])} tokens lie beyond the max length and won't be seen, "
                f"{example.lost_learned} of them part of what should be learned.")
    elif not example.learned:
        note = "Nothing is learned from this row; it is left out."
    messages = opened.messages(row)
    note = " ".join(filter(None, [note, *left_out(messages, tokenizer)]))
    raw, drawn = opened.raw(row), shown or tokens(example, tokenizer)
    return {
        "title": f"{'Training' if part == 'train' else 'Held-out'} row {index + 1:,} of {total:,}",
        "tokens": drawn, "note": note,
        "empty": "This row holds no tokens.",
        "messages": messages, "before": opened.before(row),
        "seen": _decode([token for _, token, flags in drawn if not flags & CUT], tokenizer),
        "taught": taught(example, tokenizer),
        "origin": row.get(ORIGIN, "") if opened.sources else "", "change": row.get(CHANGE, ""),
        "raw": {key: str(value)[:2000] for key, value in raw.items()},
        "layout": opened.layout.name, "columns": list(raw),
    }


def left_out(messages: list[dict[str, Any]], tokenizer: Any) -> list[str]:
    """A sentence for each part of a dialogue that the model's template leaves out or only reads."""
    return [f"The template {'lets the model read, not learn,' if part.read_only else 'leaves out'} "
            f"\u201c{_short(part.text)}\u201d in turn {part.index + 1}."
            for part in dropped(messages, tokenizer)]


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}\u2026"


def taught(example: Example, tokenizer: Any) -> list[str]:
    """The learned runs of a row as text."""
    runs: list[list[int]] = []
    before = IGNORED
    for token, label in zip(example.ids, example.labels, strict=True):
        if label != IGNORED:
            if before == IGNORED:
                runs.append([])
            runs[-1].append(token)
        before = label
    return [_decode(run, tokenizer) for run in runs]
