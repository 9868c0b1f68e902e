//! The sanitizer: small wrong kernels and the finding that each must give, beside the right ones.

use dmac_ptx_interp::{
    Arg, Finding, FindingKind, Launch, Memory, Options, Swizzle, TensorElement, TensorMap, parse,
};

/// Declarations that every kernel here starts with: `%i` thread, `%w` warp, `%l` lane, `%m` shared memory, `%p` and `%q`
/// two buffers of 4 KiB (the second without values), `%tm` a tensor map over the first as 32 × 64 bf16.
const HEAD: &str = ".version 8.0
.target sm_90a
.address_size 64
.file 1 \"kernel.dmac\"
.extern .shared .align 1024 .b8 smem[];
.visible .entry t(.param .u64 in, .param .u64 out, .param .align 64 .b8 map[128])
{
    .reg .b32 %i, %w, %l, %m, %s, %t<32>; .reg .f32 %f<64>; .reg .b64 %p, %q, %v, %tm, %da, %db; .reg .pred %k, %k2;
    mov.u32 %i, %tid.x; shr.u32 %w, %i, 5; and.b32 %l, %i, 31; mov.u32 %m, smem;
    ld.param.u64 %p, [in]; ld.param.u64 %q, [out]; mov.b64 %tm, map; cvta.param.u64 %tm, %tm;
    mad.wide.u32 %v, %i, 4, %q; mad.lo.u32 %s, %i, 4, %m;
";

fn run(body: &str, threads: u32, options: &Options) -> Vec<Finding> {
    let text = format!("{HEAD}{body}\n    ret;\n}}\n");
    let module = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut memory = Memory::new();
    let input = memory.alloc(&(0..1024u32).collect::<Vec<_>>());
    let output = memory.alloc_uninit::<u32>(1024);
    let map = TensorMap {
        buffer: input,
        offset: 0,
        element: TensorElement::Bf16,
        dims: vec![64, 32],
        strides: vec![128],
        box_dims: vec![64, 16],
        swizzle: Swizzle::B128,
        nan_fill: false,
    };
    Launch::new(&module, "t")
        .block([threads, 1, 1])
        .dynamic_smem(16384)
        .args([Arg::Buffer(input), Arg::Buffer(output), Arg::TensorMap(map)])
        .run(&mut memory, options)
        .err()
        .unwrap_or_default()
}

fn options(seed: u64) -> Options {
    Options { seed, workers: 1, max_steps: 200_000, ..Options::default() }
}

/// The body is wrong in every schedule, with this kind of finding first.
fn wrong(kind: FindingKind, threads: u32, body: &str) {
    for seed in 0..4 {
        let found = run(body, threads, &options(seed));
        let kinds: Vec<FindingKind> = found.iter().map(|f| f.kind).collect();
        assert_eq!(kinds.first(), Some(&kind), "seed {seed}, {kinds:?} for\n{body}");
    }
}

/// The body is right in every schedule.
fn right(threads: u32, body: &str) {
    for seed in 0..8 {
        let found = run(body, threads, &options(seed));
        assert!(found.is_empty(), "seed {seed}: {} for\n{body}", found[0]);
    }
}

const INIT: &str = "setp.ne.u32 %k, %i, 0; @!%k mbarrier.init.shared::cta.b64 [%m+8192], 1; \
                    @!%k fence.mbarrier_init.release.cluster; bar.sync 0;\n";
const LOAD: &str = "@!%k mbarrier.arrive.expect_tx.shared::cta.b64 _, [%m+8192], 2048;\n\
                    @!%k cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%m], [%tm, {0, 0}], [%m+8192];\n";
const WAIT: &str = "$W: mbarrier.try_wait.parity.shared::cta.b64 %k2, [%m+8192], 0; @!%k2 bra $W;\n";

#[test]
fn values_must_exist() {
    wrong(FindingKind::UninitializedRegister, 32, "add.u32 %t0, %t1, 1;");
    wrong(
        FindingKind::UninitializedRegister,
        32,
        "setp.eq.u32 %k, %l, 0; @%k mov.u32 %t0, 1; add.u32 %t1, %t0, 1;",
    );
    wrong(FindingKind::UninitializedRegister, 32, "@%k mov.u32 %t0, 1;");
    wrong(FindingKind::UninitializedShared, 32, "ld.shared.u32 %t0, [%s];");
    wrong(FindingKind::UninitializedShared, 32, "st.shared.u16 [%s], 5; ld.shared.u32 %t0, [%s];");
    wrong(FindingKind::UninitializedGlobal, 32, "ld.global.u32 %t0, [%v];");
    right(
        32,
        "mov.u32 %t1, 5; st.shared.u32 [%s], %t1; ld.shared.u32 %t0, [%s]; st.global.u32 [%v], %t0; ld.global.u32 %t0, [%v];",
    );
}

#[test]
fn addresses_must_fit() {
    wrong(FindingKind::OutOfBounds, 32, "ld.global.u32 %t0, [%p+4096];");
    wrong(FindingKind::OutOfBounds, 32, "ld.global.u32 %t0, [%p+-4];");
    wrong(FindingKind::OutOfBounds, 32, "mov.u32 %t0, 1; st.shared.u32 [%m+16384], %t0;");
    wrong(FindingKind::OutOfBounds, 32, "mov.u32 %t0, 1; st.shared.u32 [%m+-4], %t0;");
    wrong(FindingKind::OutOfBounds, 32, "ld.param.u32 %t0, [map+128];");
    wrong(FindingKind::Misaligned, 32, "ld.global.u32 %t0, [%p+2];");
    wrong(FindingKind::Misaligned, 32, "ld.global.v4.u32 {%t0,%t1,%t2,%t3}, [%p+8];");
    wrong(FindingKind::Misaligned, 32, "cp.async.cg.shared.global [%m+8], [%p], 16; cp.async.wait_all;");
    let bulk = format!(
        "{INIT}@!%k cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%m+8], [%p], 16, [%m+8192];"
    );
    wrong(FindingKind::Misaligned, 32, &bulk);
}

#[test]
fn warps_must_not_race() {
    let meet = "st.shared.u32 [%s], %i; BARRIER xor.b32 %t0, %i, 32; mad.lo.u32 %t0, %t0, 4, %m; ld.shared.u32 %t1, [%t0];";
    wrong(
        FindingKind::Race,
        64,
        &format!("st.shared.u32 [%m], %i; bar.sync 0; {}", meet.replace("BARRIER", "")),
    );
    right(64, &meet.replace("BARRIER", "bar.sync 0;"));
    // Reads before a write of the next round.
    let round = "st.shared.u32 [%s], %i; bar.sync 0; xor.b32 %t0, %i, 32; mad.lo.u32 %t0, %t0, 4, %m; ld.shared.u32 %t1, [%t0]; \
                 BARRIER st.shared.u32 [%s], %i;";
    wrong(FindingKind::Race, 64, &round.replace("BARRIER", ""));
    right(64, &round.replace("BARRIER", "bar.sync 0;"));
    // Global memory.
    let global = "st.global.u32 [%v], %i; BARRIER xor.b32 %t0, %i, 32; mad.wide.u32 %v, %t0, 4, %q; ld.global.u32 %t1, [%v];";
    wrong(
        FindingKind::Race,
        64,
        &format!("st.global.u32 [%q], %i; bar.sync 0; {}", global.replace("BARRIER", "")),
    );
    right(64, &global.replace("BARRIER", "bar.sync 0;"));
    wrong(FindingKind::Race, 64, "st.global.u32 [%q], %i;");
    right(
        64,
        "mov.u32 %t0, 0; setp.eq.u32 %k, %i, 0; @%k st.global.u32 [%q], %t0; bar.sync 0; red.global.add.u32 [%q], 1;",
    );
    wrong(FindingKind::Race, 32, "st.global.u32 [%v], %i; ld.global.nc.u32 %t0, [%v];");
}

#[test]
fn flags_order_data_only_with_release_and_acquire() {
    let flag = |store: &str, load: &str| {
        format!(
            "mov.u32 %t9, 0; setp.eq.u32 %k, %i, 0; @%k st.shared.u32 [%m+4096], %t9; bar.sync 0; setp.eq.u32 %k, %w, 0; \
             @!%k bra $C; st.shared.u32 [%s], %i; bar.warp.sync -1; mov.u32 %t9, 1; setp.eq.u32 %k2, %l, 0; {store} bra $E;\n$C: \
             {load} setp.eq.u32 %k2, %t8, 0; @%k2 bra $C; xor.b32 %t0, %i, 32; mad.lo.u32 %t0, %t0, 4, %m; \
             ld.shared.u32 %t1, [%t0];\n$E:"
        )
    };
    right(
        64,
        &flag("@%k2 st.release.cta.shared.u32 [%m+4096], %t9;", "ld.acquire.cta.shared.u32 %t8, [%m+4096];"),
    );
    right(
        64,
        &flag(
            "membar.cta; @%k2 st.volatile.shared.u32 [%m+4096], %t9;",
            "ld.volatile.shared.u32 %t8, [%m+4096]; membar.cta;",
        ),
    );
    wrong(
        FindingKind::Race,
        64,
        &flag("@%k2 st.relaxed.cta.shared.u32 [%m+4096], %t9;", "ld.acquire.cta.shared.u32 %t8, [%m+4096];"),
    );
    wrong(
        FindingKind::Race,
        64,
        &flag("@%k2 st.release.cta.shared.u32 [%m+4096], %t9;", "ld.relaxed.cta.shared.u32 %t8, [%m+4096];"),
    );
}

/// Six blocks take turns through a counter in global memory, whatever order they start in; each adds to a cell that
/// only the turns protect.
#[test]
fn blocks_may_wait_for_one_another() {
    let text = |load: &str, store: &str| {
        format!(
            ".version 8.0 .target sm_80 .address_size 64 .visible .entry t(.param .u64 turn, .param .u64 cell) {{
             .reg .b64 %turn, %cell; .reg .b32 %me, %now, %x, %i; .reg .pred %p;
             ld.param.u64 %turn, [turn]; ld.param.u64 %cell, [cell]; mov.u32 %me, %ctaid.x; sub.u32 %me, 5, %me;
             mov.u32 %i, %tid.x; setp.ne.u32 %p, %i, 0; @%p bra $end;
             $wait: {load}.u32 %now, [%turn]; setp.ne.u32 %p, %now, %me; @%p bra $wait;
             ld.global.u32 %x, [%cell]; mad.lo.u32 %x, %x, 3, %me; st.global.u32 [%cell], %x;
             add.u32 %now, %now, 1; {store}.u32 [%turn], %now;
             $end: ret; }}"
        )
    };
    let run = |load: &str, store: &str, workers: usize, seed: u64| {
        let module = parse(&text(load, store)).unwrap_or_else(|e| panic!("{e}"));
        let mut memory = Memory::new();
        let (turn, cell) = (memory.alloc(&[0u32]), memory.alloc(&[1u32]));
        let options = Options { seed, workers, ..Options::default() };
        let launch = Launch::new(&module, "t").grid([6, 1, 1]).args([turn, cell].map(Arg::Buffer));
        (launch.run(&mut memory, &options), memory.read::<u32>(cell)[0])
    };
    let want = (0..6).fold(1, |x, me| 3 * x + me);
    for (workers, seed) in [(1, 0), (1, 1), (3, 0), (3, 1)] {
        let (result, cell) = run("ld.acquire.gpu.global", "st.release.gpu.global", workers, seed);
        assert!(result.is_ok() && cell == want, "{result:?} {cell}");
        let (result, _) = run("ld.relaxed.gpu.global", "st.release.gpu.global", workers, seed);
        assert_eq!(result.expect_err("a race")[0].kind, FindingKind::Race);
        let (result, _) = run("ld.acquire.gpu.global", "st.relaxed.gpu.global", workers, seed);
        assert_eq!(result.expect_err("a race")[0].kind, FindingKind::Race);
    }
}

