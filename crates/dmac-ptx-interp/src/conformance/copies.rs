//! Loads, stores, atomics, bulk reductions and `cp.async` between global and shared memory.

use super::{Case, CaseArg, CaseBuffer, Target, Tolerance, kernel, noise};

const THREADS: u32 = 96;

fn input(words: usize) -> Vec<u8> {
    (0..words as u64).flat_map(|i| (noise(i + 31) as u32).to_le_bytes()).collect()
}

/// A kernel of 96 threads with pointers `in0` (in `%p`) and `out` (in `%q`), and `%i` the thread.
fn case(
    all: &mut Vec<Case>,
    name: &str,
    target: Target,
    smem: u32,
    body: &str,
    input: Vec<u8>,
    output: CaseBuffer,
) {
    let head = "    .reg .b32 %i, %s, %m, %t<16>; .reg .b64 %p, %q, %u, %v, %w<4>; .reg .pred %k; .reg .b16 %h<4>; \
                .reg .f32 %f<8>;\n    mov.u32 %i, %tid.x;\n    ld.param.u64 %p, [in0];\n    ld.param.u64 %q, [out];\n";
    let base = if smem > 0 { "    mov.u32 %m, smem;\n" } else { "" };
    all.push(Case {
        name: name.to_owned(),
        ptx: kernel(
            target,
            smem > 0,
            THREADS,
            &[".param .u64 in0", ".param .u64 out"],
            &format!("{head}{base}{body}"),
        ),
        target,
        grid: 1,
        threads: THREADS,
        cluster: 1,
        smem,
        buffers: vec![CaseBuffer::input(input), output],
        args: vec![CaseArg::Buffer(0), CaseArg::Buffer(1)],
    });
}

pub(super) fn add(all: &mut Vec<Case>) {
    vectors(all);
    narrow(all);
    atomics(all);
    cp_async(all);
    bulk(all);
}

fn vectors(all: &mut Vec<Case>) {
    let same = |words: usize| CaseBuffer::output(input(words), Tolerance::Exact);
    let n = THREADS as usize;
    case(
        all,
        "ld.v4.b32, st.v4.b32",
        Target::Sm80,
        0,
        "    mad.wide.u32 %u, %i, 16, %p; mad.wide.u32 %v, %i, 16, %q;\n    \
         ld.global.nc.v4.b32 {%t0,%t1,%t2,%t3}, [%u]; st.global.v4.b32 [%v], {%t0,%t1,%t2,%t3};\n",
        input(4 * n),
        same(4 * n),
    );
    case(
        all,
        "ld.v2.b64 through shared memory with an offset",
        Target::Sm80,
        64 * THREADS,
        "    mad.wide.u32 %u, %i, 16, %p; mad.wide.u32 %v, %i, 16, %q; mad.lo.u32 %s, %i, 16, %m;\n    \
         ld.global.v2.b64 {%w0,%w1}, [%u]; st.shared.v2.b64 [%s+512], {%w1,%w0}; bar.sync 0;\n    \
         ld.shared.v2.b64 {%w2,%w3}, [%s+512]; st.global.v2.b64 [%v], {%w3,%w2};\n",
        input(4 * n),
        same(4 * n),
    );
    let reversed: Vec<u8> = input(n).chunks(4).rev().flatten().copied().collect();
    case(
        all,
        "shared memory reversed across warps, generic addresses",
        Target::Sm80,
        4 * THREADS,
        "    mad.wide.u32 %u, %i, 4, %p; mad.wide.u32 %v, %i, 4, %q; ld.global.u32 %t0, [%u];\n    \
         cvt.u64.u32 %w0, %m; cvta.shared.u64 %w0, %w0; mad.wide.u32 %w1, %i, 4, %w0; st.u32 [%w1], %t0; bar.sync 0;\n    \
         sub.u32 %t1, 95, %i; mad.wide.u32 %w1, %t1, 4, %w0; ld.u32 %t0, [%w1]; cvta.global.u64 %v, %v; st.u32 [%v], %t0;\n",
        input(n),
        CaseBuffer::output(reversed, Tolerance::Exact),
    );
}

