//! Floating-point arithmetic, approximations and conversions.

use super::scalar::{ELEMENTS, Scalar, scalar};
use super::{Case, Tolerance, noise, only_hopper};
use half::{bf16, f16};

/// f32 bits: specials, subnormals, exact and awkward numbers, then noise over all exponents near one.
fn singles(salt: u64) -> Vec<u64> {
    let edges: [f32; 30] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        2.0,
        1.5,
        3.0,
        -2.5,
        0.1,
        1e-3,
        -7.25,
        100.0,
        65504.0,
        65520.0,
        1e10,
        -1e10,
        3.4e38,
        -3.4e38,
        1e-38,
        1e-40,
        -1e-41,
        f32::MIN_POSITIVE,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        0.999_999_94,
        1.000_000_1,
        16_777_217.0,
        5.960_464_5e-8,
    ];
    (0..ELEMENTS as u64)
        .map(|i| {
            let n = noise(i * 13 + salt * 7_919);
            if i < 120 {
                return u64::from(edges[((i * (2 * salt + 1) + i / 30) % 30) as usize].to_bits());
            }
            let exponent = 115 + (n >> 40) % 24;
            (n & 0x8000_0000) | exponent << 23 | n & 0x7F_FFFF
        })
        .collect()
}

/// f32 in a moderate range, for the approximations.
fn moderate(salt: u64, low: f32, high: f32) -> Vec<u64> {
    (0..ELEMENTS as u64)
        .map(|i| {
            let x = (noise(i + salt * 991) >> 11) as f64 / (1u64 << 53) as f64;
            u64::from(((f64::from(low) + x * f64::from(high - low)) as f32).to_bits())
        })
        .collect()
}

fn f(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn b(x: f32) -> u64 {
    u64::from(x.to_bits())
}

fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

struct Table<'a>(&'a mut Vec<Case>);

impl Table<'_> {
    fn f32(&mut self, code: &str, n: usize, expect: impl Fn(f32, f32, f32) -> f32) {
        let name = code.split_whitespace().next().unwrap_or(code);
        let test =
            Scalar { name, code, sources: &["f32"; 3][..n], result: "f32", tolerance: Tolerance::SameF32 };
        let inputs: Vec<Vec<u64>> = (0..n as u64).map(singles).collect();
        let get = |v: &[u64], i: usize| f(v.get(i).copied().unwrap_or(0));
        scalar(self.0, &test, &inputs, |v| b(expect(get(v, 0), get(v, 1), get(v, 2))));
    }

    fn approx(
        &mut self,
        code: &str,
        (low, high): (f32, f32),
        (relative, absolute): (f64, f64),
        expect: impl Fn(f64) -> f64,
    ) {
        let name = code.split_whitespace().next().unwrap_or(code);
        let tolerance = Tolerance::F32 { relative, absolute };
        let test = Scalar { name, code, sources: &["f32"], result: "f32", tolerance };
        scalar(self.0, &test, &[moderate(3, low, high)], |v| b(expect(f64::from(f(v[0]))) as f32));
    }
}

/// Packs two numbers that are exact in the format.
fn pack(lo: u16, hi: u16) -> u64 {
    u64::from(lo) | u64::from(hi) << 16
}

