"""The programs of dsl/std in PyTorch: for each its parameters, its own inputs, and a reference.

A reference is written once and computed in two types. In float64 it says what is right. In the storage type it says how far
PyTorch itself is off.
"""

import math
from dataclasses import dataclass, field
from typing import Callable

import torch
from torch.nn.attention.flex_attention import AuxRequest, create_block_mask, flex_attention


@dataclass
class Variant:
    """One program. `reference` takes an [`Attention`] and gives tensors by the names of the program's outputs."""

    reference: Callable
    inputs: Callable = lambda given: None
    params: dict = field(default_factory=dict)
    sizes: dict = field(default_factory=dict)
    flex: bool = False


class Attention:
    """Inputs of one call, and what references are made of."""

    def __init__(self, sizes, params, storage):
        self.sizes, self.params, self.storage = sizes, params, storage
        self.tensors, self.choices, self.made = {}, [], 0
        B, H, G, M, N, D, E = (sizes[axis] for axis in "BHGMND" + "E")
        self.real("q", B, H, M, D)
        self.real("k", B, G, N, D)
        self.real("v", B, G, N, E)

    def real(self, name, *dims, scale=1.0):
        self.tensors[name] = (scale * torch.randn(dims)).to(self.storage)

    def f32(self, name, *dims, scale=0.1):
        self.tensors[name] = scale * torch.randn(dims)

    def ints(self, name, low, high, *dims):
        self.tensors[name] = torch.randint(low, high, dims, dtype=torch.int32)

    def weights(self, name, *dims):
        self.real(name, *dims, scale=max(dims) ** -0.5)

    def run(self, reference, dtype):
        """The reference with floats of this type; its selections are made in float64, by the first run."""
        self.dtype, self.made = dtype, 0
        keep = {torch.int32: torch.int64, torch.bool: torch.bool}
        floats = dtype if dtype == torch.float64 else torch.float32
        for name, tensor in self.tensors.items():
            real = tensor.dtype == self.storage and name not in self.singles
            setattr(self, name, tensor.to(keep.get(tensor.dtype, dtype if real else floats)))
        M, N = self.sizes["M"], self.sizes["N"]
        self.i = torch.arange(N - M, N)[:, None]
        self.j = torch.arange(N)[None, :]
        return reference(self)

    @property
    def singles(self):
        """Inputs that are f32 whatever the storage type."""
        return {name for name, tensor in self.tensors.items() if tensor.dtype == torch.float32}

    def stored(self, x):
        """Rounded to the storage type, as keys and values of a branch are."""
        return x.to(self.storage).to(self.dtype)

    def per_head(self, x):
        """`[b, g, ...]` repeated for the query heads of each key/value head."""
        return x.repeat_interleave(self.sizes["H"] // x.shape[1], dim=1)

    def scores(self, q=None, k=None, scale=None):
        q = self.q if q is None else q
        k = self.per_head(self.k if k is None else k)
        return q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)

    def softmax(self, scores, mask, values=None, sink=None):
        """Results and lse; rows without a key are 0 and -inf."""
        values = self.per_head(self.v if values is None else values)
        wide = torch.promote_types(scores.dtype, torch.float32)
        scores = scores.to(wide).masked_fill(~mask, -math.inf)
        if sink is not None:
            column = sink[None, :, None, None].to(wide).expand(*scores.shape[:3], 1)
            lse = torch.cat([scores, column], dim=-1).logsumexp(-1)
        else:
            lse = scores.logsumexp(-1)
        weights = (scores - lse[..., None].masked_fill(lse[..., None].isinf(), 0)).exp()
        return weights.to(values.dtype) @ values, lse, weights

    def result(self, *args, **named):
        out, lse, _ = self.softmax(*args, **named)
        return {"out": out, "lse": lse}

    def top(self, n, score, candidates, forcing=None, plus=None):
        """For each row the best `n` candidates, forced ones first, and those of `plus` besides; as a mask."""
        if self.made == len(self.choices):
            none = torch.zeros((), dtype=torch.bool)
            plus, forcing = (none if each is None else each for each in (plus, forcing))
            compete = (candidates & ~plus).expand(score.shape)
            order = score.double().masked_fill(forcing.expand(score.shape), math.inf)
            order = order.masked_fill(~compete, -math.inf)
            rank = order.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
            self.choices.append((rank < n) & compete | (candidates & plus))
        self.made += 1
        return self.choices[self.made - 1]

    def flex(self, mask_mod=None, score_mod=None, scale=None):
        """FlexAttention, uncompiled; both modifications get logical positions."""
        B, H, M, N = (self.sizes[axis] for axis in "BHMN")
        first = N - M
        mask = mask_mod and create_block_mask(
            lambda b, h, i, j: mask_mod(b, h, i + first, j), B, H, M, N, device="cpu"
        )
        score = score_mod and (lambda s, b, h, i, j: score_mod(s, b, h, i + first, j))
        out, aux = flex_attention(
            self.q, self.k, self.v, score_mod=score, block_mask=mask, scale=scale, enable_gqa=True,
            return_aux=AuxRequest(lse=True),
        )
        return {"out": out, "lse": aux.lse}


