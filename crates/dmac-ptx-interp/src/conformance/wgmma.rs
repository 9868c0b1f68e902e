//! `wgmma.mma_async`: shapes, operand layouts, swizzles, register operands, scales and signs.
//!
//! The kernel copies two operand images into shared memory, multiplies once (or twice, to accumulate), and writes its
//! fragments to their places in a row-major result. The images are laid out here from the canonical layouts of the
//! ISA's matrix descriptors.

use super::{Case, CaseArg, CaseBuffer, Target, Tolerance, kernel, noise};
use crate::Swizzle;
use half::{bf16, f16};

/// Which dimension is contiguous in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Major {
    K,
    Mn,
}

#[derive(Clone, Copy)]
struct Layout {
    major: Major,
    swizzle: Swizzle,
    /// Byte distances that the descriptor names.
    leading: usize,
    stride: usize,
    bytes: usize,
}

impl Layout {
    /// A layout of `mn` × 16 elements of 16 bits.
    fn new(major: Major, swizzle: Swizzle, mn: usize) -> Layout {
        let span = swizzle.span() as usize;
        let (leading, stride, bytes) = match (major, span) {
            // Core matrices of 8 × 16 bytes: the two of a row group are 128 bytes apart.
            (Major::K, 0) => (128, 256, mn / 8 * 256),
            // Rows of the span, eight to a group; a k step uses 32 of its bytes.
            (Major::K, _) => (16, 8 * span, mn / 8 * 8 * span),
            (Major::Mn, 0) => (mn / 8 * 128, 128, 2 * (mn / 8) * 128),
            // Blocks of span / 2 rows, each with 16 columns in two groups of eight.
            (Major::Mn, _) => (16 * span, 8 * span, mn.div_ceil(span / 2) * 16 * span),
        };
        Layout { major, swizzle, leading, stride, bytes: bytes.next_multiple_of(1024) }
    }

    /// Byte offset of element (i, k).
    fn at(&self, i: usize, k: usize) -> usize {
        let span = self.swizzle.span() as usize;
        let linear = match (self.major, span) {
            (Major::K, 0) => i / 8 * self.stride + k / 8 * self.leading + i % 8 * 16 + k % 8 * 2,
            (Major::K, _) => i / 8 * self.stride + i % 8 * span + 2 * k,
            (Major::Mn, 0) => i / 8 * self.stride + k / 8 * self.leading + k % 8 * 16 + i % 8 * 2,
            (Major::Mn, _) => {
                let per = span / 2;
                i / per * self.leading + k / 8 * self.stride + k % 8 * span + i % per * 2
            }
        };
        let flip = match self.swizzle {
            Swizzle::None => 0,
            Swizzle::B32 => linear >> 7 & 1,
            Swizzle::B64 => linear >> 7 & 3,
            Swizzle::B128 => linear >> 7 & 7,
        };
        linear ^ flip << 4
    }

    /// The upper word of the descriptor, and what the leading distance adds to the lower one.
    fn descriptor(&self) -> (u32, u32) {
        let kind = match self.swizzle {
            Swizzle::None => 0u32,
            Swizzle::B128 => 1,
            Swizzle::B64 => 2,
            Swizzle::B32 => 3,
        };
        ((self.stride >> 4) as u32 | kind << 30, ((self.leading >> 4) as u32) << 16)
    }
}

/// Type of the multiplicands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Bf16,
    F16,
}

struct Test<'a> {
    name: &'a str,
    n: usize,
    input: Input,
    f32_acc: bool,
    /// `None`: A comes from registers.
    a: Option<(Major, Swizzle)>,
    b: (Major, Swizzle),
    /// Initial accumulator (small integers) instead of scale-d 0.
    accumulate: bool,
    negate_a: bool,
}

fn values(n: usize, salt: u64) -> Vec<f64> {
    (0..n as u64).map(|i| (noise(i + salt) % 17) as f64 / 4.0 - 2.0).collect()
}

