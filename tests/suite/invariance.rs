//! What a kernel is does not depend on how its program is spelled, and the same text gives the same bytes.

use dmac::codegen::{Machine, code_text};
use dmac::{Options, SourceFile, Storage, compile};

/// The tile program's text, and that of its code for a pinned machine, under one program name.
fn texts(text: &str) -> (String, String) {
    let compiled =
        compile(&SourceFile::new("program", text), &Options::native(16, Storage::F32), &mut |_, _| {})
            .unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"));
    let mut program = compiled.program;
    program.name = "program".into();
    let machine = Machine::pinned("x86_64-unknown-linux-gnu", "avx2").expect("a common machine");
    let code = code_text(&program, &machine).expect("the target can run it");
    (program.to_string(), code.clif)
}

#[test]
fn spelling_does_not_reach_the_kernel() {
    let families: [&[&str]; 4] = [
        &[
            "attention one { mask j <= i }",
            "attention two { mask i >= j }",
            "attention three { mask not (j > i) }",
            "attention four { mask j < i + 1 mask 0 <= i - j }",
        ],
        &[
            "attention a(w: int = 4) { mask j <= i and i - j < w }",
            "attention b(w: int = 4) { mask j <= i mask i - j < w }",
            "attention c(w: int = 4) { mask w > i - j mask i >= j }",
        ],
        &[
            "attention a(w: int = 4) { input x[b, g, j]: f32 mask j <= i select top(w) of x[b, g, j] }",
            "attention b(w: int = 4) { mask i >= j select top(w) of x[b, g, j] ties low input x[b, g, j]: f32 }",
        ],
        &[
            "attention a { input x[h]: f32 mask j <= i score = score + x[h] * (j - i) }",
            "attention b { input x[h]: f32 score = score + x[h] * (j - i) mask j <= i }",
        ],
    ];
    for family in families {
        let first = texts(family[0]);
        for other in &family[1..] {
            let texts = texts(other);
            assert_eq!(first.0, texts.0, "{}\n{other}", family[0]);
            assert_eq!(first.1, texts.1, "{}\n{other}", family[0]);
        }
    }
}

#[test]
fn the_same_text_gives_the_same_bytes() {
    let text = include_str!("../../dsl/std/nsa.dmac");
    let small = text.replace(
        "l: int = 32, const stride: int = 16, const block: int = 64",
        "l: int = 4, const stride: int = 2, const block: int = 8",
    );
    assert_ne!(small, text, "the program's parameters are those that this test makes small");
    assert_eq!(texts(&small), texts(&small));
}
