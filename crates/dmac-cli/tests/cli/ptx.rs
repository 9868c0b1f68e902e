//! `dmac ptx run`: results of a kernel, what the sanitizer says of a wrong one, and how bad input is refused.

use crate::place::Place;
use dmac::Code;
use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};

/// `y[i] = a * x[i]` for `i < n`.
const SCALE: &str = "\
.version 8.0
.target sm_80
.address_size 64

.visible .entry scale(.param .u64 x, .param .u64 y, .param .f32 a, .param .u32 n) {
    .reg .b64 %x, %y;
    .reg .b32 %i, %n, %block;
    .reg .f32 %v, %a;
    .reg .pred %inside;
    mov.u32 %i, %tid.x;
    mov.u32 %block, %ctaid.x;
    mad.lo.u32 %i, %block, 32, %i;
    ld.param.u32 %n, [n];
    setp.ge.u32 %inside, %i, %n;
    @%inside bra $END;
    ld.param.u64 %x, [x];
    ld.param.u64 %y, [y];
    ld.param.f32 %a, [a];
    mad.wide.u32 %x, %i, 4, %x;
    mad.wide.u32 %y, %i, 4, %y;
    ld.global.f32 %v, [%x];
    mul.f32 %v, %v, %a;
    st.global.f32 [%y], %v;
$END:
    ret;
}
";

fn place() -> Place {
    let place = Place::new();
    place.write("scale.ptx", SCALE.as_bytes());
    place
}

/// The example under a heading of a code's page.
fn example(code: Code, heading: &str) -> &'static str {
    let section = code.page().split(&format!("## {heading}\n")).nth(1).expect("the page has the heading");
    let block = section.split("```ptx\n").nth(1).expect("PTX stands under it");
    block.split("```").next().expect("the block ends")
}

#[test]
fn a_kernel_reads_and_writes_files() {
    let place = place();
    let x: Vec<u8> = (0..40).flat_map(|i| (i as f32).to_le_bytes()).collect();
    place.write("t.safetensors", &{
        let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![5, 8], &x).expect("40 floats");
        safetensors::serialize([("x", view)], None).expect("it can be written")
    });
    let line = "ptx run scale.ptx --grid 2 --block 32 --arg file:t.safetensors:x --arg y=buf:f32[5,8]=uninit \
                --arg f32:0.5 --arg u32:40 -o out.safetensors";
    let run = place.run(line).ends(0, &["scale: 2 blocks", "nothing found"]);
    assert_eq!(run.out, "y  f32 [5, 8]  mean 9.750000  norm 71.658914\n");
    let bytes = std::fs::read(place.path("out.safetensors")).expect("it was written");
    let file = SafeTensors::deserialize(&bytes).expect("it is whole");
    assert_eq!(file.names(), ["y"], "only what the kernel wrote");
    let y = file.tensor("y").expect("it is there");
    assert_eq!((y.dtype(), y.shape()), (Dtype::F32, &[5, 8][..]));
    assert_eq!(&y.data()[36..40], 4.5f32.to_le_bytes());

    let part = "ptx run scale.ptx --arg buf:f32[40]=random --arg buf:f32[40]=uninit --arg f32:1 --arg u32:5";
    place.run(part).ends(0, &["y: the kernel did not write 140 bytes of it"]);
    let seeded = |seed| place.run(&format!("{part} --seed {seed} --threads 1")).ends(0, &[]).out;
    assert_eq!(seeded(1), seeded(1));
    assert_ne!(seeded(1), seeded(2));
}

#[test]
fn findings_name_the_instruction_and_the_warp() {
    let place = place();
    let missing = SCALE.replace("setp.ge.u32 %inside, %i, %n", "setp.lt.u32 %inside, %n, %i");
    place.write("beyond.ptx", missing.as_bytes());
    let arguments = "--arg buf:f32[40]=ones --arg buf:f32[40]=uninit --arg f32:2 --arg u32:40";
    let run = place.run(&format!("ptx run beyond.ptx --grid 2 {arguments} -o out")).ends(1, &["E0702"]);
    assert!(!place.path("out").exists(), "the results of a wrong kernel are not written");
    insta::assert_snapshot!("beyond", run.err);
    place.run(&format!("ptx run beyond.ptx --grid 2 {arguments} --no-sanitize")).ends(1, &["out-of-bounds"]);
    let short = format!("ptx run beyond.ptx --grid 2 {arguments} --message-format short");
    place.run(&short).ends(1, &["beyond.ptx:21:5: error[E0702]: out-of-bounds", "allocation 1 is `y` [40]"]);
}

