"""A model folder to a model in memory."""

import shutil

import pytest
import torch

from core.config import Config
from core.errors import UserError
from core.model.hardware import Device, Formats
from core.model.load import for_learning, load_base, load_shape, load_tokenizer

CPU = Device("cpu", "CPU", 0, has_bf16=True)


@pytest.fixture
def copied(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "copy")


@pytest.mark.parametrize("weights, precision, dtype", [
    ("32bit", "fp32", torch.float32), ("16bit", "bf16", torch.bfloat16),
    ("16bit", "fp32", torch.bfloat16)])
def test_a_model_is_held_as_chosen(weights, precision, dtype, tiny_model):
    model = load_base(tiny_model, Formats(weights, precision), Config(), CPU)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert model.config.use_cache is False


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["4bit", "8bit"])
def test_a_quantized_model_answers_nearly_as_the_whole_one(weights, tiny_model):
    pytest.importorskip("bitsandbytes")
    ids = torch.tensor([[5, 6, 7]])
    whole = load_base(tiny_model, Formats("32bit", "fp32"), Config(), CPU)(input_ids=ids).logits
    model = load_base(tiny_model, Formats(weights, "fp32"), Config(), CPU)
    close = torch.nn.functional.cosine_similarity(
        model(input_ids=ids).logits.float().flatten(), whole.flatten(), dim=0)
    assert close > 0.9


def test_a_4bit_model_that_was_evaluated_still_hands_gradients_back(tiny_model):
    pytest.importorskip("bitsandbytes")
    ids = torch.tensor([[5, 6, 7]])
    found = []
    for evaluated in (False, True):
        model = for_learning(load_base(tiny_model, Formats("4bit", "bf16"), Config(), CPU))
        if evaluated:
            with torch.no_grad():
                model.eval()(input_ids=ids)
        read = model.get_input_embeddings()(ids).detach().requires_grad_()
        model.train()(inputs_embeds=read, labels=ids).loss.backward()
        found.append(read.grad)
    assert found[0].norm() > 0
    torch.testing.assert_close(found[1], found[0])


def test_a_tokenizer_without_a_padding_token_pads_with_its_end(copied):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(copied)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(copied)
    assert load_tokenizer(copied).pad_token == "<|im_end|>"


@pytest.mark.parametrize("damage", ["model.safetensors", "config.json"])
def test_damaged_weights_or_config_are_told_with_the_folder(damage, copied):
    whole = (copied / damage).read_bytes()
    (copied / damage).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="copy"):
        load_base(copied, Formats("32bit", "fp32"), Config(), CPU)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_tokenizer_is_told_with_the_folder(damage, copied):
    path = copied / "tokenizer.json"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        path.unlink()
    with pytest.raises(UserError, match="copy"):
        load_tokenizer(copied)


@pytest.mark.parametrize("content", ['{"model_type": "lla', '{"model_type": "unheard_of"}', "{}"])
def test_a_config_that_names_no_known_model_is_told(content, copied, folders):
    (copied / "config.json").write_text(content)
    with pytest.raises(UserError, match="copy"):
        load_shape(Config(base_model=str(copied)), folders)


def test_a_shape_holds_no_weights(tiny_model, folders):
    model = load_shape(Config(base_model=str(tiny_model)), folders)
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_a_catalogue_models_shape_needs_no_hub(folders, monkeypatch):
    monkeypatch.setattr("core.model.hub.locate", lambda *_, **__: pytest.fail("asked the hub"))
    model = load_shape(Config(base_model="deepseek-ai/deepseek-llm-7b-base"), folders)
    assert sum(p.numel() for p in model.parameters()) == 6_910_365_696
