//! The interpreter of tile programs models asynchrony: a ring of copies between a producer and two consumers gives the right
//! result for every order of events, and each piece of its synchronisation is needed.

use dmac_interp::kernel::{KernelError, Stored, execute};
use dmac_interp::{Inputs, Tensor};
use dmac_ir::{Axis, AxisKind, Elem, Graph, Input, InputId};
use dmac_schedule::kernel::{
    Barrier, BarrierId, Element, Expr, GridAxis, Kernel, Program, Role, ScalarType, SizeDecl, SizeId, Space,
    Stmt, Storage, TensorDecl, TensorId, Tile, TileRef,
};

const ROWS: usize = 4;
const STAGES: i64 = 2;
const BLOCKS: i64 = 5;
const KEYS: usize = 3;

/// A piece of the synchronisation to leave out.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Without {
    Nothing,
    WaitForData,
    WaitForSpace,
    Release,
}

/// `out[r, 0] = sum over blocks of sum over keys of x[r, key] * y[block, key]`: `y` goes through a ring of stages.
fn ring(without: Without) -> (Graph, Program) {
    let mut graph = Graph::new("ring");
    for (name, kind) in [
        ("B", AxisKind::Batch),
        ("H", AxisKind::Head),
        ("G", AxisKind::KvHead),
        ("M", AxisKind::Query),
        ("N", AxisKind::Key),
        ("D", AxisKind::Feature),
        ("E", AxisKind::ValueFeature),
    ] {
        graph.add_axis(Axis::new(name, kind));
    }
    let axis = |at: u32| dmac_ir::AxisId(at);
    let inputs = [
        ("q", vec![axis(0), axis(1), axis(3), axis(5)]),
        ("k", vec![axis(0), axis(2), axis(4), axis(5)]),
        ("v", vec![axis(0), axis(2), axis(4), axis(6)]),
    ];
    for (name, axes) in inputs {
        graph.add_input(Input {
            name: name.into(),
            elem: Elem::Real,
            axes,
            range: None,
            bounds: None,
            span: None,
        });
    }
    let sizes =
        (0..7).map(|at| SizeDecl { name: graph.axes[at].name.clone(), axis: axis(at as u32) }).collect();
    let size = |at: u32| Expr::Size(SizeId(at));
    let dims = |axes: &[u32]| axes.iter().map(|&at| size(at)).collect::<Vec<_>>();
    let decl = |name: &str, role, dims| TensorDecl { name: name.into(), role, element: Element::F32, dims };
    let tensors = vec![
        decl("q", Role::Input(InputId(0)), dims(&[0, 1, 3, 5])),
        decl("k", Role::Input(InputId(1)), dims(&[0, 2, 4, 5])),
        decl("v", Role::Input(InputId(2)), dims(&[0, 2, 4, 6])),
        TensorDecl { element: Element::I32, ..decl("kv_len", Role::KeyLengths, dims(&[0])) },
        decl("out", Role::Output(0), vec![size(3), Expr::Int(1)]),
    ];
    let kernel = kernel(without);
    let program = Program {
        name: "ring".into(),
        storage: Storage::F32,
        sizes,
        params: Vec::new(),
        tensors,
        requires: Vec::new(),
        selections: Vec::new(),
        kernels: vec![kernel],
    };
    dmac_schedule::kernel::verify(&program).expect("the program is well formed");
    (graph, program)
}

