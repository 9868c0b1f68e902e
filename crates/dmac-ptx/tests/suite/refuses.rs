//! One broken kernel for each thing that the checker refuses; the message names the instruction and the role.

use dmac_ptx::{
    Accumulate, Assembler, AtomicOp, AtomicTy, B32, B64, CheckErrorKind, Cmp, CpBytes, F32, Major, MmaElem,
    Pred, Scope, ShflMode, Special, Target, global, shared,
};

/// The messages for a kernel whose body is `body`; `ret` is added.
#[track_caller]
fn refusals(target: Target, body: impl FnOnce(&mut Assembler)) -> Vec<String> {
    let mut k = Assembler::new("k", target);
    k.threads(128);
    k.dynamic_shared(4096, 1024);
    body(&mut k);
    k.ret();
    k.finish().map_or_else(|errors| errors.iter().map(ToString::to_string).collect(), |_| Vec::new())
}

#[track_caller]
fn refuses(target: Target, wanted: &str, body: impl FnOnce(&mut Assembler)) {
    let messages = refusals(target, body);
    assert_eq!(messages, [wanted]);
}

#[track_caller]
fn accepts(target: Target, body: impl FnOnce(&mut Assembler)) {
    let messages = refusals(target, body);
    assert!(messages.is_empty(), "{}", messages.join("\n"));
}

#[test]
fn registers_read_before_they_are_written() {
    refuses(
        Target::Sm80,
        "k: `add.u32 %sum0, %row0, 1;`: %row0 is read, but a path from the entry never writes it",
        |k| {
            let row = k.reg::<B32>("row");
            k.add("sum", row, 1);
        },
    );
    // Written on one of two paths only.
    let one_path = |both: bool| {
        move |k: &mut Assembler| {
            let tid = k.special("tid", Special::TidX);
            let first = k.setp_u("first", tid, Cmp::Eq, 0);
            let row = k.reg::<B32>("row");
            k.if_else(
                first,
                |k| {
                    k.mov(row, 1);
                },
                |k| {
                    if both {
                        k.mov(row, 2);
                    }
                },
            );
            k.add("sum", row, 1);
        }
    };
    accepts(Target::Sm80, one_path(true));
    assert_eq!(refusals(Target::Sm80, one_path(false)).len(), 1);
    // A loop's body may not run: what only it writes is undefined after it.
    let after_loop = refusals(Target::Sm80, |k| {
        let n = k.special("n", Special::NtidX);
        let last = k.reg::<B32>("last");
        k.for_range("i", dmac_ptx::Unroll::No, 0, n, 1, |k, i| {
            k.mov(last, i);
        });
        k.add("sum", last, 1);
    });
    assert_eq!(after_loop.len(), 1, "{after_loop:?}");
}

#[test]
fn labels() {
    refuses(Target::Sm80, "k: `bra $end0;`: label $end0 is nowhere", |k| {
        let end = k.label("end");
        k.branch(end);
    });
    let twice = refusals(Target::Sm80, |k| {
        let end = k.label("end");
        k.place(end);
        k.place(end);
    });
    assert_eq!(twice, ["k: label $end0 is in two places"]);
}

#[test]
fn the_end_of_the_code() {
    let mut k = Assembler::new("k", Target::Sm80);
    k.special("tid", Special::TidX);
    let errors = k.finish().expect_err("no ret");
    assert!(matches!(errors[0].kind, CheckErrorKind::Frame { .. }), "{errors:?}");
}

#[test]
fn instructions_that_the_target_lacks() {
    refuses(
        Target::Sm80,
        "k: `wgmma.commit_group.sync.aligned;`: needs sm_90a, the target is sm_80",
        Assembler::wgmma_commit,
    );
    accepts(Target::Sm90a, Assembler::wgmma_commit);
    refuses(Target::Sm80, "k: `elect.sync _|%one0, -1;`: needs sm_90a, the target is sm_80", |k| {
        k.elect("one");
    });
}

#[test]
fn roles_have_one_class() {
    refuses(Target::Sm80, "k: role `row` is b32 and cannot be f32 too", |k| {
        k.mov::<B32>("row", 1);
        k.mov::<F32>("row", 1.0);
    });
}

#[test]
fn lengths_of_register_lists() {
    let product = |n: usize, a: usize| {
        move |k: &mut Assembler| {
            let d = k.regs::<F32>("acc", n);
            let b = k.mov::<B64>("b", 0);
            let a: Vec<_> = (0..a).map(|_| k.mov::<B32>("a", 0)).collect();
            k.wgmma_rs(MmaElem::Bf16, &d, &a, (b, Major::K), Accumulate::No);
        }
    };
    accepts(Target::Sm90a, product(88, 4));
    for (n, a) in [(2, 4), (66, 4), (132, 4), (64, 3)] {
        let messages = refusals(Target::Sm90a, product(n, a));
        assert_eq!(messages.len(), 1, "{n} {a}: {messages:?}");
        assert!(messages[0].contains("registers"), "{messages:?}");
    }
    let rows = refusals(Target::Sm80, |k| {
        let base = k.shared_base("base");
        let d = k.regs::<B32>("frag", 3);
        k.ldmatrix(&d, shared(base), false);
    });
    assert_eq!(
        rows,
        [
            "k: `ldmatrix.sync.aligned.m8n8.x3.shared.b16 {%frag0, %frag1, %frag2}, [%base0];`: matrices: 3, not 1, 2 or 4"
        ]
    );
    let coordinates = refusals(Target::Sm90a, |k| {
        let map = k.param_tensor_map("map");
        let map = k.tensor_map("map", map);
        let base = k.shared_base("base");
        k.tensor_store(map, &[], shared(base));
    });
    assert_eq!(coordinates.len(), 1, "{coordinates:?}");
}