fn bits(x: f64, bf: bool) -> u16 {
    if bf { bf16::from_f64(x).to_bits() } else { f16::from_f64(x).to_bits() }
}

fn image(layout: &Layout, mn: usize, v: &[f64], bf: bool) -> Vec<u8> {
    let mut raw = vec![0u8; layout.bytes];
    for i in 0..mn {
        for k in 0..16 {
            let at = layout.at(i, k);
            raw[at..at + 2].copy_from_slice(&bits(v[i * 16 + k], bf).to_le_bytes());
        }
    }
    raw
}

fn case(all: &mut Vec<Case>, t: &Test<'_>) {
    let (a, b) = (values(64 * 16, 11), values(t.n * 16, 12));
    let b_layout = Layout::new(t.b.0, t.b.1, t.n);
    let a_layout = t.a.map(|(major, swizzle)| Layout::new(major, swizzle, 64));
    let a_bytes = match &a_layout {
        Some(l) => image(l, 64, &a, t.input == Input::Bf16),
        None => a.iter().flat_map(|x| bits(*x, t.input == Input::Bf16).to_le_bytes()).collect(),
    };
    let b_bytes = image(&b_layout, t.n, &b, t.input == Input::Bf16);
    let (a_size, b_size) = (a_bytes.len(), b_bytes.len());
    let (b_high, b_low) = b_layout.descriptor();
    let accs = if t.f32_acc { t.n / 2 } else { t.n / 4 };
    let acc_ty = if t.f32_acc { "f32" } else { "b32" };
    let list: Vec<String> = (0..accs).map(|i| format!("%d{i}")).collect();
    let list = list.join(",");
    let mut body = format!(
        "    .reg .b32 %i, %m, %s, %x<4>, %r, %c, %lo; .reg .{acc_ty} %d<{accs}>; .reg .b64 %p, %q, %v, %da, %db; \
         .reg .pred %k;\n    mov.u32 %i, %tid.x; mov.u32 %m, smem; ld.param.u64 %q, [out];\n"
    );
    for (input, size, at) in [("in0", a_size, 0), ("in1", b_size, a_size)] {
        body += &format!(
            "    ld.param.u64 %p, [{input}]; shl.b32 %s, %i, 4;\n$L{at}: setp.ge.u32 %k, %s, {size}; @%k bra $E{at}; \
             cvt.u64.u32 %v, %s; add.s64 %v, %v, %p; ld.global.v4.b32 {{%x0,%x1,%x2,%x3}}, [%v]; add.u32 %lo, %m, %s; \
             st.shared.v4.b32 [%lo+{at}], {{%x0,%x1,%x2,%x3}}; add.u32 %s, %s, 2048; bra $L{at};\n$E{at}:\n"
        );
    }
    body += &format!(
        "    fence.proxy.async.shared::cta; bar.sync 0;\n    add.u32 %lo, %m, {a_size}; shr.u32 %lo, %lo, 4; \
         or.b32 %lo, %lo, {b_low}; mov.b64 %db, {{%lo, {b_high}}};\n"
    );
    // Row of the fragment: 16 (warp) + lane / 4; first column 2 (lane % 4).
    body += "    shr.u32 %r, %i, 5; and.b32 %s, %i, 31; shr.u32 %c, %s, 2; mad.lo.u32 %r, %r, 16, %c; and.b32 %c, %i, 3; \
             shl.b32 %c, %c, 1;\n";
    let operand = if let Some(l) = &a_layout {
        let (high, low) = l.descriptor();
        body += &format!("    shr.u32 %lo, %m, 4; or.b32 %lo, %lo, {low}; mov.b64 %da, {{%lo, {high}}};\n");
        "%da"
    } else {
        body += "    mad.lo.u32 %lo, %r, 32, %m; mad.lo.u32 %lo, %c, 2, %lo; ld.shared.b32 %x0, [%lo]; \
                 ld.shared.b32 %x1, [%lo+256]; ld.shared.b32 %x2, [%lo+16]; ld.shared.b32 %x3, [%lo+272];\n";
        "{%x0,%x1,%x2,%x3}"
    };
    // The accumulator starts as row + 2 column (columns from the fragment), or is garbage that scale-d 0 ignores.
    let start = |row: usize, col: usize| (row % 8) as f64 + (col % 16) as f64;
    for i in 0..accs {
        if !t.accumulate {
            let value = if t.f32_acc { "0f7FC00000" } else { "0x7E007E00" };
            body += &format!("    mov.b32 %d{i}, {value};\n");
            continue;
        }
        let (j, e) = if t.f32_acc { (i / 4, i % 4) } else { (i / 2, 0) };
        let column = (8 * j + (e & 1)) % 16;
        // row % 8 and the fragment's own columns are added at run time; 8 j + e here.
        body += &format!(
            "    and.b32 %s, %r, 7; add.u32 %s, %s, %c; add.u32 %s, %s, {column}; cvt.rn.f32.u32 %d{i}, %s;\n"
        );
    }
    let ty = if t.input == Input::Bf16 { "bf16" } else { "f16" };
    let acc = if t.f32_acc { "f32" } else { "f16" };
    let n = t.n;
    let scale_d = i32::from(t.accumulate);
    let scale_a = if t.negate_a { -1 } else { 1 };
    let tb = i32::from(t.b.0 == Major::Mn);
    let ta = match t.a {
        Some((major, _)) => format!("{}, ", i32::from(major == Major::Mn)),
        None => String::new(),
    };
    body += &format!(
        "    wgmma.fence.sync.aligned;\n    wgmma.mma_async.sync.aligned.m64n{n}k16.{acc}.{ty}.{ty} {{{list}}}, {operand}, \
         %db, {scale_d}, {scale_a}, 1, {ta}{tb};\n    wgmma.commit_group.sync.aligned;\n    \
         wgmma.wait_group.sync.aligned 0;\n    mad.lo.u32 %s, %r, {n}, %c;\n"
    );
    let each = if t.f32_acc { 4 } else { 2 };
    body += &format!("    mad.wide.u32 %v, %s, {each}, %q;\n");
    for i in 0..accs {
        let offset = if t.f32_acc {
            (i / 4 * 8 + (i & 1) + (i % 4 / 2) * 8 * n) * 4
        } else {
            (i / 2 * 8 + (i & 1) * 8 * n) * 2
        };
        body += &format!("    st.global.b32 [%v+{offset}], %d{i};\n");
    }
    let mut want = Vec::new();
    for row in 0..64 {
        for col in 0..n {
            let mut x: f64 = (0..16).map(|k| a[row * 16 + k] * b[col * 16 + k]).sum();
            if t.negate_a {
                x = -x;
            }
            if t.accumulate {
                x += start(row, col);
            }
            if t.f32_acc {
                want.extend((x as f32 + 0.0).to_le_bytes());
            } else {
                want.extend(f16::from_f64(x + 0.0).to_bits().to_le_bytes());
            }
        }
    }
    let params = [".param .u64 in0", ".param .u64 in1", ".param .u64 out"];
    all.push(Case {
        name: format!("wgmma {}", t.name),
        ptx: kernel(Target::Sm90a, true, 128, &params, &body),
        target: Target::Sm90a,
        grid: 1,
        threads: 128,
        cluster: 1,
        smem: (a_size + b_size) as u32,
        buffers: vec![
            CaseBuffer::input(a_bytes),
            CaseBuffer::input(b_bytes),
            CaseBuffer::output(want, Tolerance::F32 { relative: 0.0, absolute: 0.0 }),
        ],
        args: (0..3).map(CaseArg::Buffer).collect(),
    });
    if !t.f32_acc
        && let Some((_, tolerance)) = all.last_mut().and_then(|c| c.buffers[2].expected.as_mut())
    {
        *tolerance = Tolerance::Half { bf16: false, relative: 0.0, absolute: 0.0 };
    }
}

