//! Launchers in C: compiled with the system's C compiler against a stand-in for `cuda.h`, linked with a driver that writes
//! down what it is told, and held against [`PtxProgram::launches`].

use dmac::{Options, ParamNumber, ParamValue, SourceFile, Storage, compile_ptx};
use dmac_codegen_ptx::{
    Call, Entry, LaunchArgument, MappedTensor, ParamSpec, Placed, PtxProgram, Target, TensorMapSpec,
    c_launcher, c_launcher_header, contiguous,
};
use dmac_ir::{AxisId, InputId, Param, ParamId, ParamType};
use dmac_schedule::kernel::{Element, Expr, Role, SizeDecl, SizeId, TensorDecl, TensorId};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Where tensors and workspaces are said to be.
const TENSORS: u64 = 0x10_0000_0000;
const APART: u64 = 0x1_0000_0000;
const WORKSPACE: u64 = 0x7_0000_0000;

/// A call of a launcher.
struct Made<'a> {
    sizes: &'a [i64],
    params: &'a [ParamValue],
    /// Whether the caller gives key lengths.
    lengths: bool,
    /// Added to the first tensor's address.
    shift: u64,
}

/// The launcher's program, in a folder.
struct Built {
    folder: tempfile::TempDir,
}

impl Built {
    /// What the driver is told, and what the launcher returns.
    fn run(&self) -> (Vec<String>, i32) {
        let output = Command::new(self.folder.path().join("launch")).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let last = lines.pop().expect("the result");
        (lines, last.strip_prefix("returns ").and_then(|code| code.parse().ok()).expect("a number"))
    }
}