def flex(mask=None, score=None, scale=None, **named):
    """A variant of FlexAttention; `mask` and `score` take an [`Attention`] and give a modification."""

    def reference(a):
        return a.flex(mask and mask(a), score and score(a), scale)

    return Variant(reference, flex=True, **named)


def causal_mask(b, h, i, j):
    return j <= i


# Masks and scores, by FlexAttention.

full = flex()
causal = flex(lambda a: causal_mask)
sliding_window = flex(
    lambda a: lambda b, h, i, j: (j <= i) & (i - j < a.params["window"]), params={"window": 40}
)
sliding_window_sinks = flex(
    lambda a: lambda b, h, i, j: (j <= i) & ((i - j < a.params["window"]) | (j < a.params["sink"])),
    params={"window": 30, "sink": 4},
)
two_sided_window = flex(
    lambda a: lambda b, h, i, j: (i - j <= a.params["left"]) & (j - i <= a.params["right"]),
    params={"left": 25, "right": 10},
)
prefix_lm = flex(
    lambda a: lambda b, h, i, j: (j < a.prefix[b]) | (j <= i),
    inputs=lambda given: given.ints("prefix", 0, given.sizes["N"] + 1, given.sizes["B"]),
)


def documents(given):
    B, N = given.sizes["B"], given.sizes["N"]
    given.tensors["doc"] = (torch.rand(B, N) < 5 / N).cumsum(-1).to(torch.int32)


def same_document(a, b, i, j):
    return a.doc[b, i] == a.doc[b, j]


document = flex(lambda a: lambda b, h, i, j: (j <= i) & same_document(a, b, i, j), inputs=documents)
document_window = flex(
    lambda a: lambda b, h, i, j: (j <= i) & (i - j < a.params["window"]) & same_document(a, b, i, j),
    inputs=documents,
    params={"window": 20},
)
alibi = flex(
    lambda a: causal_mask,
    lambda a: lambda s, b, h, i, j: s + a.slope[h] * (j - i),
    inputs=lambda given: given.f32("slope", given.sizes["H"]),
)
softcap = flex(
    lambda a: causal_mask, lambda a: lambda s, b, h, i, j: 1.5 * torch.tanh(s / 1.5), params={"cap": 1.5}
)


def t5_score(a):
    def modify(s, b, h, i, j):
        distance = (i - j).abs()
        far = 8 + (torch.log(distance.float() / 8) / math.log(128 / 8) * 8).long()
        bucket = torch.where(distance < 8, distance, far.clamp(max=15)) + torch.where(j > i, 16, 0)
        return s + a.table[bucket, h]

    return modify


t5 = flex(
    None, t5_score, scale=1.0, inputs=lambda given: given.f32("table", 32, given.sizes["H"], scale=1.0)
)


def global_tokens(given):
    given.tensors["global"] = torch.rand(given.sizes["B"], given.sizes["N"]) < 0.03


