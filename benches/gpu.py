#!/usr/bin/env python3
"""dmac's kernels beside what a user would pick instead, on one GPU.

    benches/gpu.py [--dmac target/release/dmac] [--only NAME,..] [--runs 7] [--seconds 480] [--json OUT.json] > table.md

Needs PyTorch with CUDA. FlashAttention 4 (`flash_attn.cute`) and `fla` take part where they can be imported. Each row of the
table is one shape: inputs are drawn here, random normal, and given to dmac and its peers alike. First the results are
compared; where they differ nothing is timed. Then they are timed in turns, and the ratio of medians, peer / dmac, is what
counts: above 1 dmac is faster. Absolute times depend on the GPU's clocks. Programs that no peer computes are compared with
the reference interpreter instead (`dmac verify --device cuda`), on a shorter sequence.

dmac is one process that stays: `dmac bench --requests --device cuda` answers a line with a line.
"""

import argparse
import collections
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

LIBRARY = pathlib.Path(__file__).resolve().parent.parent / "dsl" / "std"
# A result may differ from a peer's by the rounding of both: relative norm.
TOLERANCE = 1.2e-2
# Peers are timed over so many milliseconds at once, and so is dmac.
GROUP_MS = 15.0
# A row that takes dmac longer than this to answer is given up.
PATIENCE_S = 60.0

# Where a program is held against the reference, which is slow.
SHORT = "B=1,H=4,G=2,M=3000,N=3000,D=128"

flex = torch.compile(flex_attention, dynamic=False)


class Gone(Exception):
    """The process of dmac ended or does not answer."""


