"""Rows that are too long: what is kept, what is lost, and that it is told."""

import json

import pytest
from transformers import ByT5Tokenizer

from core.config import Config
from core.data.build import open_dataset, tokenize_rows
from core.data.looking import preview
from core.data.tokens.fit import Laid, fit, learned_in
from core.data.tokens.tokenize import IGNORED, encode

# An opening (0), five of context (1-5), five that are learned (6-10).
ROW = Laid([*range(11)], [(6, 11)], opening=1)


@pytest.mark.parametrize("too_long, max_length, expected", [
    ("cut", 11, [(ROW.ids, [(6, 11)])]),
    ("cut", 8, [([0, 1, 2, 3, 4, 5, 6, 7], [(6, 8)])]),
    ("cut left", 8, [([0, 4, 5, 6, 7, 8, 9, 10], [(3, 8)])]),
    ("cut left", 5, [([0, 7, 8, 9, 10], [(2, 5)])]),
    ("drop", 10, []),
    ("split", 8, [([0, 1, 2, 3, 4, 5, 6, 7], [(6, 8)]), ([0, 7, 8, 9, 10], [(2, 5)])]),
    ("split", 5, [([0, 4, 5, 6, 7], [(3, 5)]), ([0, 7, 8, 9, 10], [(2, 5)])]),
])
def test_a_row_that_is_too_long_is_fitted_as_chosen(too_long, max_length, expected):
    assert [(row.ids, row.runs) for row in fit(ROW, max_length, too_long)] == expected


@pytest.mark.parametrize("max_length", range(3, 14))
def test_pieces_of_a_split_row_learn_each_learned_token_once(max_length):
    pieces = fit(ROW, max_length, "split")
    learned = [piece.ids[at] for piece in pieces for start, stop in piece.runs
               for at in range(start, stop)]
    assert learned == ROW.ids[6:11]
    assert all(len(piece.ids) <= max_length for piece in pieces)
    assert sum(map(learned_in, pieces)) == learned_in(ROW)


LONG = [{"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Is this good?\n" + "A long film review. " * 30},
        {"role": "assistant", "content": "Yes, it is good."}]


def test_the_context_is_cut_and_the_answer_stays_whole(family, tokenizers):
    messages = LONG if family.takes_system else LONG[1:]
    tokenizer = tokenizers[family.name]
    whole = encode(messages, tokenizer, "answers", 100_000)
    limit = len(whole.ids) - 150
    example = encode(messages, tokenizer, "answers", limit, "cut context")
    assert limit - 20 < len(example.ids) <= limit
    assert [x for x in example.labels if x != IGNORED] == [
        x for x in whole.labels if x != IGNORED]
    text = tokenizer.decode(example.ids)
    assert "Is this good?" in text
    assert example.lost_learned == 0 and len(example.lost[0]) == len(whole.ids) - len(example.ids)


def test_an_answer_that_is_too_long_alone_is_cut_at_its_end(tokenizers):
    messages = [LONG[1], {"role": "assistant", "content": "yes " * 400}]
    example = encode(messages, tokenizers["smollm2"], "answers", 160, "cut context")
    assert len(example.ids) == 160 and example.learned > 30 and example.lost_learned > 0


def test_a_tokenizer_without_offsets_cuts_the_context_too():
    tokenizer = ByT5Tokenizer()
    whole = encode(LONG, tokenizer, "answers", 100_000)
    example = encode(LONG, tokenizer, "answers", 300, "cut context")
    assert not tokenizer.is_fast and 250 < len(example.ids) <= 300
    assert example.learned == whole.learned and example.lost_learned == 0


@pytest.mark.parametrize("too_long", ["cut", "cut left", "cut context"])
def test_the_preview_shows_every_token_that_is_lost_where_it_stood(tokenizers, too_long):
    tokenizer = tokenizers["deepseek_chat"]
    whole = encode(LONG, tokenizer, "answers", 100_000)
    example = encode(LONG, tokenizer, "answers", 100, too_long)
    shown = preview.tokens(example, tokenizer)
    assert [token for _, token, _ in shown] == whole.ids
    cut = [bool(flags & preview.CUT) for _, _, flags in shown]
    assert cut.count(False) == len(example.ids) <= 100
    assert cut[0] is False and cut[-1] is (too_long == "cut")


@pytest.mark.parametrize("too_long, used, counts", [
    ("cut", 2, {"cut_rows": 1, "rows_losing_answer": 1}),
    ("cut left", 2, {"cut_rows": 1, "rows_losing_answer": 1}),
    ("cut context", 2, {"cut_rows": 1, "rows_losing_answer": 1}),
    ("drop", 1, {"dropped_rows": 1, "rows_losing_answer": 1}),
    ("split", 5, {"split_rows": 1, "rows_losing_answer": 0, "lost_learned_tokens": 0})])
def test_the_report_tells_what_was_done(too_long, used, counts, folders, tmp_path, tokenizer):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": "?", "answer": "x" * n}) + "\n"
                            for n in (3, 900)))
    config = Config(dataset=str(path), eval_rows=0, too_long=too_long, max_length=160)
    opened = open_dataset(config, folders)
    found, report = tokenize_rows(opened, opened.train, config, tokenizer)
    told = report.to_dict()
    assert {name: told[name] for name in counts} == counts
    assert (report.lost_learned_tokens > 0) == (report.rows_losing_answer > 0)
    assert len(found) == used or too_long == "split" and len(found) > 2