pub(super) fn add(all: &mut Vec<Case>) {
    let mut t = Table(all);
    t.f32("add.f32 %d, %a, %b;", 2, |a, b, _| a + b);
    t.f32("add.rn.ftz.f32 %d, %a, %b;", 2, |a, b, _| flush(flush(a) + flush(b)));
    t.f32("sub.f32 %d, %a, %b;", 2, |a, b, _| a - b);
    t.f32("mul.f32 %d, %a, %b;", 2, |a, b, _| a * b);
    t.f32("mul.ftz.f32 %d, %a, %b;", 2, |a, b, _| flush(flush(a) * flush(b)));
    t.f32("add.sat.f32 %d, %a, %b;", 2, |a, b, _| {
        let x = a + b;
        if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) + 0.0 }
    });
    t.f32("fma.rn.f32 %d, %a, %b, %c;", 3, f32::mul_add);
    t.f32("fma.rn.ftz.f32 %d, %a, %b, %c;", 3, |a, b, c| flush(flush(a).mul_add(flush(b), flush(c))));
    t.f32("div.rn.f32 %d, %a, %b;", 2, |a, b, _| a / b);
    t.f32("rcp.rn.f32 %d, %a;", 1, |a, _, _| 1.0 / a);
    t.f32("sqrt.rn.f32 %d, %a;", 1, |a, _, _| a.sqrt());
    t.f32("neg.f32 %d, %a;", 1, |a, _, _| -a);
    t.f32("abs.f32 %d, %a;", 1, |a, _, _| a.abs());
    let pick = |a: f32, b: f32, less: bool| match (a.is_nan(), b.is_nan()) {
        (true, true) => f32::NAN,
        (true, false) => b,
        (false, true) => a,
        _ if a == 0.0 && b == 0.0 => {
            if a.is_sign_negative() == less {
                a
            } else {
                b
            }
        }
        _ if (a < b) == less => a,
        _ => b,
    };
    t.f32("min.f32 %d, %a, %b;", 2, move |a, b, _| pick(a, b, true));
    t.f32("max.f32 %d, %a, %b;", 2, move |a, b, _| pick(a, b, false));
    t.f32(
        "max.NaN.f32 %d, %a, %b;",
        2,
        move |a, b, _| if a.is_nan() || b.is_nan() { f32::NAN } else { pick(a, b, false) },
    );
    // The first operand gives the sign, the second the rest.
    t.f32("copysign.f32 %d, %a, %b;", 2, |a, b, _| b.copysign(a));
    t.f32("cvt.rzi.f32.f32 %d, %a;", 1, |a, _, _| a.trunc());
    t.f32("cvt.rni.f32.f32 %d, %a;", 1, |a, _, _| a.round_ties_even());
    t.f32("cvt.rmi.f32.f32 %d, %a;", 1, |a, _, _| a.floor());

    // Error bounds as the ISA documents them.
    let ulp = 2f64.powi(-22);
    t.approx("ex2.approx.ftz.f32 %d, %a;", (-120.0, 120.0), (ulp, 0.0), f64::exp2);
    t.approx("ex2.approx.f32 %d, %a;", (-2.0, 2.0), (ulp, 0.0), f64::exp2);
    t.approx("lg2.approx.ftz.f32 %d, %a;", (1e-3, 1e6), (ulp, ulp), f64::log2);
    t.approx("rcp.approx.ftz.f32 %d, %a;", (0.01, 1e4), (ulp / 2.0, 0.0), |x| 1.0 / x);
    t.approx("sqrt.approx.f32 %d, %a;", (0.0, 1e6), (ulp, 0.0), f64::sqrt);
    t.approx("rsqrt.approx.f32 %d, %a;", (0.01, 1e6), (ulp, 0.0), |x| 1.0 / x.sqrt());
    t.approx("sin.approx.f32 %d, %a;", (-3.1, 3.1), (0.0, 2f64.powf(-20.5)), f64::sin);
    t.approx("cos.approx.f32 %d, %a;", (-3.1, 3.1), (0.0, 2f64.powf(-20.5)), f64::cos);
    t.approx("tanh.approx.f32 %d, %a;", (-6.0, 6.0), (2f64.powf(-10.9), 0.0), f64::tanh);
    special_values(all);
    halves(all);
    bf16_functions(all);
    conversions(all);
}

