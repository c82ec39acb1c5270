"""Layers as one: what is multiplied the quick way is what torch multiplies."""

import pytest
import torch
from torch.nn import functional

from core.chat.adapter import Adapter
from core.chat.joined import FEW, Joined, make_room, project, put, times


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 2, 3, FEW, FEW + 1])
@pytest.mark.parametrize("has_bias", [True, False])
def test_few_tokens_are_multiplied_as_torch_does(tokens, dtype, has_bias):
    torch.manual_seed(0)
    weight, x = torch.randn(24, 40).to(dtype), torch.randn(tokens, 1, 40).to(dtype)
    bias = torch.randn(24).to(dtype) if has_bias else None
    found = times(x, weight, bias)
    assert found.shape == (tokens, 1, 24) and found.is_contiguous()
    torch.testing.assert_close(found, functional.linear(x, weight, bias))


def test_a_layer_multiplies_an_adapter_only_while_a_row_has_one():
    torch.manual_seed(0)
    joined = Joined(("q", "v"), (8, 8), 12, torch.randn(16, 12))
    x = torch.randn(2, 1, 12)
    plain = project(joined, x, None)
    make_room(joined, 2, 4, torch.float32)
    down, up = torch.randn(4, 12), torch.randn(8, 4)
    put(joined, 1, 0, Adapter(4, {(0, "v"): (down, up)}))
    tuned = project(joined, x, slice(0, 2))
    torch.testing.assert_close(tuned[0], plain[0])
    torch.testing.assert_close(tuned[1, 0, 8:], plain[1, 0, 8:] + up @ (down @ x[1, 0]))
    assert joined.tuned == {1}
    put(joined, 1, 0, None)
    assert not joined.tuned and project(joined, x, slice(0, 2)).equal(plain)
