//! Barriers that count: mbarrier phases and states, named barriers and their reductions, clusters.

use super::{Case, CaseArg, CaseBuffer, Target, Tolerance, kernel};
use crate::{Buffer, Swizzle, TensorElement, TensorMap};

/// A kernel without inputs; `%q` is the output, `%i` the thread, `%m` shared memory.
fn case(all: &mut Vec<Case>, name: &str, target: Target, threads: u32, body: &str, want: Vec<u8>) {
    let head = "    .reg .b32 %i, %m, %s, %t<8>; .reg .b64 %q, %v, %w<4>; .reg .pred %k, %k2;\n    mov.u32 %i, %tid.x;\n    \
                mov.u32 %m, smem;\n    ld.param.u64 %q, [out];\n    mad.wide.u32 %v, %i, 4, %q;\n";
    all.push(Case {
        name: name.to_owned(),
        ptx: kernel(target, true, threads, &[".param .u64 out"], &format!("{head}{body}")),
        target,
        grid: 1,
        threads,
        cluster: 1,
        smem: 2048,
        buffers: vec![CaseBuffer::output(want, Tolerance::Exact)],
        args: vec![CaseArg::Buffer(0)],
    });
}

fn words(n: u32, f: impl Fn(u32) -> u32) -> Vec<u8> {
    (0..n).flat_map(|i| f(i).to_le_bytes()).collect()
}

pub(super) fn add(all: &mut Vec<Case>) {
    named(all);
    phases(all);
    clusters(all);
}

fn named(all: &mut Vec<Case>) {
    case(
        all,
        "bar.red counts and combines",
        Target::Sm80,
        96,
        "    and.b32 %t0, %i, 3; setp.eq.u32 %k, %t0, 1; barrier.cta.red.popc.aligned.u32 %t1, 2, 96, %k;\n    \
         setp.lt.u32 %k, %i, 95; barrier.cta.red.and.aligned.pred %k2, 3, 96, %k; selp.b32 %t2, 100, 0, %k2;\n    \
         barrier.cta.red.or.aligned.pred %k2, 2, 96, !%k; selp.b32 %t3, 1000, 0, %k2;\n    add.u32 %t1, %t1, %t2; \
         add.u32 %t1, %t1, %t3; st.global.b32 [%v], %t1;\n",
        words(96, |_| 1024),
    );
    // Warps 0 and 1 produce, warp 2 consumes, five rounds through two barriers.
    case(
        all,
        "bar.arrive and bar.sync between producers and a consumer",
        Target::Sm80,
        96,
        "    mov.u32 %t0, 0; mov.u32 %t5, 0; mad.lo.u32 %s, %i, 4, %m; setp.ge.u32 %k, %i, 64; @%k bra $C;\n$P: \
         add.u32 %t1, %t0, %i; st.shared.b32 [%s], %t1; bar.arrive 1, 96; bar.sync 2, 96; add.u32 %t0, %t0, 1; \
         setp.lt.u32 %k, %t0, 5; @%k bra $P; mov.u32 %t5, 7; bra $E;\n$C: bar.sync 1, 96; ld.shared.b32 %t1, [%s+-256]; \
         ld.shared.b32 %t2, [%s+-128]; add.u32 %t5, %t5, %t1; add.u32 %t5, %t5, %t2; bar.arrive 2, 96; add.u32 %t0, %t0, 1; \
         setp.lt.u32 %k, %t0, 5; @%k bra $C;\n$E: st.global.b32 [%v], %t5;\n",
        words(96, |i| if i < 64 { 7 } else { (0..5).map(|r| 2 * r + (i - 64) + (i - 32)).sum() }),
    );
}