pub(super) fn add(all: &mut Vec<Case>) {
    let k128 = (Major::K, Swizzle::B128);
    let base = Test {
        name: "",
        n: 64,
        input: Input::Bf16,
        f32_acc: true,
        a: Some(k128),
        b: k128,
        accumulate: false,
        negate_a: false,
    };
    for n in [8, 16, 24, 40, 64, 80, 96, 128, 176, 192, 256] {
        case(all, &Test { name: &format!("n {n}, both operands K-major"), n, ..base });
    }
    for n in [64, 80, 128, 256] {
        case(
            all,
            &Test { name: &format!("n {n}, A from registers"), n, a: None, accumulate: n == 80, ..base },
        );
    }
    for swizzle in [Swizzle::None, Swizzle::B32, Swizzle::B64, Swizzle::B128] {
        let (k, mn) = ((Major::K, swizzle), (Major::Mn, swizzle));
        case(all, &Test { name: &format!("K-major {swizzle:?}"), a: Some(k), b: k, ..base });
        case(all, &Test { name: &format!("MN-major B {swizzle:?}"), n: 128, b: mn, ..base });
        case(all, &Test { name: &format!("MN-major A {swizzle:?}"), a: Some(mn), ..base });
        case(
            all,
            &Test {
                name: &format!("both MN-major {swizzle:?}, f16"),
                input: Input::F16,
                a: Some(mn),
                b: mn,
                ..base
            },
        );
    }
    case(
        all,
        &Test {
            name: "MN-major B and A from registers",
            n: 128,
            a: None,
            b: (Major::Mn, Swizzle::B128),
            ..base
        },
    );
    case(all, &Test { name: "accumulates", accumulate: true, ..base });
    case(all, &Test { name: "subtracts", accumulate: true, negate_a: true, ..base });
    case(all, &Test { name: "f16 into f32", input: Input::F16, ..base });
    case(all, &Test { name: "f16 into f16", input: Input::F16, f32_acc: false, ..base });
    case(
        all,
        &Test {
            name: "f16 into f16 with A from registers",
            n: 96,
            input: Input::F16,
            f32_acc: false,
            a: None,
            ..base
        },
    );
    chain(all);
}

