"""The GPUs of this machine by the names that CUDA_VISIBLE_DEVICES takes; needs no torch."""

import os
import shutil
import subprocess

from core.config import Config

SECONDS = 10.0


def list_devices() -> tuple[str, ...]:
    """Those that this program may use; none on a machine without."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(part.strip() for part in named.split(",")
                     if part.strip() not in ("", "-1", "NoDevFiles"))
    if not shutil.which("nvidia-smi"):
        return ()
    try:
        asked = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
                               capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(asked.stdout.split()) if asked.returncode == 0 else ()


def only(devices: tuple[str, ...]) -> dict[str, str]:
    """The environment of a process that is to see these devices; unchanged where there are none."""
    if not devices:
        return {}
    # nvidia-smi numbers them in the order of the bus, CUDA from the fastest.
    order = {} if "CUDA_VISIBLE_DEVICES" in os.environ else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return {"CUDA_VISIBLE_DEVICES": ",".join(devices), **order}


def wanted(config: Config, devices: tuple[str, ...]) -> int:
    """How many of the machine's devices a run claims: one for each of its processes, all where it
    says so, and none where a cluster gives it others."""
    if config.cluster not in ("", "local"):
        return 0
    return min(config.processes or len(devices), len(devices))


def claim(free: tuple[str, ...], count: int) -> tuple[str, ...] | None:
    """The devices for a run out of those that are free, or None while they don't suffice."""
    return free[:count] if len(free) >= count else None
