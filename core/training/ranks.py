"""The processes of one run as each of them sees it: which one it is, and what all agree on."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch.distributed as dist

PATIENCE = timedelta(days=7)  # the others wait while the first fetches a model


def count() -> int:
    """How many processes work on this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process writes the run's folder."""
    return count() == 1 or dist.get_rank() == 0


def agree(value: Any) -> Any:
    """What the first process found, in all of them. Files change while they are looked at, and
    processes that act on different sights of them wait for each other for ever."""
    if count() == 1:
        return value
    told = [value]
    dist.broadcast_object_list(told, src=0, group=_talk())
    return told[0]


def gather(value: float) -> list[float]:
    """The number that each process has, in their order."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, value, group=_talk())
    return found


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process does the block before the others do, so that they find what it fetched."""
    if not is_first():
        agree(None)
    yield
    if is_first():
        agree(None)


@functools.cache
def _talk() -> dist.ProcessGroup:
    """A group over the network alone: words must neither wait for the GPU nor hold it up."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)