#[test]
fn copies_must_be_waited_for() {
    let copy = "mad.lo.u32 %s, %i, 16, %m; cp.async.cg.shared.global [%s], [%p], 16; cp.async.commit_group; WAIT \
                ld.shared.u32 %t0, [%s];";
    wrong(FindingKind::NotAwaited, 32, &copy.replace("WAIT", ""));
    wrong(FindingKind::NotAwaited, 32, &copy.replace("WAIT", "cp.async.wait_group 1;"));
    right(32, &copy.replace("WAIT", "cp.async.wait_group 0;"));
    right(32, &copy.replace("WAIT", "cp.async.wait_all;"));
    // Waiting covers the own copies only; others need a barrier after it.
    let other = "mad.lo.u32 %s, %i, 16, %m; cp.async.cg.shared.global [%s], [%p], 16; ORDER xor.b32 %t0, %i, 32; \
                 mad.lo.u32 %s, %t0, 16, %m; ld.shared.u32 %t0, [%s];";
    wrong(FindingKind::NotAwaited, 64, &other.replace("ORDER", "bar.sync 0; cp.async.wait_all;"));
    right(64, &other.replace("ORDER", "cp.async.wait_all; bar.sync 0;"));
    let tile = |wait: &str| format!("{INIT}{LOAD}{wait}mad.lo.u32 %s, %i, 16, %m; ld.shared.u32 %t0, [%s];");
    wrong(FindingKind::NotAwaited, 32, &tile(""));
    wrong(FindingKind::NotAwaited, 32, &tile(&WAIT.replace(", 0;", ", 1;")));
    right(64, &tile(WAIT));
    // A source that is overwritten before a bulk store has read it.
    let store = "st.shared.u32 [%s], %i; fence.proxy.async.shared::cta; bar.sync 0; setp.ne.u32 %k, %i, 0; @%k bra $E; \
                 cp.async.bulk.global.shared::cta.bulk_group [%q], [%m], 128; cp.async.bulk.commit_group; WAIT \
                 st.shared.u32 [%s], %i; LATE\n$E:";
    wrong(
        FindingKind::NotAwaited,
        32,
        &store.replace("WAIT", "").replace("LATE", "cp.async.bulk.wait_group 0;"),
    );
    right(32, &store.replace("WAIT", "cp.async.bulk.wait_group.read 0;").replace("LATE", ""));
    wrong(
        FindingKind::InFlightAtExit,
        32,
        &store.replace("WAIT", "").replace("LATE", "").replace("st.shared.u32 [%s], %i; \n", "\n"),
    );
    wrong(FindingKind::InFlightAtExit, 64, &format!("{INIT}{LOAD}"));
}

