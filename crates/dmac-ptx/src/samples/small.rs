//! Small kernels: element by element, one matrix tile.
//!
//! In: nothing. Out: a [`Sample`] each, with its parameters and launch in its doc.

use super::{Sample, sample};
use crate::{Assembler, B32, Cmp, F32, MmaElem, Special, Target, global};

/// `c[i] = a[i] + b[i]` on f32.
///
/// Parameters: `a`, `b`, `c` (pointers), `n` (u32). Grid: ceil(n / 128) CTAs of 128 threads.
pub fn vector_add() -> Sample {
    let mut k = Assembler::new("vector_add", Target::Sm80);
    let (a, b, c) = (k.param_pointer("a", 4), k.param_pointer("b", 4), k.param_pointer("c", 4));
    let n = k.param::<B32>("n");
    k.threads(128);
    let tid = k.special("tid", Special::TidX);
    let block = k.special("block", Special::CtaidX);
    let i = k.mad("i", block, 128, tid);
    let n = k.ld_param("n", n);
    let inside = k.setp_u("inside", i, Cmp::Lt, n);
    k.if_then(inside, |k| {
        k.comment("c[i] = a[i] + b[i]");
        let [a, b, c] = [a, b, c].map(|p| {
            let base = k.ld_param("base", p);
            k.mad_wide_u("at", i, 4, base)
        });
        let x = k.ld::<F32, _>("x", global(a));
        let y = k.ld::<F32, _>("x", global(b));
        let z = k.add("z", x, y);
        k.st(global(c), z);
    });
    k.ret();
    sample(k, 128)
}

/// One warp's product of 16 × 8 over k = 16 in bf16: D = A · B.
///
/// Parameters: `a` (16 × 16 bf16, row-major), `b` (8 × 16 bf16, that is B column by column), `d` (16 × 8 f32). One CTA
/// of 32 threads.
pub fn mma_tile() -> Sample {
    let mut k = Assembler::new("mma_tile", Target::Sm80);
    let [a, b, d] = ["a", "b", "d"].map(|p| k.param_pointer(p, 8));
    k.threads(32);
    let lane = k.special("lane", Special::TidX);
    let row = k.shr_u("row", lane, 2);
    let pair = k.and("pair", lane, 3);

    k.comment("fragments straight from global memory: lane l holds row l / 4, columns 2 (l % 4) and + 1");
    let word = k.mad("word", row, 8, pair);
    let base = k.ld_param("base", a);
    let at = k.mad_wide_u("at", word, 4, base);
    let fragment_a = [0, 8 * 32, 16, 8 * 32 + 16].map(|offset| k.ld::<B32, _>("a", global(at) + offset));
    let base = k.ld_param("base", b);
    let at = k.mad_wide_u("at", word, 4, base);
    let fragment_b = [0, 16].map(|offset| k.ld::<B32, _>("b", global(at) + offset));

    let d_registers: [_; 4] = std::array::from_fn(|_| k.mov::<F32>("d", 0.0));
    k.mma(MmaElem::Bf16, &d_registers, &fragment_a, &fragment_b);
    let base = k.ld_param("base", d);
    let cell = k.mad("cell", row, 4, pair);
    let at = k.mad_wide_u("at", cell, 8, base);
    k.st_vec(global(at), &d_registers[..2]);
    k.st_vec(global(at) + 8 * 32, &d_registers[2..]);
    k.ret();
    sample(k, 32)
}
