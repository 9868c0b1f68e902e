//! Every instruction of the assembler, chapter by chapter: its spelling in a snapshot, its acceptance by `ptxas`, and
//! that the `.version` asked for is the lowest that `ptxas` takes it with.

use dmac_ptx::*;

/// One chapter: a kernel with every method of it.
struct Chapter {
    name: &'static str,
    target: Target,
    body: fn(&mut Assembler, &Values),
}

/// Registers of every class to work on.
struct Values {
    i: Reg<B32>,
    j: Reg<B32>,
    wide: Reg<B64>,
    half: Reg<B16>,
    x: Reg<F32>,
    y: Reg<F32>,
    p: Reg<Pred>,
    tile: Reg<B32>,
    memory: Reg<B64>,
}

fn kernel(name: &str, target: Target, body: impl FnOnce(&mut Assembler, &Values)) -> Kernel {
    let mut k = Assembler::new(name, target);
    k.threads(128);
    k.dynamic_shared(65536, 1024);
    let memory = k.param_pointer("memory", 16);
    let memory = k.ld_param("memory", memory);
    let tile = k.shared_base("tile");
    let i = k.special("i", Special::CtaidX);
    let j = k.special("j", Special::NtidX);
    let wide = k.mul_wide_u("wide", i, j);
    let half = k.truncate16("half", i);
    let x = k.float_from_u("x", i);
    let y = k.float_from_s("y", j);
    let p = k.setp_u("p", i, Cmp::Lt, j);
    body(&mut k, &Values { i, j, wide, half, x, y, p, tile, memory });
    k.ret();
    k.finish().unwrap_or_else(|errors| panic!("{name}: {}", errors[0]))
}