fn narrow(all: &mut Vec<Case>) {
    let n = THREADS as usize;
    let bytes = input(n.div_ceil(4));
    let want: Vec<u8> =
        (0..n).flat_map(|i| i32::from(bytes[i] as i8).wrapping_mul(3).to_le_bytes()).collect();
    case(
        all,
        "ld.s8 extends the sign",
        Target::Sm80,
        0,
        "    cvt.u64.u32 %w0, %i; add.s64 %u, %p, %w0; ld.global.s8 %t0, [%u]; mul.lo.s32 %t0, %t0, 3;\n    \
         mad.wide.u32 %v, %i, 4, %q; st.global.b32 [%v], %t0;\n",
        bytes.clone(),
        CaseBuffer::output(want, Tolerance::Exact),
    );
    let halves = input(n.div_ceil(2));
    let want: Vec<u8> = halves.chunks(2).take(n).flat_map(|h| [h[1], h[0]]).collect();
    case(
        all,
        "16-bit loads and 8-bit stores",
        Target::Sm80,
        0,
        "    mad.wide.u32 %u, %i, 2, %p; mad.wide.u32 %v, %i, 2, %q; ld.global.u16 %t0, [%u];\n    \
         shr.u32 %t1, %t0, 8; st.global.u8 [%v], %t1; st.global.u8 [%v+1], %t0;\n",
        halves,
        CaseBuffer::output(want, Tolerance::Exact),
    );
}