class Dmac:
    """The resident process."""

    def __init__(self, command, arch):
        self.line = [command, "bench", "--requests", "--device", "cuda"] + (["--arch", arch] if arch else [])
        self.process = None

    def ask(self, **request):
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(self.line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        watch = threading.Timer(PATIENCE_S, self.process.kill)
        watch.start()
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            watch.cancel()
        if not answer:
            self.process.wait()
            self.process = None
            raise Gone(f"dmac ended or gave no answer within {PATIENCE_S:.0f} s")
        answer = json.loads(answer)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait()


# A row: `inputs` are drawn when it is its turn; `peers` maps a name to a function of these that gives a function of no
# arguments; `must` is the least ratio against the peer `against`; `flops` for one call, where they are a measure;
# `same` names the peer whose result dmac's must equal; where the peers compute something else, `sizes` are those at which the
# program is held against the reference.
Row = collections.namedtuple("Row", "name text inputs peers against must aim flops same sizes define params arch bytes")


def row(name, text, inputs, peers, against, must, aim, **more):
    optional = {"flops": None, "same": None, "sizes": None, "define": {}, "params": {}, "arch": None, "bytes": None}
    return Row(name, text, inputs, peers, against, must, aim, **(optional | more))


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
        flops=4 * 128 * 16 * n * n, same="FA2", arch="sm_80",
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


def verified(case, command, arch):
    """What the reference has against a program, if anything."""
    line = [command, "verify", str(LIBRARY / f"{case.text}.dmac"), "--device", "cuda", "--dtype", "bf16", "--rows", "4"]
    line += ["--random", case.sizes] + (["--arch", arch] if arch else [])
    line += [word for name, value in case.define.items() for word in ("-D", f"{name}={value}")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S)
    return None if done.returncode == 0 else (done.stdout + done.stderr).strip() or f"exit code {done.returncode}"


def distance(found, wanted):
    found, wanted = found.double(), wanted.double()
    return float((found - wanted).norm() / wanted.norm())


def measure(case, dmac, runs, folder, arch):
    """The cells of a row, as a dictionary."""
    torch.manual_seed(0)
    if case.sizes:
        against = verified(case, dmac.line[0], case.arch or arch)
        if against:
            raise RuntimeError(f"results differ from the reference's: {against}")
    inputs = case.inputs()
    given, results = os.path.join(folder, "inputs.safetensors"), os.path.join(folder, "results.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in inputs.items()}, given)
    request = dict(
        file=str(LIBRARY / f"{case.text}.dmac"), input=given, dtype="bf16", define=case.define, param=case.params, pairs=False
    )
    found = {"name": case.name, "against": case.against, "must": case.must, "aim": case.aim}
    calls = {}
    for name, prepare in case.peers.items():
        try:
            call = prepare(inputs)
            call()
            torch.cuda.synchronize()
            calls[name] = call
        except Exception as error:  # a peer that is not installed or does not support the case takes no part
            found.setdefault("absent", {})[name] = f"{type(error).__name__}: {error}"[:160]
    first = dmac.ask(**request, runs=1, output=results)
    found["compile_ms"] = first["compile_ms"]
    found["kernels"] = {kernel["name"]: kernel["ms"] for kernel in first["kernels"]}
    found["workspace_bytes"] = first["workspace_bytes"]
    out = load_file(results, device="cuda")["out"]
    if not torch.isfinite(out).all():
        raise RuntimeError("results that are not finite")
    if case.sizes:
        found["compared"] = "reference"
    elif case.same not in calls:
        raise RuntimeError(f"{case.same} is absent: there is nothing to compare results with")
    else:
        found["compared"] = case.same
        found["error"] = distance(out, calls[case.same]())
        if found["error"] > TOLERANCE:
            raise RuntimeError(f"results differ from {case.same}'s: relative norm {found['error']:.2e}")
    del out
    clocks = {name: timed(call) for name, call in calls.items()}
    times = {name: [] for name in clocks} | {"dmac": []}
    for _ in range(runs):
        times["dmac"].append(dmac.ask(**request, runs=1)["median_ms"])
        for name, clock in clocks.items():
            times[name].append(clock())
    dmac.ask(**request, runs=1, drop=True)
    found["ms"] = {name: statistics.median(own) for name, own in times.items()}
    found["spread"] = {name: max(own) / min(own) for name, own in times.items()}
    found["ratio"] = {name: found["ms"][name] / found["ms"]["dmac"] for name in clocks}
    if case.flops:
        found["tflops"] = case.flops / found["ms"]["dmac"] / 1e9
    if case.bytes:
        found["tbytes_per_s"] = case.bytes / found["ms"]["dmac"] / 1e9
    return found


def table(rows):
    lines = [
        "| case | ratio | must | aim | met | dmac | rate | peers | error |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for found in rows:
        must, aim = (f"{x:.2f}" if x else "–" for x in (found["must"], found["aim"]))
        if "failed" in found:
            reason = found["failed"].replace("|", "\\|").splitlines()[0][:150]
            lines.append(f"| {found['name']} | – | {must} | {aim} | no | {reason} | | | |")
            continue
        ratio = found["ratio"].get(found["against"])
        met = "–" if ratio is None else "yes" if ratio >= found["must"] else "no"
        shown = "–" if ratio is None else f"{ratio:.2f}"
        rate = f"{found['tflops']:.0f} TFLOP/s" if "tflops" in found else ""
        rate = f"{found['tbytes_per_s']:.2f} TB/s" if "tbytes_per_s" in found else rate
        peers = ", ".join(f"{name} {found['ms'][name]:.3f} ms ({ratio:.2f}×)" for name, ratio in found["ratio"].items())
        absent = ", ".join(f"{name} absent" for name in found.get("absent", {}))
        error = f"{found['error']:.1e}" if "error" in found else ""
        peers = ", ".join(part for part in (peers, absent) if part)
        lines.append(
            f"| {found['name']} | {shown} {found['against'] if ratio else ''} | {must} | {aim} | {met} "
            f"| {found['ms']['dmac']:.3f} ms | {rate} | {peers} | {error} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dmac", default="target/release/dmac")
    parser.add_argument("--only", help="parts of rows' names, apart by commas")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=480, help="rows that would start later are left out")
    parser.add_argument("--arch", help="sm_80 or sm_90a, for rows that do not name one [default: the best that the GPU has]")
    parser.add_argument("--json", help="everything that was measured")
    args = parser.parse_args()
    begin = time.monotonic()
    wanted = args.only.split(",") if args.only else None
    rows, processes = [], {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        for case in (case for part in (dense, masks, selections, decode) for case in part()):
            if wanted and not any(part in case.name for part in wanted):
                continue
            found = {"name": case.name, "against": case.against, "must": case.must, "aim": case.aim}
            if time.monotonic() - begin > args.seconds:
                found["failed"] = "no time was left"
            else:
                arch = case.arch or args.arch
                dmac = processes.setdefault(arch, Dmac(args.dmac, arch))
                try:
                    found = measure(case, dmac, args.runs, folder, args.arch)
                except Exception as error:  # one row that fails must not take the others along
                    found["failed"] = str(error) or type(error).__name__
            rows.append(found)
            print(json.dumps(found), file=sys.stderr, flush=True)
            torch.cuda.empty_cache()
    for process in processes.values():
        process.close()
    version = subprocess.run([args.dmac, "--version"], capture_output=True, text=True).stdout.strip()
    head = f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, {version}, bf16, {args.runs} runs in turns, {time.strftime('%Y-%m-%d')}"
    print(f"{head}: `{' '.join(sys.argv)}`\n\n{table(rows)}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"head": head, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
