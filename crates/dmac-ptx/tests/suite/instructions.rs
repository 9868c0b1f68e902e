//! Every instruction of the assembler, chapter by chapter: its spelling in a snapshot, its acceptance by `ptxas`, and
//! that the `.version` asked for is the lowest that `ptxas` takes it with.

#[path = "instructions/communication.rs"]
mod communication;
#[path = "instructions/computation.rs"]
mod computation;

use crate::ptxas_or_skip;
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

fn chapters() -> impl Iterator<Item = &'static Chapter> {
    computation::CHAPTERS.iter().chain(communication::CHAPTERS)
}

fn texts<'a>(chapters: impl IntoIterator<Item = &'a Chapter>) -> Vec<(&'static str, Target, Kernel)> {
    chapters.into_iter().map(|c| (c.name, c.target, kernel(c.name, c.target, c.body))).collect()
}

#[test]
fn spelling() {
    for (name, _, kernel) in texts(chapters()) {
        let text = kernel.text();
        // What stands before the chapter's own instructions is the same everywhere.
        let body = text.split_once("setp.lt.u32 %p0, %i0, %j0;\n").expect("the common start").1;
        insta::assert_snapshot!(name, body);
    }
}

#[test]
fn ptxas_takes_every_instruction() {
    let Some(program) = ptxas_or_skip() else { return };
    let mut refused = Vec::new();
    for (name, target, kernel) in texts(chapters()).into_iter().chain(texts(communication::VERSIONED)) {
        let file = ptxas::keep(&format!("instructions_{name}"), &kernel.text()).expect("writable");
        let report = ptxas::assemble(&program, &file, target, None).expect("ptxas runs");
        refused.extend(report.complaints().into_iter().map(|c| format!("{name}: {c}")));
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn the_version_is_the_lowest() {
    let Some(program) = ptxas_or_skip() else { return };
    // Versions of the ISA, ascending.
    let versions = [(7, 0), (7, 1), (7, 2), (7, 3), (7, 4), (7, 5), (7, 6), (7, 7), (7, 8), (8, 0), (8, 1)];
    let versions = versions.map(|(major, minor)| Version(major, minor));
    let mut wrong = Vec::new();
    for (name, target, kernel) in texts(communication::VERSIONED) {
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
