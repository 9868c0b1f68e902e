//! GPUs from the command line, on machines that have none: PTX and its launchers are made, PTX is interpreted, and that
//! there is no GPU is said in words.

use crate::place::Place;

#[test]
fn ptx_and_its_launcher_are_written() {
    let place = Place::new();
    for arch in ["sm_80", "sm_90a"] {
        let line = format!(
            "compile window.dmac --head-dim 64 --dtype bf16 --target ptx --arch {arch} --emit ptx,manifest,header,c,kernel -o {arch}"
        );
        place.run(&line).ends(0, &[]);
        let text = |kind: &str| std::fs::read_to_string(place.path(&format!("{arch}.{kind}"))).unwrap();
        assert!(text("ptx").contains(&format!(".target {arch}")), "{}", text("ptx"));
        assert!(text("json").contains(&format!("\"arch\": \"{arch}\"")), "{}", text("json"));
        assert!(text("c").contains(&format!("#include \"{arch}.h\"")));
        assert!(text("h").contains("int dmac_window_launch("), "{}", text("h"));
        assert!(!text("kernel").is_empty());
    }
    place.run("compile window.dmac --head-dim 8 --target ptx -o all").ends(0, &[]);
    for kind in ["ptx", "c", "h", "json"] {
        assert!(place.path(&format!("all.{kind}")).is_file(), "{kind} is not in {:?}", place.files());
    }
}

#[test]
fn targets_that_have_no_such_file_say_so() {
    let place = Place::new();
    place.run("compile window.dmac --head-dim 8 --target ptx --emit obj -o none").ends(2, &["--target ptx"]);
    place.run("compile window.dmac --head-dim 8 --emit ptx -o none").ends(2, &["--target ptx"]);
    place.run("compile window.dmac --head-dim 8 --arch sm_80 -o none").ends(2, &["--arch"]);
    let line = "compile window.dmac --head-dim 8 --target ptx --emit cubin -o none";
    place.run_in(line, &[("DMAC_PTXAS", "no-such-program")]).ends(4, &["ptxas", "DMAC_PTXAS"]);
    place.run("compile broken.dmac --head-dim 8 --target ptx -o none").ends(1, &["E0201"]);
    assert!(!place.files().iter().any(|name| name.starts_with("none")), "{:?}", place.files());
}

#[test]
fn without_a_gpu_the_command_ends_with_four() {
    let place = Place::new();
    // Where there is a GPU, it is hidden.
    let hidden = [("CUDA_VISIBLE_DEVICES", "-1")];
    let sizes = "--random B=1,H=1,M=9,N=9,D=8";
    place.run_in(&format!("run window.dmac {sizes} --device cuda"), &hidden).ends(4, &["CUDA", "E0801"]);
    place.run_in(&format!("verify window.dmac {sizes} --device cuda"), &hidden).ends(4, &["CUDA", "E0801"]);
    place.run("explain E0801").ends(0, &[]);
}

#[test]
fn interpreted_ptx_agrees_with_the_reference() {
    let place = Place::new();
    let sizes = "--random B=1,H=2,G=1,M=19,N=23,D=8 --seed 3";
    place.run(&format!("run window.dmac {sizes} --device interp -o reference.safetensors")).ends(0, &[]);
    for arch in ["sm_80", "sm_90a"] {
        let line = format!("run window.dmac {sizes} --device ptx-interp --arch {arch}");
        place.run(&format!("{line} --expect reference.safetensors")).ends(0, &["out:", "lse:"]);
        place.run(&format!("{line} -D w=9 --expect reference.safetensors")).ends(1, &["out:"]);
        let line = format!("verify window.dmac --device ptx-interp --arch {arch} --dtype bf16");
        let run = place.run(&line).ends(0, &[]);
        assert!(run.out.starts_with("ok"), "{}", run.out);
    }
}
