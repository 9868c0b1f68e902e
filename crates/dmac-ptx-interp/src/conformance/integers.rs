//! Integer arithmetic, logic, shifts, bit fields, comparisons and integer conversions.

use super::scalar::{ELEMENTS, Scalar, scalar};
use super::{Case, Tolerance, noise};

/// Edge values first, then noise of every magnitude.
fn values(salt: u64) -> Vec<u64> {
    let edges = [
        0,
        1,
        2,
        3,
        5,
        31,
        32,
        33,
        63,
        64,
        65,
        0x7F,
        0x80,
        0xFF,
        0x7FFF,
        0x8000,
        0xFFFF,
        0x7FFF_FFFF,
        0x8000_0000,
        0xFFFF_FFFF,
        0x7FFF_FFFF_FFFF_FFFF,
        0x8000_0000_0000_0000,
        u64::MAX,
        u64::MAX - 1,
    ];
    (0..ELEMENTS as u64)
        .map(|i| {
            let n = noise(i * 7 + salt * 1_000_003);
            // Different operands walk the edges at different speeds, so that edges meet.
            if i < 110 { edges[((i * (salt * 2 + 1) + i / 24) % 24) as usize] } else { n >> (noise(n) % 60) }
        })
        .collect()
}

struct Table<'a>(&'a mut Vec<Case>);

impl Table<'_> {
    fn add(&mut self, code: &str, sources: &[&str], result: &str, expect: impl Fn(&[u64]) -> u64) {
        let name = code.trim_end_matches(';');
        let test = Scalar { name, code, sources, result, tolerance: Tolerance::Exact };
        let inputs: Vec<Vec<u64>> = (0..sources.len() as u64).map(values).collect();
        scalar(self.0, &test, &inputs, expect);
    }

    fn b32(&mut self, code: &str, n: usize, expect: impl Fn(u32, u32, u32) -> u32) {
        let get = |v: &[u64], i: usize| v.get(i).copied().unwrap_or(0) as u32;
        self.add(code, &["b32"; 3][..n], "b32", |v| u64::from(expect(get(v, 0), get(v, 1), get(v, 2))));
    }

    fn b64(&mut self, code: &str, n: usize, expect: impl Fn(u64, u64, u64) -> u64) {
        let get = |v: &[u64], i: usize| v.get(i).copied().unwrap_or(0);
        self.add(code, &["b64"; 3][..n], "b64", |v| expect(get(v, 0), get(v, 1), get(v, 2)));
    }

    fn b16(&mut self, code: &str, n: usize, expect: impl Fn(u16, u16, u16) -> u16) {
        let get = |v: &[u64], i: usize| v.get(i).copied().unwrap_or(0) as u16;
        self.add(code, &["b16"; 3][..n], "b16", |v| u64::from(expect(get(v, 0), get(v, 1), get(v, 2))));
    }
}

/// `b` without zeros, as an instruction that the kernel itself executes first.
const NONZERO: &str = "setp.eq.b32 %k, %b, 0; selp.b32 %b, 7, %b, %k; ";

fn signed(x: u32) -> i32 {
    x as i32
}

fn wrapped(code: &str) -> String {
    format!("{NONZERO}{code}")
}

pub(super) fn add(all: &mut Vec<Case>) {
    let mut t = Table(all);
    arithmetic(&mut t);
    logic(&mut t);
    comparisons(&mut t);
    conversions(&mut t);
    division(all);
}