#[test]
fn proxies_need_fences() {
    let store = |fence: &str, after: &str| {
        format!(
            "st.shared.u32 [%s], %i; {fence} bar.sync 0; setp.ne.u32 %k, %i, 0; @%k bra $E; {after} \
             cp.async.bulk.global.shared::cta.bulk_group [%q], [%m], 256; cp.async.bulk.commit_group; \
             cp.async.bulk.wait_group.read 0;\n$E:"
        )
    };
    wrong(FindingKind::MissingProxyFence, 64, &store("", ""));
    wrong(FindingKind::MissingProxyFence, 64, &store("fence.proxy.async.global;", ""));
    // One thread's fence does not cover what the others wrote.
    wrong(
        FindingKind::MissingProxyFence,
        64,
        &store("setp.eq.u32 %k, %l, 0; @%k fence.proxy.async.shared::cta;", ""),
    );
    right(64, &store("fence.proxy.async.shared::cta;", ""));
    right(64, &store("fence.proxy.async;", ""));
    // Anywhere on the way from the write to the use.
    right(64, &store("", "fence.proxy.async.shared::cta;"));
    wrong(
        FindingKind::MissingInitFence,
        64,
        &format!("{}{LOAD}{WAIT}", INIT.replace("@!%k fence.mbarrier_init.release.cluster;", "")),
    );
    right(64, &format!("{INIT}{LOAD}{WAIT}"));
}

