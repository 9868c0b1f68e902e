//! Exchanges between lanes: shuffles, votes, matches, reductions, election, divergence and reconvergence.

use super::{Case, CaseArg, CaseBuffer, Target, Tolerance, kernel, noise, only_hopper};

/// Two warps.
const THREADS: usize = 64;

/// `%a` is the thread's input, `%d` its result; `expect` sees the warp's inputs and the lane.
fn warp(all: &mut Vec<Case>, name: &str, code: &str, inputs: &[u32], expect: impl Fn(&[u32], usize) -> u32) {
    let body = format!(
        "    .reg .b32 %i, %l, %a, %d, %t<8>; .reg .b64 %p, %q; .reg .pred %k, %k2;\n    mov.u32 %i, %tid.x;\n    \
         mov.u32 %l, %laneid;\n    ld.param.u64 %p, [in0];\n    mad.wide.u32 %q, %i, 4, %p;\n    \
         ld.global.b32 %a, [%q];\n    {code}\n    ld.param.u64 %p, [out];\n    mad.wide.u32 %q, %i, 4, %p;\n    \
         st.global.b32 [%q], %d;\n"
    );
    let want =
        (0..THREADS).flat_map(|i| expect(&inputs[i / 32 * 32..][..32], i % 32).to_le_bytes()).collect();
    all.push(Case {
        name: name.to_owned(),
        ptx: kernel(Target::Sm80, false, THREADS as u32, &[".param .u64 in0", ".param .u64 out"], &body),
        target: Target::Sm80,
        grid: 1,
        threads: THREADS as u32,
        cluster: 1,
        smem: 0,
        buffers: vec![
            CaseBuffer::input(inputs.iter().flat_map(|x| x.to_le_bytes()).collect()),
            CaseBuffer::output(want, Tolerance::Exact),
        ],
        args: vec![CaseArg::Buffer(0), CaseArg::Buffer(1)],
    });
}

pub(super) fn add(all: &mut Vec<Case>) {
    let random: Vec<u32> = (0..THREADS as u64).map(|i| noise(i) as u32).collect();
    let few: Vec<u32> = random.iter().map(|x| x % 5).collect();
    shuffles(all, &random);
    votes(all, &random, &few);
    divergence(all, &random);
}

fn shuffles(all: &mut Vec<Case>, random: &[u32]) {
    for by in [1, 2, 3, 4, 8, 16, 31] {
        let code = format!("shfl.sync.bfly.b32 %d, %a, {by}, 31, -1;");
        warp(all, &format!("shfl.bfly by {by}"), &code, random, move |v, l| v[l ^ by]);
    }
    // Within segments of eight lanes, a source outside leaves the own value and clears the predicate.
    let own = "selp.b32 %t0, 1000, 0, %k; add.u32 %d, %d, %t0;";
    let seg = |v: &[u32], l: usize, s: Option<usize>| match s {
        Some(s) if s / 8 == l / 8 => v[s].wrapping_add(1000),
        _ => v[l],
    };
    for by in [0, 1, 3, 7, 9] {
        let code = format!("shfl.sync.up.b32 %d|%k, %a, {by}, 6144, -1; {own}");
        warp(all, &format!("shfl.up by {by} in segments"), &code, random, move |v, l| {
            seg(v, l, l.checked_sub(by))
        });
        let code = format!("shfl.sync.down.b32 %d|%k, %a, {by}, 6175, -1; {own}");
        warp(all, &format!("shfl.down by {by} in segments"), &code, random, move |v, l| {
            seg(v, l, Some(l + by))
        });
    }
    warp(all, "shfl.idx broadcast", "shfl.sync.idx.b32 %d, %a, 5, 31, -1;", random, |v, _| v[5]);
    let code = "mul.lo.u32 %t0, %l, 7; and.b32 %t0, %t0, 31; shfl.sync.idx.b32 %d, %a, %t0, 31, -1;";
    warp(all, "shfl.idx permutation", code, random, |v, l| v[l * 7 % 32]);
    warp(all, "shfl.idx in segments", "shfl.sync.idx.b32 %d, %a, 13, 6175, -1;", random, |v, l| {
        v[l / 8 * 8 + 5]
    });
}

