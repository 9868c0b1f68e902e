//! Tensor-map copies of 1 to 5 dimensions: every swizzle, boxes that hang over the tensor, stores and reductions.

use super::{Case, CaseArg, CaseBuffer, Target, Tolerance, kernel, noise};
use crate::{Buffer, Swizzle, TensorElement, TensorMap};

const THREADS: u32 = 64;

/// A tensor of 16- or 32-bit elements with padded strides.
struct Tensor {
    element: TensorElement,
    dims: Vec<u64>,
    strides: Vec<u64>,
    box_dims: Vec<u32>,
    swizzle: Swizzle,
    nan_fill: bool,
}

impl Tensor {
    fn bytes(&self) -> usize {
        let last: u64 = self.dims[1..].iter().zip(&self.strides).map(|(d, s)| (d - 1) * s).sum();
        (last + self.dims[0] * self.element.bytes()).next_multiple_of(16) as usize
    }

    fn map(&self) -> TensorMap {
        TensorMap {
            buffer: Buffer { index: 0, address: 0, bytes: 0 },
            offset: 0,
            element: self.element,
            dims: self.dims.clone(),
            strides: self.strides.clone(),
            box_dims: self.box_dims.clone(),
            swizzle: self.swizzle,
            nan_fill: self.nan_fill,
        }
    }

    fn box_elements(&self) -> usize {
        self.box_dims.iter().map(|b| *b as usize).product()
    }

    /// For each element of the box in order: its byte offset in the tensor, or nothing when it lies outside.
    fn walk(&self, coords: &[i64]) -> Vec<Option<usize>> {
        (0..self.box_elements())
            .map(|mut i| {
                let mut offset = 0;
                let mut inside = true;
                for (n, extent) in self.box_dims.iter().enumerate() {
                    let x = coords[n] + (i % *extent as usize) as i64;
                    i /= *extent as usize;
                    inside &= x >= 0 && x < self.dims[n] as i64;
                    let stride = if n == 0 { self.element.bytes() } else { self.strides[n - 1] };
                    offset += x * stride as i64;
                }
                inside.then_some(offset as usize)
            })
            .collect()
    }

    /// Where byte `at` of the packed box lies in shared memory: 16-byte units change places within 8 rows.
    fn place(&self, at: usize) -> usize {
        let (unit, row) = (at / 16, at / 128);
        let flip = match self.swizzle {
            Swizzle::None => 0,
            Swizzle::B32 => row % 2,
            Swizzle::B64 => row % 4,
            Swizzle::B128 => row % 8,
        };
        (unit ^ flip) * 16 + at % 16
    }
}

