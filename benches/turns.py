"""What the benches share: rows of cases, dmac as a process that stays, measurements in turns, and the table.

Each row is one shape: its inputs are drawn when it is its turn and given to dmac and its peers alike. First the results are
compared; where they differ nothing is timed. Then all are timed in turns, and the ratio of medians, peer / dmac, is what
counts: above 1 dmac is faster. Absolute times depend on the machine's clocks.
"""

import argparse
import collections
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import torch
from safetensors.torch import load_file, save_file

LIBRARY = pathlib.Path(__file__).resolve().parent.parent / "dsl" / "std"
# A result may differ from a peer's by the rounding of both: relative norm.
TOLERANCE = {"f32": 1e-5, "f16": 4e-3, "bf16": 1.2e-2}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
# A row that takes dmac longer than this to answer is given up.
PATIENCE_S = 60.0

# Where it runs: `line` is what `dmac bench --requests` and `dmac verify` are told of it, `device` is PyTorch's name,
# `clock` makes of a call a function that measures its milliseconds, `calls` says how many of dmac's calls one measurement has
# that take so many milliseconds, `note` is for the head of the table.
Machine = collections.namedtuple("Machine", "line verify device clock calls note")
# PyTorch's threads spin for a while after a call: nobody else is measured meanwhile.
SETTLE_S = 0.05

# A row: `inputs` are drawn when it is its turn; `peers` maps a name to a function of these that gives a function of no
# arguments; `must` is the least ratio against the peer `against`; `flops` and `bytes` of one call, where they are a measure;
# `same` names the peer whose result dmac's must equal; where the peers compute something else, `sizes` are those at which the
# program is held against the reference.
Row = collections.namedtuple("Row", "name text inputs peers against must aim flops same sizes define params dtype options bytes")


def row(name, text, inputs, peers, against, must, aim, **more):
    optional = {"flops": None, "same": None, "sizes": None, "define": {}, "params": {}, "dtype": "bf16", "options": (), "bytes": None}
    return Row(name, text, inputs, peers, against, must, aim, **(optional | more))


class Gone(Exception):
    """The process of dmac ended or does not answer."""


class Dmac:
    """The resident process."""

    def __init__(self, command, options):
        self.line = [command, "bench", "--requests", *options]
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


def verified(case, command, options):
    """What the reference has against a program, if anything."""
    line = [command, "verify", str(LIBRARY / f"{case.text}.dmac"), *options]
    line += ["--dtype", case.dtype, "--rows", "4", "--random", case.sizes]
    line += [word for name, value in case.define.items() for word in ("-D", f"{name}={value}")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S)
    return None if done.returncode == 0 else (done.stdout + done.stderr).strip() or f"exit code {done.returncode}"


def distance(found, wanted):
    found, wanted = found.double(), wanted.double()
    return float((found - wanted).norm() / wanted.norm())


