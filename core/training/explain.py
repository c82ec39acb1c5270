"""Why a run failed, in words: what happened and what to do."""

import errno

OUT_OF_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory",
                 "Cannot allocate memory", "DefaultCPUAllocator")
DISK_FULL = ("No space left on device", "Disk quota exceeded",
             "inline_container", "PytorchStreamWriter")  # torch's words when it can't write
HUB_LOST = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "HfHubHTTPError",
            "LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "IncompleteRead",
            "RemoteProtocolError", "ReadError", "MaxRetryError", "NameResolutionError")
GPU_TROUBLE = ("CUDA error", "cuDNN error", "CUDNN_STATUS", "CUBLAS_STATUS", "NCCL error",
               "HIP error", "CUDA driver")


def explain(error: BaseException) -> tuple[str, str]:
    """What happened and what to do, for errors that a person can act on; else that it is a bug."""
    chain = _causes(error)
    texts = [f"{type(e).__name__}: {e}" for e in chain]
    if any(isinstance(e, MemoryError) for e in chain) or _says(texts, OUT_OF_MEMORY) \
            or _says(texts, ("OutOfMemoryError",)):
        return ("The memory of the device ran out.",
                "Choose 4bit base weights, a smaller Batch size or Max length, or 'Speed or "
                "memory' at least; then start again.")
    if any(getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT) for e in chain) \
            or _says(texts, DISK_FULL):
        return "The disk is full.", "Free some space, then resume from the last checkpoint."
    if _says(texts, HUB_LOST):
        return ("The connection to the hub was lost while something was fetched.",
                "Look at the network, then resume: what has arrived already isn't fetched again.")
    if _says(texts, GPU_TROUBLE):
        line = next(t for t in texts if any(w in t for w in GPU_TROUBLE)).splitlines()[0]
        return (f"The GPU reported an error: {line.partition(': ')[2]}",
                "Resume from the last checkpoint; if it comes back, restart the machine.")
    if any(isinstance(e, PermissionError) for e in chain):
        return (f"A file may not be read or written: {chain[0]}.",
                "Give your user the right to it, then resume.")
    return (f"The trainer stopped on an unexpected error: {type(error).__name__}: "
            f"{(str(error).splitlines() or [''])[0]}",
            "Nothing saved so far is lost. The details below help whoever mends it.")


def _causes(error: BaseException | None) -> list[BaseException]:
    """The error and those that it was raised from."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _says(texts: list[str], words: tuple[str, ...]) -> bool:
    return any(word in text for text in texts for word in words)