fn votes(all: &mut Vec<Case>, random: &[u32], few: &[u32]) {
    let odd = "and.b32 %t0, %a, 1; setp.ne.u32 %k, %t0, 0;";
    warp(all, "vote.ballot", &format!("{odd} vote.sync.ballot.b32 %d, %k, -1;"), random, |v, _| {
        v.iter().enumerate().fold(0, |m, (l, x)| m | (x & 1) << l)
    });
    for (mode, f) in [
        ("all", (|v: &[u32]| v.iter().all(|x| *x < 4)) as fn(&[u32]) -> bool),
        ("any", |v| v.iter().any(|x| *x < 4)),
        ("uni", |v| v.iter().all(|x| (*x < 4) == (v[0] < 4))),
    ] {
        let code =
            format!("setp.lt.u32 %k, %a, 4; vote.sync.{mode}.pred %k2, %k, -1; selp.b32 %d, 1, 0, %k2;");
        warp(all, &format!("vote.{mode}"), &code, few, move |v, _| u32::from(f(v)));
        let same = vec![3; THREADS];
        warp(all, &format!("vote.{mode} of equal lanes"), &code, &same, |_, _| 1);
    }
    warp(all, "match.any", "match.any.sync.b32 %d, %a, -1;", few, |v, l| {
        v.iter().enumerate().fold(0, |m, (k, x)| m | u32::from(*x == v[l]) << k)
    });
    let code = "match.all.sync.b32 %d|%k, %a, -1; selp.b32 %t0, 1, 0, %k; add.u32 %d, %d, %t0;";
    warp(all, "match.all of different lanes", code, few, |_, _| 0);
    // All ones, and the predicate adds one.
    warp(all, "match.all of equal lanes", code, &[9; THREADS], |_, _| 0);
    let fold = |f: fn(u32, u32) -> u32| move |v: &[u32], _: usize| v.iter().copied().reduce(f).unwrap_or(0);
    warp(all, "redux.add", "redux.sync.add.u32 %d, %a, -1;", random, fold(u32::wrapping_add));
    warp(all, "redux.min.u32", "redux.sync.min.u32 %d, %a, -1;", random, fold(u32::min));
    warp(
        all,
        "redux.max.s32",
        "redux.sync.max.s32 %d, %a, -1;",
        random,
        fold(|a, b| (a as i32).max(b as i32) as u32),
    );
    warp(all, "redux.and", "redux.sync.and.b32 %d, %a, -1;", random, fold(|a, b| a & b));
    warp(all, "redux.or", "redux.sync.or.b32 %d, %a, -1;", random, fold(|a, b| a | b));
    warp(all, "redux.xor", "redux.sync.xor.b32 %d, %a, -1;", random, fold(|a, b| a ^ b));
    for (register, f) in [
        ("%lanemask_eq", (|l| 1 << l) as fn(usize) -> u32),
        ("%lanemask_lt", |l| (1 << l) - 1),
        ("%lanemask_le", |l| ((2u64 << l) - 1) as u32),
        ("%lanemask_gt", |l| (u64::from(u32::MAX) << (l + 1)) as u32),
        ("%lanemask_ge", |l| u32::MAX << l),
    ] {
        warp(all, register, &format!("mov.u32 %d, {register};"), random, move |_, l| f(l));
    }
}

fn divergence(all: &mut Vec<Case>, random: &[u32]) {
    let code = "and.b32 %t0, %a, 3; mov.u32 %d, 100; setp.eq.u32 %k, %t0, 0; @%k bra $A; add.u32 %d, %d, %t0;\n    \
                setp.eq.u32 %k2, %t0, 3; @%k2 bra $B; mul.lo.u32 %d, %d, 2; bra $C;\n$A: activemask.b32 %t1; \
                mov.u32 %d, 7; bra $C;\n$B: add.u32 %d, %d, 1000;\n$C: shfl.sync.bfly.b32 %d, %d, 1, 31, -1;";
    let one = |a: u32| match a & 3 {
        0 => 7,
        3 => 1103,
        x => 2 * (100 + x),
    };
    warp(all, "lanes part on a value and meet again", code, random, move |v, l| one(v[l ^ 1]));

    let code = "mov.u32 %d, 0; and.b32 %t0, %a, 15;\n$L: setp.eq.u32 %k, %t0, 0; @%k bra $E; add.u32 %d, %d, %t0; \
                sub.u32 %t0, %t0, 1; bra $L;\n$E: bar.warp.sync -1; redux.sync.add.u32 %d, %d, -1;";
    warp(all, "lanes leave a loop at different times", code, random, |v, _| {
        v.iter().map(|x| (x & 15) * ((x & 15) + 1) / 2).sum()
    });

    let code =
        "mov.u32 %d, 0; setp.lt.u32 %k, %l, 16; @!%k bra $E; shfl.sync.bfly.b32 %d, %a, 5, 31, 65535;\n$E:";
    warp(all, "a shuffle among half of the lanes", code, random, |v, l| if l < 16 { v[l ^ 5] } else { 0 });

    let code = "elect.sync %t0|%k, -1; selp.b32 %t1, 1, 0, %k; redux.sync.add.u32 %d, %t1, -1;";
    warp(all, "elect.sync elects one lane", code, random, |_, _| 1);
    only_hopper(all);
}