/// Values at which the approximations must be exact.
fn special_values(all: &mut Vec<Case>) {
    let run = |all: &mut Vec<Case>, code: &str, table: &[(f32, f32)]| {
        let name = format!("{} at special values", code.split_whitespace().next().unwrap_or(code));
        let test =
            Scalar { name: &name, code, sources: &["f32"], result: "f32", tolerance: Tolerance::SameF32 };
        let inputs: Vec<u64> = (0..ELEMENTS).map(|i| b(table[i % table.len()].0)).collect();
        scalar(all, &test, &[inputs], |v| {
            b(table.iter().find(|(x, _)| x.to_bits() == v[0] as u32).map_or(0.0, |(_, y)| *y))
        });
    };
    let inf = f32::INFINITY;
    run(
        all,
        "ex2.approx.ftz.f32 %d, %a;",
        &[(0.0, 1.0), (-0.0, 1.0), (-inf, 0.0), (inf, inf), (f32::NAN, f32::NAN), (-200.0, 0.0), (1.0, 2.0)],
    );
    run(
        all,
        "lg2.approx.ftz.f32 %d, %a;",
        &[(0.0, -inf), (1e-40, -inf), (1.0, 0.0), (inf, inf), (-1.0, f32::NAN), (f32::NAN, f32::NAN)],
    );
    run(
        all,
        "rcp.approx.ftz.f32 %d, %a;",
        &[(0.0, inf), (-0.0, -inf), (inf, 0.0), (-inf, -0.0), (1.0, 1.0), (1e-40, inf)],
    );
    run(
        all,
        "tanh.approx.f32 %d, %a;",
        &[(0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0), (f32::NAN, f32::NAN)],
    );
}

/// An operation on up to three numbers.
type Ternary = fn(f64, f64, f64) -> f64;

/// 16-bit arithmetic, where the result of the exact operation is rounded once.
fn halves(all: &mut Vec<Case>) {
    let pairs = |salt: u64| -> Vec<u64> {
        (0..ELEMENTS as u64)
            .map(|i| {
                let x = |k: u64| (noise(i * 2 + k + salt * 577) % 4096) as f32 / 64.0 - 32.0;
                u64::from(f16::from_f32(x(0)).to_bits()) | u64::from(f16::from_f32(x(1)).to_bits()) << 16
            })
            .collect()
    };
    let as_bf16 = |v: Vec<u64>| -> Vec<u64> {
        let to = |x: u64| u64::from(bf16::from_f32(f16::from_bits(x as u16).to_f32()).to_bits());
        v.into_iter().map(|x| to(x & 0xFFFF) | to(x >> 16) << 16).collect()
    };
    let ops: [(&str, usize, Ternary); 5] = [
        ("add", 2, |a, b, _| a + b),
        ("sub", 2, |a, b, _| a - b),
        ("mul", 2, |a, b, _| a * b),
        ("fma.rn", 3, |a, b, c| a.mul_add(b, c)),
        ("max", 2, |a, b, _| a.max(b)),
    ];
    for (op_name, n, op) in ops {
        for bf in [false, true] {
            let ty = if bf { "bf16x2" } else { "f16x2" };
            let operands = ["%a", "%b", "%c"][..n].join(", ");
            let code = format!("{op_name}.{ty} %d, {operands};");
            let inputs: Vec<Vec<u64>> =
                (0..n as u64).map(|i| if bf { as_bf16(pairs(i)) } else { pairs(i) }).collect();
            let name = format!("{op_name}.{ty}");
            let test = Scalar {
                name: &name,
                code: &code,
                sources: &["b32"; 3][..n],
                result: "b32",
                tolerance: Tolerance::Exact,
            };
            scalar(all, &test, &inputs, |v| {
                let half = |shift: u32| {
                    let x: Vec<f64> = v
                        .iter()
                        .map(|x| {
                            let bits = (x >> shift) as u16;
                            if bf { bf16::from_bits(bits).to_f64() } else { f16::from_bits(bits).to_f64() }
                        })
                        .collect();
                    let y = op(x[0], x[1], x.get(2).copied().unwrap_or(0.0));
                    if bf { bf16::from_f64(y).to_bits() } else { f16::from_f64(y).to_bits() }
                };
                pack(half(0), half(16))
            });
            if bf && matches!(op_name, "add" | "sub" | "mul") {
                only_hopper(all);
            }
        }
    }
    let inputs = pairs(9);
    for (code, (relative, absolute), op) in [
        // The absolute error of 2^-10.987 that the ISA allows, and the rounding of the expected value.
        ("tanh.approx.f16x2 %d, %a;", (0.0, 2f64.powf(-10.3)), f64::tanh as fn(f64) -> f64),
        ("ex2.approx.f16x2 %d, %a;", (2f64.powf(-9.5), 2f64.powi(-24)), f64::exp2),
    ] {
        let name = code.split_whitespace().next().unwrap_or(code);
        let tolerance = Tolerance::Half { bf16: false, relative, absolute };
        let scaled: Vec<u64> = inputs
            .iter()
            .map(|x| {
                let to = |x: u64| u64::from(f16::from_f32(f16::from_bits(x as u16).to_f32() / 8.0).to_bits());
                to(x & 0xFFFF) | to(x >> 16) << 16
            })
            .collect();
        let test = Scalar { name, code, sources: &["b32"], result: "b32", tolerance };
        scalar(all, &test, &[scaled], |v| {
            let half = |x: u64| f16::from_f64(op(f16::from_bits(x as u16).to_f64())).to_bits();
            pack(half(v[0]), half(v[0] >> 16))
        });
    }
}

