"""4-bit weights times the inputs of 1 to 8 rows on tensor cores: one product for all rows."""

import torch
import triton
import triton.language as tl

LINES = 16  # rows of the weight that a program takes


@triton.jit
def _sum(total, WARPS: tl.constexpr):
    """What the warps of a program have summed, each its share of the columns: a number a lane."""
    return tl.sum(tl.reshape(total, (WARPS, 32)), 0)


@triton.jit
def _finish(result, bias, b, t, residual, y, n, row, OUT, FIRST, SECOND, ROWS: tl.constexpr,
            RANK: tl.constexpr, PARTS: tl.constexpr, HAS_BIAS: tl.constexpr,
            HAS_RESIDUAL: tl.constexpr):
    """Sums to the layer's output y[row, n]: bias, residual, and B[row, n] . t[row, its part]."""
    here = (n < OUT) & (row < ROWS)
    if HAS_BIAS:
        result += tl.load(bias + n, mask=here, other=0.0).to(tl.float32)
    if RANK > 0:
        part = (n >= FIRST).to(tl.int32) + (n >= SECOND).to(tl.int32)
        r = tl.arange(0, RANK)[None, :]
        up = tl.load(b + (row * OUT + n)[:, None] * RANK + r, mask=here[:, None], other=0.0)
        down = tl.load(t + (row * PARTS + part)[:, None] * RANK + r, mask=here[:, None], other=0.0)
        result += tl.sum(up.to(tl.float32) * down, 1)
    if HAS_RESIDUAL:
        result += tl.load(residual + row * OUT + n, mask=here, other=0.0).to(tl.float32)
    tl.store(y + row * OUT + n, result.to(y.dtype.element_ty), mask=here)


