//! What a launcher computes: arguments in ABI order, grids, workspaces, and errors before anything is launched.

use dmac_codegen_ptx::{
    Call, Entry, LaunchArgument, LaunchError, ParamSpec, Placed, PtxProgram, Target, TensorMapSpec,
    contiguous,
};
use dmac_ir::{AxisId, InputId, Param, ParamId, ParamType, ParamValue};
use dmac_schedule::kernel::{Element, Expr, Role, SizeDecl, SizeId, Storage, TensorDecl, TensorId};

const KEYS: TensorId = TensorId(0);
const LENGTHS: TensorId = TensorId(1);
const ENDS: TensorId = TensorId(2);

fn n() -> Expr {
    Expr::Size(SizeId(0))
}

/// Keys `[2, N, 64]`, key lengths `[2]`, a workspace `[N]`; one entry with every kind of parameter.
fn program() -> PtxProgram {
    let tensor = |name: &str, role, element, dims| TensorDecl { name: name.into(), role, element, dims };
    let param = |name: &str, ty, default| Param { name: name.into(), ty, default };
    let map = TensorMapSpec { tensor: KEYS, box_dims: vec![64, 32, 1], swizzle_128b: true };
    PtxProgram {
        name: "tiny".into(),
        target: Target::Sm90a,
        storage: Storage::Bf16,
        text: String::new(),
        entries: vec![Entry {
            name: "attend".into(),
            params: vec![
                ParamSpec::Pointer(ENDS),
                ParamSpec::Stride { tensor: KEYS, axis: 0 },
                ParamSpec::Size(SizeId(0)),
                ParamSpec::Param(ParamId(0)),
                ParamSpec::Param(ParamId(1)),
                ParamSpec::TensorMap(map),
            ],
            grid: [n().ceil_div(Expr::Int(32)), Expr::Int(2), Expr::Int(1)],
            threads: 128,
            rounds: Expr::Int(1),
            shared_bytes: n() * Expr::Int(4),
        }],
        sizes: vec![SizeDecl { name: "N".into(), axis: AxisId(4) }],
        params: vec![
            param("w", ParamType::Int, ParamValue::Int(8)),
            param("cap", ParamType::Float, ParamValue::Float(20.0)),
        ],
        tensors: vec![
            tensor("k", Role::Input(InputId(1)), Element::Bf16, vec![Expr::Int(2), n(), Expr::Int(64)]),
            tensor("kv_len", Role::KeyLengths, Element::I32, vec![Expr::Int(2)]),
            tensor("end", Role::Workspace, Element::I32, vec![n()]),
        ],
        requires: vec![(Expr::lt(Expr::Int(0), Expr::Param(ParamId(0))), "w must be positive".into())],
        selections: Vec::new(),
    }
}

fn places() -> Vec<Placed> {
    vec![
        Placed { address: 0x1000, strides: vec![64 * 100, 64] },
        Placed { address: 0x2000, strides: vec![] },
        Placed { address: 0x3000, strides: vec![] },
    ]
}

const PARAMS: [ParamValue; 2] = [ParamValue::Int(-1 + 9), ParamValue::Float(0.5)];

#[test]
fn arguments_are_in_abi_order() {
    let (program, tensors) = (program(), places());
    let launches =
        program.launches(&Call { sizes: &[100], params: &PARAMS, tensors: &tensors }).expect("fits");
    let [launch] = launches.as_slice() else { panic!("one launch") };
    assert_eq!((launch.grid, launch.threads, launch.shared_bytes), ([4, 2, 1], 128, 400));
    let LaunchArgument::TensorMap(map) = &launch.arguments[5] else { panic!("a tensor map") };
    assert_eq!((map.dims.as_slice(), map.strides.as_slice()), (&[64, 100, 2][..], &[128, 12_800][..]));
    assert_eq!(
        launch.arguments[..5],
        [
            LaunchArgument::Address(0x3000),
            LaunchArgument::Word(6400),
            LaunchArgument::Word(100),
            LaunchArgument::Word(8),
            LaunchArgument::Word(0.5_f32.to_bits()),
        ]
    );
}

#[test]
fn nothing_is_launched_where_there_is_nothing_to_do() {
    let tensors = places();
    let launches = program().launches(&Call { sizes: &[0], params: &PARAMS, tensors: &tensors });
    assert_eq!(launches, Ok(Vec::new()));
}

#[test]
fn workspaces_are_apart_and_aligned() {
    let program = program();
    let workspaces = program.workspaces(&[100], &PARAMS).expect("fits");
    assert_eq!(workspaces.offsets[KEYS.0 as usize], None);
    assert_eq!(workspaces.offsets[LENGTHS.0 as usize], Some(0));
    assert_eq!(workspaces.offsets[ENDS.0 as usize], Some(256));
    assert_eq!(workspaces.bytes, 256 + 512);
    let huge = program.workspaces(&[i64::MAX / 2], &PARAMS);
    assert!(matches!(huge, Err(LaunchError::TooLarge { value: None, .. })), "{huge:?}");
}

#[test]
fn what_does_not_fit_is_told() {
    let program = program();
    let fails = |sizes: &[i64], params: &[ParamValue], change: &dyn Fn(&mut Vec<Placed>)| {
        let mut tensors = places();
        change(&mut tensors);
        program.launches(&Call { sizes, params, tensors: &tensors }).expect_err("does not fit").to_string()
    };
    let same = |_: &mut Vec<Placed>| {};
    let zero = [ParamValue::Int(0), ParamValue::Float(0.5)];
    assert_eq!(fails(&[100], &zero, &same), "w must be positive");
    let large = [ParamValue::Int(1 << 40), ParamValue::Float(0.5)];
    assert_eq!(fails(&[100], &large, &same), "parameter `w` is 1099511627776, which is out of range");
    assert_eq!(
        fails(&[1 << 33], &PARAMS, &same),
        "the shared memory of `attend` is 34359738368, which is out of range"
    );
    assert_eq!(
        fails(&[100], &PARAMS, &|t| t[0].address += 2),
        "the address of tensor `k` must be a multiple of 16 bytes"
    );
    assert_eq!(
        fails(&[100], &PARAMS, &|t| t[0].strides[1] = 68),
        "stride 1 of tensor `k` must be a multiple of 16 bytes"
    );
    assert_eq!(
        fails(&[100], &PARAMS, &|t| t[0].strides[0] = 1 << 35),
        "stride 0 of tensor `k` is 34359738368, which is out of range"
    );
    assert_eq!(
        fails(&[100], &PARAMS, &|t| t[2].address += 1),
        "the address of tensor `end` must be a multiple of 4 bytes"
    );
}

#[test]
fn contiguous_strides_leave_out_the_last_axis() {
    assert_eq!(contiguous(&[2, 3, 5, 7]), [105, 35, 7]);
    assert_eq!(contiguous(&[2, 0, 4]), [4, 4]);
    assert_eq!(contiguous(&[4]), Vec::<i64>::new());
}
