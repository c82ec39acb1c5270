"""Triton kernels of a decoding step for 1 to 4 rows: weights are read once for all of them."""

import torch
import triton
import triton.language as tl

from core.chat.joined import PER_SCALE

GROUP = 8  # 4-bit weights that a thread takes from one word; they share a scale
SPLITS = 8  # parts of the cache that are read side by side


@triton.jit
def _norm(x, weight, y, eps, IN: tl.constexpr, WIDE: tl.constexpr):
    """y[row] = RMS norm of x[row]."""
    row, k = tl.program_id(0), tl.arange(0, WIDE)
    value = tl.load(x + row * IN + k, mask=k < IN, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value, 0) / IN + eps)
    normed = value * scale * tl.load(weight + k, mask=k < IN, other=0.0).to(tl.float32)
    tl.store(y + row * IN + k, normed.to(y.dtype.element_ty), mask=k < IN)


@triton.jit
def _lora_down(x, a, t, IN: tl.constexpr, OUT: tl.constexpr, BLOCK_K: tl.constexpr):
    """t[row, j] = A[row, j] . x[row]."""
    j, row = tl.program_id(0), tl.program_id(1)
    total = tl.zeros((BLOCK_K,), tl.float32)
    for start in tl.static_range(0, IN, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        value = tl.load(x + row * IN + k, mask=k < IN, other=0.0).to(tl.float32)
        total += value * tl.load(a + (row * OUT + j) * IN + k, mask=k < IN, other=0.0).to(
            tl.float32)
    tl.store(t + row * OUT + j, tl.sum(total, 0))


@triton.jit
def _tile(w, code, n, start, IN: tl.constexpr, PACKED: tl.constexpr, BLOCK_K: tl.constexpr):
    """Weights (BLOCK_N, BLOCK_K) from column `start` on; packed ones without their scales. Columns
    beyond the last are those of the last; the input is 0 there."""
    line = n[:, None].to(tl.int64)
    if PACKED:
        byte = start // 2 + tl.arange(0, BLOCK_K // 2)
        if IN % BLOCK_K:
            byte = tl.minimum(byte, IN // 2 - 1)
        pair = tl.load(w + line * (IN // 2) + byte[None, :]).to(tl.int32)
        return tl.interleave(tl.load(code + (pair >> 4)), tl.load(code + (pair & 15)))
    else:
        k = start + tl.arange(0, BLOCK_K)
        if IN % BLOCK_K:
            k = tl.minimum(k, IN - 1)
        return tl.load(w + line * IN + k[None, :]).to(tl.float32)


@triton.jit
def _products(tile, scale, x, row, start, IN: tl.constexpr, PACKED: tl.constexpr,
              BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr):
    """What a tile adds to one row's sums: a number for each weight, or for each GROUP if packed."""
    k = start + tl.arange(0, BLOCK_K)
    if IN % BLOCK_K:
        value = tl.load(x + row * IN + k, mask=k < IN, other=0.0)
    else:
        value = tl.load(x + row * IN + k)
    product = tile * value.to(tl.float32)[None, :]
    if PACKED:
        return scale * tl.sum(tl.reshape(product, (BLOCK_N, BLOCK_K // GROUP, GROUP)), 2)
    else:
        return product


@triton.jit
def _scales(scales, n, start, IN: tl.constexpr, BLOCK_K: tl.constexpr, PER_SCALE: tl.constexpr,
            GROUP: tl.constexpr):
    """The scale of each GROUP of a tile: (BLOCK_N, BLOCK_K / GROUP)."""
    part = (start + tl.arange(0, BLOCK_K // GROUP) * GROUP) // PER_SCALE
    if IN % BLOCK_K:
        part = tl.minimum(part, IN // PER_SCALE - 1)
    return tl.load(scales + n[:, None] * (IN // PER_SCALE) + part[None, :])


@triton.jit
def _finish(total, bias, b, t, residual, n, row, OUT, FIRST, SECOND, RANK: tl.constexpr,
            PARTS: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_RESIDUAL: tl.constexpr):
    """Sums to the layer's output for one row: bias, residual, and B[row, n] . t[row, its part]."""
    result = tl.sum(total, 1)
    if HAS_BIAS:
        result += tl.load(bias + n).to(tl.float32)
    if RANK > 0:
        part = (n >= FIRST).to(tl.int32) + (n >= SECOND).to(tl.int32)
        r = tl.arange(0, RANK)
        up = tl.load(b + (row * OUT + n[:, None]) * RANK + r[None, :]).to(tl.float32)
        down = tl.load(t + (row * PARTS + part[:, None]) * RANK + r[None, :])
        result += tl.sum(up * down, 1)
    if HAS_RESIDUAL:
        result += tl.load(residual + row * OUT + n).to(tl.float32)
    return result


@triton.jit
def _linear(x, w, scales, code, bias, b, t, residual, y, OUT, FIRST, SECOND, IN: tl.constexpr,
            ROWS: tl.constexpr, RANK: tl.constexpr, PARTS: tl.constexpr, PACKED: tl.constexpr,
            HAS_BIAS: tl.constexpr, HAS_RESIDUAL: tl.constexpr, BLOCK_N: tl.constexpr,
            BLOCK_K: tl.constexpr, PER_SCALE: tl.constexpr, GROUP: tl.constexpr):
    """y[row, n] = W[n] . x[row] + bias[n] + LoRA + residual[row, n], for all rows."""
    WIDE: tl.constexpr = BLOCK_K // GROUP if PACKED else BLOCK_K
    place = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    n = tl.minimum(place, OUT - 1)
    total0 = tl.zeros((BLOCK_N, WIDE), tl.float32)
    total1, total2, total3 = total0, total0, total0
    scale = 0.0
    for start in tl.static_range(0, IN, BLOCK_K):
        tile = _tile(w, code, n, start, IN, PACKED, BLOCK_K)
        if PACKED:
            scale = _scales(scales, n, start, IN, BLOCK_K, PER_SCALE, GROUP)
        total0 += _products(tile, scale, x, 0, start, IN, PACKED, BLOCK_N, BLOCK_K, GROUP)
        if ROWS > 1:
            total1 += _products(tile, scale, x, 1, start, IN, PACKED, BLOCK_N, BLOCK_K, GROUP)
        if ROWS > 2:
            total2 += _products(tile, scale, x, 2, start, IN, PACKED, BLOCK_N, BLOCK_K, GROUP)
        if ROWS > 3:
            total3 += _products(tile, scale, x, 3, start, IN, PACKED, BLOCK_N, BLOCK_K, GROUP)
    for row in tl.static_range(ROWS):
        total = total0
        if row == 1:
            total = total1
        if row == 2:
            total = total2
        if row == 3:
            total = total3
        result = _finish(total, bias, b, t, residual, n, row, OUT, FIRST, SECOND, RANK, PARTS,
                         HAS_BIAS, HAS_RESIDUAL)
        tl.store(y + row * OUT + place, result.to(y.dtype.element_ty), mask=place < OUT)


@triton.jit
def _silu_times(x, y, WIDTH, BLOCK_N: tl.constexpr):
    """y = silu(gate) * up; x holds gate and up behind one another."""
    row = tl.program_id(1)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    gate = tl.load(x + row * 2 * WIDTH + n, mask=n < WIDTH, other=0.0).to(tl.float32)
    up = tl.load(x + (row * 2 + 1) * WIDTH + n, mask=n < WIDTH, other=0.0).to(tl.float32)
    tl.store(y + row * WIDTH + n, (gate * tl.sigmoid(gate) * up).to(y.dtype.element_ty),
             mask=n < WIDTH)


@triton.jit
def _turn(qkv, q_norm, k_norm, cos, sin, position, q, keys, values, eps, capacity,
          HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HEAD: tl.constexpr, HALF: tl.constexpr,
          NORMED: tl.constexpr):
    """One head of one row: rotary embedding of queries and keys; keys and values to the cache."""
    head, row = tl.program_id(0), tl.program_id(1)
    at = tl.load(position + row)
    d = tl.arange(0, HALF)
    mask = d < HEAD // 2
    source = qkv + (row * (HEADS + 2 * KV_HEADS) + head) * HEAD + d
    first = tl.load(source, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(source + HEAD // 2, mask=mask, other=0.0).to(tl.float32)
    is_query, is_value = head < HEADS, head >= HEADS + KV_HEADS
    if not is_value:
        if NORMED:
            scale = tl.rsqrt((tl.sum(first * first, 0) + tl.sum(second * second, 0)) / HEAD + eps)
            for_q, for_k = mask & is_query, mask & (head >= HEADS)
            first *= scale * (tl.load(q_norm + d, mask=for_q, other=0.0).to(tl.float32)
                              + tl.load(k_norm + d, mask=for_k, other=0.0).to(tl.float32))
            q_rest, k_rest = q_norm + HEAD // 2 + d, k_norm + HEAD // 2 + d
            second *= scale * (tl.load(q_rest, mask=for_q, other=0.0).to(tl.float32)
                               + tl.load(k_rest, mask=for_k, other=0.0).to(tl.float32))
        c = tl.load(cos + at * HEAD + d, mask=mask, other=0.0)
        s = tl.load(sin + at * HEAD + d, mask=mask, other=0.0)
        turned = first * c - second * s
        second = second * c + first * s
        first = turned
    if is_query:
        target = q + (row * HEADS + head) * HEAD + d
        tl.store(target, first.to(q.dtype.element_ty), mask=mask)
        tl.store(target + HEAD // 2, second.to(q.dtype.element_ty), mask=mask)
    else:
        kv_head = (head - HEADS) % KV_HEADS
        offset = ((row * KV_HEADS + kv_head) * capacity + at) * HEAD + d
        if is_value:
            tl.store(values + offset, first.to(values.dtype.element_ty), mask=mask)
            tl.store(values + offset + HEAD // 2, second.to(values.dtype.element_ty), mask=mask)
        else:
            tl.store(keys + offset, first.to(keys.dtype.element_ty), mask=mask)
            tl.store(keys + offset + HEAD // 2, second.to(keys.dtype.element_ty), mask=mask)


@triton.jit
def _attend(q, keys, values, position, parts, weights, scale, capacity, HEADS: tl.constexpr,
            KV_HEADS: tl.constexpr, HEAD: tl.constexpr, WIDE: tl.constexpr, SPLITS: tl.constexpr,
            BLOCK_T: tl.constexpr):
    """One head of one row over its share of the cache: a weighted sum of values, the largest score
    and the sum of weights."""
    head, row, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(position + row) + 1
    share = (length + SPLITS - 1) // SPLITS
    begin, end = split * share, tl.minimum(split * share + share, length)
    d = tl.arange(0, WIDE)
    query = tl.load(q + (row * HEADS + head) * HEAD + d, mask=d < HEAD, other=0.0).to(
        tl.float32) * scale
    base = (row * KV_HEADS + head // (HEADS // KV_HEADS)).to(tl.int64) * capacity
    largest = tl.full((), -1e30, tl.float32)
    summed = tl.full((), 0.0, tl.float32)
    total = tl.zeros((WIDE,), tl.float32)
    for start in range(begin, end, BLOCK_T):
        time = start + tl.arange(0, BLOCK_T)
        offset = (base + time[:, None]) * HEAD + d[None, :]
        mask = (time[:, None] < end) & (d[None, :] < HEAD)
        key = tl.load(keys + offset, mask=mask, other=0.0).to(tl.float32)
        value = tl.load(values + offset, mask=mask, other=0.0).to(tl.float32)
        score = tl.where(time < end, tl.sum(key * query[None, :], 1), -1e30)
        larger = tl.maximum(largest, tl.max(score, 0))
        weight = tl.where(time < end, tl.exp(score - larger), 0.0)
        shrink = tl.exp(largest - larger)
        summed = summed * shrink + tl.sum(weight, 0)
        total = total * shrink + tl.sum(weight[:, None] * value, 0)
        largest = larger
    at = (row * HEADS + head) * SPLITS + split
    tl.store(parts + at * HEAD + d, total, mask=d < HEAD)
    tl.store(weights + at * 2, largest)
    tl.store(weights + at * 2 + 1, summed)


@triton.jit
def _gather(parts, weights, y, HEADS: tl.constexpr, HEAD: tl.constexpr, WIDE: tl.constexpr,
            SPLITS: tl.constexpr):
    """The shares of one head joined, as softmax over the whole cache would have given it."""
    head, row = tl.program_id(0), tl.program_id(1)
    at = (row * HEADS + head) * SPLITS + tl.arange(0, SPLITS)
    d = tl.arange(0, WIDE)
    largest = tl.load(weights + at * 2)
    factor = tl.exp(largest - tl.max(largest, 0))
    summed = tl.sum(tl.load(weights + at * 2 + 1) * factor, 0)
    part = tl.load(parts + at[:, None] * HEAD + d[None, :], mask=d[None, :] < HEAD, other=0.0)
    total = tl.sum(part * factor[:, None], 0) / summed
    tl.store(y + (row * HEADS + head) * HEAD + d, total.to(y.dtype.element_ty), mask=d < HEAD)


@triton.jit
def _unpack(w, scales, code, y, COUNT, PER_SCALE: tl.constexpr, BLOCK_K: tl.constexpr):
    byte = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    mask = byte < COUNT
    pair = tl.load(w + byte, mask=mask, other=0).to(tl.int32)
    scale = tl.load(scales + byte // (PER_SCALE // 2), mask=mask, other=0.0)
    first, second = tl.load(code + (pair >> 4)) * scale, tl.load(code + (pair & 15)) * scale
    both = tl.interleave(first, second).to(y.dtype.element_ty)
    element = tl.program_id(0) * (2 * BLOCK_K) + tl.arange(0, 2 * BLOCK_K)
    tl.store(y + element, both, mask=element < 2 * COUNT)


def unpack(packed: torch.Tensor, scales: torch.Tensor, code: torch.Tensor, out: int, width: int,
           dtype: torch.dtype) -> torch.Tensor:
    """4-bit weights as a matrix (out, width)."""
    y = torch.empty(out, width, dtype=dtype, device=packed.device)
    _unpack[(triton.cdiv(packed.numel(), 1024),)](packed, scales, code, y, packed.numel(),
                                                  PER_SCALE, 1024)
    return y