@triton.jit
def _linear(x, w, scales, table, bias, b, t, residual, y, OUT, FIRST, SECOND,
            IN: tl.constexpr, ROWS: tl.constexpr, RANK: tl.constexpr, PARTS: tl.constexpr,
            PRODUCT: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_RESIDUAL: tl.constexpr,
            WARPS: tl.constexpr, LINES: tl.constexpr, BLOCK: tl.constexpr,
            AT_ONCE: tl.constexpr):
    """y[row, n] = W[n] . x[row] + bias[n] + LoRA + residual[row, n], for all rows.

    Every tensor in the loop has one number for each thread, so that PRODUCT knows which thread
    holds what: lane 4i + j has 16 weights of the lines i and i + 8, and the 16 inputs of row i that
    belong to them; what it gets back are those lines' sums for the rows 2j and 2j + 1. Warps take
    turns at the columns. `w` and `x` are read as words of 8 bytes."""
    BLOCKS: tl.constexpr = IN // BLOCK
    thread = tl.arange(0, 32 * WARPS)
    warp, lane = thread // 32, thread % 32
    line, quarter = lane // 4, lane % 4
    upper = tl.minimum(tl.program_id(0) * LINES + line, OUT - 1).to(tl.int64)
    lower = tl.minimum(tl.program_id(0) * LINES + line + LINES // 2, OUT - 1).to(tl.int64)
    upper_w, lower_w = w + upper * (IN // 16) + quarter, w + lower * (IN // 16) + quarter
    upper_scales, lower_scales = scales + upper * BLOCKS, scales + lower * BLOCKS
    inputs = x + tl.minimum(line, ROWS - 1) * (IN // 4) + quarter * 4
    low0, low1 = tl.load(table), tl.load(table + 1)
    high0, high1 = tl.load(table + 2), tl.load(table + 3)
    total0 = tl.zeros((32 * WARPS,), tl.float32)
    total1, total2, total3 = total0, total0, total0
    for start in range(0, (BLOCKS + WARPS - 1) // WARPS, AT_ONCE):
        for i in tl.static_range(AT_ONCE):
            block = (start + i) * WARPS + warp
            inside = block < BLOCKS
            block = tl.minimum(block, BLOCKS - 1)
            upper_scale = tl.load(upper_scales + block, mask=inside, other=0.0)
            lower_scale = tl.load(lower_scales + block, mask=inside, other=0.0)
            sum0, sum1, sum2, sum3 = tl.inline_asm_elementwise(
                PRODUCT, "=f,=f,=f,=f,l,l,l,l,l,l,l",
                [tl.load(upper_w + block * 4), tl.load(lower_w + block * 4),
                 (inputs + block * 16).to(tl.int64), low0, low1, high0, high1],
                dtype=(tl.float32, tl.float32, tl.float32, tl.float32), is_pure=True, pack=1)
            total0 += upper_scale * sum0
            total1 += upper_scale * sum1
            total2 += lower_scale * sum2
            total3 += lower_scale * sum3
    lane = tl.arange(0, 32)
    n, row = tl.program_id(0) * LINES + lane // 4, lane % 4 * 2
    _finish(_sum(total0, WARPS), bias, b, t, residual, y, n, row, OUT, FIRST, SECOND, ROWS, RANK,
            PARTS, HAS_BIAS, HAS_RESIDUAL)
    _finish(_sum(total2, WARPS), bias, b, t, residual, y, n + LINES // 2, row, OUT, FIRST, SECOND,
            ROWS, RANK, PARTS, HAS_BIAS, HAS_RESIDUAL)
    if ROWS > 1:
        _finish(_sum(total1, WARPS), bias, b, t, residual, y, n, row + 1, OUT, FIRST, SECOND, ROWS,
                RANK, PARTS, HAS_BIAS, HAS_RESIDUAL)
        _finish(_sum(total3, WARPS), bias, b, t, residual, y, n + LINES // 2, row + 1, OUT, FIRST,
                SECOND, ROWS, RANK, PARTS, HAS_BIAS, HAS_RESIDUAL)


def table_of(code: torch.Tensor) -> torch.Tensor:
    """The 16 values of 4-bit weights in bfloat16, as PRODUCT takes them: the lower bytes of all,
    then the upper ones, in four words of 8 bytes."""
    return code.to(torch.bfloat16).view(torch.uint8).view(16, 2).t().contiguous().view(
        torch.int64).flatten()


def _product() -> str:
    """Assembly for a warp: the sums of two lines' 16 weights a lane ($4, $5: 8 bytes each, of two
    weights a byte, the upper half's first) times the inputs at address $6, bfloat16, in four
    products of tensor cores, m16n8k16.

    Which columns a product takes is free as long as both sides take the same: it gets four
    neighbours of each lane. Weights are found in a table of 16 ($7 to $10), which is held in
    registers: PRMT picks four bytes of eight by four numbers at once, for each plane of bytes in
    either half of it; bit 3 of each number then says which half counts."""
    lines = [".reg .b32 w<2>, s<4>, m<4>, p, q, l, h, a<4>, x<8>, t<8>;",
             "ld.global.v4.b32 {x0, x1, x2, x3}, [$6];",
             "ld.global.v4.b32 {x4, x5, x6, x7}, [$6 + 16];",
             *(f"mov.b64 {{t{2 * i}, t{2 * i + 1}}}, ${7 + i};" for i in range(4)),
             *(f"mov.f32 ${i}, 0f00000000;" for i in range(4))]
    for word in range(2):  # of each of the two lines
        for line in range(2):
            first, second = line * 2, line * 2 + 1
            lines += [f"mov.b64 {{w0, w1}}, ${4 + line};",
                      f"and.b32 s{first}, w{word}, 0x77777777;",
                      f"shr.b32 s{second}, s{first}, 16;",
                      f"shr.b32 m{first}, w{word}, 1;",  # then (m & 0x444...) | 0x321...
                      f"lop3.b32 m{first}, m{first}, 0x44444444, 0x32103210, 0xea;",
                      f"shr.b32 m{second}, m{first}, 16;"]
        for half in range(2):
            for line in range(2):
                s, m = f"s{line * 2 + half}", f"m{line * 2 + half}"
                for plane, table in (("l", 0), ("h", 4)):
                    lines += [f"prmt.b32 p, t{table}, t{table + 1}, {s};",
                              f"prmt.b32 q, t{table + 2}, t{table + 3}, {s};",
                              f"prmt.b32 {plane}, p, q, {m};"]
                lines += [f"prmt.b32 a{line}, l, h, 0x4051;",
                          f"prmt.b32 a{line + 2}, l, h, 0x6273;"]
            x = 4 * word + 2 * half
            lines += ["mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {$0, $1, $2, $3}, "
                      f"{{a0, a1, a2, a3}}, {{x{x}, x{x + 1}}}, {{$0, $1, $2, $3}};"]
    return "{ " + " ".join(lines) + " }"


PRODUCT = _product()
