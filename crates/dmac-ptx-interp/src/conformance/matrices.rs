//! `ldmatrix`, `stmatrix` and `mma.sync`, with fragments computed from the logical matrices.

use super::{Case, CaseArg, CaseBuffer, Target, Tolerance, kernel, noise};
use half::{bf16, f16};

fn case(
    all: &mut Vec<Case>,
    name: &str,
    target: Target,
    smem: u32,
    body: &str,
    inputs: &[Vec<u8>],
    want: CaseBuffer,
) {
    let n = inputs.len();
    let mut params: Vec<String> = (0..n).map(|i| format!(".param .u64 in{i}")).collect();
    params.push(".param .u64 out".to_owned());
    let params: Vec<&str> = params.iter().map(String::as_str).collect();
    let mut buffers: Vec<CaseBuffer> = inputs.iter().cloned().map(CaseBuffer::input).collect();
    buffers.push(want);
    all.push(Case {
        name: name.to_owned(),
        ptx: kernel(target, smem > 0, 32, &params, body),
        target,
        grid: 1,
        threads: 32,
        cluster: 1,
        smem,
        args: (0..buffers.len()).map(CaseArg::Buffer).collect(),
        buffers,
    });
}

/// 16-bit test values, small integers or noise.
fn halves(n: usize, salt: u64) -> Vec<u16> {
    (0..n as u64).map(|i| noise(i + salt) as u16).collect()
}

