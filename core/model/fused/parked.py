"""What waits in main memory while others work: activations until the backward pass, and weights."""

import weakref
from collections import deque
from collections.abc import Callable

import torch

TURNS = 4  # that are timed together
BEHIND = 2  # blocks whose tensors may still be on their way out
ALIGNED = 256  # bytes: where a tensor begins in a place that holds several

Pairs = list[tuple[torch.Tensor, torch.Tensor]]  # to, from
Mark = torch.cuda.Event | None


class Lane:
    """A stream of copies beside the device's work; where there is no GPU they are made at once."""

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def copy(self, pairs: Pairs) -> Mark:
        """Begin when all that was asked of the device so far is done; `wait` for what is returned
        before the copies are read, or what was copied is changed."""
        if self._stream is None:
            for target, source in pairs:
                target.copy_(source)
            return None
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for target, source in pairs:
                target.copy_(source, non_blocking=True)
            return self._stream.record_event()


def wait(mark: Mark) -> None:
    """All work that is asked of the device from now on comes after this mark."""
    if mark is not None:
        torch.cuda.current_stream().wait_event(mark)


class Parking:
    """Places in main memory, one for each block that leaves something. A block's tensors come back
    while the block behind it, which needs its own first, is at work."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._out, self._back = Lane(device), Lane(device)
        self._places: dict[int, torch.Tensor] = {}
        self._left: dict[int, list[torch.Tensor]] = {}
        self._leaving: deque[tuple[Mark, list[torch.Tensor]]] = deque()
        self._coming: dict[int, tuple[Mark, list[torch.Tensor]]] = {}

    def leave(self, number: int, tensors: list[torch.Tensor]) -> None:
        """Begin to copy the tensors out. They are let go as soon as they are; that memory isn't
        used for something else before."""
        self._coming.pop(number, None)  # of a pass that was broken off
        seats = self._left[number] = self._seats(number, tensors)
        self._leaving.append((self._out.copy(list(zip(seats, tensors, strict=True))), tensors))
        while len(self._leaving) > BEHIND:
            self._let_go()

    def fetch(self, number: int) -> list[torch.Tensor]:
        """What block `number` left; those of the block before it set out."""
        while self._leaving:
            self._let_go()
        self._set_out(number)
        arrived, tensors = self._coming.pop(number)
        wait(arrived)
        del self._left[number]
        before = max((other for other in self._left if other < number), default=None)
        if before is not None:
            self._set_out(before)
        return tensors

    def forget(self) -> None:
        """Let go of what a pass that was broken off has on the device."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self._leaving.clear()
        self._coming.clear()
        self._left.clear()

    def _let_go(self) -> None:
        gone, _ = self._leaving.popleft()
        wait(gone)

    def _set_out(self, number: int) -> None:
        if number not in self._coming:
            seats = self._left[number]
            tensors = [torch.empty_like(seat, device=self._device) for seat in seats]
            mark = self._back.copy(list(zip(tensors, seats, strict=True)))
            self._coming[number] = mark, tensors

    def _seats(self, number: int, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Views of the block's place with the shapes of `tensors`."""
        wanted = _room(tensors)
        place = self._places.get(number)
        if not wanted:
            return []
        if place is None or place.numel() < wanted:
            self._places.pop(number, None)
            place = self._places[number] = _pinned(wanted, self._device)
        return _views(place, tensors)


class Streamed:
    """The frozen weights of a model's blocks, in main memory. On the device there is room for two
    blocks: that at work, and the next, which comes meanwhile."""

    def __init__(self, blocks: list[torch.nn.Module], device: torch.device):
        self._frozen = [[p for p in block.parameters() if not p.requires_grad] for block in blocks]
        self._shapes = [[torch.empty(p.shape, dtype=p.dtype, device="meta") for p in frozen]
                        for frozen in self._frozen]
        self._places = [self._take_out(frozen, device) for frozen in self._frozen]
        most = max(place.numel() for place in self._places)
        self._slots = [torch.empty(most, dtype=torch.uint8, device=device) for _ in range(2)]
        self._holds: list[int | None] = [None, None]
        self._arrived: list[Mark] = [None, None]
        self._at_work = 0
        self._lane = Lane(device)

    def bring(self, number: int, following: int) -> None:
        """The weights of block `number` are there, and those of the `following` set out."""
        self._set_out(number)
        slot = self._at_work = self._holds.index(number)
        wait(self._arrived[slot])
        views = _views(self._slots[slot], self._shapes[number])
        for parameter, view in zip(self._frozen[number], views, strict=True):
            parameter.data = view
        if 0 <= following < len(self._frozen):
            self._set_out(following)

    def _set_out(self, number: int) -> None:
        if number in self._holds:
            return
        slot = 1 - self._at_work
        place = self._places[number]
        self._holds[slot] = number
        self._arrived[slot] = self._lane.copy([(self._slots[slot][:place.numel()], place)])

    def _take_out(self, frozen: list[torch.nn.Parameter], device: torch.device) -> torch.Tensor:
        """A block's weights in one place; its parameters are left without values."""
        place = _pinned(_room(frozen), device)
        for parameter, seat in zip(frozen, _views(place, frozen), strict=True):
            seat.copy_(parameter.data)
            if (state := getattr(parameter, "quant_state", None)) is not None:
                state.to(device)
            parameter.data = torch.empty(0, dtype=parameter.dtype, device=device)
        return place


def _room(tensors: list[torch.Tensor]) -> int:
    return sum(-(-tensor.nbytes // ALIGNED) * ALIGNED for tensor in tensors)


def _views(place: torch.Tensor, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Parts of a place, a tensor of bytes, with the dtypes and shapes of `tensors`."""
    views, at = [], 0
    for tensor in tensors:
        views.append(place[at:at + tensor.nbytes].view(tensor.dtype).view(tensor.shape))
        at += -(-tensor.nbytes // ALIGNED) * ALIGNED
    return views


def _pinned(size: int, device: torch.device) -> torch.Tensor:
    """Bytes of main memory that a GPU copies by itself. PyTorch's own allocator would round them up
    to a power of two."""
    place = torch.empty(size, dtype=torch.uint8)
    if device.type == "cuda":
        pin, unpin = torch.cuda.cudart().cudaHostRegister, torch.cuda.cudart().cudaHostUnregister
        torch.cuda.check_error(int(pin(place.data_ptr(), size, 0)))
        weakref.finalize(place, unpin, place.data_ptr())
    return place


def copied_while(operations: float, side: int = 4096, size: int = 2 ** 26) -> float:
    """Bytes that are copied to main memory while a GPU does so many operations in 16 bits, by its
    rates with large products and copies, measured now."""
    device = torch.device("cuda")
    place, there = _pinned(size, device), torch.empty(size, dtype=torch.uint8, device=device)
    left = torch.randn(side, side, dtype=torch.bfloat16, device=device)
    copying = _seconds(lambda: place.copy_(there, non_blocking=True))
    return operations * _seconds(lambda: left @ left) / (2.0 * side ** 3) * size / copying


def _seconds(work: Callable[[], object]) -> float:
    """Of the device, for one turn."""
    work()
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    for _ in range(TURNS):
        work()
    ended.record()
    ended.synchronize()
    return began.elapsed_time(ended) / 1000 / TURNS
