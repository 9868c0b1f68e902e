//! How each instruction is written: mnemonic and operands, each operand marked as read or written.
//!
//! In: an [`Inst`]. Out: [`Spelled`]. The printer turns it into text, the checker reads definitions and uses off it,
//! the digest counts its mnemonics. This is the only place where a mnemonic is put together, so syntax, data flow and
//! counts cannot disagree.

mod parts;

use crate::address::MemRef;
use crate::inst::{
    AtomicOp, CpBytes, Fence, HalfUnary, Inst, IntTy, IntUnary, MapAt, MmaElem, ScaleD, Shift, WgmmaA,
};
use crate::types::{Class, Imm};
pub(crate) use parts::{Arg, Spelled};
use parts::{
    bits, cond, defs, flag, float_mode, int, load_mode, policy, signed, sources, space, spelled, src,
    store_mode, uses, vec_suffix, vector,
};

/// Writes `inst`.
pub(crate) fn spell(inst: &Inst) -> Spelled {
    match inst {
        // Integer Arithmetic Instructions
        Inst::IntBinary { op, ty, d, a, b } => {
            spelled(format!("{}.{}", op.name(), ty.name()), [Arg::Def(*d), src(*a), src(*b)])
        }
        Inst::IntUnary { op, ty, d, a } => {
            // Bit counts have no sign; `bfind` has.
            let ty = match (op, ty) {
                (IntUnary::Popc | IntUnary::Clz | IntUnary::Brev, IntTy::U32 | IntTy::S32) => "b32",
                (IntUnary::Popc | IntUnary::Clz | IntUnary::Brev, IntTy::U64 | IntTy::S64) => "b64",
                (IntUnary::Neg | IntUnary::Abs, IntTy::U32) => "s32",
                (IntUnary::Neg | IntUnary::Abs, IntTy::U64) => "s64",
                (_, ty) => ty.name(),
            };
            spelled(format!("{}.{ty}", op.name()), [Arg::Def(*d), src(*a)])
        }
        Inst::MadLo { ty, d, a, b, c } => {
            spelled(format!("mad.lo.{}", ty.name()), [Arg::Def(*d), src(*a), src(*b), src(*c)])
        }
        Inst::MulWide { signed: s, d, a, b } => {
            spelled(format!("mul.wide.{}", signed(*s)), [Arg::Def(*d), src(*a), src(*b)])
        }
        Inst::MadWide { signed: s, d, a, b, c } => {
            spelled(format!("mad.wide.{}", signed(*s)), [Arg::Def(*d), src(*a), src(*b), src(*c)])
        }
        Inst::Bfe { ty, d, a, pos, len } => {
            spelled(format!("bfe.{}", ty.name()), [Arg::Def(*d), src(*a), src(*pos), src(*len)])
        }
        Inst::Bfi { d, a, b, pos, len } => {
            spelled("bfi.b32", [Arg::Def(*d), src(*a), src(*b), src(*pos), src(*len)])
        }

        // Floating Point Instructions
        Inst::FloatBinary { op, mode, d, a, b } => {
            spelled(format!("{}{}.f32", op.name(), float_mode(*mode)), [Arg::Def(*d), src(*a), src(*b)])
        }
        Inst::Fma { ftz, d, a, b, c } => {
            spelled(format!("fma.rn{}.f32", flag(*ftz, ".ftz")), [Arg::Def(*d), src(*a), src(*b), src(*c)])
        }
        Inst::FloatUnary { op, ftz, d, a } => {
            spelled(format!("{}{}.f32", op.name(), flag(*ftz, ".ftz")), [Arg::Def(*d), src(*a)])
        }
        Inst::Approx { op, ftz, d, a } => {
            spelled(format!("{}.approx{}.f32", op.name(), flag(*ftz, ".ftz")), [Arg::Def(*d), src(*a)])
        }
        Inst::Exact { op, d, a } => spelled(format!("{}.rn.f32", op.name()), [Arg::Def(*d), src(*a)]),
        Inst::Div { full, d, a, b } => {
            spelled(if *full { "div.full.f32" } else { "div.rn.f32" }, [Arg::Def(*d), src(*a), src(*b)])
        }

        // Half Precision Floating Point Instructions
        Inst::HalfBinary { op, nan, ty, d, a, b } => spelled(
            format!("{}{}.{}", op.name(), flag(*nan, ".NaN"), ty.name()),
            [Arg::Def(*d), src(*a), src(*b)],
        ),
        Inst::HalfFma { ty, d, a, b, c } => {
            spelled(format!("fma.rn.{}", ty.name()), [Arg::Def(*d), src(*a), src(*b), src(*c)])
        }
        Inst::HalfUnary { op, ty, d, a } => {
            let approx = match (op, ty.name()) {
                (HalfUnary::Ex2, "bf16x2") => ".approx.ftz",
                (HalfUnary::Ex2 | HalfUnary::Tanh, _) => ".approx",
                (HalfUnary::Neg | HalfUnary::Abs, _) => "",
            };
            spelled(format!("{}{approx}.{}", op.name(), ty.name()), [Arg::Def(*d), src(*a)])
        }

        // Comparison and Selection Instructions
        Inst::Setp { cmp, ty, with, d, a, b } => {
            let mut args = vec![Arg::Def(*d), src(*a), src(*b)];
            let mut op = format!("setp.{}", cmp.name());
            if let Some((bool_op, c)) = with {
                op += ".";
                op += bool_op.name();
                args.push(cond(*c));
            }
            spelled(format!("{op}.{}", ty.name()), args)
        }
        Inst::Selp { class, d, a, b, p } => spelled(
            format!("selp.{}", if *class == Class::F32 { "f32" } else { bits(*class) }),
            [Arg::Def(*d), src(*a), src(*b), Arg::Use(*p)],
        ),

        // Logic and Shift Instructions
        Inst::Logic { op, class, d, a, b } => {
            spelled(format!("{}.{}", op.name(), bits(*class)), [Arg::Def(*d), src(*a), src(*b)])
        }
        Inst::Not { class, d, a } => spelled(format!("not.{}", bits(*class)), [Arg::Def(*d), src(*a)]),
        Inst::Lop3 { d, a, b, c, lut } => {
            spelled("lop3.b32", [Arg::Def(*d), src(*a), src(*b), src(*c), Arg::Hex(u32::from(*lut))])
        }
        Inst::Shift { op, class, d, a, b } => {
            let width = class.bytes() * 8;
            let op = match op {
                Shift::Shl => format!("shl.b{width}"),
                Shift::ShrU => format!("shr.u{width}"),
                Shift::ShrS => format!("shr.s{width}"),
            };
            spelled(op, [Arg::Def(*d), src(*a), src(*b)])
        }
        Inst::FunnelShift { left, d, lo, hi, amount } => spelled(
            if *left { "shf.l.clamp.b32" } else { "shf.r.clamp.b32" },
            [Arg::Def(*d), src(*lo), src(*hi), src(*amount)],
        ),

        // Data Movement and Conversion Instructions
        Inst::Mov { class, d, a } => spelled(format!("mov.{}", class.name()), [Arg::Def(*d), src(*a)]),
        Inst::MovSpecial { d, special } => {
            let ty = if special.is_wide() { "u64" } else { "u32" };
            spelled(format!("mov.{ty}"), [Arg::Def(*d), Arg::Special(*special)])
        }
        Inst::SharedBase { d } => spelled("mov.u32", [Arg::Def(*d), Arg::SharedBase]),
        Inst::ParamAddress { d, param } => spelled("mov.b64", [Arg::Def(*d), Arg::Param(*param)]),
        Inst::Cvta { space: at, to, d, a } => {
            spelled(format!("cvta{}{}.u64", flag(*to, ".to"), space(*at)), [Arg::Def(*d), Arg::Use(*a)])
        }
        Inst::Pack { class, d, lo, hi } => {
            spelled(format!("mov.{}", bits(*class)), [Arg::Def(*d), Arg::Group(vec![src(*lo), src(*hi)])])
        }
        Inst::Unpack { class, lo, hi, a } => {
            spelled(format!("mov.{}", bits(*class)), [defs(&[*lo, *hi]), Arg::Use(*a)])
        }
        Inst::Prmt { d, a, b, selector } => {
            spelled("prmt.b32", [Arg::Def(*d), src(*a), src(*b), src(*selector)])
        }
        Inst::Cvt { to, from, round, ftz, sat, d, a } => {
            let round = round.map_or("", |r| r.name());
            let dot = flag(!round.is_empty(), ".");
            // Conversions from f32 to tf32 are written with their own type; the register is b32.
            let op = format!(
                "cvt{dot}{round}{}{}.{}.{}",
                flag(*ftz, ".ftz"),
                flag(*sat, ".sat"),
                to.name(),
                from.name()
            );
            spelled(op, [Arg::Def(*d), src(*a)])
        }
        Inst::CvtPack { to, relu, d, hi, lo } => spelled(
            format!("cvt.rn{}.{}.f32", flag(*relu, ".relu"), to.name()),
            [Arg::Def(*d), src(*hi), src(*lo)],
        ),
        Inst::Shfl { mode, d, in_range, a, b, clamp, mask } => {
            let d = in_range.map_or(Arg::Def(*d), |p| Arg::Pair(Some(*d), p));
            spelled(format!("shfl.sync.{}.b32", mode.name()), [d, src(*a), src(*b), int(*clamp), src(*mask)])
        }
        Inst::LdParam { ty, d, from } => spelled(
            format!("ld.param{}.{}", vec_suffix(d.len()), ty.name()),
            [def_vector(d), Arg::Mem(*from)],
        ),
        Inst::Ld { space, mode, ty, d, from } => {
            let op = format!("ld{}{}.{}", load_mode(*mode, *space), vec_suffix(d.len()), ty.name());
            spelled(op, [def_vector(d), Arg::Mem(*from)].into_iter().chain(policy(mode.policy)))
        }
        Inst::St { space, mode, ty, to, a } => {
            let op = format!("st{}{}.{}", store_mode(*mode, *space), vec_suffix(a.len()), ty.name());
            spelled(op, [Arg::Mem(*to), vector(sources(a))].into_iter().chain(policy(mode.policy)))
        }
        Inst::Prefetch { level, at } => spelled(format!("prefetch.global.{}", level.name()), [Arg::Mem(*at)]),
        Inst::PrefetchTensorMap { map: MapAt::Generic(map) } => {
            spelled("prefetch.tensormap", [Arg::Mem(MemRef::register(*map))])
        }
        Inst::PrefetchTensorMap { map: MapAt::Param(param) } => {
            spelled("prefetch.param.tensormap", [Arg::Mem(MemRef::param(*param))])
        }
        Inst::CreatePolicy { policy, d } => spelled(
            format!("createpolicy.fractional.{}.b64", policy.name()),
            [Arg::Def(*d), Arg::Imm(Imm::F32(1.0f32.to_bits()))],
        ),
        Inst::Mapa { d, a, rank } => {
            spelled("mapa.shared::cluster.u32", [Arg::Def(*d), Arg::Use(*a), src(*rank)])
        }

        // Data Movement and Conversion Instructions: asynchronous copy
        Inst::CpAsync { bytes, prefetch, to, from, source_bytes, policy: hint } => {
            // Only whole 16-byte chunks can bypass L1.
            let cache = if *bytes == CpBytes::B16 { "cg" } else { "ca" };
            let mut op = format!("cp.async.{cache}.shared.global{}", flag(hint.is_some(), ".L2::cache_hint"));
            if let Some(prefetch) = prefetch {
                op += ".";
                op += prefetch.name();
            }
            let args = [Arg::Mem(*to), Arg::Mem(*from), int(bytes.get())];
            spelled(op, args.into_iter().chain(source_bytes.map(src)).chain(policy(*hint)))
        }
        Inst::CpAsyncCommit => spelled("cp.async.commit_group", []),
        Inst::CpAsyncWait { pending } => spelled("cp.async.wait_group", [int(*pending)]),
        Inst::CpAsyncWaitAll => spelled("cp.async.wait_all", []),
        Inst::BulkLoad { to, from, bytes, barrier, multicast, policy: hint } => {
            let op = format!(
                "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes{}{}",
                flag(multicast.is_some(), ".multicast::cluster"),
                flag(hint.is_some(), ".L2::cache_hint")
            );
            let args = [Arg::Mem(*to), Arg::Mem(*from), src(*bytes), Arg::Mem(*barrier)];
            spelled(op, args.into_iter().chain(multicast.map(Arg::Use)).chain(policy(*hint)))
        }
        Inst::BulkStore { to, from, bytes, policy: hint } => {
            let op = format!(
                "cp.async.bulk.global.shared::cta.bulk_group{}",
                flag(hint.is_some(), ".L2::cache_hint")
            );
            spelled(op, [Arg::Mem(*to), Arg::Mem(*from), src(*bytes)].into_iter().chain(policy(*hint)))
        }
        Inst::BulkReduce { op, ty, to, from, bytes, policy: hint } => {
            let op = format!(
                "cp.reduce.async.bulk.global.shared::cta.bulk_group{}.{}.{}",
                flag(hint.is_some(), ".L2::cache_hint"),
                op.name(),
                ty.name()
            );
            spelled(op, [Arg::Mem(*to), Arg::Mem(*from), src(*bytes)].into_iter().chain(policy(*hint)))
        }
        Inst::TensorLoad { to, map, at, barrier, multicast, policy: hint } => {
            let op = format!(
                "cp.async.bulk.tensor.{}d.shared::cluster.global.mbarrier::complete_tx::bytes{}{}",
                at.len(),
                flag(multicast.is_some(), ".multicast::cluster"),
                flag(hint.is_some(), ".L2::cache_hint")
            );
            let args = [Arg::Mem(*to), Arg::Tensor(*map, sources(at)), Arg::Mem(*barrier)];
            spelled(op, args.into_iter().chain(multicast.map(Arg::Use)).chain(policy(*hint)))
        }
        Inst::TensorStore { map, at, from, policy: hint } => {
            let op = format!(
                "cp.async.bulk.tensor.{}d.global.shared::cta.bulk_group{}",
                at.len(),
                flag(hint.is_some(), ".L2::cache_hint")
            );
            spelled(op, [Arg::Tensor(*map, sources(at)), Arg::Mem(*from)].into_iter().chain(policy(*hint)))
        }
        Inst::TensorReduce { op, map, at, from, policy: hint } => {
            let op = format!(
                "cp.reduce.async.bulk.tensor.{}d.global.shared::cta.{}.bulk_group{}",
                at.len(),
                op.name(),
                flag(hint.is_some(), ".L2::cache_hint")
            );
            spelled(op, [Arg::Tensor(*map, sources(at)), Arg::Mem(*from)].into_iter().chain(policy(*hint)))
        }
        Inst::TensorPrefetch { map, at } => spelled(
            format!("cp.async.bulk.prefetch.tensor.{}d.L2.global", at.len()),
            [Arg::Tensor(*map, sources(at))],
        ),
        Inst::BulkCommit => spelled("cp.async.bulk.commit_group", []),
        Inst::BulkWait { pending, read } => {
            spelled(format!("cp.async.bulk.wait_group{}", flag(*read, ".read")), [int(*pending)])
        }

        // Control Flow Instructions
        Inst::Bra { to } => spelled("bra", [Arg::Label(*to)]),
        Inst::Ret => spelled("ret", []),
        Inst::Exit => spelled("exit", []),

        // Parallel Synchronization and Communication Instructions
        Inst::Bar { arrive, id, threads } => {
            let op = if *arrive { "bar.arrive" } else { "bar.sync" };
            spelled(op, [src(*id)].into_iter().chain(threads.map(src)))
        }
        Inst::BarVote { any, d, id, p } => spelled(
            if *any { "bar.red.or.pred" } else { "bar.red.and.pred" },
            [Arg::Def(*d), src(*id), cond(*p)],
        ),
        Inst::BarWarp { mask } => spelled("bar.warp.sync", [src(*mask)]),
        Inst::ClusterArrive { relaxed } => spelled(
            if *relaxed {
                "barrier.cluster.arrive.relaxed.aligned"
            } else {
                "barrier.cluster.arrive.release.aligned"
            },
            [],
        ),
        Inst::ClusterWait => spelled("barrier.cluster.wait.acquire.aligned", []),
        Inst::Fence { fence } => match fence {
            Fence::ProxyAsync => spelled("fence.proxy.async", []),
            Fence::ProxyAsyncShared => spelled("fence.proxy.async.shared::cta", []),
            Fence::ProxyAsyncGlobal => spelled("fence.proxy.async.global", []),
            Fence::MbarrierInit => spelled("fence.mbarrier_init.release.cluster", []),
            Fence::AcqRel(scope) => spelled(format!("fence.acq_rel.{}", scope.name()), []),
            Fence::Sc(scope) => spelled(format!("fence.sc.{}", scope.name()), []),
        },
        Inst::Atomic { op, ty, space: at, order, scope, d, at: address, a, compare } => {
            let (name, result) = match d {
                Some(d) => ("atom", Some(Arg::Def(*d))),
                None => ("red", None),
            };
            // Bitwise and exchanging operations are untyped; so is compare-and-swap.
            let ty = match (op, ty.name()) {
                (
                    AtomicOp::And | AtomicOp::Or | AtomicOp::Xor | AtomicOp::Exch | AtomicOp::Cas,
                    "u32" | "s32",
                ) => "b32",
                (AtomicOp::And | AtomicOp::Or | AtomicOp::Xor | AtomicOp::Exch | AtomicOp::Cas, "u64") => {
                    "b64"
                }
                (_, name) => name,
            };
            // A vector goes between the operation and the type, but after `.noftz`.
            let (noftz, ty) = ty.strip_prefix("noftz.").map_or(("", ty), |rest| (".noftz", rest));
            let op = format!(
                "{name}.{}.{}{}.{}{noftz}{}.{ty}",
                order.name(),
                scope.name(),
                space(*at),
                op.name(),
                vec_suffix(a.len())
            );
            let args = [Arg::Mem(*address)].into_iter().chain(compare.map(src)).chain([vector(sources(a))]);
            spelled(op, result.into_iter().chain(args))
        }
        Inst::Vote { mode, d, p, mask } => {
            spelled(format!("vote.sync.{}.pred", mode.name()), [Arg::Def(*d), cond(*p), src(*mask)])
        }
        Inst::Ballot { d, p, mask } => spelled("vote.sync.ballot.b32", [Arg::Def(*d), cond(*p), src(*mask)]),
        Inst::Match { all, d, a, mask } => spelled(
            if *all { "match.all.sync.b32" } else { "match.any.sync.b32" },
            [Arg::Def(*d), src(*a), src(*mask)],
        ),
        Inst::ActiveMask { d } => spelled("activemask.b32", [Arg::Def(*d)]),
        Inst::Redux { op, d, a, mask } => {
            spelled(format!("redux.sync.{}", op.name()), [Arg::Def(*d), src(*a), src(*mask)])
        }
        Inst::Elect { p, mask } => spelled("elect.sync", [Arg::Pair(None, *p), src(*mask)]),
        Inst::GridDependency { launch } => {
            spelled(if *launch { "griddepcontrol.launch_dependents" } else { "griddepcontrol.wait" }, [])
        }

        // Parallel Synchronization and Communication Instructions: mbarrier
        Inst::MbarrierInit { at, count } => {
            spelled("mbarrier.init.shared::cta.b64", [Arg::Mem(*at), src(*count)])
        }
        Inst::MbarrierInval { at } => spelled("mbarrier.inval.shared::cta.b64", [Arg::Mem(*at)]),
        Inst::MbarrierExpect { at, bytes } => {
            spelled("mbarrier.expect_tx.relaxed.cta.shared::cta.b64", [Arg::Mem(*at), src(*bytes)])
        }
        Inst::MbarrierArriveExpect { at, bytes } => {
            spelled("mbarrier.arrive.expect_tx.shared::cta.b64", [Arg::Sink, Arg::Mem(*at), src(*bytes)])
        }
        Inst::MbarrierArrive { cluster, at, count } => spelled(
            if *cluster {
                "mbarrier.arrive.release.cluster.shared::cluster.b64"
            } else {
                "mbarrier.arrive.shared::cta.b64"
            },
            [Arg::Sink, Arg::Mem(*at)].into_iter().chain(count.map(src)),
        ),
        Inst::MbarrierTry { test, d, at, parity } => spelled(
            if *test {
                "mbarrier.test_wait.parity.shared::cta.b64"
            } else {
                "mbarrier.try_wait.parity.shared::cta.b64"
            },
            [Arg::Def(*d), Arg::Mem(*at), src(*parity)],
        ),
        Inst::CpAsyncArrive { noinc, at } => spelled(
            format!("cp.async.mbarrier.arrive{}.shared::cta.b64", flag(*noinc, ".noinc")),
            [Arg::Mem(*at)],
        ),

        // Warp Level Matrix Multiply-Accumulate Instructions
        Inst::Mma { elem, d, a, b, c } => {
            let op =
                format!("mma.sync.aligned.m16n8k{k}.row.col.f32.{e}.{e}.f32", k = elem.k(), e = elem.name());
            spelled(op, [defs(d), uses(a), uses(b), uses(c)])
        }
        Inst::Ldmatrix { trans, d, from } => {
            let op = format!("ldmatrix.sync.aligned.m8n8.x{}{}.shared.b16", d.len(), flag(*trans, ".trans"));
            spelled(op, [defs(d), Arg::Mem(*from)])
        }
        Inst::Stmatrix { trans, to, a } => {
            let op = format!("stmatrix.sync.aligned.m8n8.x{}{}.shared.b16", a.len(), flag(*trans, ".trans"));
            spelled(op, [Arg::Mem(*to), uses(a)])
        }

        // Asynchronous Warpgroup Level Matrix Instructions
        Inst::Wgmma { elem, n, d, a, b, scale_d, negate_a, negate_b, trans_a, trans_b } => {
            let op = format!(
                "wgmma.mma_async.sync.aligned.m64n{n}k{k}.f32.{e}.{e}",
                k = elem.k(),
                e = elem.name()
            );
            let accumulator = |r: &crate::types::RegId| match scale_d {
                ScaleD::Zero => Arg::Def(*r),
                ScaleD::One | ScaleD::If(_) => Arg::Update(*r),
            };
            let mut args = vec![Arg::Group(d.iter().map(accumulator).collect())];
            args.push(match a {
                WgmmaA::Descriptor(a) => Arg::Use(*a),
                WgmmaA::Registers(regs) => uses(regs),
            });
            args.push(Arg::Use(*b));
            args.push(match scale_d {
                ScaleD::Zero => int(0),
                ScaleD::One => int(1),
                ScaleD::If(p) => Arg::Use(*p),
            });
            args.push(int(if *negate_a { -1 } else { 1 }));
            args.push(int(if *negate_b { -1 } else { 1 }));
            if *elem != MmaElem::Tf32 {
                // Only 16-bit operands can be transposed, and A only from shared memory.
                if matches!(a, WgmmaA::Descriptor(_)) {
                    args.push(int(i32::from(*trans_a)));
                }
                args.push(int(i32::from(*trans_b)));
            }
            spelled(op, args)
        }
        Inst::WgmmaFence => spelled("wgmma.fence.sync.aligned", []),
        Inst::WgmmaCommit => spelled("wgmma.commit_group.sync.aligned", []),
        Inst::WgmmaWait { pending } => spelled("wgmma.wait_group.sync.aligned", [int(*pending)]),

        // Miscellaneous Instructions
        Inst::Setmaxnreg { increase, registers } => spelled(
            if *increase { "setmaxnreg.inc.sync.aligned.u32" } else { "setmaxnreg.dec.sync.aligned.u32" },
            [int(*registers)],
        ),
        Inst::Nanosleep { nanoseconds } => spelled("nanosleep.u32", [src(*nanoseconds)]),
        Inst::Trap => spelled("trap", []),
    }
}

fn def_vector(regs: &[crate::types::RegId]) -> Arg {
    vector(regs.iter().map(|r| Arg::Def(*r)).collect())
}
