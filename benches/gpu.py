#!/usr/bin/env python3
"""dmac's kernels beside what a user would pick instead, on one GPU.

    benches/gpu.py [--dmac target/release/dmac] [--only NAME,..] [--runs 7] [--seconds 480] [--json OUT.json] > table.md

Needs PyTorch with CUDA. FlashAttention 4 (`flash_attn.cute`) and `fla` take part where they can be imported. Inputs
are random normal; how rows are measured is in `turns.py`. Programs that no peer computes are compared with the reference
interpreter instead (`dmac verify --device cuda`), on a shorter sequence.
"""

import math

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from turns import Machine, row, run

# Peers are timed over so many milliseconds at once; dmac does so by itself.
GROUP_MS = 15.0

# Where a program is held against the reference, which is slow.
SHORT = "B=1,H=4,G=2,M=3000,N=3000,D=128"

flex = torch.compile(flex_attention, dynamic=False)


def on(arch):
    """What dmac is told of the GPU."""
    return ("--device", "cuda", *(("--arch", arch) if arch else ()))


def normal(*dims, dtype=torch.bfloat16):
    return torch.randn(*dims, device="cuda", dtype=dtype)


def qkv(b, h, g, m, n, d):
    return {"q": normal(b, h, m, d), "k": normal(b, g, n, d), "v": normal(b, g, n, d)}


def library(backend, causal):
    """PyTorch's own attention by one of its backends."""

    def prepare(x):
        def call():
            with sdpa_kernel(backend):
                grouped = x["q"].shape[1] != x["k"].shape[1]
                return F.scaled_dot_product_attention(x["q"], x["k"], x["v"], is_causal=causal, enable_gqa=grouped)

        return call

    return prepare


def flexible(mask, score=None):
    """FlexAttention; `mask` and `score` are functions of the inputs that give its callbacks."""

    def prepare(x):
        m, n = x["q"].shape[2], x["k"].shape[2]
        blocks = create_block_mask(mask(x), None, None, m, n, device="cuda")
        modify = score(x) if score else None
        return lambda: flex(x["q"], x["k"], x["v"], score_mod=modify, block_mask=blocks)

    return prepare


def flash4(causal, window=None):
    """FlashAttention 4, whose tensors have heads after the sequence."""

    def prepare(x):
        from flash_attn.cute import flash_attn_func

        q, k, v = (x[name].transpose(1, 2).contiguous() for name in "qkv")
        more = {} if window is None else {"window_size": (window - 1, 0)}

        def call():
            out = flash_attn_func(q, k, v, causal=causal, **more)
            return (out[0] if isinstance(out, tuple) else out).transpose(1, 2)

        return call

    return prepare


def sparse_native(x):
    """fla's native sparse attention, without its window branch."""
    from fla.ops.nsa import parallel_nsa

    q, k, v = (x[name].transpose(1, 2).contiguous() for name in "qkv")
    gates = [torch.rand(q.shape[:3], device="cuda", dtype=q.dtype) for _ in range(2)]
    return lambda: parallel_nsa(
        q=q, k=k, v=v, g_cmp=gates[0], g_slc=gates[1], g_swa=None, block_size=64, block_counts=16, window_size=0,
        scale=q.shape[-1] ** -0.5,
    )


CUDNN, FLASH2 = SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION


def dense():
    n = 16384
    for d, against, musts in ((128, "FA4", (0.97, 1.05)), (64, "FA4", (0.97, 1.05)), (256, "cuDNN", (1.05, 1.2))):
        h = 2048 // d
        for causal in (False, True):
            text = "causal" if causal else "full"
            peers = {"cuDNN": library(CUDNN, causal)}
            if d != 256:
                peers["FA4"] = flash4(causal)
            pairs = n * (n + 1) / 2 if causal else n * n
            yield row(
                f"{text} d{d} fwd", text, lambda h=h, d=d: qkv(1, h, h, n, n, d), peers, against, *musts,
                flops=4 * d * h * pairs, same="cuDNN",
            )
    yield row(
        "full d128 fwd, sm_80", "full", lambda: qkv(1, 16, 16, n, n, 128), {"FA2": library(FLASH2, False)}, "FA2", 0.75, 1.0,
        flops=4 * 128 * 16 * n * n, same="FA2", options=on("sm_80"),
    )


def masks():
    n, h, d = 16384, 16, 128
    base = lambda: qkv(1, h, h, n, n, d)

    def documents():
        cuts = torch.randperm(n - 1, generator=torch.Generator().manual_seed(1))[:7] + 1
        starts = torch.zeros(n, dtype=torch.int32)
        starts[cuts] = 1
        return base() | {"doc": starts.cumsum(0).to(torch.int32)[None].cuda()}

    def slopes():
        return base() | {"slope": torch.exp2(-8.0 * torch.arange(1, h + 1, device="cuda") / h)}

    def prefixes():
        return base() | {"prefix": torch.full((1,), 2048, dtype=torch.int32, device="cuda")}

    def later(x):
        return lambda b, h, i, j: i >= j

    windowed = n * 1024 - 1024 * 1023 / 2
    flops = lambda pairs: 4 * d * h * pairs
    half = n * (n + 1) / 2
    yield row(
        "window 1024 d128 fwd", "sliding_window", base,
        {"FA4": flash4(True, 1024), "Flex": flexible(lambda x: lambda b, h, i, j: (i >= j) & (i - j < 1024))},
        "FA4", 1.0, 1.15, flops=flops(windowed), same="Flex", params={"window": 1024},
    )
    yield row(
        "window 1024 + 4 sinks fwd", "sliding_window_sinks", base,
        {"Flex": flexible(lambda x: lambda b, h, i, j: (i >= j) & ((i - j < 1024) | (j < 4)))},
        "Flex", 1.5, 1.8, flops=flops(windowed + 4 * (n - 1024) - 6), same="Flex", params={"window": 1024, "sink": 4},
    )
    yield row(
        "8 documents fwd", "document", documents,
        {"Flex": flexible(lambda x: lambda b, h, i, j, doc=x["doc"][0]: (i >= j) & (doc[i] == doc[j]))},
        "Flex", 1.5, 1.8, same="Flex",
    )
    yield row(
        "ALiBi fwd", "alibi", slopes,
        {"Flex": flexible(later, lambda x: lambda s, b, h, i, j, slope=x["slope"]: s + slope[h] * (j - i))},
        "Flex", 1.5, 1.8, flops=flops(half), same="Flex",
    )
    yield row(
        "prefix-LM 2048 fwd", "prefix_lm", prefixes,
        {"Flex": flexible(lambda x: lambda b, h, i, j: (i >= j) | (j < 2048))},
        "Flex", 1.5, 1.65, flops=flops(half + 2048 * 2047 / 2), same="Flex",
    )
    yield row(
        "softcap 20 fwd", "softcap", base,
        {"Flex": flexible(later, lambda x: lambda s, b, h, i, j: 20.0 * torch.tanh(s / 20.0))},
        "Flex", 1.8, 2.3, flops=flops(half), same="Flex", params={"cap": 20.0},
    )


