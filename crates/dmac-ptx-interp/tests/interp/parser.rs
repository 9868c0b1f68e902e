//! The parser: places of errors, and that no text makes it (or a run of what it accepts) panic.

use dmac_ptx::samples;
use dmac_ptx_interp::{Arg, Launch, Memory, Options, Swizzle, TensorElement, TensorMap, parse};
use proptest::prelude::*;
use std::sync::OnceLock;

const GOOD: &str = ".version 8.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 a, .param .u32 n)
{
    .reg .b32 %r<4>;
    .reg .b64 %d;
    .reg .pred %p;
    ld.param.u64 %d, [a];
    ld.param.u32 %r0, [n];
$top:
    setp.lt.u32 %p, %r0, 4;
    @%p bra $top;
    st.global.b32 [%d+4], %r0;
    ret;
}
";

#[test]
fn errors_have_line_and_column() {
    let broken = [
        ("", ""),
        (".version 8.0", ".version eight"),
        (".address_size 64", ".address_size 32"),
        (".param .u32 n)", ".param .u32 n"),
        ("%r<4>", "%r<99999>"),
        (".reg .pred %p;", ".reg .pred %p, %p;"),
        ("[a]", "[b]"),
        ("%r0, [n]", "%d, [n"),
        ("setp.lt.u32", "setp.lt.u33"),
        ("setp.lt.u32", "setp.lt.wide.u32"),
        ("%p, %r0, 4", "%p, %d, 4"),
        ("%p, %r0, 4", "%p, %r0"),
        ("@%p bra $top", "@%r0 bra $top"),
        ("bra $top", "bra $bottom"),
        ("st.global.b32", "st.globl.b32"),
        ("st.global.b32", "frobnicate.b32"),
        ("st.global.b32 [%d+4], %r0", "st.global.b32 %d, %r0"),
        ("ret;", "ret"),
        ("ret;\n}", "ret;"),
        ("$top:", "$top: $top:"),
        ("ret;", "call foo;"),
        ("ret;", "mov.f32 %r0, 0f12;"),
        ("ret;", "/* open"),
        ("ret;", "mov.b32 %r0, 12€;"),
        ("ret;", "wgmma.mma_async.sync.aligned.m64n12k16.f32.bf16.bf16 {%r0}, %d, %d, 1, 1, 1, 0, 0;"),
        ("ret;", "cp.async.cg.shared.global [%r0], [%d], 8;"),
        ("ret;", "setmaxnreg.inc.sync.aligned.u32 30;"),
    ];
    assert!(parse(GOOD).is_ok());
    let report: Vec<String> = broken
        .iter()
        .map(|(from, to)| {
            let text = if from.is_empty() { String::new() } else { GOOD.replacen(from, to, 1) };
            let error = parse(&text).map_or_else(|e| e.to_string(), |_| "accepted".to_owned());
            format!("{:<48} {error}", format!("{from:.20} → {to:.24}"))
        })
        .collect();
    insta::assert_snapshot!(report.join("\n"));
}

#[test]
fn every_sample_parses() {
    for s in samples::all() {
        let text = s.kernel.text();
        let module = parse(&text).unwrap_or_else(|e| panic!("{}: {e}", s.kernel.name));
        assert!(module.entry(&s.kernel.name).is_some_and(|k| !k.is_empty()));
    }
}

/// Runs whatever parsed: it may find errors but not panic.
fn execute(text: &str) {
    let Ok(module) = parse(text) else { return };
    for kernel in module.entries() {
        let mut memory = Memory::new();
        let buffer = memory.alloc(&vec![1u16; 1 << 14]);
        let map = TensorMap {
            buffer,
            offset: 0,
            element: TensorElement::Bf16,
            dims: vec![64, 64, 1, 1],
            strides: vec![128, 128, 8192],
            box_dims: vec![64, 64, 1, 1],
            swizzle: Swizzle::B128,
            nan_fill: false,
        };
        let args = kernel.params().iter().map(|p| match p.size {
            128 => Arg::TensorMap(map.clone()),
            8 => Arg::Buffer(buffer),
            _ => Arg::U32(2),
        });
        let options = Options { workers: 1, max_steps: 4000, ..Options::default() };
        let _ = Launch::new(&module, kernel.name())
            .block(kernel.required_block().unwrap_or([64, 1, 1]))
            .dynamic_smem(100_000)
            .args(args)
            .run(&mut memory, &options);
    }
}

/// Texts of the smaller sample kernels.
fn small_samples() -> &'static [String] {
    static TEXTS: OnceLock<Vec<String>> = OnceLock::new();
    TEXTS
        .get_or_init(|| samples::all().iter().map(|s| s.kernel.text()).filter(|t| t.len() < 60_000).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        if let Err(e) = parse(&text) {
            prop_assert!(e.line >= 1 && e.column >= 1);
        }
    }

    #[test]
    fn words_of_the_language_never_panic(words in proptest::collection::vec(
        prop::sample::select(vec![
            ".version", "8.0", ".target", "sm_90a", ".entry", "k", "(", ")", "{", "}", "[", "]", ",", ";", ":", "@", "!",
            ".reg", ".b32", ".pred", "%r", "<", ">", "3", "0x", "-1", "mov", ".u32", "ld", ".global", "wgmma", ".param",
            ".align", "bra", "setp", "|", "+", ".shared", "smem", "0f3F800000", ".loc", "1", "\"x\"", ".file", "ret", "\n",
        ]), 0..60)) {
        let _ = parse(&words.join(" "));
    }

    #[test]
    fn damaged_kernels_never_panic(
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4u8), 1..4),
    ) {
        let all = small_samples();
        let mut words: Vec<String> = which.get(all).split_inclusive([' ', ',', ';']).map(str::to_owned).collect();
        for (at, from, kind) in edits {
            let (i, j) = (at.index(words.len()), from.index(words.len()));
            match kind {
                0 => { words.remove(i); }
                1 => { let w = words[j].clone(); words.insert(i, w); }
                2 => words.swap(i, j),
                _ => {
                    let digit = |c: char| if c.is_ascii_digit() { char::from(b'0' + (j % 10) as u8) } else { c };
                    words[i] = words[i].chars().map(digit).collect();
                }
            }
            if words.is_empty() { break; }
        }
        execute(&words.concat());
    }
}