const CHAPTERS: &[Chapter] = &[
    Chapter {
        name: "integer_arithmetic",
        target: Target::Sm80,
        body: |k, v| {
            k.add("t", v.i, v.j);
            k.add("u", v.wide, 1);
            k.sub("t", v.i, 1);
            k.sub("t", 1, v.i);
            k.mul("t", v.i, v.j);
            k.mul_hi_u("t", v.i, v.j);
            k.div_u("t", v.i, v.j);
            k.div_s("u", v.wide, 3);
            k.rem_u("t", v.i, v.j);
            k.rem_s("t", v.i, v.j);
            k.min_u("t", v.i, 7);
            k.min_s("t", v.i, -7);
            k.max_u("t", v.i, v.j);
            k.max_s("u", v.wide, v.wide);
            k.neg_s("t", v.i);
            k.abs_s("t", v.i);
            k.popc("t", v.i);
            k.popc("t", v.wide);
            k.clz("t", v.i);
            k.bfind_u("t", v.i);
            k.brev("t", v.i);
            k.mad("t", v.i, v.j, 4);
            k.mad("u", v.wide, 16, v.wide);
            k.mul_wide_u("u", v.i, v.j);
            k.mul_wide_s("u", v.i, v.j);
            k.mad_wide_u("u", v.i, 4, v.wide);
            k.mad_wide_s("u", v.i, v.j, v.wide);
            k.bfe_u("t", v.i, 4, 8);
            k.bfe_s("t", v.i, v.j, 8);
            k.bfi("t", v.i, v.j, 8, 4);
        },
    },
    Chapter {
        name: "floating_point",
        target: Target::Sm80,
        body: |k, v| {
            k.add("t", v.x, v.y);
            k.sub("t", 1.0, v.y);
            k.mul("t", v.x, 0.5);
            k.add_rn("t", v.x, v.y);
            k.sub_rn("t", v.x, v.y);
            k.mul_rn("t", v.x, v.y);
            k.min_f("t", v.x, v.y);
            k.max_f("t", v.x, f32::NEG_INFINITY);
            k.min_f_nan("t", v.x, v.y);
            k.max_f_nan("t", v.x, v.y);
            k.fma("t", v.x, v.y, 1.0);
            k.neg_f("t", v.x);
            k.abs_f("t", v.x);
            for op in [
                Approx::Ex2,
                Approx::Lg2,
                Approx::Tanh,
                Approx::Rcp,
                Approx::Rsqrt,
                Approx::Sqrt,
                Approx::Sin,
                Approx::Cos,
            ] {
                k.approx(op, "t", v.x);
                k.approx_full(op, "t", v.x);
            }
            k.ex2("t", v.x);
            k.lg2("t", v.x);
            k.tanh("t", v.x);
            k.rcp("t", v.x);
            k.rsqrt("t", v.x);
            k.rcp_rn("t", v.x);
            k.sqrt_rn("t", v.x);
            k.div_rn("t", v.x, v.y);
            k.div_full("t", 1.0, v.y);
        },
    },
    Chapter {
        name: "half_precision_sm80",
        target: Target::Sm80,
        body: |k, v| {
            for op in
                [FloatBinary::Add, FloatBinary::Sub, FloatBinary::Mul, FloatBinary::Min, FloatBinary::Max]
            {
                k.half_binary(op, Half::F16x2, "t", v.i, v.j);
            }
            k.half_binary(FloatBinary::Max, Half::Bf16x2, "t", v.i, v.j);
            k.half_fma(Half::F16x2, "t", v.i, v.j, v.i);
            k.half_fma(Half::Bf16x2, "t", v.i, v.j, v.i);
            for op in [HalfUnary::Neg, HalfUnary::Abs, HalfUnary::Ex2, HalfUnary::Tanh] {
                k.half_unary(op, Half::F16x2, "t", v.i);
            }
            k.half_unary(HalfUnary::Neg, Half::Bf16x2, "t", v.i);
            k.half_unary(HalfUnary::Abs, Half::Bf16x2, "t", v.i);
        },
    },
    Chapter {
        name: "half_precision_sm90a",
        target: Target::Sm90a,
        body: |k, v| {
            k.half_binary(FloatBinary::Add, Half::Bf16x2, "t", v.i, v.j);
            k.half_binary(FloatBinary::Mul, Half::Bf16x2, "t", v.i, v.j);
            k.half_unary(HalfUnary::Ex2, Half::Bf16x2, "t", v.i);
            k.half_unary(HalfUnary::Tanh, Half::Bf16x2, "t", v.i);
        },
    },
    Chapter {
        name: "comparison_and_selection",
        target: Target::Sm80,
        body: |k, v| {
            for cmp in [Cmp::Eq, Cmp::Ne, Cmp::Lt, Cmp::Le, Cmp::Gt, Cmp::Ge] {
                k.setp_u("t", v.i, cmp, v.j);
                k.setp_s("t", v.i, cmp, -1);
                k.setp_f("t", v.x, cmp, v.y);
            }
            for cmp in [Cmp::Equ, Cmp::Neu, Cmp::Ltu, Cmp::Leu, Cmp::Gtu, Cmp::Geu, Cmp::Num, Cmp::Nan] {
                k.setp_f("t", v.x, cmp, v.y);
            }
            k.setp_u("t", v.wide, Cmp::Lt, 1_u64 << 40);
            k.setp_u16("t", v.half, Cmp::Eq, 3_u16);
            k.setp_u_with("t", v.i, Cmp::Lt, v.j, BoolOp::And, v.p);
            k.setp_s_with("t", v.i, Cmp::Lt, v.j, BoolOp::Or, !v.p);
            k.setp_f_with("t", v.x, Cmp::Lt, v.y, BoolOp::Xor, v.p);
            k.selp::<B32>("u", v.i, 0, v.p);
            k.selp::<B64>("w", v.wide, 0, v.p);
            k.selp::<B16>("h", v.half, 0_u16, v.p);
            k.selp::<F32>("z", f32::NEG_INFINITY, v.x, v.p);
        },
    },
    Chapter {
        name: "logic_and_shift",
        target: Target::Sm80,
        body: |k, v| {
            k.and("t", v.i, 31);
            k.or("t", v.i, v.j);
            k.xor("t", v.i, v.j);
            k.not("t", v.i);
            k.and("w", v.wide, 0xFFFF_u32);
            k.and("q", v.p, v.p);
            k.not("q", v.p);
            k.xor("h", v.half, 1_u16);
            k.lop3("t", v.i, v.j, 255, 0xFE);
            k.shl("t", v.i, 3);
            k.shr_u("t", v.i, v.j);
            k.shr_s("w", v.wide, 4);
            k.shf_left("t", v.i, v.j, 5);
            k.shf_right("t", v.i, v.j, v.i);
        },
    },
    Chapter {
        name: "data_movement_and_conversion",
        target: Target::Sm80,
        body: |k, v| {
            k.mov::<B32>("t", -1);
            k.mov::<B64>("w", 0x1234_5678_9ABC_u64);
            k.mov::<F32>("z", 1.5);
            k.mov("q", v.p);
            k.mov("h", v.half);
            k.bits_of("t", v.x);
            k.float_of("z", v.i);
            k.pack64("w", v.i, 7);
            k.pack32("t", v.half, v.half);
            k.unpack64("t", "t", v.wide);
            k.unpack32("h", "h", v.i);
            k.prmt("t", v.i, v.j, 0x5410);
            for mode in [ShflMode::Up, ShflMode::Down, ShflMode::Bfly, ShflMode::Idx] {
                k.shfl(mode, "z", v.x, 1);
            }
            k.shfl_in_range(ShflMode::Up, "t", "q", v.i, v.j);
            k.widen_u("w", v.i);
            k.widen_s("w", v.i);
            k.truncate("t", v.wide);
            k.widen16_u("t", v.half);
            k.widen16_s("t", v.half);
            k.truncate16("h", v.i);
            k.extend8_s("t", v.i);
            k.float_from_u("z", v.wide);
            k.float_from_s("z", v.wide);
            for round in [Round::Rni, Round::Rzi, Round::Rmi, Round::Rpi] {
                k.int_from_f_u("t", round, v.x);
                k.int_from_f_s("t", round, v.x);
                k.round_f("z", round, v.x);
            }
            k.saturate("z", v.x);
            for ty in [Half::F16x2, Half::Bf16x2] {
                k.half_from_f(ty, "h", v.x);
                k.pack_half(ty, "t", v.x, v.y);
                k.pack_half_relu(ty, "t", v.x, v.y);
            }
            k.float_from_half(Half::F16x2, "z", v.half);
            k.tf32_from_f("t", v.x);
            k.to_global("w", v.memory);
            k.clock("w", Special::Clock64);
            k.clock("w", Special::GlobalTimer);
            for special in [
                Special::TidX,
                Special::TidY,
                Special::TidZ,
                Special::NtidX,
                Special::NtidY,
                Special::NtidZ,
                Special::CtaidX,
                Special::CtaidY,
                Special::CtaidZ,
                Special::NctaidX,
                Special::NctaidY,
                Special::NctaidZ,
                Special::LaneId,
                Special::LanemaskLt,
                Special::LanemaskLe,
                Special::SmId,
                Special::NSmId,
                Special::DynamicSharedBytes,
            ] {
                k.special("t", special);
            }
        },
    },
    Chapter {
        name: "load_and_store",
        target: Target::Sm80,
        body: |k, v| {
            k.ld::<B32, _>("t", global(v.memory) + 4);
            k.ld::<B16, _>("h", shared(v.tile) + 2);
            k.ld::<B64, _>("w", shared(v.tile));
            k.ld_read_only::<F32>("z", global(v.memory));
            let [a, b] = k.ld_vec::<B64, _, 2>("w", global(v.memory));
            let z = k.ld_vec::<F32, _, 4>("z", shared(v.tile) + 16);
            for ty in [MemTy::U8, MemTy::S8, MemTy::U16, MemTy::S16] {
                k.ld_narrow(ty, "t", global(v.memory) + -2);
            }
            for cache in [LoadCache::Ca, LoadCache::Cg, LoadCache::Cs, LoadCache::Cv] {
                let mode = LoadMode { cache: Some(cache), ..LoadMode::default() };
                k.ld_with(mode, &z, global(v.memory));
            }
            let ordered = LoadMode { acquire: Some(Scope::Gpu), ..LoadMode::default() };
            k.ld_with(ordered, &[v.i], global(v.memory));
            let volatile = LoadMode { volatile: true, ..LoadMode::default() };
            k.ld_with(volatile, &[v.i], shared(v.tile));
            k.st(shared(v.tile), v.i);
            k.st::<B32, _>(global(v.memory), 0);
            k.st_vec(global(v.memory), &[a, b]);
            k.st_vec(shared(v.tile), &z);
            k.st_narrow(MemTy::B8, global(v.memory), v.i);
            k.st_narrow(MemTy::B16, shared(v.tile), v.i);
            for cache in [StoreCache::Wb, StoreCache::Cg, StoreCache::Cs, StoreCache::Wt] {
                let mode = StoreMode { cache: Some(cache), ..StoreMode::default() };
                k.st_with(mode, global(v.memory), &z);
            }
            let ordered = StoreMode { release: Some(Scope::Gpu), ..StoreMode::default() };
            k.st_with(ordered, global(v.memory), &[v.i]);
            k.prefetch(Level::L1, global(v.memory));
            k.prefetch(Level::L2, global(v.memory));
        },
    },
    Chapter {
        name: "asynchronous_copy_sm80",
        target: Target::Sm80,
        body: |k, v| {
            k.cp_async(CpBytes::B16, shared(v.tile), global(v.memory));
            k.cp_async(CpBytes::B8, shared(v.tile), global(v.memory));
            k.cp_async(CpBytes::B4, shared(v.tile) + 4, global(v.memory) + 4);
            k.cp_async_zero_fill(CpBytes::B16, shared(v.tile), global(v.memory), v.i);
            k.cp_async_zero_fill(CpBytes::B4, shared(v.tile), global(v.memory), 0);
            k.cp_async_commit();
            k.cp_async_wait(1);
            k.cp_async_wait_all();
        },
    },
    Chapter {
        name: "asynchronous_copy_sm90a",
        target: Target::Sm90a,
        body: |k, v| {
            let map = k.param_tensor_map("map");
            k.prefetch_tensor_map(map);
            let map = k.tensor_map("map", map);
            let (tile, bar) = (shared(v.tile), shared(v.tile) + 32768);
            let plain = BulkOptions::default();
            let policy = k.create_policy("policy", Eviction::Last);
            k.create_policy("policy", Eviction::First);
            k.create_policy("policy", Eviction::Normal);
            k.create_policy("policy", Eviction::Unchanged);
            let at: [Operand<B32>; 5] = [0.into(), v.i.into(), v.j.into(), 1.into(), 2.into()];
            for rank in 1..=5 {
                k.tensor_load(tile, map, &at[..rank], bar, plain);
                k.tensor_store(map, &at[..rank], tile);
            }
            k.tensor_load(tile, map, &at[..4], bar, plain.policy(policy));
            k.tensor_load(tile, map, &at[..4], bar, plain.multicast(v.half));
            k.tensor_load(tile, map, &at[..4], bar, plain.multicast(v.half).policy(policy));
            for op in [ReduceOp::Add, ReduceOp::Min, ReduceOp::Max] {
                k.tensor_reduce(op, map, &at[..3], tile);
            }
            k.tensor_prefetch(map, &at[..4]);
            k.bulk_load(tile, global(v.memory), 1024, bar, plain);
            k.bulk_load(tile, global(v.memory), v.i, bar, plain.policy(policy));
            k.bulk_load(tile, global(v.memory), 1024, bar, plain.multicast(v.half));
            k.bulk_store(global(v.memory), tile, 1024);
            for ty in [BulkTy::U32, BulkTy::S32, BulkTy::U64, BulkTy::F16, BulkTy::Bf16, BulkTy::F32] {
                k.bulk_reduce(ReduceOp::Add, ty, global(v.memory), tile, 1024);
            }
            k.bulk_reduce(ReduceOp::Max, BulkTy::S32, global(v.memory), tile, 16);
            k.bulk_commit();
            k.bulk_wait(1);
            k.bulk_wait_read(0);
            k.cp_async_with(CpBytes::B16, tile, global(v.memory), Some(v.i), Some(L2Prefetch::B256));
            k.cp_async_arrive(bar);
            k.cp_async_arrive_incrementing(bar);
        },
    },
    Chapter {
        name: "control_flow",
        target: Target::Sm80,
        body: |k, v| {
            k.location("attend.dmac", 3, 5);
            k.comment("one branch");
            k.if_then(v.p, |k| {
                k.mov(v.i, 1);
            });
            k.location("attend.dmac", 4, 1);
            k.if_else(
                !v.p,
                |k| {
                    k.mov(v.i, 1);
                },
                |k| {
                    k.mov(v.i, 2);
                },
            );
            k.for_range("step", Unroll::No, 0, v.j, 2, |k, step| {
                k.add(v.i, v.i, step);
            });
            k.while_loop(
                "halve",
                Unroll::Allowed,
                |k| k.setp_u("more", v.i, Cmp::Gt, 1),
                |k, done| {
                    k.shr_u(v.i, v.i, 1);
                    k.branch_if(v.p, done);
                },
            );
            k.do_while("count", Unroll::No, |k, _| {
                k.add(v.j, v.j, -1);
                k.setp_u("again", v.j, Cmp::Ne, 0)
            });
            k.when(!v.p, |k| {
                k.st(global(v.memory), v.i);
                k.exit();
            });
        },
    },
    Chapter {
        name: "parallel_synchronization_sm80",
        target: Target::Sm80,
        body: |k, v| {
            k.bar_sync_all();
            k.bar_sync(1, 64);
            k.bar_sync(v.i, 64);
            k.bar_arrive(2, 128);
            k.bar_any("q", 0, v.p);
            k.bar_all("q", 0, !v.p);
            k.bar_warp();
            for fence in [Fence::AcqRel(Scope::Gpu), Fence::AcqRel(Scope::Cta), Fence::Sc(Scope::Sys)] {
                k.fence(fence);
            }
            let memory = global(v.memory);
            for op in [AtomicOp::Add, AtomicOp::Min, AtomicOp::Max, AtomicOp::Exch, AtomicOp::And] {
                k.atom(op, AtomicTy::U32, Scope::Gpu, "t", memory, v.i);
            }
            k.atom::<B32, _>(AtomicOp::Min, AtomicTy::S32, Scope::Cta, "t", shared(v.tile), -1);
            k.atom::<B32, _>(AtomicOp::Inc, AtomicTy::U32, Scope::Gpu, "t", memory, 7);
            k.atom(AtomicOp::Add, AtomicTy::U64, Scope::Gpu, "w", memory, v.wide);
            k.atom(AtomicOp::Add, AtomicTy::F32, Scope::Gpu, "z", memory, v.x);
            k.atom(AtomicOp::Add, AtomicTy::F16x2, Scope::Gpu, "t", memory, v.i);
            k.atom_with::<B32, _>(AtomicOp::Add, AtomicTy::U32, Order::AcqRel, Scope::Gpu, "t", memory, 1);
            k.atom_cas(Scope::Gpu, "t", memory, 0, v.i);
            k.atom_cas(Scope::Gpu, "w", memory, v.wide, 1);
            k.red(AtomicOp::Add, AtomicTy::F32, Scope::Gpu, memory, v.x);
            k.red(AtomicOp::Xor, AtomicTy::B32, Scope::Gpu, memory, v.i);
            k.red(AtomicOp::Dec, AtomicTy::U32, Scope::Cta, shared(v.tile), v.i);
            k.red_release_add(Scope::Gpu, memory, 1);
            for mode in [VoteMode::All, VoteMode::Any, VoteMode::Uni] {
                k.vote(mode, "q", v.p);
            }
            k.ballot("t", !v.p);
            k.match_any("t", v.i);
            k.match_all("t", v.i);
            k.active_mask("t");
            for op in [ReduxOp::AddU32, ReduxOp::MinS32, ReduxOp::MaxU32, ReduxOp::OrB32] {
                k.redux(op, "t", v.i);
            }
        },
    },
    Chapter {
        name: "parallel_synchronization_sm90a",
        target: Target::Sm90a,
        body: |k, v| {
            k.cluster_arrive();
            k.cluster_wait();
            k.cluster_arrive_relaxed();
            k.cluster_wait();
            for fence in [
                Fence::ProxyAsync,
                Fence::ProxyAsyncShared,
                Fence::ProxyAsyncGlobal,
                Fence::MbarrierInit,
                Fence::AcqRel(Scope::Cluster),
            ] {
                k.fence(fence);
            }
            k.fence_proxy_async();
            k.elect("q");
            k.grid_dependency_wait();
            k.grid_launch_dependents();
            let remote = k.mapa("remote", v.tile, v.i);
            k.atom::<B32, _>(
                AtomicOp::Add,
                AtomicTy::U32,
                Scope::Cluster,
                "t",
                Addr::<SharedCluster>::new(remote),
                1,
            );
            k.ld::<B32, _>("t", Addr::<SharedCluster>::new(remote));
            k.st(Addr::<SharedCluster>::new(remote), v.i);
            for special in [
                Special::ClusterCtaRank,
                Special::ClusterCtas,
                Special::ClusterIdX,
                Special::ClusterIdY,
                Special::ClusterIdZ,
            ] {
                k.special("t", special);
            }
            k.red(AtomicOp::Add, AtomicTy::Bf16x2, Scope::Gpu, global(v.memory), v.i);
        },
    },
    Chapter {
        name: "vector_reductions",
        target: Target::Sm90a,
        body: |k, v| {
            k.red_add_vec(Scope::Gpu, global(v.memory), &[v.x, v.y]);
            k.red_add_vec(Scope::Gpu, global(v.memory), &[v.x, v.y, v.x, v.y]);
        },
    },
    Chapter {
        name: "mbarrier",
        target: Target::Sm90a,
        body: |k, v| {
            let bar = shared(v.tile) + 8;
            k.mbarrier_init(bar, 128);
            k.mbarrier_expect(bar, 64);
            k.mbarrier_arrive_expect(bar, v.i);
            k.mbarrier_arrive(bar);
            k.mbarrier_arrive_count(bar, 2);
            let remote = k.mapa("remote", v.tile, 1);
            k.mbarrier_arrive_cluster(Addr::<SharedCluster>::new(remote) + 8);
            k.mbarrier_test_wait("q", bar, 0);
            k.mbarrier_wait(bar, v.i);
            k.mbarrier_inval(bar);
        },
    },
    Chapter {
        name: "warp_matrix",
        target: Target::Sm80,
        body: |k, v| {
            for n in [1, 2, 4] {
                for trans in [false, true] {
                    let d = k.regs("frag", n);
                    k.ldmatrix(&d, shared(v.tile), trans);
                }
            }
            let c = [v.x, v.y, v.x, v.y];
            for elem in [MmaElem::F16, MmaElem::Bf16, MmaElem::Tf32] {
                let d: [Reg<F32>; 4] = std::array::from_fn(|_| k.reg("acc"));
                k.mma_to(elem, &d, &[v.i; 4], &[v.j; 2], &c);
                k.mma(elem, &d, &[v.i; 4], &[v.j; 2]);
            }
        },
    },
    Chapter {
        name: "warpgroup_matrix",
        target: Target::Sm90a,
        body: |k, v| {
            k.stmatrix(shared(v.tile), &[v.i], false);
            k.stmatrix(shared(v.tile), &[v.i, v.j], true);
            k.stmatrix(shared(v.tile), &[v.i; 4], true);
            let low = k.descriptor_low("low", v.tile, 16);
            let d = k.descriptor("tile_desc", low, SWIZZLE_128B_1024);
            let a = [v.i; 4];
            let acc: Vec<Reg<F32>> = (0..16).map(|_| k.mov("acc", 0.0)).collect();
            k.wgmma_fence();
            for elem in [MmaElem::F16, MmaElem::Bf16] {
                for (ta, tb) in [
                    (Major::K, Major::K),
                    (Major::K, Major::Mn),
                    (Major::Mn, Major::K),
                    (Major::Mn, Major::Mn),
                ] {
                    k.wgmma_ss(elem, &acc, (d, ta), (d, tb), Accumulate::Yes);
                }
                k.wgmma_rs(elem, &acc, &a, (d, Major::K), Accumulate::No);
                k.wgmma_rs(elem, &acc, &a, (d, Major::Mn), Accumulate::If(v.p));
            }
            k.wgmma_ss(MmaElem::Tf32, &acc, (d, Major::K), (d, Major::K), Accumulate::Yes);
            k.wgmma_rs(MmaElem::Tf32, &acc, &a, (d, Major::K), Accumulate::Yes);
            k.wgmma_commit();
            k.wgmma_wait(0);
        },
    },
    Chapter {
        name: "miscellaneous",
        target: Target::Sm90a,
        body: |k, v| {
            k.min_ctas(1);
            k.setmaxnreg_dec(24);
            k.setmaxnreg_inc(240);
            k.nanosleep(100);
            k.when(v.p, Assembler::trap);
        },
    },
];

