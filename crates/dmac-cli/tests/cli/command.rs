//! The command from outside: what each part prints, its exit codes, and that bad input is refused in words, with nothing
//! half-written and nothing that panics.

use crate::place::{BROKEN, Place};
use safetensors::Dtype;
use std::path::Path;

/// A list of blocks for each row, a stored tensor of block means, and a walk of its own.
const LISTS: &str = "attention lists(const block: int = 64, n: int = 4) {
    axis s = blocks(j, block)
    let mean_key[b, g, s, d] = mean(j in s: k[b, g, j, d])
    mask j <= i
    select top(n) s of sum(d: q[b, h, i, d] * mean_key[b, g, s, d]) forcing s == i div block
}
";

#[test]
fn check_reports_errors_and_exits_with_one() {
    let place = Place::new();
    assert_eq!(place.run("check window.dmac").ends(0, &[]).out, "");
    place.run("check broken.dmac window.dmac").ends(1, &["error[E0201]", "k_len", "broken.dmac:1:"]);
    place.run_with("check -", BROKEN).ends(1, &["<stdin>"]);
    place.run("check nothing.dmac").ends(3, &["cannot read nothing.dmac"]);
    place.run("check").ends(2, &["Usage"]);
    let json = place.run("check broken.dmac --message-format json").ends(1, &[]);
    assert!(json.out.starts_with('{') && json.out.contains("E0201"), "{}", json.out);
    assert_eq!(json.err, "");
    let short = place.run("check broken.dmac --message-format short").ends(1, &["broken.dmac:1:"]);
    assert_eq!(short.err.lines().count(), 1, "{}", short.err);
    place.write("bytes.dmac", &[0xff, 0xfe, 0]);
    place.run("check bytes.dmac").ends(1, &["E0101"]);
}

#[test]
fn fmt_formats_in_place_and_checks() {
    let place = Place::new();
    place.write("wide.dmac", b"attention   wide {mask j<=i}\n");
    place.run("fmt --check wide.dmac").ends(1, &["not formatted"]);
    place.run("fmt wide.dmac").ends(0, &[]);
    assert_eq!(std::fs::read_to_string(place.path("wide.dmac")).unwrap(), "attention wide { mask j <= i }\n");
    place.run("fmt --check wide.dmac window.dmac").ends(0, &[]);
    let piped = place.run_with("fmt -", "attention   wide {mask j<=i}");
    assert_eq!(piped.ends(0, &[]).out, "attention wide { mask j <= i }\n");
    place.write("open.dmac", b"attention open {");
    place.run("fmt open.dmac").ends(1, &["E0106"]);
    assert_eq!(std::fs::read_to_string(place.path("open.dmac")).unwrap(), "attention open {");
}

#[test]
fn explain_knows_codes_and_programs() {
    let place = Place::new();
    let page = place.run("explain E0103").ends(0, &[]);
    assert!(page.out.starts_with("# E0103"), "{}", page.out);
    place.run("explain E0999").ends(2, &["no code E0999"]);
    let program = place.run("explain window.dmac").ends(0, &[]);
    assert!(
        program.out.starts_with("window\n") && program.out.contains("w = 4  (run-time)"),
        "{}",
        program.out
    );
    place.run("explain broken.dmac").ends(1, &["E0201"]);
}

