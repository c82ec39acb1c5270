"""What can't be spread over several GPUs or machines is told before a run starts."""

from dataclasses import replace

import pytest

from core.config import Config
from core.errors import UserError
from core.training import spread

TWO = Config(processes=2)


def problems(config: Config) -> list[str]:
    with pytest.raises(UserError) as caught:
        spread.check(config)
    assert caught.value.remedy
    return caught.value.problem.splitlines()


@pytest.fixture
def gpus(monkeypatch):
    """Sets how many GPUs this machine has."""
    return lambda count: monkeypatch.setattr("torch.cuda.device_count", lambda: count)


@pytest.fixture
def installed(monkeypatch):
    """Makes only the named libraries be there."""
    return lambda *names: monkeypatch.setattr(
        spread.importlib.util, "find_spec", lambda name: name if name in names else None)


def test_one_process_may_have_any_settings(gpus):
    gpus(1)
    spread.check(replace(Config(strategy="zero3", base_weights="8bit"), processes=0))


@pytest.mark.parametrize("settings", [
    {}, {"strategy": "fsdp2"}, {"strategy": "fsdp2", "base_weights": "4bit"},
    {"base_weights": "8bit"}, {"init_lora": "pissa"}, {"batch_size": 1, "gradient_accumulation": 2}
], ids=str)
def test_what_can_be_spread_passes(settings, gpus):
    gpus(2)
    spread.check(replace(TWO, **settings))


def test_all_gpus_are_taken_where_none_are_counted(gpus):
    gpus(4)
    assert spread.processes(Config(processes=0)) == 4
    assert spread.processes(Config(processes=3)) == 3


def test_more_gpus_than_there_are_is_told_with_both_numbers(gpus):
    gpus(2)
    [problem] = problems(Config(processes=4))
    assert "4" in problem and "2" in problem


@pytest.mark.parametrize("settings, label", [
    ({"base_weights": "8bit"}, "Base weights"),
    ({"base_weights": "4bit", "precision": "fp32"}, "Precision"),
    ({"modules_to_save": ("lm_head",)}, "Modules trained in full"),
    ({"base_weights": "4bit", "use_dora": True}, "DoRA"), ({"init_lora": "olora"}, "Initialis"),
    ({"optimizer": "paged_adamw_8bit"}, "Optimizer"), ({"batch_size": 1}, "Batch size")], ids=str)
def test_what_fsdp_cannot_cut_up_is_told_with_its_label(settings, label, gpus):
    gpus(2)
    [problem] = problems(replace(TWO, strategy="fsdp2", **settings))
    assert problem.startswith(label)


def test_zero3_needs_deepspeed_and_weights_that_it_can_cut_up(gpus, installed):
    gpus(2)
    installed()
    found = problems(replace(TWO, strategy="zero3", base_weights="4bit"))
    assert [line.partition(":")[0] for line in found] == ["Sharing of the model", "Base weights"]
    installed("deepspeed")
    spread.check(replace(TWO, strategy="zero3", base_weights="16bit"))


def test_a_cluster_needs_ray_and_may_have_more_gpus_than_this_machine(gpus, installed):
    gpus(1)
    installed()
    [problem] = problems(Config(processes=8, cluster="head:6379"))
    assert "ray" in problem and "requirements-cluster.txt" in problem
    installed("ray")
    spread.check(Config(processes=8, cluster="head:6379"))
