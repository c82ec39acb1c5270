"""Weights that several processes cut up: whether their layers are computed twice."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from core.config import Config
from core.model import load
from core.model.hardware import Device, Formats
from core.training import engine, pace, ranks, run, sharding

FORMATS = Formats("32bit", "fp32")
MODEL = SimpleNamespace(get_base_model=lambda: SimpleNamespace(_no_split_modules=["Layer"]))


@pytest.fixture
def two(monkeypatch):
    """As one of two processes sees it; the other one's GPU has the memory that is given."""
    def among(others_bytes):
        monkeypatch.setattr(ranks, "count", lambda: 2)
        monkeypatch.setattr(ranks, "gather", lambda value: [value, others_bytes])
    return among


@pytest.mark.parametrize("saves_memory", [True, False])
def test_what_is_cut_up_is_recomputed_where_the_dial_says_so(saves_memory, two):
    two(0)
    fsdp = sharding.arguments(Config(strategy="fsdp2"), MODEL, saves_memory)
    assert fsdp["fsdp_config"]["activation_checkpointing"] is saves_memory
    zero3 = sharding.recomputing(Config(strategy="zero3"), saves_memory)
    assert bool(zero3) is saves_memory
    assert sharding.recomputing(Config(strategy="ddp"), saves_memory) == {}


@pytest.mark.parametrize("strategy, others, recomputed", [
    ("fsdp2", 80e9, 0.0), ("fsdp2", 1e6, 1.0), ("ddp", 1e6, 0.0)])
def test_the_smallest_gpu_decides_for_all_that_cut_the_weights_up(
        strategy, others, recomputed, two, tiny_model, quick):
    two(others)
    config = replace(quick, strategy=strategy)
    device = Device("cuda", "A card", int(80e9), True)
    shape = load.meta_model(load.load_config(tiny_model))
    assert pace.choose_dial(shape, config, FORMATS, device, [64] * 4).recomputed == recomputed


@pytest.mark.parametrize("recomputed", [0.0, 1.0])
def test_the_trainer_is_told_what_the_dial_says(recomputed, quick, folders, monkeypatch):
    made, told = sharding.arguments, []
    monkeypatch.setattr(sharding, "arguments", lambda config, model, saves_memory: told.append(
        saves_memory) or made(config, model, saves_memory))
    monkeypatch.setattr(pace, "choose_dial", lambda *_: pace.Dial(recomputed, 512))
    trained = run.create(replace(quick, max_steps=1, eval_rows=0), folders.runs)
    engine.train(trained, folders)
    assert trained.status().state == "finished" and told == [recomputed > 0]
