"""Attention by rows gives each of the joined rows what it would get alone, backwards too."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from core.data.tokens.pack import joined, keep_learned, share_opening
from core.data.tokens.tokenize import IGNORED
from core.model import attention
from core.model.attention import attend_by_rows, ordinary, rows_stay_apart
from core.training.loss import LearnedLoss

SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
         "num_attention_heads": 4, "vocab_size": 300, "max_position_embeddings": 256}
SHAPES = {"llama": {"num_key_value_heads": 4}, "qwen2": {"num_key_value_heads": 2},
          "qwen3": {"num_key_value_heads": 2, "head_dim": 32},
          "mistral": {"num_key_value_heads": 1, "sliding_window": 8},
          "gemma3_text": {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 8,
                          "layer_types": ["sliding_attention", "full_attention"]}}
LENGTHS = [[3, 40, 17, 120, 1, 118, 39], [5], [1], [20, 20, 20]]


@pytest.fixture(params=SHAPES)
def model(request):
    config = AutoConfig.for_model(request.param, **SMALL, **SHAPES[request.param])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    model.config.use_cache = False
    return model


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_each_row_gets_its_logits_and_gradients(model, lengths):
    torch.manual_seed(1)
    rows = [torch.randint(5, 300, (length,)).tolist() for length in lengths]
    weights = torch.randn(sum(lengths), 300)
    alone = torch.cat([model(input_ids=torch.tensor([row])).logits[0] for row in rows])
    expected = _gradient(model, (alone * weights).sum())
    assert attend_by_rows(model)
    batch = joined([{"input_ids": row, "labels": row} for row in rows])
    batch.pop("labels")
    together = model(**batch).logits[0]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(_gradient(model, (together * weights).sum()), expected,
                               rtol=1e-3, atol=1e-4)


def test_what_is_not_joined_is_asked_in_the_ordinary_way(model):
    ids = torch.tensor([[5, 6, 7, 8]])
    before = model(input_ids=ids).logits
    assert attend_by_rows(model)
    with ordinary(model):
        torch.testing.assert_close(model(input_ids=ids).logits, before)
    with pytest.raises(TypeError):  # rows without their beginnings would see each other
        model(input_ids=ids)


def test_an_architecture_that_is_not_known_keeps_its_own_attention():
    config = AutoConfig.for_model("opt", hidden_size=32, ffn_dim=64, num_hidden_layers=1,
                                  num_attention_heads=2, vocab_size=100,
                                  max_position_embeddings=64, word_embed_proj_dim=32)
    model = AutoModelForCausalLM.from_config(config)
    assert not attend_by_rows(model) and not rows_stay_apart(model)


def _gradient(model, loss) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("opening", [1, 6, 30])
def test_rows_that_begin_alike_are_computed_together_to_the_same_end(model, opening):
    torch.manual_seed(2)
    begin = torch.randint(5, 300, (opening,)).tolist()
    rows = []
    for length in (4, 20, 19, 3):
        own = torch.randint(5, 300, (length,)).tolist()
        rows.append({"input_ids": begin + own,
                     "labels": [IGNORED] * (opening + 1) + own[1:]})
    assert attend_by_rows(model)
    batch = keep_learned(joined(rows))
    shared = share_opening(batch)
    saved = batch["input_ids"].numel() - shared["input_ids"].numel()
    assert saved >= 3 * opening or (saved == 0 and opening == 1)
    results = []
    for each in (batch, shared):
        labels = each.pop("labels")
        loss = LearnedLoss(None).learned(model(**each), labels)
        results.append((loss.detach(), _gradient(model, loss)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=1e-5)


def test_a_gpu_without_varlen_kernels_attends_in_groups(model, monkeypatch):
    batch = joined([{"input_ids": row, "labels": row} for row in ([5, 6, 7, 8], [9, 10])])
    batch.pop("labels")
    assert attend_by_rows(model)
    expected = model(**batch).logits
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
    monkeypatch.setattr(attention, "varlen_attn", None)  # would fail where it is called
    assert attend_by_rows(model)
    torch.testing.assert_close(model(**batch).logits, expected)
