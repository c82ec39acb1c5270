"""The estimate of memory against figures measured on an H100, and where the dial goes by it."""

from dataclasses import fields, replace

import pytest

from core.config import Config
from core.files import default_folders
from core.model.attention import KNOWN
from core.model.estimate import BYTES_PER_WEIGHT, LOGITS_AT_ONCE, OPTIMIZER, estimate, sizes_of
from core.model.hardware import Formats
from core.model.load import load_shape
from core.training.pace import DIALS, fit

GIB = 2 ** 30
SEVEN = Config(base_model="deepseek-ai/deepseek-llm-7b-base", base_weights="4bit",
               optimizer="adamw_torch_fused", batch_size=32)
LEARNED = 39_976_960
# Weights, dial, tokens a pass, compiled, GiB: `python -m bench.estimate`, see bench/README.md.
MEASURED = [
    ("4bit", "fastest", 2048, False, 16.87), ("4bit", "fastest", 8192, False, 46.43),
    ("4bit", "balanced", 8192, False, 27.87), ("4bit", "least", 8192, False, 9.44),
    ("16bit", "fastest", 4096, False, 35.25), ("16bit", "least", 4096, False, 16.75),
    ("fp8", "least", 8192, True, 11.20), ("4bit", "fastest", 2048, True, 14.17),
    ("4bit", "fastest", 8192, True, 37.21), ("4bit", "balanced", 8192, True, 22.84),
    ("4bit", "least", 8192, True, 8.46), ("4bit", "least", 4096, True, 7.40),
    ("16bit", "fastest", 8192, True, 45.24), ("16bit", "balanced", 4096, True, 22.90),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return default_folders(tmp_path_factory.mktemp("home")).make()


@pytest.fixture(scope="module")
def sizes(folders):
    return replace(sizes_of(load_shape(SEVEN, folders), SEVEN, 0), learned=LEARNED)


@pytest.mark.parametrize("weights, memory, tokens, compiled, measured", MEASURED)
def test_the_estimate_is_within_a_tenth(sizes, weights, memory, tokens, compiled, measured):
    found = estimate(replace(SEVEN, base_weights=weights), Formats(weights, "bf16"), sizes,
                     pass_tokens=tokens, recomputed=DIALS[memory].recomputed, compiled=compiled)
    assert found.learning / GIB == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("card, recomputed", [(80, 0.0), (40, 0.0), (12, 1.0), (8, 1.0)])
def test_the_dial_goes_to_the_fastest_point_that_fits(sizes, card, recomputed):
    found = fit(SEVEN, Formats("4bit", "bf16"), sizes, card * GIB, 32 * 512, 512)
    assert found.dial.recomputed == recomputed
    if card > 8:
        assert found.fits and found.needed.total < card * GIB


def test_what_fits_nowhere_is_said(sizes):
    assert not fit(replace(SEVEN, base_weights="16bit"), Formats("16bit", "bf16"), sizes,
                   8 * GIB, 32 * 512, 512).fits


def test_the_persons_own_number_of_tokens_is_kept(sizes):
    found = fit(replace(SEVEN, pass_tokens=3000), Formats("4bit", "bf16"), sizes, 80 * GIB,
                16384, 512)
    assert found.dial.pass_tokens == 3000


def test_each_optimizer_and_each_form_of_weights_has_its_size():
    choices = {f.name: set(f.metadata["choices"]) for f in fields(Config)}
    assert set(OPTIMIZER) == choices["optimizer"]
    assert set(BYTES_PER_WEIGHT) == choices["base_weights"] - {"auto"}


def test_a_row_longer_than_a_pass_and_a_batch_that_is_not_split_are_counted_whole(sizes):
    small = replace(SEVEN, pass_tokens=1000, memory="fastest")
    long = fit(small, Formats("4bit", "bf16"), sizes, 80 * GIB, 4 * 4000, 4000)
    short = fit(small, Formats("4bit", "bf16"), sizes, 80 * GIB, 4 * 4000, 500)
    assert long.needed.activations == pytest.approx(4 * short.needed.activations)
    whole = fit(replace(small, neftune_noise_alpha=5), Formats("4bit", "bf16"), sizes, 80 * GIB,
                4 * 4000, 500)
    assert whole.needed.activations == pytest.approx(16 * short.needed.activations)


def at(sizes, config, weights="16bit", tokens=8192, **more):
    return estimate(config, Formats(weights, "bf16"), sizes, pass_tokens=tokens, recomputed=1.0,
                    compiled=False, **more)


@pytest.mark.parametrize("changes", [{"modules_to_save": ("lm_head",)},
                                     {"target_modules": ("all linear", "lm_head")}])
def test_a_head_that_learns_makes_all_logits_at_once(sizes, changes):
    assert at(sizes, SEVEN).logits < LOGITS_AT_ONCE * 14 + 1e9
    assert at(sizes, replace(SEVEN, **changes)).logits == 8192 * sizes.vocabulary * 14


@pytest.mark.parametrize("model", ["google/gemma-2-9b-it", "deepseek-ai/DeepSeek-V2-Lite"])
def test_architectures_that_keep_their_own_attention_count_all_logits_and_a_mask(model, folders):
    config = Config(base_model=model)
    shape = load_shape(config, folders)
    assert shape.config.model_type not in KNOWN
    found = sizes_of(shape, config, 0)
    assert at(found, config).logits == 8192 * found.vocabulary * 14
    padded = at(found, replace(config, packing=False))
    assert at(found, config).overhead - padded.overhead == 3 * 8192 ** 2


def test_fp8_counts_only_layers_with_an_adapter_and_that_they_are_loaded_in_16_bit(folders):
    config = replace(SEVEN, base_weights="fp8", target_modules=("q_proj", "v_proj"))
    few = sizes_of(load_shape(config, folders), config, LEARNED)
    weights = at(few, config, "fp8").weights / 1e9
    assert few.adapted == 30 * 2 * 4096 ** 2
    assert weights == pytest.approx((2 * (few.linear + few.other) - few.adapted) / 1e9)
    every = sizes_of(load_shape(config, folders), SEVEN, LEARNED)
    assert every.adapted == every.linear
    found = at(every, SEVEN, "fp8", tokens=512)
    assert found.learning < found.total == found.loading == 2 * (every.linear + every.other)


def test_layers_whose_bias_learns_are_not_held_in_fp8(folders):
    config = Config(base_model="Qwen/Qwen2.5-0.5B-Instruct", target_modules=("q_proj", "o_proj"))
    shape = load_shape(config, folders)
    both, without = (sizes_of(shape, replace(config, lora_bias=bias), 0).adapted
                     for bias in ("none", "all"))
    assert both == 2 * without > 0


def test_weights_that_are_cut_up_are_a_part_on_each_gpu_and_so_is_the_adapter(sizes):
    config = replace(SEVEN, strategy="fsdp2", base_weights="16bit")
    whole, part = at(sizes, config), at(sizes, config, cut_among=4)
    layer = 2 * sizes.linear / sizes.layers
    assert part.weights == pytest.approx(whole.weights / 4 + 2 * layer + 2 * sizes.other)
    assert (part.adapter, part.optimizer) == (whole.adapter / 4, whole.optimizer / 4)
    assert part.loading == 0


def test_what_one_of_two_gpus_took_is_foretold(sizes):
    """(b) of bench.two_gpus: 41.2 GiB, with the tokens of its heaviest step."""
    config = replace(SEVEN, strategy="fsdp2", base_weights="16bit")
    found = estimate(config, Formats("16bit", "bf16"), sizes, pass_tokens=5114, recomputed=0.0,
                     compiled=False, cut_among=2)
    assert found.total / GIB == pytest.approx(41.2, rel=0.05)


@pytest.mark.parametrize("strategy, weights", [("fsdp2", "4bit"), ("zero3", "16bit")])
def test_what_comes_to_each_gpu_whole_before_it_is_cut_up_must_fit_there(sizes, strategy, weights):
    config = replace(SEVEN, strategy=strategy, base_weights=weights)
    found = at(sizes, config, weights, tokens=64, cut_among=8)
    assert found.total == found.loading == at(sizes, config, weights).weights


def test_processes_that_cut_the_weights_up_recompute_all_or_nothing_and_never_split(sizes):
    formats = Formats("16bit", "bf16")
    config = replace(SEVEN, strategy="fsdp2", base_weights="16bit")
    roomy, tight = (fit(config, formats, sizes, card * GIB, 16 * 512, 512, processes=2)
                    for card in (80, 24))
    assert (roomy.dial.recomputed, tight.dial.recomputed) == (0.0, 1.0)
    assert roomy.dial.pass_tokens == tight.dial.pass_tokens == 16 * 512
    balanced = fit(replace(config, memory="balanced"), formats, sizes, 80 * GIB, 8192, 512, 2)
    assert balanced.dial.recomputed == 1.0