#[test]
fn ranges_of_immediates() {
    type Body = fn(&mut Assembler);
    let wrong: [(&str, Body); 7] = [
        ("barrier is 16", |k| k.bar_sync(16, 128)),
        ("threads of a barrier is 100", |k| k.bar_sync(1, 100)),
        ("registers is 25", |k| {
            k.min_ctas(1);
            k.setmaxnreg_dec(25);
        }),
        ("arrivals is 0", |k| {
            let base = k.shared_base("base");
            k.mbarrier_init(shared(base), 0);
        }),
        ("parity is 2", |k| {
            let base = k.shared_base("base");
            k.mbarrier_try_wait("done", shared(base), 2);
        }),
        ("source size is 17", |k| {
            let (base, from) = (k.shared_base("base"), k.mov::<B64>("from", 0));
            k.cp_async_zero_fill(CpBytes::B16, shared(base), global(from), 17);
        }),
        ("size is 24", |k| {
            let (base, to) = (k.shared_base("base"), k.mov::<B64>("to", 0));
            k.bulk_store(global(to), shared(base), 24);
        }),
    ];
    for (what, body) in wrong {
        let messages = refusals(Target::Sm90a, body);
        assert_eq!(messages.len(), 1, "{what}: {messages:?}");
        assert!(messages[0].contains(what), "{messages:?}");
    }
}

#[test]
fn addresses_that_are_certainly_misaligned() {
    refuses(
        Target::Sm80,
        "k: `ld.shared.v4.f32 {%x0, %x1, %x2, %x3}, [%row0+8];`: the address by `row` must be a multiple of 16 bytes, \
         but leaves a remainder of 8",
        |k| {
            let base = k.shared_base("base");
            let tid = k.special("tid", Special::TidX);
            let row = k.mad("row", tid, 64, base);
            k.ld_vec::<F32, _, 4>("x", shared(row) + 8);
        },
    );
    // Stepping by half a vector: aligned on some passes only, so nothing is certain.
    accepts(Target::Sm80, |k| {
        let base = k.shared_base("base");
        k.for_range("i", dmac_ptx::Unroll::No, 0, 4, 1, |k, _| {
            k.ld_vec::<F32, _, 4>("x", shared(base));
            k.add(base, base, 8);
        });
    });
    // A parameter's alignment counts.
    let pointer = |align: u32| {
        move |k: &mut Assembler| {
            let p = k.param_pointer("p", align);
            let p = k.ld_param("p", p);
            k.ld_vec::<F32, _, 2>("x", global(p) + 4);
        }
    };
    accepts(Target::Sm80, pointer(4));
    assert_eq!(refusals(Target::Sm80, pointer(8)).len(), 1);
    // Swizzled addresses keep what is known: chunk ^ (row & 7), times 16.
    accepts(Target::Sm80, |k| {
        let base = k.shared_base("base");
        let tid = k.special("tid", Special::TidX);
        let chunk = k.and("chunk", tid, 7);
        let row = k.shr_u("row", tid, 3);
        let swizzled = k.xor("chunk", chunk, row);
        let at = k.mad("at", swizzled, 16, base);
        let d = k.regs::<B32>("d", 4);
        k.ldmatrix(&d, shared(at), false);
    });
}