fn atomics(all: &mut Vec<Case>) {
    let n = THREADS as usize;
    let words: Vec<u32> = input(n).chunks(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
    let fold =
        |start: u32, f: fn(u32, u32) -> u32| words.iter().fold(start, |a, b| f(a, *b)).to_le_bytes().to_vec();
    let table: [(&str, &str, u32, Vec<u8>); 8] = [
        ("red.add.u32", "red.shared.add.u32 [%m], %t0;", 5, fold(5, u32::wrapping_add)),
        ("red.min.u32", "red.shared.min.u32 [%m], %t0;", u32::MAX, fold(u32::MAX, u32::min)),
        (
            "red.max.s32",
            "red.shared.max.s32 [%m], %t0;",
            1 << 31,
            fold(1 << 31, |a, b| (a as i32).max(b as i32) as u32),
        ),
        ("red.and.b32", "red.shared.and.b32 [%m], %t0;", u32::MAX, fold(u32::MAX, |a, b| a & b)),
        ("red.or.b32", "red.shared.or.b32 [%m], %t0;", 0, fold(0, |a, b| a | b)),
        ("red.xor.b32", "red.shared.xor.b32 [%m], %t0;", 0, fold(0, |a, b| a ^ b)),
        ("red.inc.u32", "red.shared.inc.u32 [%m], 40;", 0, (n as u32 % 41).to_le_bytes().to_vec()),
        ("red.dec.u32", "red.shared.dec.u32 [%m], 40;", 40, (40 - n as u32 % 41).to_le_bytes().to_vec()),
    ];
    for (name, code, start, want) in table {
        let body = format!(
            "    setp.ne.u32 %k, %i, 0; @!%k st.shared.b32 [%m], {start}; bar.sync 0;\n    mad.wide.u32 %u, %i, 4, %p; \
             ld.global.b32 %t0, [%u]; {code} bar.sync 0;\n    ld.shared.b32 %t1, [%m]; @!%k st.global.b32 [%q], %t1;\n"
        );
        case(all, name, Target::Sm80, 16, &body, input(n), CaseBuffer::output(want, Tolerance::Exact));
    }
    // Tickets: every thread gets another number, so the outputs are a permutation with a known sum of squares.
    let sum: u64 = (0..n as u64).map(|x| x * x).sum();
    case(
        all,
        "atom.add returns distinct old values",
        Target::Sm80,
        32,
        "    setp.ne.u32 %k, %i, 0; @!%k st.shared.v4.b32 [%m], {0, 0, 0, 0}; bar.sync 0;\n    \
         atom.shared.add.u32 %t0, [%m], 1; mul.wide.u32 %w0, %t0, %t0; atom.shared.add.u64 %w1, [%m+8], %w0; bar.sync 0;\n    \
         ld.shared.b64 %w2, [%m+8]; @!%k st.global.b64 [%q], %w2;\n",
        input(n),
        CaseBuffer::output(sum.to_le_bytes().to_vec(), Tolerance::Exact),
    );
    case(
        all,
        "atom.cas and atom.exch on global memory",
        Target::Sm80,
        0,
        "    mad.wide.u32 %v, %i, 4, %q; atom.global.exch.b32 %t0, [%v], %i; atom.global.cas.b32 %t1, [%v], %i, 500;\n    \
         atom.global.cas.b32 %t2, [%v], 3, 900; add.u32 %t1, %t1, %t2; atom.global.add.u32 %t3, [%v], %t1;\n",
        input(1),
        CaseBuffer::output((0..THREADS).flat_map(|i| (1000 + i).to_le_bytes()).collect(), Tolerance::Exact),
    );
    let want: Vec<u8> =
        [48.0f32, 48.0].iter().flat_map(|x| half::f16::from_f32(*x).to_bits().to_le_bytes()).collect();
    case(
        all,
        "red.global.add.noftz.f16x2",
        Target::Sm80,
        0,
        "    setp.ne.u32 %k, %i, 0; mov.b32 %t0, 0; @!%k st.global.b32 [%q], %t0; bar.sync 0; and.b32 %t0, %i, 1; \
         setp.eq.u32 %k, %t0, 0; selp.b32 %t1, 0x3C000000, 0x00003C00, %k; red.global.add.noftz.f16x2 [%q], %t1;\n",
        input(1),
        CaseBuffer::output(want, Tolerance::Exact),
    );
    // Small integers: the sum is exact in any order.
    let want: f32 = (0..THREADS).map(|i| (i % 17) as f32).sum();
    case(
        all,
        "red.global.add.f32",
        Target::Sm80,
        0,
        "    setp.ne.u32 %k, %i, 0; mov.b32 %t0, 0; @!%k st.global.b32 [%q], %t0; bar.sync 0; rem.u32 %t0, %i, 17;\n    \
         cvt.rn.f32.u32 %f0, %t0; red.global.add.f32 [%q], %f0;\n",
        input(1),
        CaseBuffer::output(want.to_le_bytes().to_vec(), Tolerance::Exact),
    );
}

fn cp_async(all: &mut Vec<Case>) {
    let n = THREADS as usize;
    for (kind, bytes) in [("cg", 16usize), ("ca", 16), ("ca", 8), ("ca", 4)] {
        // Thread i copies i % (bytes + 1) source bytes; the rest is zero.
        let raw = input(n * bytes / 4);
        let want: Vec<u8> = (0..n)
            .flat_map(|i| {
                let keep = if bytes == 16 { i % (bytes + 1) } else { bytes };
                let row = &raw[i * bytes..][..bytes];
                (0..bytes).map(move |b| if b < keep { row[b] } else { 0 }).collect::<Vec<u8>>()
            })
            .collect();
        let size = if bytes == 16 { ", %t0" } else { "" };
        let store = match bytes {
            16 => "ld.shared.v4.b32 {%t1,%t2,%t3,%t4}, [%s]; st.global.v4.b32 [%v], {%t1,%t2,%t3,%t4};",
            8 => "ld.shared.b64 %w1, [%s]; st.global.b64 [%v], %w1;",
            _ => "ld.shared.b32 %t1, [%s]; st.global.b32 [%v], %t1;",
        };
        let body = format!(
            "    mad.wide.u32 %u, %i, {bytes}, %p; mad.wide.u32 %v, %i, {bytes}, %q; mad.lo.u32 %s, %i, {bytes}, %m;\n    \
             rem.u32 %t0, %i, {}; cp.async.{kind}.shared.global [%s], [%u], {bytes}{size};\n    \
             cp.async.commit_group; cp.async.wait_group 0;\n    {store}\n",
            bytes + 1
        );
        let name =
            format!("cp.async.{kind} of {bytes} bytes{}", if bytes == 16 { " with zero fill" } else { "" });
        case(
            all,
            &name,
            Target::Sm80,
            (n * bytes) as u32,
            &body,
            raw,
            CaseBuffer::output(want, Tolerance::Exact),
        );
    }
    // Three groups; two may be pending when the first is read.
    let raw = input(3 * 4 * n);
    case(
        all,
        "cp.async groups complete in order",
        Target::Sm80,
        3 * 16 * THREADS,
        "    mad.wide.u32 %u, %i, 16, %p; mad.wide.u32 %v, %i, 16, %q; mad.lo.u32 %s, %i, 16, %m;\n    \
         cp.async.cg.shared.global [%s], [%u], 16; cp.async.commit_group;\n    \
         cp.async.cg.shared.global [%s+1536], [%u+1536], 16; cp.async.commit_group;\n    \
         cp.async.cg.shared.global [%s+3072], [%u+3072], 16; cp.async.commit_group;\n    cp.async.wait_group 2;\n    \
         ld.shared.v4.b32 {%t0,%t1,%t2,%t3}, [%s]; st.global.v4.b32 [%v], {%t0,%t1,%t2,%t3}; cp.async.wait_group 1;\n    \
         ld.shared.v4.b32 {%t0,%t1,%t2,%t3}, [%s+1536]; st.global.v4.b32 [%v+1536], {%t0,%t1,%t2,%t3}; cp.async.wait_all;\n    \
         ld.shared.v4.b32 {%t0,%t1,%t2,%t3}, [%s+3072]; st.global.v4.b32 [%v+3072], {%t0,%t1,%t2,%t3};\n",
        raw.clone(),
        CaseBuffer::output(raw, Tolerance::Exact),
    );
    // The arrivals raise the pending count themselves: one arrival of thread 0 completes the phase after theirs.
    let raw = input(4 * n);
    case(
        all,
        "cp.async.mbarrier.arrive raises the count",
        Target::Sm80,
        16 * THREADS + 8,
        "    setp.ne.u32 %k, %i, 0; @!%k mbarrier.init.shared::cta.b64 [%m+1536], 1; bar.sync 0;\n    \
         mad.wide.u32 %u, %i, 16, %p; mad.lo.u32 %s, %i, 16, %m; cp.async.cg.shared.global [%s], [%u], 16;\n    \
         cp.async.mbarrier.arrive.shared::cta.b64 [%m+1536]; bar.sync 0; \
         @!%k mbarrier.arrive.shared::cta.b64 %w0, [%m+1536];\n$W: mbarrier.test_wait.parity.shared::cta.b64 %k, [%m+1536], \
         0; @!%k bra $W;\n    xor.b32 %t0, %i, 1; mad.lo.u32 %s, %t0, 16, %m; ld.shared.v4.b32 {%t1,%t2,%t3,%t4}, [%s]; \
         mad.wide.u32 %v, %t0, 16, %q; st.global.v4.b32 [%v], {%t1,%t2,%t3,%t4};\n",
        raw.clone(),
        CaseBuffer::output(raw, Tolerance::Exact),
    );
    // Completion on an mbarrier: neighbours read what another thread copied.
    let raw = input(4 * n);
    let rotated: Vec<u8> = (0..n).flat_map(|i| raw[(i + 37) % n * 16..][..16].to_vec()).collect();
    case(
        all,
        "cp.async.mbarrier.arrive.noinc",
        Target::Sm80,
        16 * THREADS + 8,
        "    setp.ne.u32 %k, %i, 0; @!%k mbarrier.init.shared::cta.b64 [%m+1536], 96; bar.sync 0;\n    \
         mad.wide.u32 %u, %i, 16, %p; mad.lo.u32 %s, %i, 16, %m; cp.async.cg.shared.global [%s], [%u], 16;\n    \
         cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%m+1536];\n$W: mbarrier.test_wait.parity.shared::cta.b64 %k, \
         [%m+1536], 0; @!%k bra $W;\n    add.u32 %t0, %i, 37; rem.u32 %t0, %t0, 96; mad.lo.u32 %s, %t0, 16, %m;\n    \
         ld.shared.v4.b32 {%t1,%t2,%t3,%t4}, [%s]; mad.wide.u32 %v, %i, 16, %q; st.global.v4.b32 [%v], {%t1,%t2,%t3,%t4};\n",
        raw,
        CaseBuffer::output(rotated, Tolerance::Exact),
    );
}

/// Waits for phase 0 of the mbarrier at `%m + 16`.
const WAIT: &str = "$W: mbarrier.try_wait.parity.shared::cta.b64 %k, [%m+16], 0; @!%k bra $W;";

fn bulk(all: &mut Vec<Case>) {
    let raw = input(256);
    let start = "    setp.ne.u32 %k, %i, 0; @!%k mbarrier.init.shared::cta.b64 [%m+16], 1; \
                 @!%k fence.mbarrier_init.release.cluster; bar.sync 0;\n    @%k bra $W;\n    ";
    let load = "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%m+16], 1024;\n    \
                cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%m+32], [%p], 1008, [%m+16];\n    \
                cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%m+1040], [%p+1008], 16, [%m+16];\n    ";
    let body = format!(
        "{start}{load}\n{WAIT}\n    mad.lo.u32 %s, %i, 4, %m; mad.wide.u32 %v, %i, 4, %q; ld.shared.b32 %t0, [%s+32]; \
         st.global.b32 [%v], %t0;\n    ld.shared.b32 %t0, [%s+416]; st.global.b32 [%v+384], %t0;\n    \
         setp.ge.u32 %k, %i, 64; @%k bra $E; ld.shared.b32 %t0, [%s+800]; st.global.b32 [%v+768], %t0;\n$E:\n"
    );
    let out = CaseBuffer::output(raw.clone(), Tolerance::Exact);
    case(all, "cp.async.bulk from global to shared memory", Target::Sm90a, 1088, &body, raw.clone(), out);
    let hinted = load
        .replacen("bytes [%m+32]", "bytes.L2::cache_hint [%m+32]", 1)
        .replacen("1008, [%m+16];", "1008, [%m+16], %w0;", 1)
        .replacen("mbarrier", "createpolicy.fractional.L2::evict_last.b64 %w0, 1.0;\n    mbarrier", 1);
    let body = format!(
        "{start}{hinted}\n{WAIT}\n    mad.lo.u32 %s, %i, 8, %m; mad.wide.u32 %v, %i, 8, %q; ld.shared.b64 %w1, [%s+32]; \
         st.global.b64 [%v], %w1;\n"
    );
    let out = CaseBuffer::output(raw[..768].to_vec(), Tolerance::Exact);
    case(all, "cp.async.bulk with a cache hint", Target::Sm90a, 1088, &body, raw.clone(), out);
    // 96 threads write, one stores in bulk.
    let words = input(THREADS as usize);
    let body = "    mad.wide.u32 %u, %i, 4, %p; ld.global.b32 %t0, [%u]; mad.lo.u32 %s, %i, 4, %m; st.shared.b32 [%s], %t0;\n    \
                fence.proxy.async.shared::cta; bar.sync 0; setp.ne.u32 %k, %i, 0; @%k bra $E;\n    \
                cp.async.bulk.global.shared::cta.bulk_group [%q], [%m], 384; cp.async.bulk.commit_group; \
                cp.async.bulk.wait_group.read 0;\n$E:\n";
    let out = CaseBuffer::output(words.clone(), Tolerance::Exact);
    case(all, "cp.async.bulk from shared to global memory", Target::Sm90a, 384, body, words, out);
    let words: Vec<u8> = (0..THREADS).flat_map(|i| (i as f32 - 40.0).to_le_bytes()).collect();
    let want: Vec<u8> = (0..THREADS).flat_map(|i| (3.0 * (i as f32 - 40.0) + 1.0).to_le_bytes()).collect();
    let body = "    mad.wide.u32 %u, %i, 4, %p; ld.global.f32 %f0, [%u]; mad.lo.u32 %s, %i, 4, %m; st.shared.f32 [%s], %f0;\n    \
                mad.wide.u32 %v, %i, 4, %q; mov.f32 %f1, 0f3F800000; st.global.f32 [%v], %f1;\n    \
                fence.proxy.async; bar.sync 0; setp.ne.u32 %k, %i, 0; @%k bra $E; mov.u32 %t0, 0;\n$L:\n    \
                cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%q], [%m], 384; cp.async.bulk.commit_group;\n    \
                add.u32 %t0, %t0, 1; setp.lt.u32 %k, %t0, 3; @%k bra $L; cp.async.bulk.wait_group 0;\n$E:\n";
    case(
        all,
        "cp.reduce.async.bulk adds f32",
        Target::Sm90a,
        384,
        body,
        words,
        CaseBuffer::output(want, Tolerance::Exact),
    );
}
