"""What 'auto' comes to, and what a device can't do, in words."""

import pytest
import torch

from core.config import Config
from core.errors import UserError
from core.model.hardware import Device, choose_formats, find_device

GB = 2**30
NEW_GPU = Device("cuda", "H100", 80 * GB, has_bf16=True)
OLD_GPU = Device("cuda", "T4", 16 * GB, has_bf16=False)
APPLE = Device("mps", "Apple GPU", 16 * GB, has_bf16=True)
OLD_CPU = Device("cpu", "CPU, 2 cores", 8 * GB, has_bf16=False)
NEW_CPU = Device("cpu", "CPU, 32 cores", 64 * GB, has_bf16=True)


@pytest.mark.parametrize("device, weights, precision", [
    (NEW_GPU, "16bit", "bf16"), (OLD_GPU, "16bit", "fp16"), (APPLE, "16bit", "bf16"),
    (OLD_CPU, "32bit", "fp32"), (NEW_CPU, "16bit", "bf16")], ids=lambda value: str(value)[:40])
def test_auto_is_the_fastest_that_the_device_has(device, weights, precision):
    formats = choose_formats(Config(), device)
    assert (formats.weights, formats.precision) == (weights, precision)


@pytest.mark.parametrize("weights, precision, compute, held", [
    ("16bit", "bf16", torch.bfloat16, torch.bfloat16),
    ("16bit", "fp16", torch.float16, torch.float16),
    ("32bit", "fp16", torch.float16, torch.float32),
    ("32bit", "fp32", torch.float32, torch.float32),
    ("16bit", "fp32", torch.float32, torch.bfloat16)])
def test_weights_are_held_in_the_format_that_was_chosen(weights, precision, compute, held):
    formats = choose_formats(Config(base_weights=weights, precision=precision), NEW_GPU)
    assert (formats.compute_dtype, formats.weight_dtype) == (compute, held)


@pytest.mark.parametrize("settings, device, word", [
    ({"precision": "fp16"}, OLD_CPU, "fp16"), ({"precision": "fp16"}, APPLE, "fp16"),
    ({"precision": "bf16"}, OLD_GPU, "bf16"),
    ({"base_weights": "4bit"}, APPLE, "4bit"), ({"base_weights": "8bit"}, APPLE, "8bit"),
    ({"optimizer": "paged_adamw_8bit"}, OLD_CPU, "paged_adamw_8bit"),
    ({"optimizer": "lion_32bit"}, APPLE, "lion_32bit")], ids=str)
def test_what_a_device_cannot_do_is_refused_in_words(settings, device, word):
    with pytest.raises(UserError, match=word) as caught:
        choose_formats(Config(**settings), device)
    assert caught.value.remedy


def test_all_that_a_device_cannot_do_is_told_at_once():
    with pytest.raises(UserError) as caught:
        choose_formats(Config(precision="fp16", optimizer="adamw_8bit"), OLD_CPU)
    assert len(caught.value.problem.splitlines()) == 2


def test_this_machine_has_a_device_with_memory():
    device = find_device()
    assert device.kind in ("cuda", "mps", "cpu")
    assert device.memory_bytes > GB / 4 and device.name in device.words
