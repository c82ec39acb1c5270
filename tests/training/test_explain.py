"""Whatever ends a run is told in a sentence with what to do."""

import httpx
import pytest

from core.training.explain import explain


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize("error, words", [
    (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "memory"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "memory"),
    (MemoryError(), "memory"),
    (OSError(28, "No space left on device"), "disk"),
    (RuntimeError("write: No space left on device (os error 28)"), "disk"),
    (RuntimeError("CUDA error: an illegal memory access\nmore"), "illegal memory access"),
    (OSError(122, "Disk quota exceeded"), "disk"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "memory"),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "CUDNN_STATUS"),
    (httpx.ConnectError("[Errno -2] Name or service not known"), "hub"),
    (PermissionError(13, "Permission denied", "/data/rows.jsonl"), "/data/rows.jsonl"),
    (KeyError("missing"), "KeyError"), (ValueError(), "ValueError"),
])
def test_an_error_is_explained_with_what_to_do(error, words):
    problem, remedy = explain(error)
    assert words in problem and remedy
    assert "\n" not in problem


def test_the_cause_behind_an_error_is_what_is_told():
    try:
        try:
            raise httpx.ReadTimeout("timed out")
        except httpx.ReadTimeout as error:
            raise OSError("the file could not be loaded") from error
    except OSError as wrapped:
        assert "hub" in explain(wrapped)[0]
