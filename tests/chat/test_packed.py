"""A step's linear layers on the GPU: 4-bit and 16-bit weights, one row and several."""

import importlib

import pytest
import torch

from core.chat.joined import join, joinable, make_room, project

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize(("width", "sizes"), [(576, (576, 192, 192)), (4096, (100,)),
                                              (11008, (64, 40))])
def test_packed_weights_give_what_unpacked_ones_give(rows, width, sizes, quick):
    from core.chat import graph

    bnb = importlib.import_module("bitsandbytes")
    torch.manual_seed(0)
    parent = torch.nn.Module()
    names = tuple("abc"[:len(sizes)])
    for name, size in zip(names, sizes, strict=True):
        layer = bnb.nn.Linear4bit(width, size, bias=False, compute_dtype=torch.bfloat16,
                                  quant_type="nf4")
        layer.weight = bnb.nn.Params4bit(
            torch.randn(size, width, dtype=torch.bfloat16) / width ** 0.5, requires_grad=False,
            quant_type="nf4")
        setattr(parent, name, layer.cuda())
        assert joinable(layer)
    joined = join(parent, names)
    assert joined.table is not None
    if not quick:
        joined.table = None
    make_room(joined, rows, 16, torch.bfloat16)
    joined.down.normal_().div_(width ** 0.5)
    joined.up.normal_()
    joined.tuned = set(range(rows))
    x, residual = (torch.randn(rows, size, device="cuda", dtype=torch.bfloat16)
                   for size in (width, joined.out))
    y, low = torch.empty_like(residual), torch.empty(rows, 16 * len(sizes), device="cuda")
    graph.linear(joined, x, y, low, residual)
    expected = project(joined, x[:, None], slice(0, rows))[:, 0].float() + residual.float()
    torch.testing.assert_close(y.float(), expected, rtol=2e-2, atol=6e-2)
    graph.linear(joined, x, y, low, tuned=False)
    expected = project(joined, x[:, None], None)[:, 0].float()
    torch.testing.assert_close(y.float(), expected, rtol=1e-2, atol=2e-2)
