#!/usr/bin/env python3
"""dmac's kernels beside PyTorch's, on the processor.

    benches/cpu.py [--dmac target/release/dmac] [--only NAME,..] [--runs 7] [--threads 2] [--seconds 480] [--json OUT.json] > table.md

Needs PyTorch (`pip install torch safetensors numpy`). FlexAttention is compiled, for which it wants a C++ compiler; without
one it takes no part. Inputs are random normal; how rows are measured is in `turns.py`.
"""

import math
import platform
import time

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from turns import DTYPES, Machine, row, run

# Short calls are timed several at once.
GROUP_MS = 15.0

flex = torch.compile(flex_attention, dynamic=False)


def qkv(h, g, m, n, d, dtype, b=1):
    draw = lambda heads, rows: torch.randn(b, heads, rows, d).to(DTYPES[dtype])
    return {"q": draw(h, m), "k": draw(g, n), "v": draw(g, n)}


def dense(causal):
    """PyTorch's own attention."""

    def prepare(x):
        grouped = x["q"].shape[1] != x["k"].shape[1]
        return lambda: F.scaled_dot_product_attention(x["q"], x["k"], x["v"], is_causal=causal, enable_gqa=grouped)

    return prepare


def flexible(mask, score=None):
    """FlexAttention; `mask` and `score` are functions of the inputs that give its callbacks."""

    def prepare(x):
        m, n = x["q"].shape[2], x["k"].shape[2]
        blocks = create_block_mask(mask(x), None, None, m, n, device="cpu")
        modify = score(x) if score else None
        return lambda: flex(x["q"], x["k"], x["v"], score_mod=modify, block_mask=blocks)

    return prepare


def causal_pairs(n):
    return n * (n + 1) / 2


def plain():
    """Causal and full attention: every type, short and long, features that fill no vector."""
    # With f32 the geometric mean of the rows of 2048 to 16384 keys is to be 1.2, and none below 1.
    shapes = {
        "f32": [(2048, 64), (4096, 64), (16384, 64), (2048, 128), (4096, 128), (8192, 128)],
        "bf16": [(2048, 64), (4096, 64), (16384, 64), (2048, 128), (4096, 128)],
        "f16": [(4096, 64), (4096, 128)],
    }
    bars = {"f32": (1.0, 1.35), "bf16": (2.0, 2.5), "f16": (1.5, None)}
    for dtype, own in shapes.items():
        for n, d in own:
            h = 8 if n <= 4096 else 4
            yield row(
                f"causal {dtype} n{n} d{d}", "causal", lambda h=h, n=n, d=d, dtype=dtype: qkv(h, h, n, n, d, dtype),
                {"SDPA": dense(True)}, "SDPA", *bars[dtype], dtype=dtype, same="SDPA", flops=4 * h * d * causal_pairs(n),
            )
    for dtype, must in (("f32", 2.0), ("bf16", 3.0)):
        yield row(
            f"causal {dtype} n512 d64", "causal", lambda dtype=dtype: qkv(8, 8, 512, 512, 64, dtype),
            {"SDPA": dense(True)}, "SDPA", must, None, dtype=dtype, same="SDPA", flops=4 * 8 * 64 * causal_pairs(512),
        )
    for d in (72, 96, 256):
        yield row(
            f"causal f32 n2048 d{d}", "causal", lambda d=d: qkv(4, 4, 2048, 2048, d, "f32"),
            {"SDPA": dense(True)}, "SDPA", 1.0, None, dtype="f32", same="SDPA", flops=4 * 4 * d * causal_pairs(2048),
        )
    for dtype in ("f32", "bf16"):
        yield row(
            f"full {dtype} n4096 d64", "full", lambda dtype=dtype: qkv(8, 8, 4096, 4096, 64, dtype),
            {"SDPA": dense(False)}, "SDPA", 1.0, None, dtype=dtype, same="SDPA", flops=4 * 8 * 64 * 4096**2,
        )


