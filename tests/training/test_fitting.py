"""What a machine is good for, said from the model's shape and the memory there is."""

from dataclasses import replace

import pytest

from core.config import Config
from core.files import Folders
from core.model import load, lora
from core.model.catalog import load_catalog
from core.model.estimate import sizes_of
from core.model.hardware import Device
from core.training.fitting import EXAMPLES, Size, dense_sizes, fitting, suggested


def machine(kind: str, gigabytes: float) -> Device:
    return Device(kind, "device", int(gigabytes * 2**30), True)


def on(kind: str, gigabytes: float, folders: Folders) -> dict[str, Size]:
    return {size.model: size for size in fitting(folders, machine(kind, gigabytes))}


@pytest.mark.parametrize("model", EXAMPLES)
def test_sizes_from_the_shape_are_those_of_the_model(model, folders):
    config = Config(base_model=model, target_modules=("all linear",))
    shape = load.load_shape(config, folders)
    counted = replace(sizes_of(shape, config, 0), learned=lora.describe(config, shape).trainable)
    assert dense_sizes(load_catalog(folders)[model], config.lora_r) == counted


def test_a_card_of_24_gb_learns_seven_billion_in_16_bit_and_fourteen_in_4(folders):
    by_model = on("cuda", 24, folders)
    assert list(by_model) == list(EXAMPLES)
    seven, fourteen = (by_model["deepseek-ai/deepseek-llm-7b-chat"], by_model["Qwen/Qwen3-14B"])
    assert (seven.verdict, seven.weights) == ("good", "16bit")
    assert (fourteen.verdict, fourteen.weights) == ("good", "4bit")
    assert by_model["deepseek-ai/DeepSeek-R1-Distill-Llama-70B"].verdict == "no"


def test_a_processor_is_no_place_for_what_merely_fits(folders):
    verdicts = [size.verdict for size in on("cpu", 512, folders).values()]
    assert verdicts == sorted(verdicts, key=["good", "slow", "no"].index)
    assert {"good", "slow", "no"} == set(verdicts)


@pytest.mark.parametrize(("kind", "gigabytes", "model"), [
    ("cpu", 512, EXAMPLES[0]), ("cuda", 80, "deepseek-ai/deepseek-llm-7b-chat"),
    ("mps", 12, "Qwen/Qwen3-4B"), ("cuda", 0.5, EXAMPLES[0])])
def test_the_model_that_is_suggested_suits_a_first_try(kind, gigabytes, model, folders):
    sizes = list(on(kind, gigabytes, folders).values())
    assert suggested(sizes, machine(kind, gigabytes)).model == model