fn phases(all: &mut Vec<Case>) {
    let init = "    setp.ne.u32 %k, %i, 0; @!%k mbarrier.init.shared::cta.b64 [%m], ";
    case(
        all,
        "mbarrier phases by parity",
        Target::Sm80,
        64,
        &format!(
            "{init}64; bar.sync 0; mov.u32 %t0, 0; mad.lo.u32 %s, %i, 4, %m;\n$L: add.u32 %t1, %t0, %i; \
             st.shared.b32 [%s+64], %t1; mbarrier.arrive.shared::cta.b64 %w0, [%m]; and.b32 %t2, %t0, 1;\n$W: \
             mbarrier.test_wait.parity.shared::cta.b64 %k, [%m], %t2; @!%k bra $W;\n    xor.b32 %t3, %i, 63; \
             mad.lo.u32 %t3, %t3, 4, %m; ld.shared.b32 %t4, [%t3+64]; bar.sync 0; add.u32 %t0, %t0, 1; \
             setp.lt.u32 %k, %t0, 5; @%k bra $L; st.global.b32 [%v], %t4;\n"
        ),
        words(64, |i| 4 + (i ^ 63)),
    );
    case(
        all,
        "mbarrier states and pending counts",
        Target::Sm80,
        32,
        &format!(
            "{init}40; bar.sync 0; setp.ne.u32 %k, %i, 0; @%k bra $E; mbarrier.arrive.shared::cta.b64 %w0, [%m];\n    \
             mbarrier.pending_count.b64 %t0, %w0; st.global.b32 [%q], %t0;\n    \
             mbarrier.test_wait.shared::cta.b64 %k, [%m], %w0; selp.b32 %t1, 1, 0, %k; st.global.b32 [%q+4], %t1;\n    \
             mov.u32 %t2, 0;\n$L: mbarrier.arrive.shared::cta.b64 %w1, [%m]; add.u32 %t2, %t2, 1; \
             setp.lt.u32 %k, %t2, 39; @%k bra $L;\n    mbarrier.test_wait.shared::cta.b64 %k, [%m], %w0; \
             selp.b32 %t1, 1, 0, %k; st.global.b32 [%q+8], %t1;\n    \
             mbarrier.pending_count.b64 %t0, %w1; st.global.b32 [%q+12], %t0;\n$E:\n"
        ),
        [40u32, 0, 1, 1].iter().flat_map(|x| x.to_le_bytes()).collect(),
    );
    case(
        all,
        "mbarrier.arrive_drop lowers the next phase's count",
        Target::Sm80,
        32,
        &format!(
            "{init}3; bar.sync 0; setp.ne.u32 %k, %i, 0; @%k bra $E; mbarrier.arrive_drop.shared::cta.b64 %w0, [%m];\n    \
             mbarrier.arrive.shared::cta.b64 %w1, [%m]; mbarrier.arrive.shared::cta.b64 %w1, [%m];\n    \
             mbarrier.test_wait.parity.shared::cta.b64 %k, [%m], 0; selp.b32 %t1, 1, 0, %k;\n    \
             mbarrier.arrive.shared::cta.b64 %w1, [%m]; mbarrier.arrive.shared::cta.b64 %w1, [%m];\n    \
             mbarrier.test_wait.parity.shared::cta.b64 %k, [%m], 1; selp.b32 %t2, 2, 0, %k; add.u32 %t1, %t1, %t2; \
             st.global.b32 [%q], %t1;\n$E:\n"
        ),
        3u32.to_le_bytes().to_vec(),
    );
    case(
        all,
        "mbarrier counts transactions",
        Target::Sm90a,
        32,
        &format!(
            "{init}1; @!%k fence.mbarrier_init.release.cluster; bar.sync 0; setp.ne.u32 %k, %i, 0; @%k bra $E;\n    \
             mbarrier.arrive.expect_tx.shared::cta.b64 _, [%m], 48; mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%m], 16;\n    \
             mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%m], 40; mbarrier.test_wait.parity.shared::cta.b64 %k, [%m], 0; \
             selp.b32 %t0, 1, 0, %k;\n    mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%m], 24; \
             mbarrier.test_wait.parity.shared::cta.b64 %k, [%m], 0; selp.b32 %t1, 2, 0, %k; add.u32 %t0, %t0, %t1; \
             st.global.b32 [%q], %t0;\n$E:\n"
        ),
        2u32.to_le_bytes().to_vec(),
    );
}

