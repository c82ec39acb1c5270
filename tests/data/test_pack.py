"""Rows laid end to end teach exactly what each would teach alone."""

import pytest
import torch

from core.data.tokens.pack import collator, joined, keep_learned, padded, share_opening
from core.data.tokens.tokenize import IGNORED, encode
from core.model.hardware import Device, choose_formats
from core.model.load import load_base
from core.training.loss import LearnedLoss

PAD = 2


@pytest.fixture(params=["sdpa", "eager"])
def model(request, tiny_model, quick):
    """Loaded as for training: without a cache, which would make transformers join the rows."""
    device = Device("cpu", "CPU", 0, has_bf16=False)
    model = load_base(tiny_model, choose_formats(quick, device), quick, device)
    model.set_attn_implementation(request.param)
    return model


@pytest.fixture
def rows(tokenizer):
    dialogues = [("What colour has snow?", "white"), ("2+2?", "It is four, of course. 四"),
                 ("Hi", "x"), ("A rather long question that goes on and on, doesn't it?", "yes")]
    examples = [encode([{"role": "user", "content": q}, {"role": "assistant", "content": a}],
                       tokenizer, "answers", 1000) for q, a in dialogues]
    return [{"input_ids": e.ids, "labels": e.labels} for e in examples]


def learned(rows) -> int:
    return sum(label != IGNORED for row in rows for label in row["labels"][1:])


def loss_and_gradient(model, batches, total):
    """Loss summed over all learned tokens and divided by `total`, and its gradient."""
    model.zero_grad()
    loss = sum(LearnedLoss(None).learned(model(**batch), labels, total) for labels, batch in (
        (batch.pop("labels"), batch) for batch in batches))
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    return loss.detach(), gradient.clone()


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_joined_rows_get_the_logits_that_each_gets_alone(model, rows, training):
    model.train(training)
    with torch.no_grad():
        together = model(**joined(rows)).logits[0]
        alone = [model(input_ids=torch.tensor([row["input_ids"]])).logits[0] for row in rows]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_padded_rows_get_the_logits_that_each_gets_alone(model, rows, training):
    model.train(training)
    with torch.no_grad():
        together = model(**padded(rows, PAD)).logits
        for row, logits in zip(rows, together, strict=True):
            alone = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
            torch.testing.assert_close(logits[: len(alone)], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("packing", [True, False], ids=["joined", "padded"])
def test_a_batch_has_the_loss_and_gradient_of_its_rows(model, rows, packing, training):
    model.train(training)
    total = learned(rows)
    expected = loss_and_gradient(model, [collator(False, PAD)([row]) for row in rows], total)
    by_transformers = sum(model(**padded([row], PAD), num_items_in_batch=torch.tensor(total)).loss
                          for row in rows)
    torch.testing.assert_close(expected[0], by_transformers.detach(), rtol=1e-5, atol=1e-6)
    found = loss_and_gradient(model, [collator(packing, PAD)(rows)], total)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-3, atol=1e-6)


def test_a_row_does_not_see_the_row_before_it(model, rows):
    changed = [{**rows[0], "input_ids": rows[0]["input_ids"][::-1]}, *rows[1:]]
    with torch.no_grad():
        first, second = (model(**joined(r)).logits[0, len(rows[0]["input_ids"]):]
                         for r in (rows, changed))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_the_first_label_of_each_joined_row_is_ignored():
    rows = [{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}, {"input_ids": [8, 9], "labels": [8, 9]}]
    batch = joined(rows)
    assert batch["labels"].tolist() == [[IGNORED, 6, 7, IGNORED, 9]]
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert "attention_mask" not in batch


def test_padding_is_masked_and_never_learned():
    rows = [{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}, {"input_ids": [8], "labels": [8]}]
    batch = padded(rows, PAD)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, PAD, PAD]]
    assert batch["labels"].tolist() == [[5, 6, 7], [8, IGNORED, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_what_is_learned_is_never_shared():
    rows = [{"input_ids": [5, 6, 7, 8, 9, n], "labels": [IGNORED, IGNORED, 7, 8, 9, n]}
            for n in (10, 11, 12)]
    shared = share_opening(keep_learned(joined(rows)))
    assert shared["input_ids"].tolist() == [[5, 6, 7, 8, 9, 10, 6, 7, 8, 9, 11, 6, 7, 8, 9, 12]]
    assert shared["position_ids"][0, :6].tolist() == [0, 1, 2, 3, 4, 5]
    assert shared["cu_seq_lens_q"].tolist() == [0, 1, 6, 11, 16]
    assert shared["cu_seq_lens_k"].tolist() == [0, 1, 7, 13, 19]


@pytest.mark.parametrize("rows", [
    [{"input_ids": [5, 6, 7], "labels": [IGNORED, IGNORED, 7]}],
    [{"input_ids": [5, 6], "labels": [5, 6]}, {"input_ids": [7, 6], "labels": [7, 6]}],
    [{"input_ids": [5], "labels": [IGNORED]}, {"input_ids": [5], "labels": [IGNORED]}]], ids=str)
def test_rows_with_nothing_to_share_stay_as_they_are(rows):
    batch = keep_learned(joined(rows))
    assert share_opening(batch) is batch
