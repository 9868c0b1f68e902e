//! Warp-level matrix instructions: `ldmatrix`, `stmatrix`, `mma.sync`.

use super::warp::Lanes;
use super::{At, Unit};
use crate::op::{Addr, MmaIn, Op, Space};
use crate::sanitize::Flags;

/// A 16×16 (or 16×8) A fragment as numbers, row-major.
pub(super) type Fragment = [[f64; 16]; 16];

/// A bf16 or f16 number.
#[inline]
pub(super) fn element(bits: u16, input: MmaIn) -> f64 {
    match input {
        MmaIn::Bf16 => f64::from(f32::from_bits(u32::from(bits) << 16)),
        MmaIn::F16 => half::f16::from_bits(bits).to_f64(),
        MmaIn::Tf32 => unreachable!("tf32 has 32 bits"),
    }
}

/// A tf32 element: the product ignores the low 13 bits of the register.
fn tf32(bits: u32) -> f64 {
    f64::from(f32::from_bits(bits & !0x1FFF))
}

/// The A operand of m16k8 in tf32: registers are rows r and r + 8, then the same four columns on.
fn a_fragment_tf32(regs: &[Lanes]) -> Fragment {
    let mut a = [[0.0; 16]; 16];
    for (i, reg) in regs.iter().enumerate() {
        for (lane, v) in reg.iter().enumerate() {
            a[lane / 4 + 8 * (i & 1)][lane % 4 + 4 * (i >> 1)] = tf32(*v);
        }
    }
    a
}

/// Unpacks the A operand of m16k16 (four registers) or m16k8 (two).
pub(super) fn a_fragment(regs: &[Lanes], input: MmaIn) -> Fragment {
    let mut a = [[0.0; 16]; 16];
    for (i, reg) in regs.iter().enumerate() {
        for (lane, v) in reg.iter().enumerate() {
            let row = lane / 4 + 8 * (i & 1);
            let k = 2 * (lane % 4) + 8 * (i >> 1);
            a[row][k] = element(*v as u16, input);
            a[row][k + 1] = element((v >> 16) as u16, input);
        }
    }
    a
}

/// `acc + Σ_k a·b` in f64: `b` is k-major, `b[k * n + col]`. Products of 16-bit floats are exact in f64 and so, for
/// ordinary magnitudes, is their sum; the caller rounds once.
pub(super) fn dot(row: &[f64; 16], b: &[f64], k: usize, n: usize, acc: &mut [f64]) {
    for (kk, x) in row[..k].iter().enumerate() {
        for (s, y) in acc.iter_mut().zip(&b[kk * n..][..n]) {
            *s += x * y;
        }
    }
}

