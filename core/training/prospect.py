"""What a run will take, before it starts: memory, time, remedies, and the same on other cards."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from core.config import Config
from core.errors import UserError
from core.files import Folders
from core.model.cards import card_of, load_cards
from core.model.estimate import Sizes
from core.model.hardware import Device, Formats, advised, choose_formats
from core.training import forecast, pace, shares, spread
from core.training.forecast import Speed, Work
from core.training.remedies import remedies


@dataclass(frozen=True)
class Subject:
    """What is to be judged: settings, the model's sizes for settings, and the work where it is
    known."""

    config: Config
    sizes: Callable[[Config], Sizes]
    todo: Work | None


def prospect(subject: Subject, device: Device, formats: Formats, folders: Folders
             ) -> dict[str, Any]:
    """{"memory": {"parts", "total", "there_is", "fits", "each", "streams"} in bytes, where `each`
    is 'GPU' or 'process' if it is one of several and `streams` whether it fits only with its
    weights in main memory, "time": {"seconds", "tokens_per_second", "basis",
    "compiling"} or None, "remedies", "cards", "advised"}: lists of what Remedy, _on_card and
    advised tell; remedies only where it won't fit, or only so."""
    parking = pace.main_memory_of_each(device, spread.processes(subject.config))
    fit = _fit(subject, {}, device, parking)
    assert fit is not None, "these settings were checked"
    return {
        "memory": {"parts": asdict(fit.needed), "total": fit.needed.total,
                   "there_is": fit.memory_bytes, "fits": fit.fits,
                   "each": _each(subject.config, device), "streams": fit.dial.streams},
        "time": _time(subject, device, formats, fit.dial, folders),
        "remedies": [] if fit.fits and not fit.dial.streams else _remedies(subject, device),
        "cards": [_on_card(subject, card.device, card.tflops) for card in load_cards(folders)],
        "advised": [asdict(part) for part in advised(device, folders.home)]}


def _remedies(subject: Subject, device: Device) -> list[dict[str, Any]]:
    """By what the device itself has room for."""
    fit = _fit(subject, {}, device)
    assert fit is not None, "these settings were checked"
    return [asdict(remedy) for remedy in remedies(
        subject.config, fit, lambda changes: _fit(subject, changes, device))]


def _each(config: Config, device: Device) -> str:
    if spread.processes(config) == 1:
        return ""
    return "GPU" if device.kind == "cuda" else "process"


def _fit(subject: Subject, changes: dict[str, Any], device: Device, main_memory: int = 0
         ) -> pace.Fit | None:
    """`main_memory` is this machine's, what there is for parking; of another one nothing is known.
    None where `device` can't run the settings with these changes, or they contradict it."""
    found = _changed(subject, changes, device)
    if found is None:
        return None
    config, formats = found
    processes = spread.processes(config)
    rows = shares.share(config, processes).rows
    return pace.fit(config, formats, subject.sizes(config),
                    pace.memory_of_each(device, processes), rows * config.max_length,
                    config.max_length, processes, main_memory)


def _changed(subject: Subject, changes: dict[str, Any], device: Device
             ) -> tuple[Config, Formats] | None:
    """The settings with these changes and what 'auto' comes to on `device`; None where they can't
    go together or can't run there. What the person set is checked at Start, not here."""
    try:
        config = replace(subject.config, **changes)
        formats = choose_formats(config, device)
    except UserError:
        return None
    return None if changes and spread.contradictions(config) else (config, formats)


def _time(subject: Subject, device: Device, formats: Formats, dial: pace.Dial, folders: Folders
          ) -> dict[str, Any] | None:
    config = subject.config
    if config.cluster and not config.processes:
        return None  # how many GPUs a cluster has it alone knows
    processes = spread.processes(config)
    speed = forecast.as_before(config, formats, device, folders.runs, processes)
    if speed is None and (rate := _matrix_rate(device, formats, folders)):
        speed = forecast.by_rate(config, formats, subject.sizes(config), dial, rate,
                                 device.kind == "cpu", subject.todo, processes)
    return None if speed is None else _told(speed, subject.todo)


def _matrix_rate(device: Device, formats: Formats, folders: Folders) -> float:
    """FLOP/s; 0 where nothing is known."""
    if device.kind == "cpu":
        return forecast.matrix_rate(formats.compute_dtype)
    card = card_of(device, load_cards(folders))
    return card.tflops * 1e12 if card else 0.0


def _on_card(subject: Subject, device: Device, tflops: float) -> dict[str, Any]:
    """{"name", "there_is", "weights", "total", "fits", "time"}: with the person's settings, and as
    many such cards as they say, if they fit, else with base weights in 4 bit; "total" and "time"
    are None where it can't run."""
    told = {"name": device.name, "there_is": device.memory_bytes, "weights": "", "total": None,
            "fits": False, "time": None}
    for changes in ({}, {"base_weights": "4bit"}):
        found, fit = _changed(subject, changes, device), _fit(subject, changes, device)
        if found is None or fit is None:
            continue
        config, formats = found
        speed = forecast.by_rate(config, formats, subject.sizes(config), fit.dial, tflops * 1e12,
                                 False, subject.todo, spread.processes(config))
        told |= {"weights": formats.weights, "total": fit.needed.total, "fits": fit.fits,
                 "time": _told(speed, subject.todo)}
        if fit.fits:
            break
    return told


def _told(speed: Speed, todo: Work | None) -> dict[str, Any]:
    return {**asdict(speed), "seconds": speed.seconds(todo) if todo else None}