/// The approximations of bf16 pairs, which only Hopper has.
fn bf16_functions(all: &mut Vec<Case>) {
    for (code, (relative, absolute), op) in [
        // 2^-7 and 2^-8 as the ISA documents them, and the rounding of the expected value.
        ("ex2.approx.ftz.bf16x2 %d, %a;", (2f64.powf(-6.4), 0.0), f64::exp2 as fn(f64) -> f64),
        ("tanh.approx.bf16x2 %d, %a;", (0.0, 2f64.powf(-7.0)), f64::tanh),
    ] {
        let name = code.split_whitespace().next().unwrap_or(code);
        let tolerance = Tolerance::Half { bf16: true, relative, absolute };
        let to = |x: u64| u64::from(bf16::from_f32(f(x)).to_bits());
        let (low, high) = (moderate(21, -5.0, 5.0), moderate(22, -5.0, 5.0));
        let inputs: Vec<u64> = low.iter().zip(&high).map(|(a, b)| to(*a) | to(*b) << 16).collect();
        scalar(all, &Scalar { name, code, sources: &["b32"], result: "b32", tolerance }, &[inputs], |v| {
            let half = |x: u64| bf16::from_f64(op(bf16::from_bits(x as u16).to_f64())).to_bits();
            pack(half(v[0]), half(v[0] >> 16))
        });
        only_hopper(all);
    }
}

