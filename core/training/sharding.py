"""How several processes share the model: whole on each (DDP), or cut up (FSDP2, ZeRO-3)."""

from typing import Any

import torch
from accelerate.state import DistributedType, PartialState
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointWrapper
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor
from transformers import Trainer, TrainingArguments

from core.config import Config
from core.model.hardware import Formats
from core.training import ranks


def arguments(config: Config, model: Any, saves_memory: bool) -> dict[str, Any]:
    """What transformers' TrainingArguments need for `config.strategy`; nothing for one process.
    `saves_memory`: layers compute their activations anew."""
    if ranks.count() == 1:
        return {}
    if config.strategy == "fsdp2":
        return {"fsdp": True, "fsdp_config": _fsdp(model, saves_memory)}
    if config.strategy == "zero3":
        return {"deepspeed": _zero3(config)}
    return {"ddp_find_unused_parameters": False, "ddp_broadcast_buffers": False}


def cuts_up(config: Config, processes: int | None = None) -> bool:
    """Whether the weights lie in parts on several processes: they are whole only while the layer
    that holds them is at work. `processes` where they aren't those at work here."""
    return (processes or ranks.count()) > 1 and config.strategy != "ddp"


def recomputing(config: Config, saves_memory: bool) -> dict[str, Any]:
    """transformers' own checkpointing, which saves memory with ZeRO-3 only. FSDP does it in its
    way, since the model's would gather each layer once more, and whole models in ours."""
    if not (cuts_up(config) and config.strategy == "zero3" and saves_memory):
        return {}
    return {"gradient_checkpointing": True,
            "gradient_checkpointing_kwargs": {"use_reentrant": False}}


def _fsdp(model: Any, saves_memory: bool) -> dict[str, Any]:
    layers = getattr(model.get_base_model(), "_no_split_modules", None) or []
    return {"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "transformer_layer_cls_to_wrap": sorted(layers), "reshard_after_forward": True,
            # Sharded checkpoints hold the adapter alone and are read by any number of processes;
            # full ones would gather the frozen base each time.
            "state_dict_type": "SHARDED_STATE_DICT", "cpu_ram_efficient_loading": False,
            "activation_checkpointing": saves_memory}


def _zero3(config: Config) -> dict[str, Any]:
    """DeepSpeed's settings; 'auto' takes over what TrainingArguments say."""
    return {"zero_optimization": {"stage": 3, "overlap_comm": True, "contiguous_gradients": True,
                                  "stage3_gather_16bit_weights_on_model_save": True},
            "bf16": {"enabled": "auto"}, "fp16": {"enabled": "auto"},
            "gradient_clipping": "auto" if config.max_grad_norm else 0.0,
            "gradient_accumulation_steps": "auto", "train_micro_batch_size_per_gpu": "auto",
            "train_batch_size": "auto"}


def settle(config: Config, arguments: TrainingArguments) -> None:
    """Between the making of TrainingArguments and of the Trainer."""
    arguments._n_gpu = 1  # else Trainer wraps the model in DataParallel over all GPUs it sees
    if ranks.count() > 1 and config.strategy == "fsdp2" and arguments.device.type == "cpu":
        # accelerate shards where it sees GPUs only, though FSDP2 itself works on CPUs as well.
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def tune(trainer: Trainer, formats: Formats) -> None:
    """What TrainingArguments have no words for."""
    if trainer.is_fsdp_enabled and formats.precision != "fp32":
        # Computes in 16 bits, adds gradients of different processes in 32.
        trainer.accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=formats.compute_dtype, reduce_dtype=torch.float32)
    handler = trainer.accelerator.ddp_handler
    if handler is not None:
        handler.gradient_as_bucket_view = True  # gradients are sent from where they lie


def unwrap(model: Any) -> None:
    """Take out the wrappers of FSDP's gradient checkpointing: no name that holds theirs would be
    found again, neither by peft, which would leave those tensors out, nor by verdict."""
    for name, module in list(model.named_modules()):
        if isinstance(module, CheckpointWrapper):
            model.set_submodule(name, module._checkpoint_wrapped_module)


def whole(model: Any) -> dict[str, torch.Tensor] | None:
    """All that learned, put together from the shards of all processes, which must all call this;
    None where nothing is sharded."""
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if any(isinstance(p, DTensor) for p in learned.values()):
        return {name: (p.full_tensor() if isinstance(p, DTensor) else p).detach().cpu()
                for name, p in learned.items()}
    if any(hasattr(p, "ds_id") for p in learned.values()):  # ZeRO-3 leaves empty ones behind
        from deepspeed.zero import GatheredParameters

        with GatheredParameters(list(learned.values())):
            return {name: p.detach().cpu().clone() for name, p in learned.items()}
    return None
