"""Batches in passes teach what they would teach whole; memory that runs out makes them smaller."""

import pytest
import torch

from core.data.tokens.pack import joined, keep_learned
from core.data.tokens.token_rows import TrainingRows
from core.data.tokens.tokenize import IGNORED, Example
from core.training.loss import LearnedLoss, _HeadLoss, _loss_and_gradient
from core.training.passes import Passes, cut, heaviest_batch

LENGTHS = [5, 40, 9, 17, 3, 22, 31, 8]


def rows() -> list[dict]:
    return [{"input_ids": list(range(at, at + length)),
             "labels": [IGNORED] * (length // 2) + list(range(at + length // 2, at + length))}
            for at, length in enumerate(LENGTHS)]


def batch() -> dict:
    return keep_learned(joined(rows()))


class Model(torch.nn.Module):
    """Its loss is that of a table of logits for each token."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(64, 64)
        self.device = torch.device("cpu")


def step(model, part, items):
    states = model.table(part["input_ids"])[:, part["logits_to_keep"]]
    loss = LearnedLoss(None).learned(type("Outputs", (), {"logits": states}), part["labels"], items)
    loss.backward()
    return loss.detach()


def go_on() -> None:
    """Nobody asks for a Stop."""


def learn(model, most_tokens, step=step) -> tuple[float, torch.Tensor, list[str]]:
    said: list[str] = []
    whole = batch()
    passes = Passes(step, list(model.parameters()), most_tokens, said.append, go_on, go_on)
    loss = passes(model, whole, (whole["labels"] != IGNORED).sum())
    return float(loss), model.table.weight.grad.clone(), said


@pytest.mark.parametrize("most", [1, 16, 41, 64, 100, 10_000])
def test_every_row_is_in_one_pass_and_none_is_larger_than_it_may_be(most):
    parts = cut(batch(), most)
    sizes = [part["input_ids"].numel() for part in parts]
    assert sum(sizes) == sum(LENGTHS)
    assert all(size <= most or size in LENGTHS for size in sizes)
    learned = sum(int((part["labels"] != IGNORED).sum()) for part in parts)
    assert learned == int((batch()["labels"] != IGNORED).sum())


@pytest.mark.parametrize("most", [1, 41, 64])
def test_passes_add_up_to_the_whole_batch(most):
    loss, gradient, _ = learn(Model(), 10_000)
    in_parts, also, _ = learn(Model(), most)
    assert in_parts == pytest.approx(loss, rel=1e-5)
    assert torch.allclose(also, gradient, atol=1e-6)


def test_memory_that_runs_out_makes_smaller_passes_that_teach_the_same():
    seen = []

    def tight(model, part, items):
        loss = step(model, part, items)  # what it has added already must not stay
        seen.append(part["input_ids"].numel())
        if seen[-1] > 400:
            raise torch.OutOfMemoryError("too large")
        return loss

    model, long = Model(), keep_learned(joined(rows() * 8))
    items = (long["labels"] != IGNORED).sum()
    said: list[str] = []
    passes = Passes(tight, list(model.parameters()), 2048, said.append, go_on, go_on)
    loss = passes(model, long, items)
    plain = Model()
    whole = step(plain, long, items)
    assert passes.most_tokens == 512 and len(said) == 2
    assert float(loss) == pytest.approx(float(whole), rel=1e-5)
    assert torch.allclose(model.table.weight.grad, plain.table.weight.grad, atol=1e-6)


def test_what_an_earlier_batch_has_taught_stays_when_memory_runs_out():
    model = Model()
    model.table.weight.grad = torch.ones_like(model.table.weight)
    failed = []

    def once(model, part, items):
        loss = step(model, part, items)
        if not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("once")
        return loss

    long = keep_learned(joined(rows() * 4))
    items = (long["labels"] != IGNORED).sum()
    Passes(once, list(model.parameters()), 1024, lambda _: None, go_on, go_on)(model, long, items)
    plain = Model()
    step(plain, long, items)
    assert torch.allclose(model.table.weight.grad - 1, plain.table.weight.grad, atol=1e-6)


def test_one_row_that_does_not_fit_is_an_error():
    def never(model, part, items):
        raise torch.OutOfMemoryError("never")

    with pytest.raises(torch.OutOfMemoryError):
        learn(Model(), 1024, never)


def test_the_rehearsal_teaches_nothing_and_draws_nothing():
    model = Model()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    passes = Passes(lambda *a: step(*a) + 0 * torch.rand(1)[0], list(model.parameters()), 64,
                    lambda _: None, go_on, go_on)
    passes.rehearse(model, batch())
    assert model.table.weight.grad is None
    assert torch.equal(torch.rand(3), expected)


def test_the_heaviest_rows_are_the_longest():
    known = TrainingRows([Example(row["input_ids"], row["labels"]) for row in rows()])
    assert [len(row["input_ids"]) for row in heaviest_batch(known, 3)] == [40, 31, 22]


def test_the_loss_from_states_is_that_of_all_logits():
    torch.manual_seed(0)
    states = torch.randn(700, 16, requires_grad=True)
    weight, wanted = torch.randn(96, 16), torch.randint(0, 96, (700,))
    wanted[::3] = IGNORED
    loss = _HeadLoss.apply(states, weight, wanted, _loss_and_gradient)
    (loss * 0.5).backward()
    ours, states.grad = states.grad, None
    plain = torch.nn.functional.cross_entropy(states @ weight.t(), wanted, ignore_index=IGNORED,
                                              reduction="sum")
    (plain * 0.5).backward()
    assert float(loss) == pytest.approx(float(plain), rel=1e-5)
    assert torch.allclose(ours, states.grad, atol=1e-5)


def test_a_pass_lies_where_its_batch_lies():
    elsewhere = {name: value.to("meta") if isinstance(value, torch.Tensor) else value
                 for name, value in joined(rows()).items()}
    part = joined([{"input_ids": elsewhere["input_ids"][0], "labels": elsewhere["labels"][0]}])
    assert {value.device.type for value in part.values()
            if isinstance(value, torch.Tensor)} == {"meta"}