fn clusters(all: &mut Vec<Case>) {
    // Two blocks: each thread reads its neighbour's shared memory and arrives at the neighbour's mbarrier.
    let body = "    .reg .b32 %i, %m, %r, %s, %t<8>; .reg .b64 %q, %v; .reg .pred %k;\n    mov.u32 %i, %tid.x; mov.u32 %m, smem; \
                ld.param.u64 %q, [out]; mov.u32 %r, %cluster_ctarank; mad.lo.u32 %t0, %r, 32, %i; mad.wide.u32 %v, %t0, 4, %q;\n    \
                mad.lo.u32 %s, %i, 4, %m; mul.lo.u32 %t1, %t0, 3; st.shared.b32 [%s+64], %t1; setp.ne.u32 %k, %i, 0; \
                @!%k mbarrier.init.shared::cta.b64 [%m], 32; @!%k fence.mbarrier_init.release.cluster;\n    \
                barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned; xor.b32 %t2, %r, 1;\n    \
                mapa.shared::cluster.u32 %t3, %s, %t2; ld.shared::cluster.b32 %t4, [%t3+64]; mapa.shared::cluster.u32 %t5, %m, %t2;\n    \
                mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%t5];\n$W: \
                mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %k, [%m], 0; @!%k bra $W;\n    \
                getctarank.shared::cluster.u32 %t6, %t3; mad.lo.u32 %t4, %t6, 1000, %t4; st.global.b32 [%v], %t4;\n    \
                barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\n";
    all.push(Case {
        name: "shared memory and mbarriers across a cluster".to_owned(),
        ptx: kernel(Target::Sm90a, true, 32, &[".param .u64 out"], body),
        target: Target::Sm90a,
        grid: 2,
        threads: 32,
        cluster: 2,
        smem: 256,
        buffers: vec![CaseBuffer::output(
            words(64, |t| {
                let (rank, i) = (t / 32, t % 32);
                let other = 1 - rank;
                3 * (32 * other + i) + 1000 * other
            }),
            Tolerance::Exact,
        )],
        args: vec![CaseArg::Buffer(0)],
    });
    // Each block sends 512 bytes of its shared memory to the other's, which waits for them.
    let body = "    .reg .b32 %i, %m, %r, %s, %t<8>; .reg .b64 %q, %v; .reg .pred %k;\n    mov.u32 %i, %tid.x; mov.u32 %m, smem; \
                ld.param.u64 %q, [out]; mov.u32 %r, %cluster_ctarank; mad.lo.u32 %t0, %r, 128, %i; mad.wide.u32 %v, %t0, 4, %q;\n    \
                mad.lo.u32 %s, %i, 4, %m; st.shared.b32 [%s+64], %t0; setp.ne.u32 %k, %i, 0; \
                @!%k mbarrier.init.shared::cta.b64 [%m], 1; @!%k fence.mbarrier_init.release.cluster; \
                @!%k mbarrier.arrive.expect_tx.shared::cta.b64 _, [%m], 512; fence.proxy.async.shared::cta;\n    \
                barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned; xor.b32 %t2, %r, 1; \
                mapa.shared::cluster.u32 %t3, %m, %t2; add.u32 %t4, %m, 64; add.u32 %t5, %t3, 1024;\n    \
                @%k bra $W; cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%t5], [%t4], 512, [%t3];\n$W: \
                mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %k, [%m], 0; @!%k bra $W;\n    \
                ld.shared.b32 %t6, [%s+1024]; st.global.b32 [%v], %t6; barrier.cluster.arrive.aligned; \
                barrier.cluster.wait.aligned;\n";
    all.push(Case {
        name: "cp.async.bulk between the blocks of a cluster".to_owned(),
        ptx: kernel(Target::Sm90a, true, 128, &[".param .u64 out"], body),
        target: Target::Sm90a,
        grid: 2,
        threads: 128,
        cluster: 2,
        smem: 2048,
        buffers: vec![CaseBuffer::output(words(256, |t| (t + 128) % 256), Tolerance::Exact)],
        args: vec![CaseArg::Buffer(0)],
    });
    multicast(all);
    let body = "    setp.lt.u32 %k, %i, 128; @%k bra $P; setmaxnreg.inc.sync.aligned.u32 240; add.u32 %t0, %i, 1000; bra $E;\n$P: \
                setmaxnreg.dec.sync.aligned.u32 24; mov.u32 %t0, 5;\n$E: st.global.b32 [%v], %t0;\n";
    case(
        all,
        "setmaxnreg moves registers",
        Target::Sm90a,
        384,
        body,
        words(384, |i| if i < 128 { 5 } else { i + 1000 }),
    );
    if let Some(last) = all.last_mut() {
        // Without it ptxas does not know the registers at entry and ignores the instruction.
        last.ptx = last.ptx.replacen(".reqntid 384, 1, 1\n", ".reqntid 384, 1, 1\n.minnctapersm 1\n", 1);
    }
}