fn coordinates(coords: &[i64]) -> String {
    coords.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn data(t: &Tensor, salt: u64) -> Vec<u8> {
    let words = (t.bytes() / 4) as u64;
    match t.element {
        // Small integers, so that sums are exact.
        TensorElement::F32 => {
            (0..words).flat_map(|i| ((noise(i + salt) % 201) as f32 - 100.0).to_le_bytes()).collect()
        }
        _ => (0..words).flat_map(|i| (noise(i + salt) as u32).to_le_bytes()).collect(),
    }
}

const HEAD: &str = "    .reg .b32 %i, %m, %n, %s, %t; .reg .b64 %p, %q, %v; .reg .pred %k;\n    mov.u32 %i, %tid.x;\n    \
                    mov.u32 %m, smem;\n    mov.b64 %p, map; cvta.param.u64 %p, %p; ld.param.u64 %q, [other];\n";

/// Loads a box and copies the raw shared memory out.
fn load(all: &mut Vec<Case>, name: &str, t: &Tensor, coords: &[i64]) {
    let esz = t.element.bytes() as usize;
    let size = t.box_elements() * esz;
    let tensor = data(t, 5);
    let mut want = vec![0u8; size];
    // The hardware's NaN is 0x7FF7 in every 16 bits, a NaN in all formats.
    let fill: [u8; 2] = if t.nan_fill { [0xF7, 0x7F] } else { [0; 2] };
    for (i, from) in t.walk(coords).into_iter().enumerate() {
        for b in 0..esz {
            want[t.place(i * esz + b)] = from.map_or(fill[b % 2], |f| tensor[f + b]);
        }
    }
    let rank = coords.len();
    let body = format!(
        "{HEAD}    setp.ne.u32 %k, %i, 0; @%k bra $I; mbarrier.init.shared::cta.b64 [%m+{size}], 1; \
         fence.mbarrier_init.release.cluster;\n    \
         mbarrier.arrive.expect_tx.shared::cta.b64 _, [%m+{size}], {size};\n    \
         cp.async.bulk.tensor.{rank}d.shared::cluster.global.mbarrier::complete_tx::bytes [%m], [%p, {{{}}}], \
         [%m+{size}];\n$I: bar.sync 0;\n$W: mbarrier.try_wait.parity.shared::cta.b64 %k, [%m+{size}], 0; @!%k bra $W;\n    \
         shl.b32 %s, %i, 2;\n$L: setp.ge.u32 %k, %s, {size}; @%k bra $E; add.u32 %n, %m, %s; ld.shared.b32 %t, [%n]; \
         cvt.u64.u32 %v, %s; add.s64 %v, %v, %q; st.global.b32 [%v], %t; add.u32 %s, %s, 256; bra $L;\n$E:\n",
        coordinates(coords)
    );
    push(all, name, t, size, &body, tensor, CaseBuffer::output(want, Tolerance::Exact), None);
}

/// Fills shared memory from a buffer and stores (or adds) it as a box.
fn store(all: &mut Vec<Case>, name: &str, t: &Tensor, coords: &[i64], reduce: bool) {
    let esz = t.element.bytes() as usize;
    let size = t.box_elements() * esz;
    let start = if reduce { data(t, 17) } else { vec![0xFF; t.bytes()] };
    let source: Vec<u8> = if t.element == TensorElement::F32 {
        (0..size as u64 / 4).flat_map(|i| ((noise(i) % 101) as f32).to_le_bytes()).collect()
    } else {
        (0..size as u64).map(|i| noise(i) as u8).collect()
    };
    let mut want = start.clone();
    for (i, to) in t.walk(coords).into_iter().enumerate() {
        let Some(to) = to else { continue };
        let value: Vec<u8> = (0..esz).map(|b| source[t.place(i * esz + b)]).collect();
        if reduce {
            let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            let sum = number(&start[to..]) + number(&value);
            want[to..to + 4].copy_from_slice(&sum.to_le_bytes());
        } else {
            want[to..to + esz].copy_from_slice(&value);
        }
    }
    let rank = coords.len();
    let instruction = if reduce {
        format!("cp.reduce.async.bulk.tensor.{rank}d.global.shared::cta.add.bulk_group")
    } else {
        format!("cp.async.bulk.tensor.{rank}d.global.shared::cta.bulk_group")
    };
    let body = format!(
        "{HEAD}    shl.b32 %s, %i, 2;\n$L: setp.ge.u32 %k, %s, {size}; @%k bra $S; add.u32 %n, %m, %s; cvt.u64.u32 %v, %s; \
         add.s64 %v, %v, %q; ld.global.b32 %t, [%v]; st.shared.b32 [%n], %t; add.u32 %s, %s, 256; bra $L;\n$S: \
         fence.proxy.async.shared::cta; bar.sync 0; setp.ne.u32 %k, %i, 0; @%k bra $E;\n    \
         {instruction} [%p, {{{}}}], [%m];\n    \
         cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;\n$E:\n",
        coordinates(coords)
    );
    push(all, name, t, size, &body, start, CaseBuffer::input(source), Some(want));
}

#[allow(clippy::too_many_arguments, reason = "private, and each argument is one part of the case")]
fn push(
    all: &mut Vec<Case>,
    name: &str,
    t: &Tensor,
    size: usize,
    body: &str,
    tensor: Vec<u8>,
    other: CaseBuffer,
    after: Option<Vec<u8>>,
) {
    let params = [".param .align 64 .b8 map[128]", ".param .u64 other"];
    let expected = after.map(|w| (w, Tolerance::Exact));
    all.push(Case {
        name: name.to_owned(),
        ptx: kernel(Target::Sm90a, true, THREADS, &params, body),
        target: Target::Sm90a,
        grid: 1,
        threads: THREADS,
        cluster: 1,
        smem: size as u32 + 8,
        buffers: vec![CaseBuffer { bytes: tensor, expected }, other],
        args: vec![CaseArg::TensorMap(0, t.map()), CaseArg::Buffer(1)],
    });
}

fn tensor(element: TensorElement, dims: &[u64], box_dims: &[u32], swizzle: Swizzle) -> Tensor {
    // Each stride leaves a gap of 16 bytes, so that a wrong stride is seen.
    let mut strides = Vec::new();
    let mut span = dims[0] * element.bytes();
    for d in &dims[1..] {
        let stride = span.next_multiple_of(16) + 16;
        strides.push(stride);
        span = stride * d;
    }
    Tensor { element, dims: dims.to_vec(), strides, box_dims: box_dims.to_vec(), swizzle, nan_fill: false }
}

pub(super) fn add(all: &mut Vec<Case>) {
    let bf = TensorElement::Bf16;
    // The innermost coordinate is a multiple of 16 bytes, without which the hardware traps.
    load(all, "TMA 1d inside", &tensor(bf, &[200], &[64], Swizzle::None), &[72]);
    load(all, "TMA 1d over the end", &tensor(bf, &[100], &[64], Swizzle::None), &[72]);
    load(all, "TMA 1d before the start", &tensor(bf, &[100], &[64], Swizzle::None), &[-24]);
    for (swizzle, columns) in
        [(Swizzle::None, 24), (Swizzle::B32, 16), (Swizzle::B64, 32), (Swizzle::B128, 64)]
    {
        let t = tensor(bf, &[150, 37], &[columns, 20], swizzle);
        load(all, &format!("TMA 2d {swizzle:?}"), &t, &[40, 3]);
        load(all, &format!("TMA 2d {swizzle:?} over both ends"), &t, &[136, 25]);
        // Stores write whole units of 16 bytes, so here the inner extent is a multiple of that; and they take no
        // negative coordinates.
        let t = tensor(bf, &[152, 37], &[columns, 20], swizzle);
        store(all, &format!("TMA 2d store {swizzle:?}"), &t, &[8, 5], false);
        store(all, &format!("TMA 2d store {swizzle:?} over both ends"), &t, &[144, 30], false);
    }
    load(all, "TMA 3d", &tensor(bf, &[70, 9, 5], &[64, 4, 3], Swizzle::B128), &[8, 7, 1]);
    let heads = tensor(bf, &[64, 21, 3, 2], &[64, 16, 1, 1], Swizzle::B128);
    load(all, "TMA 4d, ragged rows of one head", &heads, &[0, 13, 2, 1]);
    load(all, "TMA 5d", &tensor(bf, &[16, 5, 4, 3, 2], &[16, 3, 2, 2, 1], Swizzle::B32), &[0, 3, 1, 2, 1]);
    store(all, "TMA 4d store, ragged rows", &heads, &[0, 13, 1, 0], false);
    let five = tensor(bf, &[16, 5, 4, 3, 2], &[16, 3, 2, 2, 2], Swizzle::B32);
    store(all, "TMA 5d store", &five, &[0, 4, 2, 0, 0], false);
    let single = TensorElement::F32;
    load(all, "TMA 2d f32", &tensor(single, &[45, 11], &[32, 8], Swizzle::B128), &[20, 6]);
    store(all, "TMA 2d add f32", &tensor(single, &[44, 11], &[32, 8], Swizzle::B128), &[20, 6], true);
    let plain = tensor(single, &[20, 7, 3], &[12, 4, 2], Swizzle::None);
    store(all, "TMA 3d add f32 without swizzle", &plain, &[12, 5, 1], true);
    let mut filled = tensor(bf, &[50, 9], &[64, 8], Swizzle::B128);
    filled.nan_fill = true;
    load(all, "TMA 2d fills with NaN", &filled, &[8, 4]);
    load(all, "TMA 2d wholly outside", &tensor(bf, &[64, 9], &[64, 8], Swizzle::B128), &[0, 9]);
    load(all, "TMA 2d of bytes", &tensor(TensorElement::U8, &[200, 12], &[48, 5], Swizzle::None), &[176, 9]);
}
