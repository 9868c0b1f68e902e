//! Strip functions: their error in units in the last place over all magnitudes, and their special values.

use dmac_cpu_kernels::{Functions, KernelTable};

use super::harness::{Guarded, for_each_table, ulps};

type Strip = unsafe extern "C" fn(*const f32, *mut f32, usize);

fn run(strip: Strip, x: &[f32]) -> Guarded<f32> {
    let x = Guarded::new(x);
    let mut y = Guarded::filled(f32::NAN, x.len());
    // SAFETY: as many elements on both sides.
    unsafe { strip(x.as_ptr(), y.as_mut_ptr(), x.len()) };
    y
}

/// Every 4999th f32 and the neighbourhoods of interesting ones.
fn sweep() -> Vec<f32> {
    let mut values: Vec<f32> =
        (0..u32::MAX).step_by(4999).map(f32::from_bits).filter(|x| !x.is_nan()).collect();
    let centres = [
        0.0_f32, 1e-38, 0.1, 0.3465, 0.5, 0.707, 1.0, 1.414, 2.0, 9.0, 10.0, 20.0, 87.3, 88.72, 103.9, 126.0,
        128.0, 149.0,
    ];
    for centre in centres {
        for step in 0..400 {
            let x = f32::from_bits((centre.to_bits() + step * 7).saturating_sub(1400));
            values.extend([x, -x]);
        }
    }
    values.extend([
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        -0.0,
        1e-45,
        -1e-45,
    ]);
    values
}

struct Case {
    name: &'static str,
    pick: fn(&Functions) -> Strip,
    exact: fn(f64) -> f64,
    /// Units in the last place.
    limit: f64,
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

const CASES: &[Case] = &[
    Case { name: "exp", pick: |f| f.exp, exact: f64::exp, limit: 1.2 },
    Case { name: "exp2", pick: |f| f.exp2, exact: f64::exp2, limit: 1.1 },
    Case { name: "log", pick: |f| f.log, exact: f64::ln, limit: 1.1 },
    Case { name: "sqrt", pick: |f| f.sqrt, exact: f64::sqrt, limit: 0.5 },
    Case { name: "rsqrt", pick: |f| f.rsqrt, exact: |x| 1.0 / x.sqrt(), limit: 1.5 },
    Case { name: "tanh", pick: |f| f.tanh, exact: f64::tanh, limit: 2.5 },
    Case {
        name: "sigmoid",
        pick: |f| f.sigmoid,
        exact: |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) },
        limit: 2.5,
    },
    Case { name: "softplus", pick: |f| f.softplus, exact: softplus, limit: 2.5 },
    Case {
        name: "logsigmoid",
        pick: |f| f.logsigmoid,
        exact: |x| if x.is_nan() { x } else { -softplus(-x) },
        limit: 2.5,
    },
];

/// The largest error of a strip and where it is.
fn worst(table: &KernelTable, case: &Case, x: &[f32]) -> (f64, f32) {
    let y = run((case.pick)(&table.functions), x);
    let mut worst = (0.0, 0.0);
    for (&x, &y) in x.iter().zip(y.iter()) {
        let error = ulps(y, (case.exact)(f64::from(x)));
        if error > worst.0 || error.is_nan() {
            worst = (error, x);
        }
    }
    worst
}

#[test]
fn strips_are_accurate_everywhere() {
    let x = sweep();
    let mut report = vec![];
    for_each_table(|table| {
        for case in CASES {
            let (error, at) = worst(table, case, &x);
            if error > case.limit {
                report.push(format!("{} {}: {error:.2} ulp at {at:e}", table.name(), case.name));
            }
        }
    });
    assert!(report.is_empty(), "{report:#?}");
}

#[test]
fn strips_keep_their_special_values() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let table: &[(&str, f32, f32)] = &[
        ("exp", -inf, 0.0),
        ("exp", inf, inf),
        ("exp", 0.0, 1.0),
        ("exp", 1e9, inf),
        ("exp", -1e9, 0.0),
        ("exp", nan, nan),
        ("exp2", -inf, 0.0),
        ("exp2", inf, inf),
        ("exp2", 10.0, 1024.0),
        ("exp2", -149.0, 1e-45),
        ("exp2", nan, nan),
        ("log", 0.0, -inf),
        ("log", -0.0, -inf),
        ("log", -1.0, nan),
        ("log", inf, inf),
        ("log", -inf, nan),
        ("log", nan, nan),
        ("log", 1.0, 0.0),
        ("sqrt", -0.0, -0.0),
        ("sqrt", -1.0, nan),
        ("sqrt", inf, inf),
        ("sqrt", 4.0, 2.0),
        ("rsqrt", 0.0, inf),
        ("rsqrt", inf, 0.0),
        ("rsqrt", -1.0, nan),
        ("tanh", -0.0, -0.0),
        ("tanh", inf, 1.0),
        ("tanh", -inf, -1.0),
        ("tanh", nan, nan),
        ("tanh", 1e-45, 1e-45),
        ("sigmoid", inf, 1.0),
        ("sigmoid", -inf, 0.0),
        ("sigmoid", 0.0, 0.5),
        ("sigmoid", nan, nan),
        ("softplus", inf, inf),
        ("softplus", -inf, 0.0),
        ("softplus", nan, nan),
        ("softplus", 1e30, 1e30),
        ("logsigmoid", inf, 0.0),
        ("logsigmoid", -inf, -inf),
        ("logsigmoid", nan, nan),
    ];
    for_each_table(|kernels| {
        for &(name, x, want) in table {
            let case = CASES.iter().find(|case| case.name == name).expect("a strip of that name");
            let got = run((case.pick)(&kernels.functions), &[x])[0];
            let same = got.to_bits() == want.to_bits()
                || (got.is_nan() && want.is_nan())
                || (got == 0.0 && want == 0.0 && name == "logsigmoid");
            assert!(same, "{} {name}({x}) = {got} instead of {want}", kernels.name());
        }
    });
}

#[test]
fn strips_take_any_length_in_place() {
    for_each_table(|table| {
        for n in 0..3 * table.lanes + 2 {
            let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.37 - 2.0).collect();
            for case in CASES {
                let apart = run((case.pick)(&table.functions), &x);
                let mut same = Guarded::new(&x);
                let p = same.as_mut_ptr();
                // SAFETY: a strip may be computed in place.
                unsafe { (case.pick)(&table.functions)(p, p, n) };
                for (a, b) in apart.iter().zip(same.iter()) {
                    assert!(
                        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
                        "{} {}",
                        table.name(),
                        case.name
                    );
                }
            }
        }
    });
}