#[test]
fn collective_instructions_behind_divergence() {
    refuses(
        Target::Sm80,
        "k: `shfl.sync.bfly.b32 %y0, %x0, 1, 31, -1;`: all lanes must come here together, but %odd0 depends on the lane",
        |k| {
            let tid = k.special("tid", Special::TidX);
            let low = k.and("low", tid, 1);
            let odd = k.setp_u("odd", low, Cmp::Ne, 0);
            let x = k.mov::<F32>("x", 0.0);
            k.if_then(odd, |k| {
                k.shfl(ShflMode::Bfly, "y", x, 1);
            });
        },
    );
    // The same after the branch has closed, and behind a branch that whole warps take.
    accepts(Target::Sm80, |k| {
        let tid = k.special("tid", Special::TidX);
        let x = k.mov::<F32>("x", 0.0);
        let first = k.setp_u("first", tid, Cmp::Eq, 0);
        k.if_then(first, |k| {
            k.mov(x, 1.0);
        });
        k.shfl(ShflMode::Bfly, "y", x, 1);
        let warp = k.shr_u("warp", tid, 5);
        let leader = k.setp_u("leader", warp, Cmp::Eq, 0);
        k.if_then(leader, |k| {
            k.shfl(ShflMode::Bfly, "y", x, 1);
        });
        let lower = k.setp_u("lower", tid, Cmp::Lt, 64);
        k.if_then(lower, |k| k.bar_sync(1, 64));
        let never = k.setp_u("never", tid, Cmp::Ne, tid);
        k.if_then(never, |k| {
            k.shfl(ShflMode::Bfly, "y", x, 1);
        });
    });
    // A loop whose length depends on the lane.
    let messages = refusals(Target::Sm80, |k| {
        let tid = k.special("tid", Special::TidX);
        k.for_range("i", dmac_ptx::Unroll::No, 0, tid, 1, |k, _| k.bar_sync_all());
    });
    assert_eq!(messages.len(), 1, "{messages:?}");
    // A loop whose length is loaded through an address that depends on the lane: uniform only if vouched for.
    let table = |vouched: bool| {
        move |k: &mut Assembler| {
            let p = k.param_pointer("p", 4);
            let p = k.ld_param("p", p);
            let tid = k.special("tid", Special::TidX);
            let at = k.mad_wide_u("at", tid, 0, p);
            let n = k.ld::<B32, _>("n", global(at));
            if vouched {
                k.assume_uniform(n);
            }
            k.for_range("i", dmac_ptx::Unroll::No, 0, n, 1, |k, _| k.bar_sync_all());
        }
    };
    assert_eq!(refusals(Target::Sm80, table(false)).len(), 1);
    accepts(Target::Sm80, table(true));
    // Guards count too.
    let guarded = refusals(Target::Sm90a, |k| {
        let one = k.elect("one");
        k.when(one, Assembler::wgmma_fence);
    });
    assert_eq!(guarded.len(), 1, "{guarded:?}");
}

#[test]
fn combinations_that_do_not_exist() {
    let atomic = refusals(Target::Sm80, |k| {
        let p = k.mov::<B64>("p", 0);
        k.red(AtomicOp::Max, AtomicTy::F32, Scope::Gpu, global(p), k_float());
    });
    assert_eq!(atomic.len(), 1, "{atomic:?}");
    let class = refusals(Target::Sm80, |k| {
        let p = k.mov::<B64>("p", 0);
        let one = k.mov::<B32>("one", 1);
        k.red(AtomicOp::Add, AtomicTy::F32, Scope::Gpu, global(p), one);
    });
    assert_eq!(class.len(), 1, "{class:?}");
    let transposed = refusals(Target::Sm90a, |k| {
        let (a, b) = (k.mov::<B64>("a", 0), k.mov::<B64>("b", 0));
        let d = k.regs::<F32>("d", 4);
        k.wgmma_ss(MmaElem::Tf32, &d, (a, Major::K), (b, Major::Mn), Accumulate::No);
    });
    assert_eq!(transposed.len(), 1, "{transposed:?}");
}

fn k_float() -> dmac_ptx::Operand<F32> {
    1.0.into()
}

#[test]
fn frames() {
    let frame = |body: fn(&mut Assembler)| {
        let mut k = Assembler::new("k", Target::Sm80);
        body(&mut k);
        k.ret();
        k.finish().map_or_else(|errors| errors.iter().map(ToString::to_string).collect(), |_| Vec::new())
    };
    assert_eq!(
        frame(|k| k.dynamic_shared(200_000, 1024)),
        ["k: 200000 bytes of shared memory, more than 166912"]
    );
    assert_eq!(frame(|k| k.threads(1025)), ["k: 1025 threads a CTA, not 1 to 1024"]);
    assert_eq!(
        frame(|k| {
            k.param::<B32>("n");
            k.param::<F32>("n");
        }),
        ["k: two parameters are called `n`"]
    );
    assert_eq!(
        frame(|k| {
            k.shared_base("base");
        }),
        ["k: dynamic shared memory is addressed but not declared"]
    );
    assert_eq!(
        frame(|k| {
            k.threads(128);
            k.setmaxnreg_dec(24);
        })
        .last()
        .map(String::as_str),
        Some("k: setmaxnreg needs min_ctas (with threads) or max_registers in the frame")
    );
    assert_eq!(frame(|k| k.cluster(2)), ["k: sm_80 has no clusters"]);
}

#[test]
fn every_error_is_found_at_once() {
    let messages = refusals(Target::Sm80, |k| {
        let row = k.reg::<B32>("row");
        k.add("sum", row, 1);
        k.bar_sync(99, 32);
        let gone = k.label("gone");
        let p = k.reg::<Pred>("p");
        k.branch_if(p, gone);
    });
    assert!(messages.len() >= 2, "{messages:?}");
}

#[test]
fn comments_and_file_names_are_made_ascii() {
    let mut k = Assembler::new("k", Target::Sm80);
    k.location("söftcap.dmac", 1, 1);
    k.comment("tanh(s / c) · c\nnext \\");
    k.ret();
    let text = k.finish().expect("sound").text();
    assert!(text.contains("// tanh(s / c) <U+00B7> c next /\n"), "{text}");
    assert!(text.contains(".file 1 \"s<U+00F6>ftcap.dmac\"\n"), "{text}");
    assert!(text.is_ascii());
}
