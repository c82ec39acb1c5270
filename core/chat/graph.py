"""One decoding step on CUDA, the draw included, captured once and replayed for each token."""

import sys
from dataclasses import dataclass

import torch
import triton

from core.chat import kernels, packed
from core.chat.decoder import Decoder
from core.chat.joined import PER_SCALE, Joined
from core.chat.sampling import Sampler, Sampling

# Rows and columns of weights that one program takes at a time, and its warps; and of 4-bit weights
# on tensor cores its warps and the blocks that each takes at a time, for layers of up to so many
# outputs: where there are few programs, each needs more warps. Found by bench.chat.
TILES = {"dense": (1, 2048, 4), "packed": (1, 256, 1)}
SHARES = {8192: (16, 2), 1 << 30: (4, 4)}
TIMES = 64  # tokens of the cache that attention takes at a time


@dataclass
class Buffers:
    """What a captured step reads and writes, for a number of rows."""

    hidden: torch.Tensor
    normed: torch.Tensor
    qkv: torch.Tensor
    q: torch.Tensor
    parts: torch.Tensor
    weights: torch.Tensor
    said: torch.Tensor
    gate_up: torch.Tensor
    active: torch.Tensor
    low: torch.Tensor
    logits: torch.Tensor


class Steps:
    """Captured steps of a decoder, one for each number of rows and each way to draw."""

    def __init__(self, decoder: Decoder, sampler: Sampler, most_rows: int):
        self._decoder, self.sampler, self.most_rows = decoder, sampler, most_rows
        device = decoder.device
        self._tokens = torch.zeros(most_rows, dtype=torch.long, device=device)
        self._positions = torch.zeros(most_rows, dtype=torch.long, device=device)
        self._alive = torch.zeros(most_rows, dtype=torch.long, device=device)
        self._told = [torch.zeros(most_rows, dtype=torch.long, pin_memory=True) for _ in range(2)]
        self._events = [torch.cuda.Event(), torch.cuda.Event()]
        self._turn = 0
        self._captured: dict[tuple, tuple[torch.cuda.CUDAGraph, Buffers]] = {}
        self._pool = None

    @torch.no_grad()
    def agrees(self) -> bool:
        """Whether a step does what the decoder's own does, on a short text in the first row."""
        decoder = self._decoder
        ids = decoder.probe
        for _ in decoder.read(0, ids[:-1]):
            pass
        token = torch.tensor(ids[-1:], device=decoder.device)
        expected = decoder.step([0], token)
        self._tokens[:1].copy_(token)
        self._positions[:1].fill_(len(ids) - 1)
        self.sampler.load(Sampling(temperature=0), [ids])
        buffers = self._buffers(1)
        self._step(1, buffers)
        apart = (buffers.logits - expected).abs().max()
        return bool(apart < 0.25 * expected.abs().max())  # rounding in 16 bits; a fault is larger

    @torch.no_grad()
    def start(self, tokens: torch.Tensor) -> None:
        """Begin behind the prompts that were read, with these first tokens, and do one step."""
        rows = len(tokens)
        self._tokens[:rows].copy_(tokens)
        self._positions[:rows].copy_(torch.tensor(
            [row.length for row in self._decoder.rows[:rows]]))
        self._alive.fill_(1)
        self._graph = self._graph_for(rows)
        self._launch()

    @torch.no_grad()
    def next(self) -> list[int]:
        """The tokens of the step at work; the step after it is begun first, so that the GPU never
        waits for Python."""
        turn = self._turn
        self._launch()
        self._events[turn].synchronize()
        return self._told[turn].tolist()

    def end(self, row: int) -> None:
        """This row's answer is complete: its place in the cache is no longer moved on."""
        self._alive[row] = 0

    def _launch(self) -> None:
        self._graph.replay()
        self._turn = 1 - self._turn
        self._told[self._turn].copy_(self._tokens, non_blocking=True)
        self._events[self._turn].record()

    def _graph_for(self, rows: int) -> torch.cuda.CUDAGraph:
        decoder, sampler = self._decoder, self.sampler
        key = (rows, decoder.tuned_parts(), decoder.places, sampler.is_greedy,
               sampler.is_penalised)
        if key not in self._captured:
            if any(other[2] != decoder.places for other in self._captured):
                self._captured = {}  # what they read has moved
            self._captured[key] = self._capture(rows)
        return self._captured[key][0]

    def _capture(self, rows: int) -> tuple[torch.cuda.CUDAGraph, Buffers]:
        """A step as a graph. Kernels are compiled by a step before it; whatever that step changed
        is put back."""
        buffers = self._buffers(rows)
        changed = [self._tokens, self._positions, *self.sampler.changed()]
        kept = [tensor.clone() for tensor in changed]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._step(rows, buffers)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            self._step(rows, buffers)
        self._pool = graph.pool()
        for tensor, before in zip(changed, kept, strict=True):
            tensor.copy_(before)
        return graph, buffers

    def _buffers(self, rows: int) -> Buffers:
        d = self._decoder

        def room(*shape: int, dtype: torch.dtype = d.dtype) -> torch.Tensor:
            return torch.empty(rows, *shape, dtype=dtype, device=d.device)

        wide = d.layers[0].gate_up.out
        return Buffers(
            hidden=room(d.config.hidden_size), normed=room(d.config.hidden_size),
            qkv=room(d.layers[0].qkv.out),
            q=room(d.heads, d.head),
            parts=room(d.heads, kernels.SPLITS, d.head, dtype=torch.float32),
            weights=room(d.heads, kernels.SPLITS, 2, dtype=torch.float32),
            said=room(d.heads * d.head), gate_up=room(wide), active=room(wide // 2),
            low=room(3 * max(d.rank, 1), dtype=torch.float32),
            logits=room(d.config.vocab_size, dtype=torch.float32))

    def _step(self, rows: int, b: Buffers) -> None:
        """Embeds the rows' tokens, runs all layers, draws the next tokens in their place."""
        d = self._decoder
        model = d.model.model
        b.hidden.copy_(model.embed_tokens(self._tokens[:rows]))
        for number, layer in enumerate(d.layers):
            norm = layer.module.input_layernorm
            self._norm(norm, b)
            self._linear(layer.qkv, b.normed, b.qkv, b)
            self._attention(number, layer.module.self_attn, b)
            self._linear(layer.o, b.said, b.hidden, b, residual=b.hidden)
            norm = layer.module.post_attention_layernorm
            self._norm(norm, b)
            self._linear(layer.gate_up, b.normed, b.gate_up, b)
            width = layer.down.width
            kernels._silu_times[(triton.cdiv(width, 1024), rows)](b.gate_up, b.active, width, 1024)
            self._linear(layer.down, b.active, b.hidden, b, residual=b.hidden)
        head = d.model.lm_head
        last = Joined((), (head.out_features,), head.in_features, head.weight.data)
        self._norm(model.norm, b)
        self._linear(last, b.normed, b.logits, b, tuned=False)
        tokens = self.sampler.draw(b.logits, slice(0, rows))
        self._tokens[:rows].copy_(tokens)
        self._positions[:rows].add_(self._alive[:rows])

    def _attention(self, number: int, own: torch.nn.Module, b: Buffers) -> None:
        d = self._decoder
        rows = len(b.q)
        normed = hasattr(own, "q_norm")
        q_norm, k_norm = (own.q_norm, own.k_norm) if normed else (None, None)
        keys, values = d.keys[number], d.values[number]
        capacity, wide = keys.shape[2], triton.next_power_of_2(d.head)
        kernels._turn[(d.heads + 2 * d.kv_heads, rows)](
            b.qkv, q_norm.weight if normed else b.qkv, k_norm.weight if normed else b.qkv,
            d.cos, d.sin, self._positions, b.q, keys, values,
            q_norm.variance_epsilon if normed else 0.0, capacity, d.heads, d.kv_heads, d.head,
            max(1, wide // 2), normed, num_warps=1)
        kernels._attend[(d.heads, rows, kernels.SPLITS)](
            b.q, keys, values, self._positions, b.parts, b.weights, d.head ** -0.5, capacity,
            d.heads, d.kv_heads, d.head, wide, kernels.SPLITS, TIMES)
        kernels._gather[(d.heads, rows)](b.parts, b.weights, b.said, d.heads, d.head, wide,
                                         kernels.SPLITS, num_warps=2)

    def _norm(self, norm: torch.nn.Module, b: Buffers) -> None:
        width = b.hidden.shape[1]
        kernels._norm[(len(b.hidden),)](b.hidden, norm.weight, b.normed, norm.variance_epsilon,
                                        width, triton.next_power_of_2(width), num_warps=8)

    def _linear(self, joined: Joined, x: torch.Tensor, y: torch.Tensor, b: Buffers,
                residual: torch.Tensor | None = None, tuned: bool = True) -> None:
        tuned = tuned and self._decoder.is_tuned and bool(joined.tuned)
        linear(joined, x, y, b.low, residual, tuned)


def steps_of(decoder: Decoder, rows: int) -> Steps | None:
    """The decoder's captured steps, made anew where they are for fewer rows. None where the kernels
    don't work on this machine: plain torch then does the same, more slowly."""
    if decoder.steps is None or decoder.steps.most_rows < rows:
        if decoder.without_kernels:
            return None
        most = max(rows, 2)
        decoder.steps = Steps(decoder, Sampler(most, decoder.config.vocab_size, decoder.device),
                              most)
        decoder.without_kernels = not _works(decoder, decoder.steps)
        decoder.steps = None if decoder.without_kernels else decoder.steps
    return decoder.steps


def _works(decoder: Decoder, steps: Steps) -> bool:
    """Whether a step of these kernels gives what plain torch gives; where the quick way to read
    4-bit weights is to blame, the plain one is taken from then on."""
    while True:
        try:
            if steps.agrees():
                return True
            reason = "their result differs"
        except Exception as error:  # a compiler and a driver have error classes without number
            words = [line for line in str(error).splitlines() if line.strip(" ^")]
            reason = f"{type(error).__name__}: {words[-1].strip() if words else ''}"
        print(f"The kernels for decoding don't work here: {reason}", file=sys.stderr)
        quick = [j for layer in decoder.layers for j in layer.joined if j.table is not None]
        if not quick:
            return False
        for joined in quick:
            joined.table = None


def linear(joined: Joined, x: torch.Tensor, y: torch.Tensor, low: torch.Tensor,
           residual: torch.Tensor | None = None, tuned: bool = True) -> None:
    """y (rows, out) = joined(x) + residual for x (rows, in), with the rows' LoRA where `tuned`.
    `low` is room for its middle."""
    rank, parts = (joined.up.shape[2], len(joined.names)) if tuned else (0, 1)
    rows = len(x)
    if tuned:
        block = min(4096, triton.next_power_of_2(joined.width))
        kernels._lora_down[(parts * rank, rows)](
            x, joined.down, low, joined.width, parts * rank, block)
    ends = [sum(joined.sizes[:i + 1]) for i in range(len(joined.sizes) - 1)]
    first, second = (ends + [joined.out] * 2)[:2]
    bias = x if joined.bias is None else joined.bias
    up, added = joined.up if tuned else x, x if residual is None else residual
    has = joined.bias is not None, residual is not None
    if joined.table is not None and x.dtype is torch.bfloat16:
        warps, at_once = next(share for most, share in SHARES.items() if joined.out <= most)
        packed._linear[(triton.cdiv(joined.out, packed.LINES),)](
            x.view(torch.int64), joined.weight.flatten().view(torch.int64), joined.scales,
            joined.table, bias, up, low, added, y, joined.out, first, second, joined.width, rows,
            rank, parts, packed.PRODUCT, *has, warps, packed.LINES, PER_SCALE, at_once,
            num_warps=warps)
        return
    is_packed = joined.scales is not None
    block_n, block_k, warps = TILES["packed" if is_packed else "dense"]
    kernels._linear[(triton.cdiv(joined.out, block_n),)](
        x, joined.weight, joined.scales if is_packed else x, joined.code if is_packed else x, bias,
        up, low, added, y, joined.out, first, second, joined.width, rows, rank, parts, is_packed,
        *has, block_n, block_k, PER_SCALE, kernels.GROUP, num_warps=warps)
