"""Compares the programs of dsl/std, run by the command `dmac`, with PyTorch. See README.md beside this file."""

import inspect
import json
import math
import struct
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch

import variants
from variants import Attention

LIBRARY = Path(__file__).resolve().parents[2] / "dsl" / "std"
DTYPES = {
    "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I32": torch.int32, "BOOL": torch.bool,
}
TYPES = [torch.float32, torch.float16, torch.bfloat16]
# Fewer queries than keys, three query heads a key/value head; one query; one key/value head, as many queries as keys.
SHAPES = [
    {"B": 2, "H": 6, "G": 2, "M": 77, "N": 150, "D": 32, "E": 32},
    {"B": 2, "H": 7, "G": 1, "M": 1, "N": 131, "D": 32, "E": 16},
    {"B": 1, "H": 4, "G": 4, "M": 90, "N": 90, "D": 40, "E": 40},
]


def save(path, tensors):
    """Writes safetensors: the length of a JSON header, the header, the tensors one after another."""
    header, data, at = {}, [], 0
    for name, tensor in tensors.items():
        tensor = tensor.contiguous()
        dtype = next(key for key, value in DTYPES.items() if value == tensor.dtype)
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        data.append(bytes(tensor.view(torch.uint8).flatten().tolist()) if size else b"")
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def load(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, info in json.loads(data[8 : 8 + length]).items():
        begin, end = (8 + length + offset for offset in info["data_offsets"])
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=DTYPES[info["dtype"]]) if end > begin else []
        tensors[name] = torch.as_tensor(flat).reshape(info["shape"])
    return tensors


def relative_norm(found, expected):
    difference = (found.double() - expected.double()).norm().item()
    return 0.0 if difference == 0 else difference / expected.double().norm().item()


def compare(dmac, name, variant, sizes, storage, folder):
    """The largest share of a limit that an output uses, and what it is."""
    sizes = {**sizes, **variant.sizes}
    torch.manual_seed(sum(map(ord, name)))
    given = Attention(sizes, variant.params, storage)
    variant.inputs(given)
    save(folder / "in.safetensors", given.tensors)
    command = [dmac, "run", LIBRARY / f"{name}.dmac", "--input", folder / "in.safetensors"]
    command += ["-o", folder / "out.safetensors"]
    for param, value in variant.params.items():
        command += ["-D", f"{param}={value}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return math.inf, (done.stderr or done.stdout).strip().splitlines()[0]
    found = load(folder / "out.safetensors")

    expected = given.run(variant.reference, torch.float64)
    plain = given.run(variant.reference, storage) if storage != torch.float32 else expected
    worst, what = 0.0, ""
    for output, wanted in expected.items():
        if output == "lse":
            infinite = wanted.isinf()
            if not torch.equal(found[output].isinf(), infinite):
                return math.inf, "lse is -inf in other rows"
            error = (found[output].double() - wanted).abs() / wanted.abs().clamp(min=1)
            error, limit = error.masked_fill(infinite, 0).max().item(), 1e-5
        else:
            error = relative_norm(found[output], wanted)
            limit = max(2e-6, 1.5 * relative_norm(plain[output].to(storage), wanted))
        if not error / limit <= worst:
            worst, what = error / limit, f"{output} {error:.1e} of {limit:.1e}, {str(storage)[6:]}, {sizes}"
    return worst, what


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: compare.py DMAC [PROGRAM...]")
    warnings.filterwarnings("ignore", message=".*flex_attention called without torch.compile.*")
    torch.set_num_threads(1)
    dmac = str(Path(sys.argv[1]).resolve())
    known = {name: each for name, each in inspect.getmembers(variants) if isinstance(each, variants.Variant)}
    names = sys.argv[2:] or [path.stem for path in sorted(LIBRARY.glob("*.dmac"))]
    differ = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            if name not in known:
                print(f"FAIL {name:<24} variants.py has no such program", flush=True)
                differ.append(name)
                continue
            cases = [(sizes, storage) for sizes in SHAPES for storage in TYPES]
            results = [
                compare(dmac, name, known[name], sizes, storage, Path(folder)) for sizes, storage in cases
            ]
            worst, what = max(results)
            verdict = "ok  " if worst <= 1 else "FAIL"
            how = "FlexAttention" if known[name].flex else "plain PyTorch"
            print(f"{verdict} {name:<24} {how}, {len(cases)} cases, worst {what}", flush=True)
            if worst > 1:
                differ.append(name)
    print(f"{len(names) - len(differ)} of {len(names)} programs agree with PyTorch {torch.__version__}")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