/// Instructions whose version is above the target's lowest, one a kernel.
const VERSIONED: &[Chapter] = &[
    Chapter {
        name: "cvt_f32_bf16",
        target: Target::Sm80,
        body: |k, v| {
            k.float_from_half(Half::Bf16x2, "z", v.half);
        },
    },
    Chapter {
        name: "cp_async_prefetch",
        target: Target::Sm80,
        body: |k, v| {
            k.cp_async_with(
                CpBytes::B16,
                shared(v.tile),
                global(v.memory),
                None::<i32>,
                Some(L2Prefetch::B128),
            );
        },
    },
    Chapter {
        name: "ld_prefetch",
        target: Target::Sm80,
        body: |k, v| {
            let mode = LoadMode { read_only: true, prefetch: Some(L2Prefetch::B128), ..LoadMode::default() };
            k.ld_with(mode, &[v.i], global(v.memory));
        },
    },
    Chapter {
        name: "ld_policy",
        target: Target::Sm80,
        body: |k, v| {
            let policy = k.create_policy("policy", Eviction::First);
            let mode = LoadMode { policy: Some(policy.id()), ..LoadMode::default() };
            k.ld_with(mode, &[v.i], global(v.memory));
            let mode = StoreMode { policy: Some(policy.id()), ..StoreMode::default() };
            k.st_with(mode, global(v.memory), &[v.i]);
        },
    },
    Chapter {
        name: "mbarrier_sm80",
        target: Target::Sm80,
        body: |k, v| {
            k.mbarrier_init(shared(v.tile), 128);
            k.mbarrier_arrive(shared(v.tile));
            k.mbarrier_test_wait("q", shared(v.tile), 0);
        },
    },
    Chapter {
        name: "red_vector",
        target: Target::Sm90a,
        body: |k, v| k.red_add_vec(Scope::Gpu, global(v.memory), &[v.x, v.y]),
    },
];