fn kernel(without: Without) -> Kernel {
    let mut kernel = Kernel::new("ring");
    let point = kernel.add_var("point", ScalarType::Int);
    kernel.grid.push(GridAxis { var: point, extent: Expr::Int(1), descending: false });
    let group = kernel.add_var("group", ScalarType::Int);
    let block = kernel.add_var("block", ScalarType::Int);
    let mut tile = |name: &str, rows, cols, space, stages| {
        kernel.add_tile(Tile { name: name.into(), element: Element::F32, rows, cols, space, stages })
    };
    let x = tile("x", ROWS / 2, KEYS, Space::Register, 1);
    let y = tile("y", 1, KEYS, Space::Shared, STAGES as usize);
    let acc = tile("acc", ROWS / 2, 1, Space::Register, 1);
    kernel.barriers.push(Barrier { name: "full".into(), stages: STAGES as usize, arrivals: 1 });
    kernel.barriers.push(Barrier { name: "empty".into(), stages: STAGES as usize, arrivals: 2 });
    let (full, empty) = (BarrierId(0), BarrierId(1));
    let stage = Expr::binary(dmac_ir::Binary::IntMod, Expr::Var(block), Expr::Int(STAGES));
    let round = Expr::Var(block).int_div(Expr::Int(STAGES));
    let parity = |x: Expr| Expr::binary(dmac_ir::Binary::IntMod, x, Expr::Int(2));
    let at_stage = |tile| TileRef { tile, stage: Some(Box::new(stage.clone())) };
    let unless = |piece: Without, stmt: Stmt| (piece != without).then_some(stmt);
    let each_block = |body: Vec<Option<Stmt>>| Stmt::For {
        var: block,
        lo: Expr::Int(0),
        hi: Expr::Int(BLOCKS),
        step: Expr::Int(1),
        body: body.into_iter().flatten().collect(),
    };
    let zero = || Expr::Int(0);
    let producer = each_block(vec![
        // The stage is free from the start: the phase before the first counts as complete.
        unless(
            Without::WaitForSpace,
            Stmt::If {
                cond: Expr::lt(zero(), round.clone()),
                then: vec![Stmt::Wait {
                    barrier: empty,
                    stage: stage.clone(),
                    parity: parity(round.clone() + Expr::Int(1)),
                }],
                otherwise: Vec::new(),
            },
        ),
        Some(Stmt::Copy {
            dst: at_stage(y),
            tensor: TensorId(1),
            index: vec![zero(), zero(), Expr::Var(block), Expr::Col],
            rows: Expr::Int(1),
            cols: Expr::Int(KEYS as i64),
            arrive: Some((full, stage.clone())),
        }),
    ]);
    let first = Expr::Var(group) * Expr::Int(ROWS as i64 / 2);
    let consumer = vec![
        Stmt::Fill { tile: acc, value: Expr::float(0.0) },
        Stmt::Copy {
            dst: x.into(),
            tensor: TensorId(0),
            index: vec![zero(), zero(), first.clone() + Expr::Row, Expr::Col],
            rows: Expr::Int(ROWS as i64 / 2),
            cols: Expr::Int(KEYS as i64),
            arrive: None,
        },
        each_block(vec![
            unless(
                Without::WaitForData,
                Stmt::Wait { barrier: full, stage: stage.clone(), parity: parity(round.clone()) },
            ),
            Some(Stmt::Mma {
                acc,
                a: x.into(),
                b: at_stage(y),
                transpose_b: true,
                accumulate: true,
                m: Expr::Int(ROWS as i64 / 2),
                n: Expr::Int(1),
                k: Expr::Int(KEYS as i64),
            }),
            Some(Stmt::MmaWait { pending: 0 }),
            unless(Without::Release, Stmt::Arrive { barrier: empty, stage: stage.clone() }),
        ]),
        Stmt::Store {
            tensor: TensorId(4),
            index: vec![first + Expr::Row, zero()],
            src: acc,
            rows: Expr::Int(ROWS as i64 / 2),
            cols: Expr::Int(1),
        },
    ];
    let role =
        |name: &str, groups, body| Stmt::Role { name: name.into(), groups, registers: None, group, body };
    kernel.body = vec![role("producer", 1, vec![producer]), role("consumer", 2, consumer)];
    kernel
}

fn run(without: Without, seed: u64) -> Result<Vec<Stored>, KernelError> {
    let (graph, program) = ring(without);
    let numbers =
        |count: usize, scale: f32| (0..count).map(|at| scale * (at as f32 + 1.0)).collect::<Vec<_>>();
    let inputs = Inputs::new(
        &graph,
        vec![
            Tensor::f32(&[1, 1, ROWS, KEYS], numbers(ROWS * KEYS, 1.0)),
            Tensor::f32(&[1, 1, BLOCKS as usize, KEYS], numbers(BLOCKS as usize * KEYS, 0.5)),
            Tensor::f32(&[1, 1, BLOCKS as usize, 1], numbers(BLOCKS as usize, 1.0)),
        ],
    );
    execute(&program, &graph, &inputs, seed)
}

fn expected() -> Vec<Option<f64>> {
    (0..ROWS)
        .map(|row| {
            let sum = (0..BLOCKS as usize)
                .flat_map(|block| (0..KEYS).map(move |key| (block, key)))
                .map(|(block, key)| (row * KEYS + key + 1) as f64 * 0.5 * (block * KEYS + key + 1) as f64);
            Some(sum.sum())
        })
        .collect()
}

#[test]
fn a_ring_is_right_in_every_order() {
    for seed in 0..200 {
        let stored = run(Without::Nothing, seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(stored[4].data, expected(), "seed {seed}");
    }
}

#[test]
fn each_piece_of_the_ring_is_needed() {
    for without in [Without::WaitForData, Without::WaitForSpace, Without::Release] {
        let noticed = (0..200).any(|seed| match run(without, seed) {
            Err(KernelError::Fault { .. }) => true,
            Err(other) => panic!("{without:?}: {other}"),
            Ok(stored) => stored[4].data != expected(),
        });
        assert!(noticed, "nothing notices the ring without {without:?}");
    }
}