#[test]
fn the_pages_are_true() {
    for (code, arguments) in [(Code::E0701, ""), (Code::E0702, "--block 64")] {
        let place = Place::new();
        place.write("wrong.ptx", example(code, "Wrong").as_bytes());
        place.write("right.ptx", example(code, "Right").as_bytes());
        let run = |name: &str| place.run(&format!("ptx run {name} {arguments} --arg buf:u32[1]=zeros"));
        let wrong = run("wrong.ptx").ends(1, &[code.as_str()]);
        insta::assert_snapshot!(code.as_str(), wrong.err);
        run("right.ptx").ends(0, &["nothing found"]);
    }
}

#[test]
fn wrong_launches_are_usage_errors() {
    let place = place();
    let good = ["--arg buf:f32[40]=ones", "--arg buf:f32[40]=uninit", "--arg f32:2", "--arg u32:40"];
    let all = good.join(" ");
    let run = |rest: &str| place.run(&format!("ptx run scale.ptx {rest}"));
    run(&all).ends(0, &[]);
    run(&good[..3].join(" ")).ends(2, &["no argument is given for `n`"]);
    run(&format!("{all} --arg u32:1")).ends(2, &["1 arguments too many"]);
    run("--arg f32[4]").ends(2, &["is no argument", "u32:7"]);
    run(&all.replace("u32:40", "u64:40")).ends(2, &["`n` has 4 bytes, its argument 8"]);
    run(&format!("{all} --entry scael")).ends(2, &["no kernel `scael`", "did you mean `scale`?"]);
    run(&format!("{all} --grid 1,2,3,4")).ends(2, &["is no size"]);
    run(&format!("{all} --grid 0")).ends(2, &["at least one block"]);
    run(&format!("{all} --block 4294967295,4294967295,4294967295")).ends(2, &["1 to 1024 threads"]);
    run(&format!("{all} --grid 4294967295,4294967295,4294967295")).ends(2, &["2^24 blocks"]);
    run(&format!("{all} --shared 4294967295")).ends(2, &["shared memory"]);
    run(&format!("{all} --threads 0")).ends(2, &["--threads"]);
    run(&all.replace("u32:40", "ptr:@x+18446744073709551615")).ends(2, &["`n` has 4 bytes"]);
}

#[test]
fn missing_and_broken_files_are_named() {
    let place = place();
    let rest = "--arg buf:f32[4]=uninit --arg f32:2 --arg u32:4";
    place.run("ptx run nothing.ptx").ends(3, &["cannot read nothing.ptx"]);
    place.run(&format!("ptx run scale.ptx --arg file:no.safetensors:x {rest}")).ends(3, &["no.safetensors"]);
    place.tensors("t", Dtype::F32, &[], "");
    place.write("cut", &[9; 20]);
    place.run(&format!("ptx run scale.ptx --arg file:cut:x {rest}")).ends(3, &["not a complete safetensors"]);
    place.run(&format!("ptx run scale.ptx --arg file:t:x {rest}")).ends(3, &["has no tensor `x`"]);
    let few = format!("ptx run scale.ptx --arg buf:f32[4]=file:t:q {rest}");
    place.run(&few).ends(2, &["`x` wants 4 elements of f32"]);
    place.write("bytes.ptx", &[0xff, 0xfe]);
    place.run("ptx run bytes.ptx").ends(1, &["E0101"]);
    place.write("empty.ptx", b"");
    place.run("ptx run empty.ptx").ends(1, &["E0701"]);
    let long = format!("ptx run scale.ptx --arg buf:f32[4]=ones {rest} -o no/such/folder/out");
    place.run(&long).ends(3, &["cannot write"]);
    place.run_with("ptx run -", "what is this").ends(1, &["<stdin>:1:1", "E0701"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Texts that are cut, or have a piece doubled, lost or replaced: an answer in words, whatever it is.
    #[test]
    fn damaged_texts_never_panic(from in 0..SCALE.len(), len in 0..40usize, to in 0..SCALE.len(), kind in 0..4u8) {
        let piece = &SCALE[from..(from + len).min(SCALE.len())];
        let text = match kind {
            0 => SCALE[..from].to_owned(),
            1 => [&SCALE[..from], &SCALE[from + piece.len()..]].concat(),
            2 => [&SCALE[..to], piece, &SCALE[to..]].concat(),
            _ => [&SCALE[..from], "\u{1d6fc}\0\"", &SCALE[from + piece.len()..]].concat(),
        };
        let place = Place::new();
        let line = "ptx run - --grid 2 --max-steps 10000 --arg buf:f32[64]=ones --arg buf:f32[64]=zeros --arg f32:2 \
                    --arg u32:40";
        let run = place.run_with(line, &text);
        prop_assert!(matches!(run.code, Some(0..=2)), "{:?} {}\n{}", run.code, run.err, text);
        prop_assert!(run.code == Some(0) || run.err.contains("error"), "{}", run.err);
    }
}