fn texts(chapters: &[Chapter]) -> Vec<(&'static str, Target, Kernel)> {
    chapters.iter().map(|c| (c.name, c.target, kernel(c.name, c.target, c.body))).collect()
}

/// `ptxas`, or a printed reason and `None`.
fn assembler() -> Option<std::path::PathBuf> {
    let found = ptxas::find();
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "no ptxas under CI: run `cargo xtask assemble` first");
        #[allow(clippy::print_stderr, reason = "the reason for a skip has to be seen")]
        {
            eprintln!("skipped by hand: no ptxas (run `cargo xtask assemble`, or set DMAC_PTXAS)");
        }
    }
    found
}

#[test]
fn spelling() {
    for (name, _, kernel) in texts(CHAPTERS) {
        let text = kernel.text();
        // What stands before the chapter's own instructions is the same everywhere.
        let body = text.split_once("setp.lt.u32 %p0, %i0, %j0;\n").expect("the common start").1;
        insta::assert_snapshot!(name, body);
    }
}

#[test]
fn ptxas_takes_every_instruction() {
    let Some(program) = assembler() else { return };
    let mut refused = Vec::new();
    for (name, target, kernel) in texts(CHAPTERS).into_iter().chain(texts(VERSIONED)) {
        let file = ptxas::keep(&format!("instructions_{name}"), &kernel.text()).expect("writable");
        let report = ptxas::assemble(&program, &file, target, None).expect("ptxas runs");
        refused.extend(report.complaints().into_iter().map(|c| format!("{name}: {c}")));
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn the_version_is_the_lowest() {
    let Some(program) = assembler() else { return };
    // Versions of the ISA, ascending.
    let versions = [(7, 0), (7, 1), (7, 2), (7, 3), (7, 4), (7, 5), (7, 6), (7, 7), (7, 8), (8, 0), (8, 1)];
    let versions = versions.map(|(major, minor)| Version(major, minor));
    let mut wrong = Vec::new();
    for (name, target, kernel) in texts(VERSIONED) {
        let claimed = version(&kernel);
        assert!(claimed > target.version(), "{name} belongs elsewhere");
        let below = versions[versions.iter().position(|v| *v == claimed).expect("known") - 1];
        let text = kernel.text().replace(&format!(".version {claimed}"), &format!(".version {below}"));
        let file = ptxas::keep(&format!("below_{name}"), &text).expect("writable");
        let report = ptxas::assemble(&program, &file, target, None).expect("ptxas runs");
        // Not for the next run over everything that was emitted: it is meant to be refused.
        std::fs::remove_file(&file).expect("just written");
        if report.assembled {
            wrong.push(format!("{name}: claims {claimed}, but {below} will do"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