def longformer_mask(a):
    window, dilation, marked = a.params["window"], a.params["dilation"], getattr(a, "global")

    def mask(b, h, i, j):
        near = ((i - j).abs() <= window * dilation) & ((i - j) % dilation == 0)
        return near | marked[b, j] | marked[b, i]

    return mask


longformer = flex(longformer_mask, inputs=global_tokens, params={"window": 9, "dilation": 3})


def bigbird_table(given):
    blocks = -(-given.sizes["N"] // given.params["block"])
    given.ints("rand", 0, blocks, given.sizes["H"], blocks, 2)


def bigbird_mask(a):
    block = a.params["block"]
    last = a.rand.shape[1] - 1

    def mask(b, h, i, j):
        own, other = i // block, j // block
        some = (own == 0) | (own == last) | (other == 0) | (other == last) | ((own - other).abs() <= 1)
        return some | (a.rand[h, own, 0] == other) | (a.rand[h, own, 1] == other)

    return mask


bigbird = flex(bigbird_mask, inputs=bigbird_table, params={"block": 16})


# Other weights, and several sets of queries, keys and values.


def sink_logits_reference(a):
    mask = (a.j <= a.i) & (a.i - a.j < a.params["window"])
    return a.result(a.scores(), mask, sink=a.sink)


sink_logits = Variant(
    sink_logits_reference, lambda given: given.f32("sink", given.sizes["H"], scale=1.0), {"window": 30}
)


def sigmoid_reference(a):
    weights = torch.sigmoid(a.scores() - math.log(a.sizes["N"])).masked_fill(a.j > a.i, 0)
    return {"out": weights @ a.per_head(a.v)}


sigmoid = Variant(sigmoid_reference)


def differential_inputs(given):
    given.tensors["q2"] = torch.randn_like(given.tensors["q"])
    given.tensors["k2"] = torch.randn_like(given.tensors["k"])
    given.f32("lambda", given.sizes["H"], scale=0.5)


def differential_reference(a):
    first, _, _ = a.softmax(a.scores(), a.j <= a.i)
    second, _, _ = a.softmax(a.scores(a.q2, a.k2), a.j <= a.i)
    head = first - getattr(a, "lambda")[:, None, None] * second
    return {"out": head * torch.rsqrt((head * head).mean(-1, keepdim=True) + 1e-5)}


differential = Variant(differential_reference, differential_inputs)


def cosine_reference(a):
    unit = lambda x: a.stored(x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6))
    scale = a.logit_scale.exp()[:, None, None]
    return {"out": a.softmax(a.scores(unit(a.q), unit(a.k), scale), a.j <= a.i)[0]}


cosine = Variant(cosine_reference, lambda given: given.f32("logit_scale", given.sizes["H"], scale=2.0))


def mla_reference(a):
    E, head_dim = a.sizes["E"], 192
    scores = a.scores(a.q[..., :E], a.k[..., :E], 1.0) + a.scores(a.q[..., E:], a.k[..., E:], 1.0)
    return {"out": a.softmax(scores * head_dim**-0.5, a.j <= a.i, a.k[..., :E])[0]}


mla = Variant(mla_reference, sizes={"H": 8, "G": 1, "D": 576, "E": 512})


def low_rank_inputs(given):
    for name in ["pk", "pv"]:
        given.weights(name, given.sizes["G"], given.params["r"], given.sizes["N"])


def low_rank_reference(a):
    kp, vp = a.stored(a.pk @ a.k), a.stored(a.pv @ a.v)
    everything = torch.ones((), dtype=torch.bool)
    return {"out": a.softmax(a.scores(k=kp), everything, vp)[0]}


low_rank = Variant(low_rank_reference, low_rank_inputs, {"r": 24})


# Selections.


def ratings(heads):
    def inputs(given):
        rows = given.sizes[heads]
        given.weights("wdt", rows, given.sizes["G"], given.sizes["E"])
        given.f32("a", rows, scale=1.0)

    return inputs


def delta(a, linear=False):
    """Of each key, `[b, 1 or heads, 1, j]`."""
    wide = torch.promote_types(a.dtype, torch.float32)
    rate = torch.einsum("xge,bgje->bxj", a.wdt.to(wide), a.v.to(wide))
    rate = a.a[:, None] * torch.nn.functional.softplus(rate)
    return a.per_head(rate if linear else rate.exp())[:, :, None]


