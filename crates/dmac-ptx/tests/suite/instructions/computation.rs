//! Chapters on values: arithmetic, comparison, logic, conversion, loads and stores.

use super::Chapter;
use dmac_ptx::*;

pub(super) const CHAPTERS: &[Chapter] = &[
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
];
