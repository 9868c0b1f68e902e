//! Chapters on copies, control flow, synchronisation and matrices, and what needs a higher version than its target.

use super::Chapter;
use dmac_ptx::*;

pub(super) const CHAPTERS: &[Chapter] = &[
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
pub(super) const VERSIONED: &[Chapter] = &[
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