#[test]
fn mbarriers_count() {
    wrong(
        FindingKind::MbarrierMisuse,
        32,
        "setp.eq.u32 %k, %l, 0; @%k mbarrier.arrive.shared::cta.b64 _, [%m];",
    );
    wrong(FindingKind::MbarrierMisuse, 32, &format!("{INIT}mbarrier.init.shared::cta.b64 [%m+8192], 1;"));
    let twice = "setp.ne.u32 %k, %i, 0; @!%k mbarrier.init.shared::cta.b64 [%m], 2; bar.sync 0; \
                 @!%k mbarrier.arrive.shared::cta.b64 %v, [%m], 3;";
    wrong(FindingKind::MbarrierMisuse, 32, twice);
    wrong(
        FindingKind::MbarrierMisuse,
        32,
        "setp.ne.u32 %k, %i, 0; @!%k mbarrier.init.shared::cta.b64 [%m], 1; ld.shared.u32 %t0, [%m];",
    );
    // The initialisation and another warp's use are not ordered.
    let early = "setp.eq.u32 %k, %i, 0; @%k mbarrier.init.shared::cta.b64 [%m], 1; setp.eq.u32 %k, %i, 32; ORDER \
                 @%k mbarrier.arrive.shared::cta.b64 _, [%m];";
    right(64, &early.replace("ORDER", "bar.sync 0;"));
    let found = (0..16)
        .flat_map(|s| run(&early.replace("ORDER", ""), 64, &options(s)))
        .any(|f| f.kind == FindingKind::Race);
    assert!(found);
    wrong(FindingKind::Deadlock, 64, &format!("{INIT}{WAIT}"));
    wrong(FindingKind::Deadlock, 64, &format!("{INIT}{}{WAIT}", LOAD.replace("2048", "2064")));
}