fn conversions(all: &mut Vec<Case>) {
    let mut run =
        |code: &str, sources: &[&str], result: &str, inputs: &[Vec<u64>], expect: &dyn Fn(&[u64]) -> u64| {
            let name = code.split_whitespace().next().unwrap_or(code);
            let tolerance = if result == "f32" { Tolerance::SameF32 } else { Tolerance::Exact };
            scalar(all, &Scalar { name, code, sources, result, tolerance }, inputs, expect);
        };
    // NaN gives the canonical NaN 0x7FFF.
    let bf = |x: f32| if x.is_nan() { 0x7FFF } else { bf16::from_f32(x).to_bits() };
    let hf = |x: f32| if x.is_nan() { 0x7FFF } else { f16::from_f32(x).to_bits() };
    run("cvt.rn.bf16x2.f32 %d, %a, %b;", &["f32"; 2], "b32", &[singles(0), singles(1)], &|v| {
        pack(bf(f(v[1])), bf(f(v[0])))
    });
    run("cvt.rn.f16x2.f32 %d, %a, %b;", &["f32"; 2], "b32", &[singles(0), singles(1)], &|v| {
        pack(hf(f(v[1])), hf(f(v[0])))
    });
    // The ISA does not say what becomes of -0.
    let no_minus_zero = |v: Vec<u64>| v.into_iter().map(|x| if x == 0x8000_0000 { 0 } else { x }).collect();
    let inputs = [no_minus_zero(singles(0)), no_minus_zero(singles(1))];
    run("cvt.rn.relu.bf16x2.f32 %d, %a, %b;", &["f32"; 2], "b32", &inputs, &|v| {
        let relu = |x: f32| if x < 0.0 { 0 } else { bf(x) };
        pack(relu(f(v[1])), relu(f(v[0])))
    });
    run("cvt.rn.bf16.f32 %d, %a;", &["f32"], "b16", &[singles(2)], &|v| u64::from(bf(f(v[0]))));
    run("cvt.rn.f16.f32 %d, %a;", &["f32"], "b16", &[singles(2)], &|v| u64::from(hf(f(v[0]))));
    run("cvt.rz.f16.f32 %d, %a;", &["f32"], "b16", &[singles(2)], &|v| {
        let x = f(v[0]);
        let near = f16::from_f32(x);
        if x.is_nan() {
            return 0x7FFF;
        }
        // One step towards zero where rounding to nearest went away from it.
        let away = near.to_f64().abs() > f64::from(x).abs();
        u64::from(if away && x.is_finite() { near.to_bits() - 1 } else { near.to_bits() })
    });
    run(
        "cvt.f32.f16 %d, %a;",
        &["b16"],
        "f32",
        &[singles(4).iter().map(|x| x >> 7 & 0xFFFF).collect()],
        &|v| b(f16::from_bits(v[0] as u16).to_f32()),
    );
    run(
        "cvt.f32.bf16 %d, %a;",
        &["b16"],
        "f32",
        &[singles(4).iter().map(|x| x >> 16 & 0xFFFF).collect()],
        &|v| u64::from((v[0] as u32) << 16),
    );
    run("cvt.rna.tf32.f32 %d, %a;", &["f32"], "b32", &[moderate(6, -1e6, 1e6)], &|v| {
        (v[0] + 0x1000) & 0xFFFF_E000
    });
    run("cvt.rzi.s32.f32 %d, %a;", &["f32"], "b32", &[singles(5)], &|v| u64::from(f(v[0]) as i32 as u32));
    run("cvt.rni.s32.f32 %d, %a;", &["f32"], "b32", &[singles(5)], &|v| {
        u64::from(f(v[0]).round_ties_even() as i32 as u32)
    });
    run("cvt.rzi.u32.f32 %d, %a;", &["f32"], "b32", &[singles(5)], &|v| u64::from(f(v[0]) as u32));
    run("cvt.rmi.s32.f32 %d, %a;", &["f32"], "b32", &[singles(5)], &|v| {
        u64::from(f(v[0]).floor() as i32 as u32)
    });
    let ints: Vec<u64> = (0..ELEMENTS as u64).map(|i| noise(i) >> (noise(i + 9) % 60)).collect();
    run("cvt.rn.f32.s32 %d, %a;", &["b32"], "f32", std::slice::from_ref(&ints), &|v| b(v[0] as i32 as f32));
    run("cvt.rn.f32.u32 %d, %a;", &["b32"], "f32", std::slice::from_ref(&ints), &|v| b(v[0] as u32 as f32));
    run("cvt.rn.f32.u64 %d, %a;", &["b64"], "f32", std::slice::from_ref(&ints), &|v| b(v[0] as f32));
    run("cvt.rn.f64.s64 %d, %a;", &["b64"], "f64", std::slice::from_ref(&ints), &|v| {
        (v[0] as i64 as f64).to_bits()
    });
    run("cvt.f64.f32 %d, %a;", &["f32"], "f64", &[moderate(8, -1e6, 1e6)], &|v| f64::from(f(v[0])).to_bits());
    let doubles: Vec<u64> =
        (0..ELEMENTS as u64).map(|i| ((noise(i) >> 11) as f64 / 1e12 - 4000.0).to_bits()).collect();
    run("cvt.rn.f32.f64 %d, %a;", &["f64"], "f32", std::slice::from_ref(&doubles), &|v| {
        b(f64::from_bits(v[0]) as f32)
    });
    run(
        "add.f64 %d, %a, %b;",
        &["f64"; 2],
        "f64",
        &[doubles.clone(), doubles.iter().rev().copied().collect()],
        &|v| (f64::from_bits(v[0]) + f64::from_bits(v[1])).to_bits(),
    );
    run(
        "fma.rn.f64 %d, %a, %b, %a;",
        &["f64"; 2],
        "f64",
        &[doubles.clone(), doubles.iter().rev().copied().collect()],
        &|v| {
            let (x, y) = (f64::from_bits(v[0]), f64::from_bits(v[1]));
            x.mul_add(y, x).to_bits()
        },
    );
}