fn compile(program: &PtxProgram, call: &Made<'_>) -> Built {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("tested.h", &c_launcher_header(program));
    write("tested.c", &c_launcher(program, "tested.h"));
    write("entries.h", &entries(program));
    write("main.c", &main(program, call));
    let output = Command::new("cc")
        .current_dir(folder.path())
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O0", "-I.", "-I"])
        .arg(&sources)
        .args(["main.c", "tested.c"])
        .arg(sources.join("driver.c"))
        .args(["-o", "launch"])
        .output()
        .expect("there is a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Built { folder }
}

/// What the stand-in driver knows of the module.
fn entries(program: &PtxProgram) -> String {
    let mut out = String::from(
        "struct entry { const char *name; int allowed; int bytes[80]; };\nstatic struct entry ENTRIES[] = {\n",
    );
    for entry in &program.entries {
        let bytes = entry.params.iter().map(|param| match param {
            ParamSpec::Pointer(_) => "8, ",
            ParamSpec::TensorMap(_) => "128, ",
            ParamSpec::Stride { .. } | ParamSpec::Size(_) | ParamSpec::Param(_) | ParamSpec::Round => "4, ",
        });
        let _ = writeln!(out, "  {{\"{}\", 0, {{{}0}}}},", entry.name, bytes.collect::<String>());
    }
    out + "};\n"
}

fn main(program: &PtxProgram, call: &Made<'_>) -> String {
    let name = &program.name;
    let mut out = format!(
        "#include \"tested.h\"\n#include <stdio.h>\n\nint main(void) {{\n  struct dmac_{name} kernels;\n  \
         struct dmac_{name}_args args = {{0}};\n"
    );
    for (size, value) in program.sizes.iter().zip(call.sizes) {
        let _ = writeln!(out, "  args.size_{} = INT64_C({value});", size.name);
    }
    for (param, value) in program.params.iter().zip(call.params) {
        let _ = match value {
            ParamValue::Int(value) => writeln!(out, "  args.param_{} = INT64_C({value});", param.name),
            ParamValue::Float(value) => writeln!(out, "  args.param_{} = {value:?}f;", param.name),
        };
    }
    for (tensor, place) in program.tensors.iter().zip(places(program, call)) {
        if tensor.role == Role::Workspace || (tensor.role == Role::KeyLengths && !call.lengths) {
            continue;
        }
        let _ = writeln!(out, "  args.tensor_{} = UINT64_C({});", tensor.name, place.address);
        for (axis, stride) in place.strides.iter().enumerate() {
            let _ = writeln!(out, "  args.stride_{}[{axis}] = INT64_C({stride});", tensor.name);
        }
    }
    let _ = write!(
        out,
        "  if (dmac_{name}_load(&kernels) != CUDA_SUCCESS) return 1;\n  \
         printf(\"workspace %lld\\n\", (long long)dmac_{name}_workspace_size(&args));\n  \
         printf(\"returns %d\\n\", dmac_{name}_launch(&kernels, &args, UINT64_C({WORKSPACE}), NULL));\n  return 0;\n}}\n"
    );
    out
}

/// Where each tensor is; the strides of the given ones have gaps.
fn places(program: &PtxProgram, call: &Made<'_>) -> Vec<Placed> {
    let offsets =
        program.workspaces(call.sizes, call.params).map(|spaces| spaces.offsets).unwrap_or_default();
    let place = |(at, tensor): (usize, &TensorDecl)| {
        let dims = program.dims(TensorId(at as u32), call.sizes, call.params).expect("extents");
        let in_workspace =
            tensor.role == Role::Workspace || (tensor.role == Role::KeyLengths && !call.lengths);
        if in_workspace {
            let offset = offsets.get(at).copied().flatten().unwrap_or(0);
            return Placed { address: WORKSPACE + offset, strides: contiguous(&dims) };
        }
        let strides = contiguous(&dims).iter().map(|stride| stride + 8 * 8).collect();
        Placed { address: TENSORS + APART * at as u64 + if at == 0 { call.shift } else { 0 }, strides }
    };
    program.tensors.iter().enumerate().map(place).collect()
}

/// The lines that the driver should write.
fn expected(program: &PtxProgram, call: &Made<'_>) -> Vec<String> {
    let tensors = places(program, call);
    let launches = program
        .launches(&Call { sizes: call.sizes, params: call.params, tensors: &tensors })
        .expect("it can be launched");
    let spaces = program.workspaces(call.sizes, call.params).expect("it fits");
    let mut lines = vec![format!("load {} bytes", program.text.len()), format!("workspace {}", spaces.bytes)];
    let lengths = program.tensors.iter().position(|tensor| tensor.role == Role::KeyLengths);
    if let (Some(at), false) = (lengths, call.lengths) {
        let count = program.dims(TensorId(at as u32), call.sizes, call.params).expect("extents")[0];
        let keys = call.sizes[program.key_size().expect("keys").0 as usize];
        if count > 0 {
            lines.push(format!("fill {:x} {count} words of {keys}", tensors[at].address));
        }
    }
    for launch in launches {
        let name = &program.entries[launch.entry].name;
        let mut line = format!("launch {name} {:?} {} {}:", launch.grid, launch.threads, launch.shared_bytes);
        for argument in &launch.arguments {
            let _ = match argument {
                LaunchArgument::Address(address) => write!(line, " p{address:x}"),
                LaunchArgument::Word(word) => write!(line, " w{word:08x}"),
                LaunchArgument::TensorMap(map) => write!(line, " ({})", map_text(map)),
            };
        }
        lines.push(line);
    }
    lines
}

fn map_text(map: &MappedTensor) -> String {
    // The driver's numbers of element types.
    let element = match map.element {
        Element::Bool => 0,
        Element::I32 => 3,
        Element::F16 => 6,
        Element::F32 => 7,
        Element::Bf16 => 9,
    };
    let mut text = format!("{element}@{:x}/{}", map.address, if map.swizzle_128b { 3 } else { 0 });
    for (axis, dim) in map.dims.iter().enumerate() {
        let _ = write!(text, " {dim}:{}", map.box_dims[axis]);
        if let Some(stride) = map.strides.get(axis) {
            let _ = write!(text, ":{stride}");
        }
    }
    text
}

/// Compiles a program of the library and its launcher, and calls it with and without key lengths.
fn library(name: &str, target: Target, params: &[(&str, i64)], pins: &[(&str, i64)]) {
    let path = format!("{}/../../dsl/std/{name}.dmac", env!("CARGO_MANIFEST_DIR"));
    let source = SourceFile::new(name, std::fs::read_to_string(path).expect("the library has the program"));
    let pins = pins.iter().map(|(name, value)| ((*name).to_owned(), ParamNumber::Int(*value)));
    let options = Options { defines: pins.collect(), ..Options::native(64, Storage::Bf16) };
    let compiled = compile_ptx(&source, &options, target, &mut |_, _| {});
    let (_, program) = compiled.unwrap_or_else(|errors| panic!("{errors:?}"));
    let values: Vec<ParamValue> = program
        .params
        .iter()
        .map(|param| {
            let given = params.iter().find(|(name, _)| *name == param.name);
            given.map_or(param.default, |(_, value)| ParamValue::Int(*value))
        })
        .collect();
    let wanted = [("B", 2), ("H", 6), ("G", 3), ("M", 1000), ("N", 3001), ("t", 8)];
    let sizes: Vec<i64> = program
        .sizes
        .iter()
        .map(|size| wanted.iter().find(|(name, _)| *name == size.name).map_or(48, |(_, value)| *value))
        .collect();
    for lengths in [false, true] {
        let call = Made { sizes: &sizes, params: &values, lengths, shift: 0 };
        let (lines, code) = compile(&program, &call).run();
        assert_eq!((code, lines), (0, expected(&program, &call)), "{name}");
    }
}

#[test]
fn launchers_of_the_library_launch_what_the_library_launches() {
    library("alibi", Target::Sm80, &[], &[]);
    library("dma", Target::Sm90a, &[("w", 700)], &[]);
    library("nsa", Target::Sm80, &[], &[("l", 8), ("stride", 4), ("block", 16), ("n", 3)]);
}

/// Keys `[2, N, 64]` behind a tensor map, a workspace `[N]`, an int and a float parameter, more than 48 KiB of shared
/// memory.
fn mapped() -> PtxProgram {
    let n = || Expr::Size(SizeId(0));
    let tensor = |name: &str, role, element, dims| TensorDecl { name: name.into(), role, element, dims };
    let map = TensorMapSpec { tensor: TensorId(0), box_dims: vec![64, 32, 1], swizzle_128b: true };
    PtxProgram {
        name: "tiny".into(),
        target: Target::Sm90a,
        storage: Storage::Bf16,
        text: "// \"quoted\" and \\ kept\n".into(),
        entries: vec![Entry {
            name: "attend".into(),
            params: vec![
                ParamSpec::Pointer(TensorId(1)),
                ParamSpec::Stride { tensor: TensorId(0), axis: 1 },
                ParamSpec::Size(SizeId(0)),
                ParamSpec::Param(ParamId(0)),
                ParamSpec::Param(ParamId(1)),
                ParamSpec::TensorMap(map),
                ParamSpec::Round,
            ],
            grid: [n().ceil_div(Expr::Int(32)), Expr::Int(2), Expr::Int(1)],
            threads: 384,
            shared_bytes: Expr::Int(150_000),
            rounds: Expr::Int(2),
        }],
        sizes: vec![SizeDecl { name: "N".into(), axis: AxisId(4) }],
        params: vec![
            Param { name: "w".into(), ty: ParamType::Int, default: ParamValue::Int(8) },
            Param { name: "cap".into(), ty: ParamType::Float, default: ParamValue::Float(20.0) },
        ],
        tensors: vec![
            tensor("k", Role::Input(InputId(1)), Element::Bf16, vec![Expr::Int(2), n(), Expr::Int(64)]),
            tensor("end", Role::Workspace, Element::I32, vec![n()]),
        ],
        requires: vec![(Expr::lt(Expr::Int(0), Expr::Param(ParamId(0))), "w must be positive".into())],
        selections: Vec::new(),
    }
}

#[test]
fn tensor_maps_are_encoded_alike() {
    let program = mapped();
    for n in [0, 1, 100] {
        let call = Made {
            sizes: &[n],
            params: &[ParamValue::Int(-1 + 9), ParamValue::Float(0.25)],
            lengths: false,
            shift: 0,
        };
        let (lines, code) = compile(&program, &call).run();
        assert_eq!((code, lines), (0, expected(&program, &call)), "N = {n}");
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_launched() {
    let program = mapped();
    let float = ParamValue::Float(0.25);
    for (sizes, w, shift, code) in
        [([100], 0, 0, -1), ([100], 1 << 40, 0, -1000), ([1 << 40], 1, 0, -1000), ([100], 1, 8, -1001)]
    {
        let call = Made { sizes: &sizes, params: &[ParamValue::Int(w), float], lengths: false, shift };
        let (lines, found) = compile(&program, &call).run();
        assert_eq!(found, code, "{lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with("launch")), "{lines:?}");
        if shift == 0 {
            let tensors = [100; 2].map(|stride| Placed { address: 0, strides: vec![stride; 2] });
            let call = Call { sizes: &sizes, params: call.params, tensors: &tensors };
            assert!(program.launches(&call).is_err(), "the library refuses it too");
        }
    }
}