def measure(case, dmac, runs, folder, machine):
    """The cells of a row, as a dictionary."""
    torch.manual_seed(0)
    if case.sizes:
        against = verified(case, dmac.line[0], case.options or machine.verify)
        if against:
            raise RuntimeError(f"results differ from the reference's: {against}")
    inputs = case.inputs()
    given, results = os.path.join(folder, "inputs.safetensors"), os.path.join(folder, "results.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in inputs.items()}, given)
    request = dict(
        file=str(LIBRARY / f"{case.text}.dmac"), input=given, dtype=case.dtype, define=case.define, param=case.params, pairs=False
    )
    found = {"name": case.name, "against": case.against, "must": case.must, "aim": case.aim}
    calls = {}
    for name, prepare in case.peers.items():
        try:
            call = prepare(inputs)
            call().sum().item()
            calls[name] = call
        except Exception as error:  # a peer that is not installed or does not support the case takes no part
            found.setdefault("absent", {})[name] = f"{type(error).__name__}: {error}"[:160]
    first = dmac.ask(**request, runs=1, output=results)
    found["compile_ms"] = first["compile_ms"]
    found["kernels"] = {kernel["name"]: kernel["ms"] for kernel in first.get("kernels") or ()}
    found["workspace_bytes"] = first["workspace_bytes"]
    out = load_file(results, device=machine.device)["out"]
    if not torch.isfinite(out).all():
        raise RuntimeError("results that are not finite")
    if case.sizes:
        found["compared"] = "reference"
    elif case.same not in calls:
        raise RuntimeError(f"{case.same} is absent: there is nothing to compare results with")
    else:
        found["compared"] = case.same
        found["error"] = distance(out, calls[case.same]())
        if found["error"] > TOLERANCE[case.dtype]:
            raise RuntimeError(f"results differ from {case.same}'s: relative norm {found['error']:.2e}")
    del out
    clocks = {name: machine.clock(call) for name, call in calls.items()}
    times = {name: [] for name in clocks} | {"dmac": []}
    calls = machine.calls(first["median_ms"])
    for _ in range(runs):
        time.sleep(SETTLE_S)
        times["dmac"].append(dmac.ask(**request, runs=calls)["median_ms"])
        for name, clock in clocks.items():
            times[name].append(clock())
    dmac.ask(**request, runs=1, drop=True)
    found["ms"] = {name: statistics.median(own) for name, own in times.items()}
    found["spread"] = {name: max(own) / min(own) for name, own in times.items()}
    found["ratio"] = {name: found["ms"][name] / found["ms"]["dmac"] for name in clocks}
    if case.flops:
        found["gflops"] = case.flops / found["ms"]["dmac"] / 1e6
    if case.bytes:
        found["gbytes_per_s"] = case.bytes / found["ms"]["dmac"] / 1e6
    return found


def scaled(giga, unit):
    return f"{giga:.0f} G{unit}" if giga < 1e4 else f"{giga / 1e3:.0f} T{unit}"


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
        met = "–" if ratio is None or not found["must"] else "yes" if ratio >= found["must"] else "no"
        shown = "–" if ratio is None else f"{ratio:.2f}"
        rate = scaled(found["gflops"], "FLOP/s") if "gflops" in found else ""
        rate = scaled(found["gbytes_per_s"], "B/s") if "gbytes_per_s" in found else rate
        peers = ", ".join(f"{name} {found['ms'][name]:.3f} ms ({ratio:.2f}×)" for name, ratio in found["ratio"].items())
        absent = ", ".join(f"{name} absent" for name in found.get("absent", {}))
        error = f"{found['error']:.1e}" if "error" in found else ""
        peers = ", ".join(part for part in (peers, absent) if part)
        lines.append(
            f"| {found['name']} | {shown} {found['against'] if ratio else ''} | {must} | {aim} | {met} "
            f"| {found['ms']['dmac']:.3f} ms | {rate} | {peers} | {error} |"
        )
    return "\n".join(lines)


def run(parts, machine, description, more=lambda parser: None):
    """Measures the rows of all `parts` as the command line says, and prints the table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dmac", default="target/release/dmac")
    parser.add_argument("--only", help="parts of rows' names, apart by commas")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=480, help="rows that would start later are left out")
    parser.add_argument("--json", help="everything that was measured")
    more(parser)
    args = parser.parse_args()
    machine = machine(args)
    begin = time.monotonic()
    wanted = args.only.split(",") if args.only else None
    rows, processes = [], {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        for case in (case for part in parts for case in part()):
            if wanted and not any(part in case.name for part in wanted):
                continue
            found = {"name": case.name, "against": case.against, "must": case.must, "aim": case.aim}
            if time.monotonic() - begin > args.seconds:
                found["failed"] = "no time was left"
            else:
                options = case.options or machine.line
                dmac = processes.setdefault(options, Dmac(args.dmac, options))
                try:
                    found = measure(case, dmac, args.runs, folder, machine)
                except Exception as error:  # one row that fails must not take the others along
                    found["failed"] = str(error) or type(error).__name__
            rows.append(found)
            print(json.dumps(found), file=sys.stderr, flush=True)
            if machine.device == "cuda":
                torch.cuda.empty_cache()
    for process in processes.values():
        process.close()
    version = subprocess.run([args.dmac, "--version"], capture_output=True, text=True).stdout.strip()
    head = f"{machine.note}, PyTorch {torch.__version__}, {version}, {args.runs} runs in turns, {time.strftime('%Y-%m-%d')}"
    print(f"{head}: `{' '.join(sys.argv)}`\n\n{table(rows)}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"head": head, "rows": rows}, indent=1))
