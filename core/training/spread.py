"""Whether a run can be spread over several GPUs or machines as its settings say; if not, why."""

import importlib.util

import torch

from core.config import Config
from core.errors import UserError
from core.model.hardware import count_devices
from core.training import shares

SHARDED_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd")


def processes(config: Config) -> int:
    """How many processes a run takes on this machine. Asks no GPU: the process that starts the
    others must hold no memory there."""
    return config.processes or count_devices()


def check(config: Config) -> None:
    """UserError that names everything that doesn't fit."""
    if not config.cluster and processes(config) == 1:
        return
    problems = _missing(config) + _too_many(config) + contradictions(config)
    if problems:
        raise UserError("\n".join(problems), "Mend it in Settings, under Several GPUs; or set GPUs "
                                             "for a run to 1.")


def contradictions(config: Config) -> list[str]:
    """What can't be spread over so many processes, whatever the machine."""
    if not config.cluster and processes(config) == 1:
        return []
    by_strategy = {"fsdp2": _fsdp2, "zero3": _zero3}.get(config.strategy, lambda _: [])
    return by_strategy(config) + _too_few_rows(config)


def _missing(config: Config) -> list[str]:
    needs = {"deepspeed": config.strategy == "zero3", "ray": bool(config.cluster)}
    how = {"deepspeed": "pip install deepspeed", "ray": "pip install -r requirements-cluster.txt"}
    return [f"{'Sharing of the model' if name == 'deepspeed' else 'Ray cluster'}: {name} isn't "
            f"installed. '{how[name]}' installs it." for name, needed in needs.items()
            if needed and importlib.util.find_spec(name) is None]


def _too_many(config: Config) -> list[str]:
    there = torch.cuda.device_count()
    if config.cluster or processes(config) <= there:
        return []
    if torch.backends.mps.is_available():
        return [f"GPUs for a run: found {processes(config)}, an Apple GPU works alone."]
    if there:
        return [f"GPUs for a run: found {processes(config)}, this machine has {there}."]
    return []  # processors share the work as well, only slowly


def _too_few_rows(config: Config) -> list[str]:
    """Each process needs a row of every pass. How many a cluster has it alone knows."""
    wanted = config.processes if config.cluster else processes(config)
    rows = shares.share(config, max(1, wanted)).pass_rows
    return [f"Batch size: found {config.batch_size}, {rows} rows a pass for {wanted} GPUs. Each "
            "needs one at least."] if rows < wanted else []


def _fsdp2(config: Config) -> list[str]:
    problems = []
    if config.base_weights in ("8bit", "fp8"):
        problems.append(f"Base weights: {config.base_weights} can't be cut up by fsdp2; 4bit, "
                        "16bit and 32bit can.")
    if config.base_weights == "4bit" and config.precision == "fp32":
        # The bytes are cut up in the dtype that is computed in.
        problems.append("Precision: 4bit base weights are cut up by fsdp2 with bf16 or fp16 only.")
    if config.base_weights == "4bit" and config.use_dora:
        problems.append("DoRA: fsdp2 needs 16bit base weights for it, found 4bit.")
    if config.init_lora != "default":
        problems.append(f"Initialisation: {config.init_lora} doesn't go together with fsdp2.")
    if config.modules_to_save:  # its copy may share weights that another part holds
        problems.append("Modules trained in full: they don't go together with fsdp2.")
    if config.optimizer not in SHARDED_OPTIMIZERS:
        problems.append(f"Optimizer: {config.optimizer} can't be cut up by fsdp2; "
                        f"{', '.join(SHARDED_OPTIMIZERS)} can.")
    return problems


def _zero3(config: Config) -> list[str]:
    problems = []
    if config.base_weights in ("4bit", "8bit", "fp8"):
        problems.append(f"Base weights: zero3 cuts up 16bit or 32bit ones, found "
                        f"{config.base_weights}. fsdp2 cuts up 4bit ones as well.")
    if config.init_lora != "default":
        problems.append(f"Initialisation: {config.init_lora} doesn't go together with zero3.")
    return problems