def rated(among=lambda a: a.j <= a.i, after=None, plus=lambda a: None, linear=False):
    def reference(a):
        rating = delta(a, linear)
        mask = among(a)
        score = rating.expand(*rating.shape[:2], a.sizes["M"], -1)
        kept = a.top(a.params["w"], score, mask, plus=plus(a))
        return a.result(a.scores() + rating, kept & after(a) if after else kept)

    return reference


def with_documents(given):
    documents(given)
    ratings("G")(given)


def same(a):
    own = a.doc[:, a.i.flatten()]
    return (own[:, None, :, None] == a.doc[:, None, None, :]) & (a.j <= a.i)


dma = Variant(rated(), ratings("G"), {"w": 20})
dma_linear = Variant(rated(linear=True), ratings("G"), {"w": 20})
dma_per_head = Variant(rated(), ratings("H"), {"w": 20})
dma_document = Variant(rated(same), with_documents, {"w": 10})
dma_global = Variant(
    rated(lambda a: torch.ones((), dtype=torch.bool), lambda a: a.j <= a.i), ratings("G"), {"w": 50}
)
dma_window = Variant(
    rated(plus=lambda a: (a.i - a.j < a.params["window"]) | (a.j < a.params["sink"])),
    ratings("G"),
    {"w": 15, "window": 10, "sink": 3},
)


def indexer_inputs(given):
    B, M, N = (given.sizes[axis] for axis in "BMN")
    given.real("qi", B, 3, M, 8)
    given.real("ki", B, N, 8)
    given.f32("wi", B, 3, M, scale=1.0)


def indexed_reference(a):
    # In float64 only: the smaller type is given the selection.
    found = torch.relu(torch.einsum("bxif,bjf->bxij", a.qi, a.ki))
    index = torch.einsum("bxi,bxij->bij", a.wi.to(found.dtype), found)[:, None]
    return a.result(a.scores(), a.top(a.params["n"], index, a.j <= a.i))


indexed = Variant(indexed_reference, indexer_inputs, {"n": 25})


def pooled(x, length, how):
    """`[b, g, s, ...]`: `how` over each block of keys, of which the last may be short."""
    return torch.stack([how(block) for block in x.split(length, dim=2)], dim=2)


def in_blocks(a, block, n, score, forcing, shared=False):
    """Attention to the best blocks by `score[b, h or g, i, s]`, causal inside of them."""
    s = torch.arange(score.shape[-1])
    chosen = a.top(n, score, s * block <= a.i, forcing=forcing(s) if forcing else None)
    chosen = a.per_head(chosen) if shared else chosen
    keys = chosen.repeat_interleave(block, dim=-1)[..., : a.sizes["N"]]
    return a.softmax(a.scores(), keys & (a.j <= a.i))


