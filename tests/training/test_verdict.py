"""Whether anything was learned is told from the weights."""

import torch

from core.config import Config
from core.training.run import Run, create
from core.training.verdict import judge, weights_mark


def nothing(run: Run, before: dict, after: dict) -> str:
    return judge(run, Config(), before, after)[0]


def test_weights_that_stayed_are_named_and_a_small_change_is_enough(quick, folders):
    run, model = create(quick, folders.runs), torch.nn.Linear(4, 4)
    before = weights_mark(model)
    assert "No weight of the adapter changed" in nothing(run, before, weights_mark(model))
    with torch.no_grad():
        model.weight[0, 0] += 1e-4
    assert nothing(run, before, weights_mark(model)) == ""


def test_weights_that_lie_elsewhere_in_the_end_are_not_called_unchanged(quick, folders):
    """ZeRO-3 deals them out: what a process held at first is empty later."""
    model = torch.nn.Linear(4, 4)
    before = weights_mark(model)
    model.weight.data = torch.empty(0)
    assert nothing(create(quick, folders.runs), before, weights_mark(model)) == ""