#[test]
fn barriers_match() {
    wrong(FindingKind::Deadlock, 64, "setp.eq.u32 %k, %w, 0; @%k bra $E; bar.sync 1, 64;\n$E:");
    wrong(FindingKind::BarrierMismatch, 64, "bar.sync 1, 48;");
    wrong(FindingKind::BarrierMismatch, 64, "mov.u32 %t0, 16; bar.sync %t0, 64;");
    wrong(
        FindingKind::BarrierMismatch,
        64,
        "setp.eq.u32 %k, %w, 0; @%k bra $A; bar.arrive 1, 64; bra $E;\n$A: bar.sync 1, 96;\n$E:",
    );
    wrong(FindingKind::Divergence, 32, "setp.eq.u32 %k, %l, 3; @%k bra $E; bar.sync 0;\n$E:");
    wrong(FindingKind::Divergence, 32, "setp.ne.u32 %k, %l, 3; @%k shfl.sync.bfly.b32 %t0, %i, 1, 31, -1;");
    wrong(FindingKind::Divergence, 48, "shfl.sync.bfly.b32 %t0, %i, 1, 31, -1;");
    right(48, "bar.sync 0;");
    wrong(FindingKind::Divergence, 32, "setp.eq.u32 %k, %l, 3; @%k ret; bar.warp.sync -1;");
    wrong(FindingKind::Trap, 32, "setp.eq.u32 %k, %l, 3; @%k trap;");
    wrong(FindingKind::StepLimit, 32, "$L: bra $L;");
}

/// Accumulators `%f0`–`%f31`, one product of two tiles at `%m` and `%m + 8192` filled with ones.
fn product(before: &str, between: &str, after: &str) -> String {
    let acc: Vec<String> = (0..32).map(|i| format!("%f{i}")).collect();
    let zero: Vec<String> = acc.iter().map(|f| format!("mov.f32 {f}, 0f00000000;")).collect();
    let zero = zero.join(" ");
    let acc = acc.join(",");
    format!(
        "mov.u32 %t0, 0x3F803F80; mov.u32 %t1, %s;\n$F: st.shared.u32 [%t1], %t0; add.u32 %t1, %t1, 512; add.u32 %t2, %m, 16384; \
         setp.lt.u32 %k, %t1, %t2; @%k bra $F;\n    fence.proxy.async.shared::cta; bar.sync 0; shr.u32 %t3, %m, 4; \
         add.u32 %t4, %t3, 512; mov.b64 %da, {{%t3, 0x40000040}}; mov.b64 %db, {{%t4, 0x40000040}}; {zero}\n    {before}\n    \
         wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {{{acc}}}, %da, %db, 1, 1, 1, 0, 0;\n    {between}\n    \
         wgmma.commit_group.sync.aligned;\n    {after}"
    )
}

