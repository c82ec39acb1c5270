"""Answers' log-probabilities are transformers' own, however rows are laid together."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from core.evaluation import score as scoring
from core.evaluation.score import Asked, Candidate, Score, can_join, probabilities, score


@pytest.fixture(scope="session")
def model(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def alone(model, prefix: list[int], candidate: Candidate) -> float:
    """One plain pass over prefix and answer."""
    ids = [*prefix, *candidate.ids]
    with torch.no_grad():
        logs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(logs[at - 1, ids[at]]) for at, counted in
               enumerate([*[False] * len(prefix), *candidate.counted]) if counted and at)


def answer(*ids: int) -> Candidate:
    return Candidate(list(ids), [True] * len(ids))


ROWS = [
    Asked([5, 9, 300, 41], [answer(7, 2), answer(7, 8, 2), answer(7, 8, 9, 2)]),  # share a prefix
    Asked([17], [answer(4)]),
    Asked([3, 3, 3, 90, 91, 92], [Candidate([6, 7, 8, 9], [True, False, False, True]),
                                  answer(11, 12)]),
    Asked([], [answer(20, 21, 22)]),  # a plain text: its first token can't be foretold
]


@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize("budget", [4, 16, 10_000])
def test_every_answer_has_the_log_probability_of_a_plain_pass(model, joins, budget, monkeypatch):
    monkeypatch.setattr(scoring, "TOKENS_ON_CPU", budget)
    found = [row for batch in score(model, ROWS, joins) for row in batch]
    for row, scores in zip(ROWS, found, strict=True):
        for candidate, told in zip(row.candidates, scores, strict=True):
            assert told.log_probability == pytest.approx(alone(model, row.prefix, candidate),
                                                         abs=1e-4)


def test_tokens_between_answers_do_not_count(model):
    (_, _, third, fourth), = list(score(model, ROWS, True))
    assert [s.tokens for s in third] == [2, 2]
    assert fourth[0].tokens == 2


def test_a_model_that_keeps_rows_apart_is_asked_jointly(model):
    assert can_join(model)


def test_a_model_that_looks_at_no_positions_is_asked_row_by_row():
    from transformers import BloomConfig, BloomForCausalLM

    torch.manual_seed(0)
    bloom = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4,
                                         initializer_range=0.3)).eval()
    assert not can_join(bloom)
    found = [row for batch in score(bloom, ROWS[1:2], False) for row in batch]
    assert found[0][0].tokens == 1


def test_shares_of_labels_add_up_even_where_all_are_unlikely():
    shares = probabilities([Score(-2000.0, 3), Score(-2001.0, 3)])
    assert shares.sum() == pytest.approx(1.0) and shares[0] > shares[1]