#[test]
fn explain_draws_what_a_shape_attends_to() {
    let place = Place::new();
    place.write("lists.dmac", LISTS.as_bytes());
    let shown = |line: &str| {
        let text = place.run(line).ends(0, &[]).out;
        let (_, shape) = text.split_once("\nfor ").expect("a part for the shape");
        // Packed tensors and scratch memory depend on the processor.
        let lines = shape.lines().filter(|line| {
            !["  packed", "  scratch", "  together"].iter().any(|start| line.starts_with(start))
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let window = "explain window.dmac --random B=1,H=2,G=1,M=1000,N=1500,D=8 --param w=400";
    insta::assert_snapshot!("explain_window", shown(window));
    let lists = "explain lists.dmac --random B=1,H=2,G=1,M=200,N=20000,D=8";
    insta::assert_snapshot!("explain_lists", shown(lists));
    place.run("explain window.dmac --random B=1,D=8,M=4,N=4 --param v=1").ends(2, &["`v`"]);
    place.run("explain window.dmac --random B=1,D=8,M=4,N=4,X=1").ends(2, &["`X`"]);
}

#[test]
fn compile_writes_one_file_a_kind() {
    let place = Place::new();
    let line = "compile window.dmac --head-dim 8 --emit ast,ir,kernel,clif,obj,header,manifest -o made";
    place.run(line).ends(0, &[]);
    let made: Vec<String> = place.files().into_iter().filter(|name| name.starts_with("made.")).collect();
    for kind in ["ast", "clif", "h", "ir", "json", "kernel", "o"] {
        assert!(made.contains(&format!("made.{kind}")), "{kind} is not in {made:?}");
    }
    let clif = std::fs::read(place.path("made.clif")).unwrap();
    place.run("compile window.dmac --head-dim 8 --emit clif -o again").ends(0, &[]);
    assert_eq!(clif, std::fs::read(place.path("again.clif")).unwrap());

    place.run("compile broken.dmac --head-dim 8 --emit obj -o none").ends(1, &["E0201"]);
    place.run("compile window.dmac --head-dim 8 --emit obj -o none --target vax").ends(4, &["vax"]);
    place.run("compile window.dmac --head-dim 8 --emit obj -o no/such/folder/x").ends(3, &["cannot write"]);
    place.run("compile window.dmac --head-dim 12 --emit obj -o none").ends(1, &["12"]);
    place.run("compile window.dmac --head-dim 8 -D v=3 --emit obj -o none").ends(1, &["`v`"]);
    assert!(!place.files().iter().any(|name| name.starts_with("none")), "{:?}", place.files());
}

#[test]
fn run_and_the_reference_agree() {
    let place = Place::new();
    let sizes = "--random B=2,H=4,G=2,M=19,N=23,D=8 --seed 3";
    place.run(&format!("run window.dmac {sizes} --device interp -o reference.safetensors")).ends(0, &[]);
    let run = place
        .run(&format!("run window.dmac {sizes} --expect reference.safetensors"))
        .ends(0, &["out:", "lse:"]);
    assert!(run.out.starts_with("out  f32 [2, 4, 19, 8]"), "{}", run.out);
    place.run(&format!("run window.dmac {sizes} -D w=9 --expect reference.safetensors")).ends(1, &["out:"]);
    place.run("run window.dmac --random M=0,N=0,D=8").ends(0, &[]);
    place.run("run window.dmac --random M=5,N=5,D=8 -D w=0").ends(0, &[]);
    place.run("run window.dmac --random M=5,N=5,D=8 -D w=1000").ends(0, &[]);
    for threads in [1, 3] {
        place.run(&format!("run window.dmac {sizes} --threads {threads}")).ends(0, &[]);
    }
}

#[test]
fn verify_says_a_line_a_program() {
    let place = Place::new();
    let run = place.run("verify window.dmac --random B=1,H=2,M=33,N=33,D=8 --dtype f32,bf16").ends(0, &[]);
    assert!(run.out.starts_with("ok") && run.out.contains("window.dmac"), "{}", run.out);
    assert_eq!(run.out.lines().count(), 1, "{}", run.out);
    place.run("verify broken.dmac --random D=8").ends(1, &["E0201"]);
    place.run("verify nothing.dmac").ends(3, &["nothing.dmac"]);
}

#[test]
fn wrong_sizes_are_usage_errors() {
    let place = Place::new();
    place.run("run window.dmac").ends(2, &["--input"]);
    place.run("run window.dmac --random M=x").ends(2, &["`x` is not a size"]);
    place.run("run window.dmac --random M=5,N=5").ends(2, &["--head-dim"]);
    place.run("run window.dmac --random M=5,N=5,D=8,Z=3").ends(2, &["`Z`"]);
    place.run("run window.dmac --random M=5,N=5,D=8 --threads 0").ends(2, &["thread"]);
    place.run("run window.dmac --random M=5,N=5,D=8 --device gpu").ends(2, &["gpu"]);
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let place = Place::new();
    let run = |name: &str, says: &[&str]| {
        let before = place.files();
        place.run(&format!("run window.dmac --input {name} -o out.safetensors")).ends(3, says);
        assert_eq!(place.files(), before, "nothing is written");
    };
    place.tensors("whole", Dtype::F32, &[], "");
    place.tensors("no_v", Dtype::F32, &[], "v");
    run("no_v", &["`v`"]);
    place.tensors("no_q", Dtype::F32, &[], "q");
    run("no_q", &["`q`"]);
    place.tensors("rank", Dtype::F32, &[("k", vec![5, 8])], "");
    run("rank", &["k"]);
    place.tensors("shape", Dtype::F32, &[("v", vec![1, 1, 6, 8])], "");
    run("shape", &["N"]);
    place.tensors(
        "heads",
        Dtype::F32,
        &[("q", vec![1, 3, 5, 8]), ("k", vec![1, 2, 5, 8]), ("v", vec![1, 2, 5, 8])],
        "",
    );
    run("heads", &["multiple"]);
    place.tensors("more", Dtype::F32, &[("slope", vec![2])], "");
    run("more", &["slope"]);
    place.tensors("half", Dtype::F16, &[], "");
    place.run("run window.dmac --input half --dtype f32").ends(3, &["f16", "f32"]);
    place.run("run window.dmac --input half -o half_out").ends(0, &[]);
    place.run("run window.dmac --input whole -o no/such/folder/out").ends(3, &["cannot write"]);
    place.run("run window.dmac --input nothing").ends(3, &["cannot read nothing"]);
}

#[test]
fn hostile_files_are_refused() {
    let place = Place::new();
    place.tensors("whole", Dtype::F32, &[], "");
    let whole = std::fs::read(place.path("whole")).unwrap();
    let header = |json: &str| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &[0; 64]].concat();
    let files: [(&str, Vec<u8>); 8] = [
        ("empty", vec![]),
        ("cut", whole[..whole.len() - 9].to_vec()),
        ("cut_in_header", whole[..20].to_vec()),
        ("endless_header", [&u64::MAX.to_le_bytes()[..], b"{}"].concat()),
        ("no_json", header("not json")),
        ("past_the_end", header(r#"{"q":{"dtype":"F32","shape":[1,1,1,8],"data_offsets":[0,99999]}}"#)),
        ("backwards", header(r#"{"q":{"dtype":"F32","shape":[1,1,1,8],"data_offsets":[32,0]}}"#)),
        (
            "overflow",
            header(
                r#"{"q":{"dtype":"F32","shape":[9223372036854775807,9223372036854775807,8,8],"data_offsets":[0,64]}}"#,
            ),
        ),
    ];
    for (name, bytes) in files {
        place.write(name, &bytes);
        place.run(&format!("run window.dmac --input {name} -o out")).ends(3, &[name]);
    }
    assert!(!Path::exists(&place.path("out")));
}