#[test]
fn wgmma_has_rules() {
    let (fence, wait) = ("wgmma.fence.sync.aligned;", "wgmma.wait_group.sync.aligned 0;");
    right(128, &product(fence, "", &format!("{wait} add.f32 %f40, %f0, %f31;")));
    wrong(FindingKind::MissingWgmmaFence, 128, &product("", "", wait));
    wrong(
        FindingKind::MissingWgmmaFence,
        128,
        &product(&format!("{fence} mov.f32 %f3, 0f3F800000;"), "", wait),
    );
    wrong(
        FindingKind::RegisterInFlight,
        128,
        &product(fence, "", &format!("add.f32 %f40, %f0, %f31; {wait}")),
    );
    wrong(FindingKind::RegisterInFlight, 128, &product(fence, "mov.f32 %f7, 0f00000000;", wait));
    wrong(
        FindingKind::RegisterInFlight,
        128,
        &product(fence, "", "wgmma.wait_group.sync.aligned 1; mov.f32 %f40, %f2;"),
    );
    wrong(FindingKind::InFlightAtExit, 128, &product(fence, "", ""));
    // Overwriting an operand that is still being read.
    wrong(
        FindingKind::NotAwaited,
        128,
        &product(fence, "", &format!("bar.sync 0; st.shared.u32 [%m], %t0; {wait}")),
    );
    right(
        128,
        &product(
            fence,
            "",
            &format!("{wait} bar.sync 0; setp.eq.u32 %k, %i, 0; @%k st.shared.u32 [%m], %t0;"),
        ),
    );
    // A warpgroup is four warps, and all of them take part.
    wrong(FindingKind::Divergence, 96, &product(fence, "", wait));
    let differ = "setp.eq.u32 %k, %w, 2; @%k add.s64 %db, %db, 2;";
    let found = (0..8).flat_map(|s| run(&product(&format!("{differ} {fence}"), "", wait), 128, &options(s)));
    assert!(found.map(|f| f.kind).any(|k| k == FindingKind::Divergence));
    let far = product(&format!("add.s64 %db, %db, 4096; {fence}"), "", wait);
    wrong(FindingKind::OutOfBounds, 128, &far);
    // Written with st.shared, never fenced.
    let unfenced = product(fence, "", wait).replace("fence.proxy.async.shared::cta;", "");
    wrong(FindingKind::MissingProxyFence, 128, &unfenced);
}

#[test]
fn registers_are_a_budget() {
    let body = "DEC setp.lt.u32 %k, %i, 128; @%k bra $E; setmaxnreg.inc.sync.aligned.u32 400;\n$E:";
    assert!(parse(&format!("{HEAD}{body} ret; }}")).is_err());
    // 256 threads: 256 registers each (255 rounded up); nothing is left to take.
    let body = "setp.lt.u32 %k, %i, 128; @%k bra $P; setmaxnreg.inc.sync.aligned.u32 240; bra $E;\n$P: \
                setmaxnreg.dec.sync.aligned.u32 24;\n$E:";
    wrong(FindingKind::RegisterBudget, 256, body);
    let three =
        "setp.lt.u32 %k, %i, 128; @%k bra $P; setmaxnreg.inc.sync.aligned.u32 240; bra $E;\n$P: DEC\n$E:";
    right(384, &three.replace("DEC", "setmaxnreg.dec.sync.aligned.u32 24;"));
    wrong(FindingKind::RegisterBudget, 384, &three.replace("DEC", "setmaxnreg.dec.sync.aligned.u32 200;"));
    wrong(
        FindingKind::Deadlock,
        384,
        &three.replace("DEC", "setmaxnreg.dec.sync.aligned.u32 160; bar.sync 1, 160;"),
    );
}