fn arithmetic(t: &mut Table<'_>) {
    t.b32("add.u32 %d, %a, %b;", 2, |a, b, _| a.wrapping_add(b));
    t.b32("add.sat.s32 %d, %a, %b;", 2, |a, b, _| signed(a).saturating_add(signed(b)) as u32);
    t.b32("sub.s32 %d, %a, %b;", 2, |a, b, _| a.wrapping_sub(b));
    t.b64("add.s64 %d, %a, %b;", 2, |a, b, _| a.wrapping_add(b));
    t.b64("sub.u64 %d, %a, %b;", 2, |a, b, _| a.wrapping_sub(b));
    t.b16("add.u16 %d, %a, %b;", 2, |a, b, _| a.wrapping_add(b));
    t.b32("mul.lo.u32 %d, %a, %b;", 2, |a, b, _| a.wrapping_mul(b));
    t.b32("mul.hi.u32 %d, %a, %b;", 2, |a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    t.b32("mul.hi.s32 %d, %a, %b;", 2, |a, b, _| {
        ((i64::from(signed(a)) * i64::from(signed(b))) >> 32) as u32
    });
    t.b64("mul.lo.s64 %d, %a, %b;", 2, |a, b, _| a.wrapping_mul(b));
    t.b64("mul.hi.u64 %d, %a, %b;", 2, |a, b, _| ((u128::from(a) * u128::from(b)) >> 64) as u64);
    t.add("mul.wide.u32 %d, %a, %b;", &["b32"; 2], "b64", |v| {
        u64::from(v[0] as u32) * u64::from(v[1] as u32)
    });
    t.add("mul.wide.s32 %d, %a, %b;", &["b32"; 2], "b64", |v| {
        (i64::from(v[0] as i32) * i64::from(v[1] as i32)) as u64
    });
    t.add("mul.wide.s16 %d, %a, %b;", &["b16"; 2], "b32", |v| {
        u64::from((i32::from(v[0] as i16) * i32::from(v[1] as i16)) as u32)
    });
    t.b32("mad.lo.u32 %d, %a, %b, %c;", 3, |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    t.b32("mad.hi.s32 %d, %a, %b, %c;", 3, |a, b, c| {
        let high = ((i64::from(signed(a)) * i64::from(signed(b))) >> 32) as u32;
        high.wrapping_add(c)
    });
    t.add("mad.wide.u32 %d, %a, %b, %c;", &["b32", "b32", "b64"], "b64", |v| {
        (u64::from(v[0] as u32) * u64::from(v[1] as u32)).wrapping_add(v[2])
    });
    t.add("mad.wide.s32 %d, %a, %b, %c;", &["b32", "b32", "b64"], "b64", |v| {
        ((i64::from(v[0] as i32) * i64::from(v[1] as i32)) as u64).wrapping_add(v[2])
    });
    t.b32("min.s32 %d, %a, %b;", 2, |a, b, _| signed(a).min(signed(b)) as u32);
    t.b32("max.s32 %d, %a, %b;", 2, |a, b, _| signed(a).max(signed(b)) as u32);
    t.b32("min.u32 %d, %a, %b;", 2, |a, b, _| a.min(b));
    t.b64("max.u64 %d, %a, %b;", 2, |a, b, _| a.max(b));
    t.b32("abs.s32 %d, %a;", 1, |a, _, _| signed(a).wrapping_abs() as u32);
    t.b32("neg.s32 %d, %a;", 1, |a, _, _| a.wrapping_neg());
    t.b64("neg.s64 %d, %a;", 1, |a, _, _| a.wrapping_neg());
    t.b32("popc.b32 %d, %a;", 1, |a, _, _| a.count_ones());
    t.add("popc.b64 %d, %a;", &["b64"], "b32", |v| u64::from(v[0].count_ones()));
    t.b32("clz.b32 %d, %a;", 1, |a, _, _| a.leading_zeros());
    t.add("clz.b64 %d, %a;", &["b64"], "b32", |v| u64::from(v[0].leading_zeros()));
    t.b32("brev.b32 %d, %a;", 1, |a, _, _| a.reverse_bits());
    t.b64("brev.b64 %d, %a;", 1, |a, _, _| a.reverse_bits());
}

fn division(all: &mut Vec<Case>) {
    let mut t = Table(all);
    let nz = |b: u32| if b == 0 { 7 } else { b };
    t.add(&wrapped("div.u32 %d, %a, %b;"), &["b32"; 2], "b32", |v| u64::from(v[0] as u32 / nz(v[1] as u32)));
    t.add(&wrapped("rem.u32 %d, %a, %b;"), &["b32"; 2], "b32", |v| u64::from(v[0] as u32 % nz(v[1] as u32)));
    t.add(&wrapped("div.s32 %d, %a, %b;"), &["b32"; 2], "b32", |v| {
        u64::from((v[0] as i32).wrapping_div(nz(v[1] as u32) as i32) as u32)
    });
    t.add(&wrapped("rem.s32 %d, %a, %b;"), &["b32"; 2], "b32", |v| {
        u64::from((v[0] as i32).wrapping_rem(nz(v[1] as u32) as i32) as u32)
    });
    for (case, name) in all.iter_mut().rev().take(4).zip(["rem.s32", "div.s32", "rem.u32", "div.u32"]) {
        name.clone_into(&mut case.name);
    }
}

fn logic(t: &mut Table<'_>) {
    t.b32("and.b32 %d, %a, %b;", 2, |a, b, _| a & b);
    t.b32("or.b32 %d, %a, %b;", 2, |a, b, _| a | b);
    t.b32("xor.b32 %d, %a, %b;", 2, |a, b, _| a ^ b);
    t.b64("and.b64 %d, %a, %b;", 2, |a, b, _| a & b);
    t.b16("xor.b16 %d, %a, %b;", 2, |a, b, _| a ^ b);
    t.b32("not.b32 %d, %a;", 1, |a, _, _| !a);
    t.b32("cnot.b32 %d, %a;", 1, |a, _, _| u32::from(a == 0));
    t.b32("shl.b32 %d, %a, %b;", 2, |a, b, _| a.checked_shl(b).unwrap_or(0));
    t.b32("shr.u32 %d, %a, %b;", 2, |a, b, _| a.checked_shr(b).unwrap_or(0));
    t.b32("shr.s32 %d, %a, %b;", 2, |a, b, _| (signed(a) >> b.min(31)) as u32);
    t.add("shl.b64 %d, %a, %b;", &["b64", "b32"], "b64", |v| v[0].checked_shl(v[1] as u32).unwrap_or(0));
    t.add("shr.u64 %d, %a, %b;", &["b64", "b32"], "b64", |v| v[0].checked_shr(v[1] as u32).unwrap_or(0));
    t.add("shr.s64 %d, %a, %b;", &["b64", "b32"], "b64", |v| ((v[0] as i64) >> (v[1] as u32).min(63)) as u64);
    let funnel = |hi: u32, lo: u32| u64::from(hi) << 32 | u64::from(lo);
    t.b32("shf.l.wrap.b32 %d, %a, %b, %c;", 3, move |a, b, c| (funnel(b, a) << (c & 31) >> 32) as u32);
    t.b32("shf.r.wrap.b32 %d, %a, %b, %c;", 3, move |a, b, c| (funnel(b, a) >> (c & 31)) as u32);
    t.b32("shf.l.clamp.b32 %d, %a, %b, %c;", 3, move |a, b, c| {
        ((u128::from(funnel(b, a)) << c.min(32)) >> 32) as u32
    });
    t.b32("shf.r.clamp.b32 %d, %a, %b, %c;", 3, move |a, b, c| (funnel(b, a) >> c.min(32)) as u32);
    for lut in [0x00u32, 0x80, 0xFE, 0x96, 0xE8, 0xCA, 0x1D] {
        t.b32(&format!("lop3.b32 %d, %a, %b, %c, {lut};"), 3, move |a, b, c| {
            (0..32).fold(0, |out, bit| {
                let index = (a >> bit & 1) << 2 | (b >> bit & 1) << 1 | c >> bit & 1;
                out | (lut >> index & 1) << bit
            })
        });
    }
    t.b32("prmt.b32 %d, %a, %b, %c;", 3, |a, b, c| {
        let pool = [a.to_le_bytes(), b.to_le_bytes()].concat();
        let byte = |n: u32| {
            let s = c >> (4 * n) & 15;
            let x = pool[(s & 7) as usize];
            if s < 8 { x } else { 0u8.wrapping_sub(x >> 7) }
        };
        u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
    });
    let field = |x: u32| x & 0xFF;
    t.b32("bfe.u32 %d, %a, %b, %c;", 3, move |a, b, c| {
        let (pos, len) = (field(b), field(c));
        let shifted = a.checked_shr(pos).unwrap_or(0);
        if len >= 32 { shifted } else { shifted & ((1 << len) - 1) }
    });
    t.b32("bfe.s32 %d, %a, %b, %c;", 3, move |a, b, c| {
        let (pos, len) = (field(b), field(c));
        if len == 0 {
            return 0;
        }
        let end = (pos + len).min(32);
        if pos >= 32 {
            return if a >> 31 == 1 { u32::MAX } else { 0 };
        }
        // The field's top bit, at most bit 31, fills the rest.
        let wide = (u64::from(a) << (64 - end)) as i64 >> (64 - end);
        (wide >> pos) as u32
    });
    t.b32("bfi.b32 %d, %a, %b, %c, 9;", 3, move |a, b, c| {
        let pos = field(c);
        let mask = 0x1FFu64.checked_shl(pos).unwrap_or(0) as u32;
        let put = u64::from(a & 0x1FF).checked_shl(pos).unwrap_or(0) as u32;
        b & !mask | put & mask
    });
    t.b32("mov.b32 {%h0, %h1}, %a; mov.b32 %d, {%h1, %h0};", 1, |a, _, _| a.rotate_right(16));
    t.add("mov.b64 %d, {%a, %b};", &["b32"; 2], "b64", |v| v[0] & 0xFFFF_FFFF | v[1] << 32);
    t.add("mov.b64 {%t0, %t1}, %a; mov.b64 %d, {%t1, %t0};", &["b64"], "b64", |v| v[0].rotate_right(32));
}

fn comparisons(t: &mut Table<'_>) {
    type Ordered = fn(std::cmp::Ordering) -> bool;
    let ops: [(&str, Ordered); 6] = [
        ("eq", |o| o.is_eq()),
        ("ne", |o| o.is_ne()),
        ("lt", |o| o.is_lt()),
        ("le", |o| o.is_le()),
        ("gt", |o| o.is_gt()),
        ("ge", |o| o.is_ge()),
    ];
    for (name, holds) in ops {
        t.b32(&format!("setp.{name}.s32 %k, %a, %b; selp.b32 %d, 11, 22, %k;"), 2, move |a, b, _| {
            if holds(signed(a).cmp(&signed(b))) { 11 } else { 22 }
        });
        t.b32(&format!("setp.{name}.u32 %k, %a, %b; selp.b32 %d, %a, %b, %k;"), 2, move |a, b, _| {
            if holds(a.cmp(&b)) { a } else { b }
        });
    }
    let both = "setp.gt.u32 %k2, %a, 99; setp.lt.and.u32 %k|%k2, %a, %b, !%k2; selp.b32 %d, 1, 0, %k; \
                @%k2 add.u32 %d, %d, 2;";
    t.b32(both, 2, |a, b, _| {
        let free = a <= 99;
        u32::from(a < b && free) + 2 * u32::from(a >= b && free)
    });
    t.b32("set.ge.u32.s32 %d, %a, %b;", 2, |a, b, _| if signed(a) >= signed(b) { u32::MAX } else { 0 });
    t.add("setp.ltu.f32 %k, %a, %b; selp.b32 %d, 1, 0, %k;", &["b32"; 2], "b32", |v| {
        let (a, b) = (f32::from_bits(v[0] as u32), f32::from_bits(v[1] as u32));
        u64::from(a < b || a.is_nan() || b.is_nan())
    });
    t.b32(
        "setp.lt.u32 %k, %a, %b; setp.gt.u32 %k2, %b, %c; xor.pred %k, %k, %k2; not.pred %k, %k; \
           selp.b32 %d, 1, 0, %k;",
        3,
        |a, b, c| u32::from((a < b) == (b > c)),
    );
}

fn conversions(t: &mut Table<'_>) {
    t.add("cvt.u64.u32 %d, %a;", &["b32"], "b64", |v| v[0] & 0xFFFF_FFFF);
    t.add("cvt.s64.s32 %d, %a;", &["b32"], "b64", |v| i64::from(v[0] as i32) as u64);
    t.add("cvt.u32.u64 %d, %a;", &["b64"], "b32", |v| v[0] & 0xFFFF_FFFF);
    t.add("cvt.u32.u16 %d, %a;", &["b16"], "b32", |v| v[0] & 0xFFFF);
    t.add("cvt.s32.s16 %d, %a;", &["b16"], "b32", |v| u64::from(i32::from(v[0] as i16) as u32));
    t.add("cvt.s32.s8 %d, %a;", &["b32"], "b32", |v| u64::from(i32::from(v[0] as i8) as u32));
    t.add("cvt.sat.s16.s32 %d, %a;", &["b32"], "b16", |v| {
        (v[0] as i32).clamp(-0x8000, 0x7FFF) as u64 & 0xFFFF
    });
    t.add("cvt.sat.u8.s32 %d, %a;", &["b32"], "b32", |v| (v[0] as i32).clamp(0, 255) as u64);
}
