"""On how many GPUs a run works, and how they share the model."""

from dataclasses import dataclass

from core.settings.setting import setting


@dataclass(frozen=True)
class HardwareSettings:
    """Settings of the group 'hardware'."""

    processes: int = setting(
        1, "hardware", "GPUs for a run",
        "Each learns from its share of every batch, so the result stays the same. 0: all there "
        "are.", low=0, high=4096)
    strategy: str = setting(
        "ddp", "hardware", "Sharing of the model",
        "ddp keeps it whole on each GPU: fastest. fsdp2 and zero3 cut it up among them, for "
        "models too large for one.", choices=("ddp", "fsdp2", "zero3"))
    cluster: str = setting(
        "", "hardware", "Ray cluster",
        "Empty: this machine. Else a cluster's address, such as host:6379 or auto, or local to "
        "start one here. All its machines must see the data folder at the same path.")