/// Two batches in flight over a K of 64: four products of one accumulator each, descriptors advanced by 32 bytes, the
/// first result read while the second batch runs.
fn chain(all: &mut Vec<Case>) {
    let (n, k) = (32, 64);
    let (a, b) = (values(64 * k, 21), values(n * k, 22));
    // Rows of 128 bytes, eight to a group, swizzled: the K-major layout of a whole tile.
    let tile = |rows: usize, v: &[f64]| -> Vec<u8> {
        let mut raw = vec![0u8; rows * 128];
        for i in 0..rows {
            for c in 0..k {
                let linear = i * 128 + 2 * c;
                let at = linear ^ (linear >> 7 & 7) << 4;
                raw[at..at + 2].copy_from_slice(&bf16::from_f64(v[i * k + c]).to_bits().to_le_bytes());
            }
        }
        raw
    };
    let (a_bytes, b_bytes) = (tile(64, &a), tile(n, &b));
    let acc = |p: &str| (0..n / 2).map(|i| format!("%{p}{i}")).collect::<Vec<_>>().join(",");
    let mut body = format!(
        "    .reg .b32 %i, %m, %s, %x<4>, %r, %c, %lo; .reg .f32 %d<{0}>, %e<{0}>; .reg .b64 %p, %q, %v, %da, %db; \
         .reg .pred %k;\n    mov.u32 %i, %tid.x; mov.u32 %m, smem; ld.param.u64 %q, [out];\n",
        n / 2
    );
    for (input, size, at) in [("in0", a_bytes.len(), 0), ("in1", b_bytes.len(), a_bytes.len())] {
        body += &format!(
            "    ld.param.u64 %p, [{input}]; shl.b32 %s, %i, 4;\n$L{at}: setp.ge.u32 %k, %s, {size}; @%k bra $E{at}; \
             cvt.u64.u32 %v, %s; add.s64 %v, %v, %p; ld.global.v4.b32 {{%x0,%x1,%x2,%x3}}, [%v]; add.u32 %lo, %m, %s; \
             st.shared.v4.b32 [%lo+{at}], {{%x0,%x1,%x2,%x3}}; add.u32 %s, %s, 2048; bra $L{at};\n$E{at}:\n"
        );
    }
    body += &format!(
        "    fence.proxy.async.shared::cta; bar.sync 0; shr.u32 %lo, %m, 4; mov.b64 %da, {{%lo, 0x40000040}}; \
         add.u32 %lo, %lo, {}; mov.b64 %db, {{%lo, 0x40000040}};\n",
        a_bytes.len() / 16
    );
    for (batch, p) in ["d", "e"].into_iter().enumerate() {
        body += "    wgmma.fence.sync.aligned;\n";
        for step in 0..4 {
            let scale = i32::from(step > 0);
            body += &format!(
                "    wgmma.mma_async.sync.aligned.m64n{n}k16.f32.bf16.bf16 {{{}}}, %da, %db, {scale}, {}, 1, 0, 0;\n",
                acc(p),
                if batch == 0 { 1 } else { -1 }
            );
            if step < 3 || batch == 0 {
                let by = if step < 3 { 2 } else { -6 };
                body += &format!("    add.s64 %da, %da, {by}; add.s64 %db, %db, {by};\n");
            }
        }
        body += "    wgmma.commit_group.sync.aligned;\n";
    }
    body += "    shr.u32 %r, %i, 5; and.b32 %s, %i, 31; shr.u32 %c, %s, 2; mad.lo.u32 %r, %r, 16, %c; and.b32 %c, %i, 3; \
             shl.b32 %c, %c, 1;\n";
    body += &format!(
        "    mad.lo.u32 %s, %r, {n}, %c; mad.wide.u32 %v, %s, 4, %q;\n    wgmma.wait_group.sync.aligned 1;\n"
    );
    for (p, base) in [("d", 0), ("e", 64 * n * 4)] {
        for i in 0..n / 2 {
            let offset = base + (i / 4 * 8 + (i & 1) + (i % 4 / 2) * 8 * n) * 4;
            body += &format!("    st.global.b32 [%v+{offset}], %{p}{i};\n");
        }
        if p == "d" {
            body += "    wgmma.wait_group.sync.aligned 0;\n";
        }
    }
    let want: Vec<u8> = [1.0, -1.0]
        .iter()
        .flat_map(|sign| (0..64 * n).map(move |i| (sign, i / n, i % n)))
        .flat_map(|(sign, i, j)| {
            let sum: f64 = (0..k).map(|x| a[i * k + x] * b[j * k + x]).sum();
            ((sign * sum) as f32 + 0.0).to_le_bytes()
        })
        .collect();
    let params = [".param .u64 in0", ".param .u64 in1", ".param .u64 out"];
    all.push(Case {
        name: "wgmma batches over a K of 64, two in flight".to_owned(),
        ptx: kernel(Target::Sm90a, true, 128, &params, &body),
        target: Target::Sm90a,
        grid: 1,
        threads: 128,
        cluster: 1,
        smem: (a_bytes.len() + b_bytes.len()) as u32,
        buffers: vec![
            CaseBuffer::input(a_bytes),
            CaseBuffer::input(b_bytes),
            CaseBuffer::output(want, Tolerance::F32 { relative: 0.0, absolute: 0.0 }),
        ],
        args: (0..3).map(CaseArg::Buffer).collect(),
    });
}
