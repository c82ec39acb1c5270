"""What is said of a run before it starts: time, remedies, other cards."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from core.config import Config
from core.data.tokens.tokenize import IGNORED, Example
from core.desk import Desk
from core.files import append_json_line, default_folders
from core.model import lora
from core.model.cards import card_of, load_cards
from core.model.estimate import Sizes
from core.model.hardware import Device, Formats, advised
from core.model.load import load_shape
from core.training import forecast, run
from core.training.environment import describe_environment
from core.training.forecast import Speed, Work
from core.training.pace import COMPILED_SAVES, COMPILING_SECONDS, DIALS, fit
from core.training.prospect import Subject, prospect
from core.training.remedies import remedies
from ui.prospect_view import html_of

GIB = 2**30
SEVEN = Sizes(linear=6_070_000_000, adapted=6_070_000_000, other=840_000_000, learned=37_000_000,
              layers=30, hidden=4096, inner=11008, query=4096, key_value=4096, vocabulary=102_400,
              largest=45_000_000, head="lm_head", by_rows=True)
FORMATS = Formats("4bit", "bf16")
CPU = Device("cpu", "CPU, 2 cores", 24 * GIB, True)
LONG = Work(1000, 1e8)


def card(gib):
    return Device("cuda", "H100", gib * GIB, True, True)


def told(config, device, folders, weights="16bit", todo=None):
    """What is foretold of a 7B model."""
    def sizes(config):
        return replace(SEVEN, learned=SEVEN.learned * config.lora_r // 16)

    return prospect(Subject(config, sizes, todo), device, Formats(weights, "bf16"), folders)


@pytest.fixture
def gpus(monkeypatch):
    """Sets how many GPUs this machine has."""
    return lambda count: monkeypatch.setattr("torch.cuda.device_count", lambda: count)


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    return load_cards(default_folders(tmp_path_factory.mktemp("home")))


@pytest.mark.parametrize("name, meant", [
    ("NVIDIA A100-SXM4-80GB", "A100"), ("NVIDIA GeForce RTX 4060 Ti", "RTX 4060 Ti"),
    ("NVIDIA GeForce RTX 4060", "RTX 4060"), ("NVIDIA H100 80GB HBM3", "H100"),
    ("NVIDIA A100X", None), ("Tesla T4", "Tesla T4"), ("NVIDIA L40S", "L40S")])
def test_a_card_is_found_by_the_name_that_its_driver_gives(cards, name, meant):
    found = card_of(Device("cuda", name, 0, True), cards)
    assert (found.name if found else None) == meant


def test_cards_reach_from_8_to_141_gib(cards):
    assert cards[0].memory_gib == 8 and cards[-1].memory_gib == 141
    assert [card.memory_gib for card in cards] == sorted(card.memory_gib for card in cards)


@pytest.mark.parametrize("weights, memory, measured", [
    ("4bit", "fastest", 16_748), ("4bit", "least", 13_148), ("fp8", "fastest", 21_209),
    ("4bit", "balanced", 14_489)])
def test_speeds_that_were_measured_are_foretold(weights, memory, measured):
    found = forecast.by_rate(Config(), Formats(weights, "bf16"), SEVEN, DIALS[memory], 989e12,
                             False, LONG)
    assert found.tokens_per_second == pytest.approx(measured, rel=0.02)


def test_a_short_run_is_not_compiled_and_so_slower():
    short, long = (forecast.by_rate(Config(), FORMATS, SEVEN, DIALS["fastest"], 989e12, False,
                                    Work(5, tokens)) for tokens in (1e5, 1e8))
    assert short.tokens_per_second < 0.8 * long.tokens_per_second


def test_the_work_is_steps_times_rows_times_their_mean_length():
    todo = forecast.work(Config(batch_size=4, epochs=2), 40, [10, 30])
    assert todo == Work(20, 20 * 4 * 20.0)
    assert Speed(100.0, "run").seconds(todo) == 16.0


@pytest.mark.parametrize("settings, rows, learned", [
    ({"batch_size": 64}, 65, 65), ({"batch_size": 64, "max_steps": 3}, 65, 65 + 64),
    ({"batch_size": 4, "gradient_accumulation": 4, "epochs": 2}, 20, 40),
    ({"batch_size": 8, "epochs": 0.5}, 32, 16), ({"batch_size": 8, "max_steps": 1}, 5, 5)])
def test_steps_that_are_not_full_have_the_rows_that_are_left(settings, rows, learned):
    assert forecast.work(Config(**settings), rows, [10]).tokens == learned * 10


def test_what_all_rows_begin_with_is_spared_a_processor_and_no_gpu():
    rows = [Example(ids, [IGNORED] * (len(ids) - 2) + ids[-2:]) for ids in (
        [1, 2, 3, 7, 8, 9], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 7, 6, 5, 4])]
    assert forecast.opening_of(rows) == 3
    assert forecast.opening_of([*rows, Example([1, 2, 3], [IGNORED, 2, 3])]) == 0
    assert forecast.opening_of([]) == 0
    config = Config(batch_size=4)
    todo = forecast.work(config, 40, [10], opening=5)
    assert todo.spared == 0.375
    for changes in ({"packing": False}, {"adversarial_strength": 0.1}, {"batch_size": 1}):
        assert forecast.work(replace(config, **changes), 40, [10], opening=5).spared == 0.0
    for on_processor, times in ((True, 1 / 0.625), (False, 1)):
        plain, spared = (forecast.by_rate(config, FORMATS, SEVEN, DIALS["fastest"], 1e12,
                                          on_processor, replace(todo, spared=share))
                         for share in (0.0, 0.375))
        assert spared.tokens_per_second == pytest.approx(times * plain.tokens_per_second)


def test_the_desk_sees_what_all_rows_begin_with(folders, quick):
    desk, speeds = Desk(folders), []
    for config in (quick, replace(quick, loss_on="all tokens")):
        while desk.look(config.to_dict()).get("share") != 1:
            pass
        speeds.append(desk.describe(config.to_dict())["time"]["tokens_per_second"])
    assert speeds[0] > 1.05 * speeds[1]


def test_learning_each_batch_twice_takes_twice_the_time():
    once, twice, on_cpu, twice_on_cpu = (
        forecast.by_rate(Config(adversarial_strength=strength, compile_layers="never"), FORMATS,
                         SEVEN, DIALS["fastest"], 989e12, kind == "cpu", LONG).seconds(LONG)
        for kind in ("cuda", "cpu") for strength in (0, 0.1))
    assert twice == pytest.approx(2 * once) and twice_on_cpu == pytest.approx(2 * on_cpu)


def test_the_time_has_that_of_compiling_where_it_will_be_done():
    found = forecast.by_rate(Config(), FORMATS, SEVEN, DIALS["fastest"], 989e12, False, LONG)
    assert found.seconds(LONG) == LONG.tokens / found.tokens_per_second + COMPILING_SECONDS
    never = forecast.by_rate(Config(compile_layers="never"), FORMATS, SEVEN, DIALS["fastest"],
                             989e12, False, LONG)
    assert never.compiling == 0.0


def test_a_speed_that_an_assumption_decides_is_called_assumed(folders):
    small = replace(SEVEN, linear=100_000_000, learned=1_000_000)
    short, long = (forecast.by_rate(Config(), FORMATS, sizes, DIALS["fastest"], 989e12, False,
                                    Work(100, 100 * 5000)) for sizes in (small, SEVEN))
    assert (short.basis, long.basis) == ("assumed", "card")
    assert short.tokens_per_second == 5000 / forecast.SHORTEST_STEP_SECONDS
    about = told(Config(), card(80), folders, todo=Work(100, 100 * 8)) | {"processes": 1}
    assert "partly assumed" in html_of(about) and "data sheet." not in html_of(about)


@pytest.mark.parametrize("strategy, basis", [("ddp", "card"), ("fsdp2", "card"),
                                             ("zero3", "assumed")])
def test_two_gpus_are_almost_twice_as_fast_and_what_is_cut_up_is_not_compiled(strategy, basis):
    one, two = (forecast.by_rate(Config(strategy=strategy), FORMATS, SEVEN, DIALS["fastest"],
                                 989e12, False, LONG, processes) for processes in (1, 2))
    compiled = 1 if strategy == "ddp" else 1 - COMPILED_SAVES
    share = forecast.TOGETHER[strategy]
    assert two.basis == basis
    assert two.tokens_per_second == pytest.approx(2 * share * compiled * one.tokens_per_second)


def test_processes_on_a_processor_are_no_faster_together(folders):
    one, two = (forecast.by_rate(Config(), FORMATS, SEVEN, DIALS["fastest"], 1e11, True, LONG, n)
                for n in (1, 2))
    assert one == two
    memory = told(Config(processes=2), CPU, folders)["memory"]
    assert memory["there_is"] == CPU.memory_bytes // 2 and memory["each"] == "process"


def test_a_run_like_it_tells_its_speed_and_another_does_not(folders):
    config = Config(base_model="a/model")
    made = run.create(config, folders.runs)
    for step in range(6):
        append_json_line(made.folder / "metrics.jsonl", {"step": step, "tokens_per_second": 100.0})
    made.write_facts("environment", describe_environment(CPU, FORMATS))

    def ask(config, formats=FORMATS):
        return forecast.as_before(config, formats, CPU, folders.runs)

    assert ask(config) is None  # it hasn't ended
    made.update(state="finished")
    assert ask(config) == Speed(100.0, "run")
    assert ask(replace(config, lora_alpha=32, epochs=3.0)) == Speed(100.0, "run")
    for changes in ({"base_model": "another"}, {"use_dora": True}, {"dataset": "sample:general"},
                    {"compile_layers": "never"}, {"neftune_noise_alpha": 5.0},
                    {"batch_size": 2}, {"adversarial_strength": 0.1}, {"strategy": "fsdp2"}):
        assert ask(replace(config, **changes)) is None, changes
    assert ask(config, Formats("16bit", "bf16")) is None
    assert forecast.as_before(config, FORMATS, CPU, folders.runs, processes=2) is None
    made.write_facts("environment", describe_environment(CPU, FORMATS)
                     | {"device": f"2 × {CPU.words}"})
    assert forecast.as_before(config, FORMATS, CPU, folders.runs, 2) == Speed(100.0, "run")


def test_products_are_timed():
    assert 1e8 < forecast.matrix_rate(torch.float32, 256, 0.02) < 1e15


def _fits(config, card_gib):
    """How `config` fits on a card, with some changes."""
    def fits(changes):
        changed = replace(config, **changes)
        return fit(changed, Formats(
            "16bit" if changed.base_weights == "auto" else changed.base_weights, "bf16"),
            replace(SEVEN, learned=SEVEN.learned * changed.lora_r // 16), card_gib * GIB,
            changed.batch_size * changed.max_length, changed.max_length)
    return fits


def test_the_remedy_that_is_enough_is_told_first_and_is_true():
    config = Config(lora_r=16, max_length=512, batch_size=32)
    fits = _fits(config, 12)
    found = remedies(config, fits({}), fits)
    assert found[0].settings == {"base_weights": "4bit"} and found[0].fits
    assert fits(found[0].settings).fits


def test_where_one_remedy_is_not_enough_several_are_put_together():
    config = Config(lora_r=256, lora_alpha=512, max_length=8192, batch_size=1)
    fits = _fits(config, 11)
    assert not fits({}).fits
    found = remedies(config, fits({}), fits)
    assert not any(remedy.fits for remedy in found[:-1]) and found[-1].fits
    changed = replace(config, **found[-1].settings)
    assert fits(found[-1].settings).fits and changed.lora_alpha / changed.lora_r == 2


def test_a_remedy_that_contradicts_the_others_is_left_out_of_what_is_done_together():
    config = Config(lora_r=256, lora_alpha=512, max_length=8192, batch_size=1)
    fits = _fits(config, 11)

    def without_both(changes):
        return None if {"base_weights", "optimizer"} <= set(changes) else fits(changes)

    found = remedies(config, fits({}), without_both)
    assert "base_weights" in found[0].settings and "optimizer" in found[1].settings
    assert all(without_both(remedy.settings) for remedy in found)


@pytest.mark.parametrize("init", ["pissa", "olora"])
@pytest.mark.parametrize("gib", [80, 4])
def test_an_adapter_that_cannot_begin_on_4_bit_is_foretold_without_it(init, gib, folders):
    found = told(Config(init_lora=init, lora_r=16), card(gib), folders)
    assert all(each["weights"] in ("", "16bit") for each in found["cards"])
    assert all("base_weights" not in remedy["settings"] for remedy in found["remedies"])
    assert found["memory"]["fits"] == (gib == 80)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_the_desk_lets_such_an_adapter_start(folders, quick, init):
    for weights in ("auto", "32bit"):
        settings = replace(quick, init_lora=init, base_weights=weights).to_dict()
        desk = Desk(folders)
        assert desk.describe(settings)["trainable"] > 0
        desk.check(settings)


def test_what_is_too_large_for_one_gpu_fits_several_that_cut_it_up(folders, gpus):
    gpus(4)
    config = Config(processes=4, batch_size=8, optimizer="sgd")
    whole = told(config, card(12), folders)
    assert not whole["memory"]["fits"] or whole["memory"]["streams"]
    cut_up = {"strategy": "fsdp2"}
    assert cut_up in [remedy["settings"] for remedy in whole["remedies"] if remedy["fits"]]
    parts = told(replace(config, **cut_up), card(12), folders)["memory"]
    assert parts["fits"] and parts["each"] == "GPU"
    alone = told(replace(config, processes=1), card(12), folders)
    assert {"processes": 0} | cut_up in [remedy["settings"] for remedy in alone["remedies"]]


@pytest.mark.parametrize("gib, streams", [(64, True), (8, False)])
def test_weights_wait_in_main_memory_where_nothing_else_fits_and_it_has_room(
        folders, gpus, monkeypatch, gib, streams):
    gpus(1)
    monkeypatch.setattr("core.training.pace.psutil.virtual_memory",
                        lambda: SimpleNamespace(available=gib * 2 ** 30, total=gib * 2 ** 30))
    found = told(Config(base_weights="16bit"), card(8), folders)
    assert (found["memory"]["fits"], found["memory"]["streams"]) == (streams, streams)
    assert found["remedies"]
    roomy = told(Config(base_weights="16bit"), card(80), folders)
    assert not roomy["memory"]["streams"] and not roomy["remedies"]
    slow, fast = (each["time"]["tokens_per_second"] for each in (found, roomy))
    assert not streams or slow < fast


def test_one_gpu_is_not_told_to_share(folders, gpus):
    gpus(1)
    found = told(Config(), card(8), folders)["remedies"]
    assert found and not any("strategy" in remedy["settings"] for remedy in found)


def test_each_gpu_is_counted_with_its_share_of_the_batch(folders, gpus):
    gpus(2)
    one, two = (told(Config(processes=n, batch_size=16, memory="fastest"), card(80),
                     folders)["memory"]["parts"] for n in (1, 2))
    assert two["activations"] == one["activations"] / 2 and two["weights"] == one["weights"]


def test_what_the_strategy_refuses_is_no_remedy(folders, gpus):
    gpus(2)
    found = told(Config(processes=2, strategy="fsdp2", lora_r=256), card(8), folders)["remedies"]
    assert found and not any("optimizer" in remedy["settings"] for remedy in found)


def test_the_time_on_a_cluster_of_unknown_size_is_not_told(folders):
    assert told(Config(cluster="head:6379", processes=0), CPU, folders)["time"] is None


def test_a_smaller_rank_shrinks_the_adapter_and_not_modules_trained_in_full(folders, quick):
    seen = {}
    for rank in (8, 16):
        for modules in ((), ("lm_head",)):
            settings = replace(quick, lora_r=rank, modules_to_save=modules).to_dict()
            seen[rank, modules] = Desk(folders).describe(settings)
    in_full = seen[8, ("lm_head",)]["trainable"] - seen[8, ()]["trainable"]
    assert in_full == seen[16, ("lm_head",)]["trainable"] - seen[16, ()]["trainable"] > 0
    shape = load_shape(quick, folders)
    found = lora.describe(replace(quick, modules_to_save=("lm_head",)), shape)
    assert found.trainable - found.by_rank == in_full


def test_the_head_of_the_page_tells_whose_memory_it_is(folders, gpus):
    gpus(2)
    for device, words in ((card(80), "80 GiB on each GPU at its peak."),
                          (CPU, "12 GiB that each process has at its peak.")):
        shown = html_of(told(Config(processes=2), device, folders) | {"processes": 2})
        assert words in shown and "Each line is for 2 such cards" in shown
    assert "on each GPU" not in html_of(told(Config(), card(80), folders) | {"processes": 1})


def test_what_loading_takes_is_told_where_it_is_the_most(folders):
    config = Config(base_weights="fp8", memory="least", max_length=64, batch_size=1)
    shown = html_of(told(config, card(16), folders, "fp8") | {"processes": 1})
    assert "While it is loaded" in shown


def test_other_cards_are_told_with_the_format_in_which_it_fits(folders):
    config = Config(lora_r=16, max_length=512, batch_size=32)
    found = told(config, CPU, folders, todo=Work(100, 1e6))
    by_name = {card["name"]: card for card in found["cards"]}
    assert by_name["H100"]["fits"] and by_name["H100"]["weights"] == "16bit"
    assert by_name["RTX 3060"]["fits"] and by_name["RTX 3060"]["weights"] == "4bit"
    assert by_name["H100"]["time"]["seconds"] < by_name["RTX 3060"]["time"]["seconds"]
    assert found["time"]["basis"] == "products" and found["memory"]["fits"]


def test_this_machine_is_set_beside_what_is_advised(tmp_path):
    gpu, *_, disk = advised(CPU, tmp_path)
    assert not gpu.met and disk.unit == "GiB" and disk.found > 0


def test_the_desk_tells_the_time_as_soon_as_rows_are_known(folders, quick):
    desk, settings = Desk(folders), quick.to_dict()
    assert desk.describe(settings)["time"]["seconds"] is None
    while desk.look(settings).get("share") != 1:
        pass
    time = desk.describe(settings)["time"]
    assert time["seconds"] > 0 and time["tokens_per_second"] > 0