/// Each block loads half of a tile for both.
fn multicast(all: &mut Vec<Case>) {
    let body = "    .reg .b32 %i, %m, %r, %s, %t<8>; .reg .b64 %q, %v, %p; .reg .pred %k; .reg .b16 %h;\n    mov.u32 %i, %tid.x; \
                mov.u32 %m, smem; ld.param.u64 %q, [out]; mov.u32 %r, %cluster_ctarank; mov.b64 %p, map; cvta.param.u64 %p, %p; \
                mov.b16 %h, 3;\n    setp.ne.u32 %k, %i, 0; @!%k mbarrier.init.shared::cta.b64 [%m+2048], 1; \
                @!%k fence.mbarrier_init.release.cluster; @!%k mbarrier.arrive.expect_tx.shared::cta.b64 _, [%m+2048], 2048;\n    \
                barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned; shl.b32 %t0, %r, 3; \
                mad.lo.u32 %t1, %r, 1024, %m; @%k bra $W;\n    \
                cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%t1], \
                [%p, {0, %t0}], [%m+2048], %h;\n$W: mbarrier.try_wait.parity.shared::cta.b64 %k, [%m+2048], 0; @!%k bra $W;\n    \
                mad.lo.u32 %s, %i, 16, %m; ld.shared.v4.b32 {%t2,%t3,%t4,%t5}, [%s]; mad.lo.u32 %t0, %r, 128, %i; \
                mad.wide.u32 %v, %t0, 16, %q; st.global.v4.b32 [%v], {%t2,%t3,%t4,%t5}; barrier.cluster.arrive.aligned; \
                barrier.cluster.wait.aligned;\n";
    let tile = words(512, |i| i.wrapping_mul(2_654_435_761));
    let map = TensorMap {
        buffer: Buffer { index: 0, address: 0, bytes: 0 },
        offset: 0,
        element: TensorElement::Bf16,
        dims: vec![64, 16],
        strides: vec![128],
        box_dims: vec![64, 8],
        swizzle: Swizzle::None,
        nan_fill: false,
    };
    all.push(Case {
        name: "TMA multicast to a cluster".to_owned(),
        ptx: kernel(Target::Sm90a, true, 128, &[".param .align 64 .b8 map[128]", ".param .u64 out"], body),
        target: Target::Sm90a,
        grid: 2,
        threads: 128,
        cluster: 2,
        smem: 2056,
        buffers: vec![
            CaseBuffer::input(tile.clone()),
            CaseBuffer::output([tile.clone(), tile].concat(), Tolerance::Exact),
        ],
        args: vec![CaseArg::TensorMap(0, map), CaseArg::Buffer(1)],
    });
}