impl Unit<'_> {
    /// Row addresses of the matrices, one per lane; all must be 16-byte aligned and in bounds.
    fn matrix_rows(&mut self, at: At, a: Addr, n: usize) -> Option<Vec<u32>> {
        let cta = self.warps[at.w].cta;
        let mut rows = Vec::with_capacity(8 * n);
        for (lane, address) in self.lanes(At { mask: u32::MAX, ..at }, a).into_iter().take(8 * n) {
            let (_, offset) = self.shared_target(at, lane, address, Space::Shared)?;
            if !self.aligned(at, lane, u64::from(offset), 16)
                || !self.shared_bounds(at, lane, cta, offset, 16)
            {
                return None;
            }
            rows.push(offset);
        }
        Some(rows)
    }

    pub(super) fn ldmatrix(&mut self, at: At, d: &[u16], a: Addr, transposed: bool) {
        if !self.together(at, true) {
            return;
        }
        let Some(rows) = self.matrix_rows(at, a, d.len()) else { return };
        let cta = self.warps[at.w].cta;
        for (lane, &row) in rows.iter().enumerate() {
            self.touch_shared(at, lane as u32, cta, (row, 16), false, Flags::default());
        }
        let smem = &self.ctas[cta].smem;
        let at_row = |r: usize, c: usize| {
            let i = rows[r] as usize + 2 * c;
            u32::from(u16::from_le_bytes([smem[i], smem[i + 1]]))
        };
        let values: Vec<Lanes> = (0..d.len())
            .map(|m| {
                std::array::from_fn(|l| {
                    let (r, c) = (l / 4, 2 * (l % 4));
                    if transposed {
                        at_row(8 * m + c, r) | at_row(8 * m + c + 1, r) << 16
                    } else {
                        at_row(8 * m + r, c) | at_row(8 * m + r, c + 1) << 16
                    }
                })
            })
            .collect();
        for (d, v) in d.iter().zip(&values) {
            self.warps[at.w].set_word(*d, v, at.mask);
        }
    }

    pub(super) fn stmatrix(&mut self, at: At, a: Addr, s: &[u16], transposed: bool) {
        if !self.together(at, true) {
            return;
        }
        let Some(rows) = self.matrix_rows(at, a, s.len()) else { return };
        let cta = self.warps[at.w].cta;
        for (lane, &row) in rows.iter().enumerate() {
            self.touch_shared(at, lane as u32, cta, (row, 16), true, Flags::default());
        }
        for (m, reg) in s.iter().enumerate() {
            let v = self.warps[at.w].word(*reg, at.mask);
            for (lane, x) in v.iter().enumerate() {
                let (r, c) = (lane / 4, 2 * (lane % 4));
                for half in 0..2 {
                    let (row, col) = if transposed { (c + half, r) } else { (r, c + half) };
                    let i = rows[8 * m + row] as usize + 2 * col;
                    let bits = (x >> (16 * half)) as u16;
                    self.ctas[cta].smem[i..i + 2].copy_from_slice(&bits.to_le_bytes());
                }
            }
        }
    }

    pub(super) fn mma(&mut self, at: At, op: &Op) {
        let Op::Mma { input, k, f32_acc, d, a, b, c } = op else { unreachable!("not an mma") };
        if !self.together(at, true) {
            return;
        }
        let warp = &mut self.warps[at.w];
        let a: Vec<Lanes> = a.iter().map(|r| warp.word(*r, at.mask)).collect();
        let wide = *input == MmaIn::Tf32;
        let a = if wide { a_fragment_tf32(&a) } else { a_fragment(&a, *input) };
        let mut bm = [0.0f64; 16 * 8];
        for (i, r) in b.iter().enumerate() {
            for (lane, v) in warp.word(*r, at.mask).iter().enumerate() {
                if wide {
                    bm[(lane % 4 + 4 * i) * 8 + lane / 4] = tf32(*v);
                    continue;
                }
                let (kk, col) = (2 * (lane % 4) + 8 * i, lane / 4);
                bm[kk * 8 + col] = element(*v as u16, *input);
                bm[(kk + 1) * 8 + col] = element((v >> 16) as u16, *input);
            }
        }
        let mut out = [[0.0f64; 8]; 16];
        for (row, acc) in a.iter().zip(&mut out) {
            dot(row, &bm, *k as usize, 8, acc);
        }
        let c: Vec<Lanes> = c.iter().map(|v| warp.get(*v, at.mask)).collect();
        for (i, reg) in d.iter().enumerate() {
            let v: Lanes = std::array::from_fn(|lane| {
                let at = |half: usize, r: usize| out[lane / 4 + 8 * r][2 * (lane % 4) + half];
                if *f32_acc {
                    ((at(i & 1, i >> 1) + f64::from(f32::from_bits(c[i][lane]))) as f32).to_bits()
                } else {
                    let half = |h: usize| {
                        let old = half::f16::from_bits((c[i][lane] >> (16 * h)) as u16).to_f64();
                        u32::from(half::f16::from_f64(at(h, i) + old).to_bits())
                    };
                    half(0) | half(1) << 16
                }
            });
            warp.set_word(*reg, &v, at.mask);
        }
    }
}