def masks():
    """Masks and scores of a few lines, in f32."""
    later = lambda x: lambda b, h, i, j: i >= j
    n = 4096
    base = lambda: qkv(8, 8, n, n, 64, "f32")
    full = lambda pairs: 4 * 8 * 64 * pairs

    def documents():
        cuts = torch.randperm(n - 1, generator=torch.Generator().manual_seed(1))[:7] + 1
        starts = torch.zeros(n, dtype=torch.int32)
        starts[cuts] = 1
        return base() | {"doc": starts.cumsum(0).to(torch.int32)[None]}

    def sinks():
        return base() | {"sink": torch.randn(8)}

    yield row(
        "ALiBi f32 n4096", "alibi", lambda: base() | {"slope": torch.exp2(-torch.arange(1.0, 9.0))},
        {"Flex": flexible(later, lambda x: lambda s, b, h, i, j, slope=x["slope"]: s + slope[h] * (j - i))},
        "Flex", 1.7, None, dtype="f32", same="Flex", flops=full(causal_pairs(n)),
    )
    yield row(
        "softcap 20 f32 n4096", "softcap", base,
        {"Flex": flexible(later, lambda x: lambda s, b, h, i, j: 20.0 * torch.tanh(s / 20.0))},
        "Flex", 2.0, None, dtype="f32", same="Flex", flops=full(causal_pairs(n)), params={"cap": 20.0},
    )
    window = 256
    for m in (2048, 4096):
        pairs = m * window - window * (window - 1) / 2
        yield row(
            f"window 256 f32 n{m}", "sliding_window", lambda m=m: qkv(8, 8, m, m, 64, "f32"),
            {"Flex": flexible(lambda x: lambda b, h, i, j: (i >= j) & (i - j < window))},
            "Flex", 2.0, 3.0, dtype="f32", same="Flex", flops=full(pairs), params={"window": window},
        )
    yield row(
        "window 256 + 4 sinks f32 n4096", "sliding_window_sinks", base,
        {"Flex": flexible(lambda x: lambda b, h, i, j: (i >= j) & ((i - j < window) | (j < 4)))},
        "Flex", None, None, dtype="f32", same="Flex", params={"window": window, "sink": 4},
    )
    yield row(
        "8 documents f32 n4096", "document", documents,
        {"Flex": flexible(lambda x: lambda b, h, i, j, doc=x["doc"][0]: (i >= j) & (doc[i] == doc[j]))},
        "Flex", None, None, dtype="f32", same="Flex",
    )


def selected(x, w):
    """DMA's mask, made by sorting: the w best of the keys up to each row."""
    score = torch.einsum("bgje,hge->bhj", x["v"], x["wdt"])
    delta = torch.exp(x["a"][None, :, None] * F.softplus(score))
    n = delta.shape[-1]
    mask = torch.zeros(delta.shape[1], n, n, dtype=torch.bool)
    for first in range(0, n, 512):
        i = torch.arange(first, min(first + 512, n))
        seen = torch.where(torch.arange(n)[None] <= i[:, None], delta[0][:, None], -torch.inf)
        best = seen.topk(min(w, n), dim=-1).indices
        chosen = torch.zeros_like(seen, dtype=torch.bool).scatter_(-1, best, True)
        mask[:, first : first + len(i)] = chosen & (seen > -torch.inf)
    return delta, mask


def selections():
    """DMA, with its selection in the time; its peers have a mask that is ready."""

    def dma(n, d):
        x = qkv(8, 8, n, n, d, "f32")
        return x | {"a": torch.ones(8), "wdt": torch.randn(8, 8, d) / math.sqrt(8 * d)}

    def ready(w):
        def prepare(x):
            delta, mask = selected(x, w)
            bias = torch.where(mask, delta[0][:, None], -torch.inf)[None]
            return lambda: F.scaled_dot_product_attention(x["q"], x["k"], x["v"], attn_mask=bias)

        return prepare

    yield row(
        "DMA w512 f32 n4096", "dma", lambda: dma(4096, 64), {"SDPA, mask ready": ready(512)}, "SDPA, mask ready", 9.0, 12.0,
        dtype="f32", params={"w": 512}, same="SDPA, mask ready",
    )
    yield row(
        "DMA w1024 f32 n16384", "dma", lambda: dma(16384, 64), {"SDPA dense causal": dense(True)}, "SDPA dense causal", 9.0, 11.0,
        dtype="f32", params={"w": 1024}, sizes="B=1,H=8,G=8,M=1500,N=1500,D=64",
    )


def decode():
    n, d, h = 16384, 128, 8
    for dtype, must in (("f32", 1.3), ("bf16", 3.0)):
        size = 4 if dtype == "f32" else 2
        yield row(
            f"decode {dtype} n16384 d128", "full", lambda dtype=dtype: qkv(h, h, 1, n, d, dtype), {"SDPA": dense(False)},
            "SDPA", must, None, dtype=dtype, same="SDPA", bytes=2 * size * h * n * d,
        )


def timed(call):
    """A function that gives the milliseconds of one call, measured over a group of them."""

    def group(calls):
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - begin) * 1e3 / calls

    group(1)
    calls = several(group(1))
    return lambda: group(calls)


def several(milliseconds):
    """How many calls a measurement has."""
    return max(1, min(200, round(GROUP_MS / max(milliseconds, 1e-3))))


def machine(args):
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    line = ("--device", "cpu", "--threads", str(args.threads))
    return Machine(line, (), "cpu", timed, several, f"{name}, {args.threads} threads")


def options(parser):
    parser.add_argument("--threads", type=int, default=2)


if __name__ == "__main__":
    run((plain, masks, selections, decode), machine, __doc__, options)