#[test]
fn operands_are_checked() {
    wrong(FindingKind::Misaligned, 64, &format!("{INIT}{}", LOAD.replace("{0, 0}", "{4, 0}")));
    right(64, &format!("{INIT}{}{WAIT}", LOAD.replace("{0, 0}", "{-8, 20}")));
    let store = "st.shared.u32 [%s], %i; add.u32 %s, %s, 2048; mov.u32 %t0, %m;\n$F: st.shared.u32 [%t0], %i; \
                 add.u32 %t0, %t0, 4; setp.lt.u32 %k, %t0, %s; @%k bra $F; fence.proxy.async; bar.sync 0; setp.ne.u32 %k, %i, 0; \
                 @%k bra $E; cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%tm, {0, AT}], [%m]; \
                 cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;\n$E:";
    right(32, &store.replace("AT", "24").replace("bra $F", "bra $F; bar.warp.sync -1"));
    wrong(FindingKind::BadOperand, 32, &store.replace("AT", "-8"));

    wrong(FindingKind::BadOperand, 64, &format!("{INIT}{}", LOAD.replace("%tm", "%p")));
    wrong(
        FindingKind::BadOperand,
        64,
        &format!("{INIT}{}", LOAD.replace("2d", "1d").replace("{0, 0}", "{0}")),
    );
    wrong(
        FindingKind::BadOperand,
        32,
        "mov.u32 %t0, 17; cp.async.cg.shared.global [%m], [%p], 16, %t0; cp.async.wait_all;",
    );
    wrong(
        FindingKind::BadOperand,
        32,
        "setp.eq.u32 %k, %i, 0; mov.u32 %t0, 24; @%k cp.async.bulk.global.shared::cta.bulk_group [%q], [%m], %t0;",
    );
}

#[test]
fn a_finding_names_its_places() {
    let body = "    st.shared.u32 [%m], %i;\n    bar.sync 0;\n    .loc 1 12 3\n    st.shared.u32 [%s], %i;\n    .loc 1 14 9\n    \
                xor.b32 %t0, %i, 32; mad.lo.u32 %t0, %t0, 4, %m; ld.shared.u32 %t1, [%t0];";
    let body = body.replace("    st.shared.u32 [%m], %i;\n", "");
    let found = run(&body, 64, &options(1));
    insta::assert_snapshot!(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_bad_launch_is_a_finding() {
    let text = format!("{HEAD} ret; }}");
    let module = parse(&text).unwrap();
    let mut memory = Memory::new();
    let b = memory.alloc(&[0u32; 64]);
    let map = TensorMap {
        buffer: b,
        offset: 0,
        element: TensorElement::Bf16,
        dims: vec![64, 32],
        strides: vec![100],
        box_dims: vec![64, 16],
        swizzle: Swizzle::B128,
        nan_fill: false,
    };
    let args = |map: &TensorMap| [Arg::Buffer(b), Arg::Buffer(b), Arg::TensorMap(map.clone())];
    let launch = || Launch::new(&module, "t");
    let mut tries = vec![
        Launch::new(&module, "nothing"),
        launch(),
        launch().args(args(&map)),
        launch().args(args(&TensorMap { strides: vec![128], ..map.clone() })),
        launch().args(args(&TensorMap { strides: vec![128], swizzle: Swizzle::B64, ..map.clone() })),
        launch().args([Arg::U32(1), Arg::Buffer(b), Arg::TensorMap(map.clone())]),
    ];
    let good = TensorMap { dims: vec![64, 1], box_dims: vec![64, 1], strides: vec![128], ..map };
    tries.push(launch().args(args(&good)).block([1025, 1, 1]));
    tries.push(launch().args(args(&good)).grid([0, 1, 1]));
    tries.push(launch().args(args(&good)).dynamic_smem(300_000));
    tries.push(launch().args(args(&good)).cluster([2, 1, 1]));
    let messages: Vec<String> = tries
        .iter()
        .map(|l| match l.run(&mut memory, &options(0)) {
            Ok(_) => "accepted".to_owned(),
            Err(f) => f[0].to_string(),
        })
        .collect();
    insta::assert_snapshot!(messages.join("\n"));
    assert!(launch().args(args(&good)).run(&mut memory, &options(0)).is_ok());
}

#[test]
fn equal_seeds_give_equal_runs() {
    let body = format!(
        "{INIT}{LOAD}{WAIT}mad.lo.u32 %s, %i, 16, %m; ld.shared.u32 %t0, [%s]; st.shared.u32 [%m], %t0;"
    );
    let text = |seed| run(&body, 128, &options(seed)).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(!text(3).is_empty());
    assert_eq!(text(3), text(3));
}