fn bytes(v: &[u16]) -> Vec<u8> {
    v.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn regs(prefix: &str, n: usize) -> String {
    let list: Vec<String> = (0..n).map(|i| format!("{prefix}{i}")).collect();
    format!("{{{}}}", list.join(","))
}

pub(super) fn add(all: &mut Vec<Case>) {
    for n in [1, 2, 4] {
        for transposed in [false, true] {
            load(all, n, transposed);
            store(all, n, transposed);
        }
    }
    for k in [16, 8] {
        multiply(all, k, true, true);
        multiply(all, k, false, true);
        multiply(all, k, false, false);
    }
}

/// Element (r, c) of matrix m that lane l holds in half h of register m.
fn held(l: usize, h: usize, transposed: bool) -> (usize, usize) {
    let (r, c) = (l / 4, 2 * (l % 4) + h);
    if transposed { (c, r) } else { (r, c) }
}

/// Row r of matrix m is at 48 · (8 m + r): rows need not be adjacent.
fn load(all: &mut Vec<Case>, n: usize, transposed: bool) {
    let data = halves(32 * 24, 3);
    let trans = if transposed { ".trans" } else { "" };
    let d = regs("%d", n);
    let stores: String = (0..n).map(|m| format!("st.global.b32 [%v+{}], %d{m}; ", 128 * m)).collect();
    let body = format!(
        "    .reg .b32 %i, %m, %s, %t<4>, %d<4>; .reg .b64 %p, %q, %v;\n    mov.u32 %i, %tid.x; mov.u32 %m, smem; \
         ld.param.u64 %p, [in0]; ld.param.u64 %q, [out];\n    mad.wide.u32 %v, %i, 48, %p; mad.lo.u32 %s, %i, 48, %m;\n    \
         ld.global.v4.b32 {{%t0,%t1,%t2,%t3}}, [%v]; st.shared.v4.b32 [%s], {{%t0,%t1,%t2,%t3}}; bar.warp.sync -1;\n    \
         ldmatrix.sync.aligned.m8n8.x{n}{trans}.shared.b16 {d}, [%s];\n    mad.wide.u32 %v, %i, 4, %q; {stores}\n"
    );
    let mut want = Vec::new();
    for m in 0..n {
        for l in 0..32 {
            for h in 0..2 {
                let (r, c) = held(l, h, transposed);
                want.extend(data[(8 * m + r) * 24 + c].to_le_bytes());
            }
        }
    }
    let name = format!("ldmatrix.x{n}{trans}");
    case(
        all,
        &name,
        Target::Sm80,
        48 * 32,
        &body,
        &[bytes(&data)],
        CaseBuffer::output(want, Tolerance::Exact),
    );
}

fn store(all: &mut Vec<Case>, n: usize, transposed: bool) {
    let data = halves(n * 64, 9);
    let trans = if transposed { ".trans" } else { "" };
    let s = regs("%d", n);
    let loads: String = (0..n).map(|m| format!("ld.global.b32 %d{m}, [%v+{}]; ", 128 * m)).collect();
    let size = 128 * n;
    let body = format!(
        "    .reg .b32 %i, %m, %s, %t, %d<4>; .reg .b64 %p, %q, %v; .reg .pred %k;\n    mov.u32 %i, %tid.x; mov.u32 %m, smem; \
         ld.param.u64 %p, [in0]; ld.param.u64 %q, [out];\n    mad.wide.u32 %v, %i, 4, %p; {loads}\n    \
         mad.lo.u32 %s, %i, 16, %m; stmatrix.sync.aligned.m8n8.x{n}{trans}.shared.b16 [%s], {s}; bar.warp.sync -1;\n    \
         shl.b32 %s, %i, 2;\n$L: setp.ge.u32 %k, %s, {size}; @%k bra $E; add.u32 %t, %m, %s; ld.shared.b32 %t, [%t]; \
         cvt.u64.u32 %v, %s; add.s64 %v, %v, %q; st.global.b32 [%v], %t; add.u32 %s, %s, 128; bra $L;\n$E:\n"
    );
    let mut want = vec![0u8; size];
    for m in 0..n {
        for l in 0..32 {
            for h in 0..2 {
                let (r, c) = held(l, h, transposed);
                let at = (8 * m + r) * 16 + 2 * c;
                want[at..at + 2].copy_from_slice(&data[m * 64 + 2 * l + h].to_le_bytes());
            }
        }
    }
    let name = format!("stmatrix.x{n}{trans}");
    let out = CaseBuffer::output(want, Tolerance::Exact);
    case(all, &name, Target::Sm90a, 512, &body, &[bytes(&data)], out);
}

/// Small integers over 4, exact in bf16, whose products and sums are exact in f32 and f16.
fn small(n: usize, salt: u64, bf: bool) -> (Vec<f64>, Vec<u16>) {
    let values: Vec<f64> = (0..n as u64).map(|i| (noise(i + salt) % 17) as f64 / 4.0 - 2.0).collect();
    let bits = values
        .iter()
        .map(|x| if bf { bf16::from_f64(*x).to_bits() } else { f16::from_f64(*x).to_bits() })
        .collect();
    (values, bits)
}

fn multiply(all: &mut Vec<Case>, k: usize, bf: bool, f32_acc: bool) {
    let (a, a_bits) = small(16 * k, 1, bf);
    let (b, b_bits) = small(8 * k, 2, bf);
    let (c, c_bits) = small(16 * 8, 3, false);
    let (na, nb) = (k / 4, k / 8);
    // A is row-major 16 × k, B column by column, fragments gathered straight from global memory.
    let mut body = format!(
        "    .reg .b32 %i, %r, %c, %a<4>, %b<2>, %d<4>; .reg .f32 %f<4>; .reg .b16 %h<4>; .reg .b64 %p, %q, %v;\n    \
         mov.u32 %i, %tid.x; shr.u32 %r, %i, 2; and.b32 %c, %i, 3;\n    ld.param.u64 %p, [in0]; \
         mad.lo.u32 %i, %r, {k}, 0; mad.lo.u32 %i, %c, 2, %i; mad.wide.u32 %v, %i, 2, %p;\n"
    );
    for i in 0..na {
        body += &format!("    ld.global.b32 %a{i}, [%v+{}];\n", (i % 2) * 8 * k * 2 + (i / 2) * 16);
    }
    body += "    ld.param.u64 %p, [in1]; mad.wide.u32 %v, %i, 2, %p;\n";
    for i in 0..nb {
        body += &format!("    ld.global.b32 %b{i}, [%v+{}];\n", 16 * i);
    }
    body += "    mad.lo.u32 %i, %r, 8, 0; mad.lo.u32 %i, %c, 2, %i; ld.param.u64 %p, [in2]; mad.wide.u32 %v, %i, 2, %p; \
             ld.param.u64 %q, [out];\n";
    let ty = if bf { "bf16" } else { "f16" };
    let (fa, fb) = (regs("%a", na), regs("%b", nb));
    let expect: Vec<f64> = (0..128)
        .map(|i| {
            let (row, col) = (i / 8, i % 8);
            c[i] + (0..k).map(|x| a[row * k + x] * b[col * k + x]).sum::<f64>()
        })
        .collect();
    let want: Vec<u8> = if f32_acc {
        for (i, at) in [0, 2, 128, 130].iter().enumerate() {
            body += &format!("    ld.global.b16 %h{i}, [%v+{at}]; cvt.f32.f16 %f{i}, %h{i};\n");
        }
        body += &format!(
            "    mma.sync.aligned.m16n8k{k}.row.col.f32.{ty}.{ty}.f32 {{%f0,%f1,%f2,%f3}}, {fa}, {fb}, {{%f0,%f1,%f2,%f3}};\n    \
             mad.wide.u32 %v, %i, 4, %q; st.global.v2.f32 [%v], {{%f0,%f1}}; st.global.v2.f32 [%v+256], {{%f2,%f3}};\n"
        );
        expect.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect()
    } else {
        body += &format!(
            "    ld.global.b32 %d0, [%v]; ld.global.b32 %d1, [%v+128];\n    \
             mma.sync.aligned.m16n8k{k}.row.col.f16.{ty}.{ty}.f16 {{%d2,%d3}}, {fa}, {fb}, {{%d0,%d1}};\n    \
             mad.wide.u32 %v, %i, 2, %q; st.global.b32 [%v], %d2; st.global.b32 [%v+128], %d3;\n"
        );
        expect.iter().flat_map(|x| f16::from_f64(*x).to_bits().to_le_bytes()).collect()
    };
    let name = format!("mma.m16n8k{k} {ty} into {}", if f32_acc { "f32" } else { "f16" });
    let inputs = [bytes(&a_bits), bytes(&b_bits), bytes(&c_bits)];
    case(all, &name, Target::Sm80, 0, &body, &inputs, CaseBuffer::output(want, Tolerance::Exact));
}