def moba_reference(a):
    chunk = a.params["chunk"]
    mean = a.per_head(pooled(a.k, chunk, lambda block: block.mean(2)))
    gate = torch.einsum("bhid,bhsd->bhis", a.q, mean)
    out, lse, _ = in_blocks(a, chunk, a.params["n"], gate, lambda s: s == a.i // chunk)
    return {"out": out, "lse": lse}


moba = Variant(moba_reference, params={"chunk": 16, "n": 3})


def quest_reference(a):
    page = a.params["page"]
    least = a.per_head(pooled(a.k, page, lambda block: block.amin(2)))
    greatest = a.per_head(pooled(a.k, page, lambda block: block.amax(2)))
    q = a.q[:, :, :, None]
    bound = torch.maximum(q * least[:, :, None], q * greatest[:, :, None]).sum(-1)
    out, lse, _ = in_blocks(a, page, a.params["n"], bound, None)
    return {"out": out, "lse": lse}


quest = Variant(quest_reference, params={"page": 8, "n": 6})


def seer_inputs(given):
    H, G, D = (given.sizes[axis] for axis in "HGD")
    given.weights("wq", H, D, 8)
    given.weights("wk", G, 3, D, 8)


def seer_reference(a):
    block, G = a.params["block"], a.sizes["G"]
    kinds = [lambda x: x.amax(2), lambda x: x.amin(2), lambda x: x.mean(2)]
    gk = sum(torch.einsum("gdf,bgsd->bgsf", a.wk[:, p], pooled(a.k, block, how)) for p, how in enumerate(kinds))
    gq = torch.einsum("hdf,bhid->bhif", a.wq, a.q).unflatten(1, (G, -1)).sum(2)
    score = torch.einsum("bgif,bgsf->bgis", gq, gk)
    out, lse, _ = in_blocks(a, block, a.params["n"], score, lambda s: s == a.i // block, shared=True)
    return {"out": out, "lse": lse}


seer = Variant(seer_reference, seer_inputs, {"block": 16, "n": 4})


def compressed(a, keys, values):
    """Attention over whole windows: results, and probabilities `[b, h, i, c]`."""
    l, stride = a.params["l"], a.params["stride"]
    ends = torch.arange(keys.shape[2]) * stride + l
    out, _, weights = a.softmax(a.scores(k=keys), ends <= a.i + 1, values)
    return out, weights


def overlaps(a, windows, blocks):
    """How many positions window `c` and block `s` share: `[c, s]`."""
    l, stride, block = (a.params[name] for name in ["l", "stride", "block"])
    c, s = torch.arange(windows)[:, None] * stride, torch.arange(blocks)[None] * block
    last = (s + block).clamp(max=a.sizes["N"])
    return (torch.minimum(c + l, last) - torch.maximum(c, s)).clamp(min=0)


def nsa_inputs(given):
    G, D, E, l = given.sizes["G"], given.sizes["D"], given.sizes["E"], given.params["l"]
    given.real("phi_k", G, l, D, D, scale=(l * D) ** -0.5)
    given.real("phi_v", G, l, E, E, scale=(l * E) ** -0.5)
    given.real("gate", given.sizes["B"], given.sizes["H"], given.sizes["M"], 3)


def nsa_reference(a):
    l, stride, block, window = (a.params[name] for name in ["l", "stride", "block", "window"])
    kc = a.stored(torch.einsum("gtdx,bgcdt->bgcx", a.phi_k, a.k.unfold(2, l, stride)))
    vc = a.stored(torch.einsum("gtex,bgcet->bgcx", a.phi_v, a.v.unfold(2, l, stride)))
    coarse, weights = compressed(a, kc, vc)
    shared = weights.unflatten(1, (a.sizes["G"], -1)).sum(2)
    overlap = overlaps(a, kc.shape[2], -(-a.sizes["N"] // block))
    importance = shared @ (overlap / stride).to(shared.dtype)
    forced = lambda s: (s == 0) | (a.i // block - s < 2)
    fine, _, _ = in_blocks(a, block, a.params["n"], importance, forced, shared=True)
    near, _, _ = a.softmax(a.scores(), (a.j <= a.i) & (a.i - a.j < window))
    return {"out": sum(a.gate[..., at, None] * part for at, part in enumerate([coarse, fine, near]))}


nsa = Variant(nsa_reference, nsa_inputs, {"l": 8, "stride": 4, "block": 16, "n": 4, "window": 20})


def infllm_reference(a):
    l, stride, block, local = (a.params[name] for name in ["l", "stride", "block", "local"])
    mean = lambda x: a.stored(x.unfold(2, l, stride).mean(-1))
    kc = mean(a.k)
    _, weights = compressed(a, kc, mean(a.v))
    shared = weights.unflatten(1, (a.sizes["G"], -1)).sum(2)
    touch = overlaps(a, kc.shape[2], -(-a.sizes["N"] // block)) > 0
    rating = torch.where(touch, shared[..., None], 0.0).amax(-2)
    forced = lambda s: (s == 0) | (a.i // block - s < local)
    return {"out": in_blocks(a, block, a.params["n"], rating, forced, shared=True)[0]}


infllm = Variant(infllm_reference, params={"l": 8, "stride": 4, "block": 16, "n": 5, "local": 2})