def selections():
    n, d = 32768, 128
    causal = {"dense causal cuDNN": library(CUDNN, True)}

    def dma(kind):
        x = qkv(1, 16, 8, n, n, d)
        x["a"] = torch.ones(8, device="cuda")
        x["wdt"] = normal(8, 8, d) / math.sqrt(8 * d)
        if kind != "scattered":
            # The score depends on the first feature of each head's own values alone, which says how it goes along j.
            x["wdt"].zero_()
            x["wdt"][torch.arange(8), torch.arange(8), 0] = 1.0
            at = torch.arange(n, device="cuda")
            course = at / n if kind == "increasing" else torch.randn(n // 1024, device="cuda")[at // 1024]
            x["v"][:, :, :, 0] = (course + 0.01 * torch.randn(n, device="cuda")).to(torch.bfloat16)
        return x

    work = 4 * d * 16 * (n * 1024 - 1024 * 1023 / 2)
    for kind, must, aim in (("scattered", 7.5, 11.0), ("increasing", 7.5 / 1.3, 10.0), ("clustered", 7.5 / 1.3, 10.0)):
        yield row(
            f"DMA w1024 n32768 {kind} fwd", "dma", lambda kind=kind: dma(kind), causal, "dense causal cuDNN", must, aim,
            flops=work, params={"w": 1024}, sizes=SHORT,
        )

    def nsa():
        x = qkv(1, 64, 4, n, n, d)
        x["phi_k"], x["phi_v"] = (normal(4, 64, d, d) / math.sqrt(64 * d) for _ in range(2))
        x["gate"] = torch.rand(1, 64, n, 3, device="cuda", dtype=torch.bfloat16)
        return x

    yield row(
        "NSA l64 n32768 fwd", "nsa", nsa, {"fla": sparse_native} | causal, "fla", 1.5, 2.5,
        define={"l": 64, "stride": 64, "block": 64}, params={"n": 16, "window": 1}, sizes="B=1,H=16,G=1,M=700,N=700,D=128",
    )
    yield row("MoBA n32768 fwd", "moba", lambda: qkv(1, 16, 16, n, n, d), causal, "dense causal cuDNN", 1.0, None, sizes=SHORT)

    def indexed():
        x = qkv(1, 16, 1, n, n, d)
        x["qi"], x["ki"] = normal(1, 4, n, 64), normal(1, n, 64)
        x["wi"] = torch.randn(1, 4, n, device="cuda")
        return x

    yield row("indexed 2048 n32768 fwd", "indexed", indexed, causal, "dense causal cuDNN", 1.0, None, params={"n": 2048}, sizes=SHORT)

    def bigbird():
        blocks = n // 64
        return qkv(1, 16, 16, n, n, d) | {
            "rand": torch.randint(0, blocks, (16, blocks, 3), device="cuda", dtype=torch.int32)
        }

    yield row("BigBird n32768 fwd", "bigbird", bigbird, causal, "dense causal cuDNN", 1.0, None, sizes=SHORT)

    def low_rank():
        x = qkv(1, 16, 16, n, n, d)
        x["pk"], x["pv"] = (normal(16, 256, n) / math.sqrt(n) for _ in range(2))
        return x

    yield row("low rank 256 n32768 fwd", "low_rank", low_rank, causal, "dense causal cuDNN", 1.0, None, params={"r": 256}, sizes=SHORT)


def decode():
    for b, n in ((16, 8192), (1, 131072)):
        yield row(
            f"decode b{b} n{n} h32 hkv8 d128", "full", lambda b=b, n=n: qkv(b, 32, 8, 1, n, 128),
            {"cuDNN": library(CUDNN, False)}, "cuDNN", 0.95, 1.05, same="cuDNN", bytes=4 * b * 8 * n * 128,
        )


def timed(call):
    """A function that gives the milliseconds of one call, measured over a group of them."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def group(calls):
        start.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / calls

    group(2)
    calls = max(1, min(200, round(GROUP_MS / max(group(2), 1e-3))))
    return lambda: group(calls)


def machine(args):
    return Machine(on(args.arch), on(args.arch), "cuda", timed, lambda ms: 1, torch.cuda.get_device_name())


def options(parser):
    parser.add_argument("--arch", help="sm_80 or sm_90a, for rows that do not name one [default: the best that the GPU has]")


if __name__ == "__main__":
    run((dense, masks, selections, decode), machine, __doc__, options)
