"""The draw leaves the tokens that transformers' own warpers leave, and is repeatable."""

import pytest
import torch
from transformers.generation import logits_process as theirs

from core.chat.sampling import Sampler, Sampling
from core.errors import UserError

VOCABULARY = 50


def drawn(logits: torch.Tensor, prompt: list[int] = (), seeds: int = 300, **settings) -> set[int]:
    """Every token that comes up over many seeds."""
    found = set()
    for seed in range(seeds):
        sampler = Sampler(1, VOCABULARY, "cpu")
        sampler.load(Sampling(**{"top_p": 1.0, "temperature": 1.0, "seed": seed} | settings),
                     [list(prompt)])
        found.add(int(sampler.draw(logits)))
    return found


def logits_of(seed: int = 0) -> torch.Tensor:
    return torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 2


@pytest.mark.parametrize("settings, warper", [
    ({"top_k": 4}, theirs.TopKLogitsWarper(4)),
    ({"top_p": 0.6}, theirs.TopPLogitsWarper(0.6)),
    ({"min_p": 0.3}, theirs.MinPLogitsWarper(0.3))], ids=["top-k", "top-p", "min-p"])
def test_what_is_left_is_what_transformers_leaves(settings, warper):
    logits = logits_of()
    left = set(torch.isfinite(warper(None, logits.clone()))[0].nonzero()[:, 0].tolist())
    assert drawn(logits, temperature=1.0, **settings) == left


def test_a_repetition_penalty_is_that_of_transformers():
    logits, prompt = logits_of(1), [int(logits_of(1).argmax()), 3, 3]
    punished = theirs.RepetitionPenaltyLogitsProcessor(2.5)(torch.tensor([prompt]), logits.clone())
    sampler = Sampler(1, VOCABULARY, "cpu")
    sampler.load(Sampling(temperature=0, repetition_penalty=2.5), [prompt])
    assert int(sampler.draw(logits)) == int(punished.argmax()) != prompt[0]


def test_a_drawn_token_is_punished_from_then_on():
    logits = torch.zeros(1, VOCABULARY)
    logits[0, 7], logits[0, 8] = 2.0, 1.5
    sampler = Sampler(1, VOCABULARY, "cpu")
    sampler.load(Sampling(temperature=0, repetition_penalty=2.0), [[1]])
    assert [int(sampler.draw(logits)) for _ in range(2)] == [7, 8]


def test_tokens_come_as_often_as_their_probability_says():
    shares = torch.tensor([[0.5, 0.3, 0.2]])
    sampler = Sampler(1, 3, "cpu")
    sampler.load(Sampling(temperature=1.0, top_p=1.0, max_new_tokens=4000), [[0]])
    counts = torch.bincount(torch.cat([sampler.draw(shares.log()) for _ in range(4000)]),
                            minlength=3) / 4000
    assert (counts - shares[0]).abs().max() < 0.03


def test_rows_with_the_same_logits_draw_the_same_tokens():
    sampler = Sampler(3, VOCABULARY, "cpu")
    sampler.load(Sampling(temperature=1.5, seed=9), [[0]] * 3)
    for seed in range(20):
        assert len(set(sampler.draw(logits_of(seed).expand(3, -1)).tolist())) == 1


def test_a_forced_token_comes_once_whatever_the_logits_say():
    sampler = Sampler(2, VOCABULARY, "cpu")
    sampler.load(Sampling(temperature=0), [[0], [0]])
    logits = logits_of().expand(2, -1)
    likeliest = int(logits[0].argmax())
    sampler.force(1, 5)
    assert sampler.draw(logits).tolist() == [likeliest, 5]
    assert sampler.draw(logits).tolist() == [likeliest] * 2


@pytest.mark.parametrize("wrong", [{"seed": 2**70}, {"temperature": -1}, {"max_new_tokens": 0}],
                         ids=str)
def test_a_setting_out_of_its_range_is_told(wrong):
    with pytest.raises(UserError, match="needs"):
        Sampling(**wrong)
