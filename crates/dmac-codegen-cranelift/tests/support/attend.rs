//! A causal attention with grouped heads as a tile program, written by hand, and its plain loops.

use super::Values;
use dmac_ir::{Binary, FloatBits, InputId, Unary};
use dmac_schedule::Program;
use dmac_schedule::kernel::{
    Element, Expr, GridAxis, Kernel, Role, ScalarType, SizeDecl, SizeId, Space, Stmt, Storage, Taken,
    TensorDecl, Tile,
};

/// `B, H, G, M, N` of a call.
pub type Shape = [usize; 5];

/// Causal attention: queries and keys of `d` features, values of `e`.
pub fn causal(storage: Storage, d: usize, e: usize, q_tile: usize, kv_tile: usize) -> Program {
    let size = |at: u32| Expr::Size(SizeId(at));
    let (b, h, g, m, n) = (size(0), size(1), size(2), size(3), size(4));
    let int = |x: usize| Expr::Int(x as i64);
    let mut program = Program {
        name: "causal".into(),
        storage,
        sizes: ["B", "H", "G", "M", "N"]
            .iter()
            .enumerate()
            .map(|(at, name)| SizeDecl { name: (*name).into(), axis: dmac_ir::AxisId(at as u32) })
            .collect(),
        params: Vec::new(),
        tensors: Vec::new(),
        requires: Vec::new(),
        kernels: Vec::new(),
        selections: Vec::new(),
    };
    let real = Element::from(storage);
    let mut tensor = |name: &str, role, element, dims: Vec<Expr>| {
        program.add_tensor(TensorDecl { name: name.into(), role, element, dims })
    };
    let q = tensor("q", Role::Input(InputId(0)), real, vec![b.clone(), h.clone(), m.clone(), int(d)]);
    let k = tensor("k", Role::Input(InputId(1)), real, vec![b.clone(), g.clone(), n.clone(), int(d)]);
    let v = tensor("v", Role::Input(InputId(2)), real, vec![b.clone(), g.clone(), n.clone(), int(e)]);
    let lengths = tensor("kv_len", Role::KeyLengths, Element::I32, vec![b.clone()]);
    let out = tensor("out", Role::Output(0), real, vec![b.clone(), h.clone(), m.clone(), int(e)]);
    let lse = tensor("lse", Role::Output(1), Element::F32, vec![b.clone(), h.clone(), m.clone()]);

    let mut kernel = Kernel::new("attend");
    let var = |kernel: &mut Kernel, name: &str| kernel.add_var(name, ScalarType::Int);
    let (q_block, head, batch) = (var(&mut kernel, "q_block"), var(&mut kernel, "h"), var(&mut kernel, "b"));
    let (j0, rows, keys, length, first) = (
        var(&mut kernel, "j0"),
        var(&mut kernel, "rows"),
        var(&mut kernel, "keys"),
        var(&mut kernel, "length"),
        var(&mut kernel, "first"),
    );
    kernel.grid = vec![
        GridAxis { var: q_block, extent: m.clone().ceil_div(int(q_tile)), descending: true },
        GridAxis { var: head, extent: h.clone(), descending: false },
        GridAxis { var: batch, extent: b, descending: false },
    ];
    let tile = |name: &str, element, rows, cols| Tile {
        name: name.into(),
        element,
        rows,
        cols,
        space: Space::Shared,
        stages: 1,
    };
    let tq = kernel.add_tile(tile("queries", real, q_tile, d));
    let tk = kernel.add_tile(tile("keys", real, kv_tile, d));
    let tv = kernel.add_tile(tile("values", real, kv_tile, e));
    let scores = kernel.add_tile(tile("scores", Element::F32, q_tile, kv_tile));
    let acc = kernel.add_tile(tile("acc", Element::F32, q_tile, e));
    let row_max = kernel.add_tile(tile("row_max", Element::F32, q_tile, 1));
    let row_sum = kernel.add_tile(tile("row_sum", Element::F32, q_tile, 1));
    let stats = kernel.add_tile(tile("stats", Element::F32, q_tile, 1));
    let v_ = |var| Expr::Var(var);
    let q0 = || v_(q_block) * int(q_tile);
    let kv_head = || v_(head).int_div(h.clone().int_div(g.clone()));
    let position = || v_(first) + Expr::Row;
    let float = |x: f32| Expr::Float(FloatBits::new(x));
    let mul = |x, y| Expr::binary(Binary::Mul, x, y);
    kernel.body = vec![
        Stmt::Set { var: rows, value: int(q_tile).min(m.clone() - q0()) },
        Stmt::Set { var: length, value: Expr::load(lengths, [v_(batch)]) },
        Stmt::Set { var: first, value: v_(length) - m + q0() },
        Stmt::Copy {
            dst: tq.into(),
            tensor: q,
            index: vec![v_(batch), v_(head), q0() + Expr::Row, Expr::Col],
            rows: v_(rows),
            cols: int(d),
            arrive: None,
        },
        Stmt::Fill { tile: row_max, value: float(f32::NEG_INFINITY) },
        Stmt::Fill { tile: row_sum, value: float(0.0) },
        Stmt::Fill { tile: acc, value: float(0.0) },
        Stmt::For {
            var: j0,
            lo: Expr::Int(0),
            hi: (v_(first) + v_(rows)).min(v_(length)),
            step: int(kv_tile),
            body: vec![
                Stmt::Set { var: keys, value: int(kv_tile).min(v_(length) - v_(j0)) },
                Stmt::Copy {
                    dst: tk.into(),
                    tensor: k,
                    index: vec![v_(batch), kv_head(), v_(j0) + Expr::Row, Expr::Col],
                    rows: v_(keys),
                    cols: int(d),
                    arrive: None,
                },
                Stmt::Copy {
                    dst: tv.into(),
                    tensor: v,
                    index: vec![v_(batch), kv_head(), v_(j0) + Expr::Row, Expr::Col],
                    rows: v_(keys),
                    cols: int(e),
                    arrive: None,
                },
                Stmt::Mma {
                    acc: scores,
                    a: tq.into(),
                    b: tk.into(),
                    transpose_b: true,
                    accumulate: false,
                    m: v_(rows),
                    n: v_(keys),
                    k: int(d),
                },
                Stmt::Map {
                    dst: scores,
                    rows: v_(rows),
                    cols: v_(keys),
                    body: Expr::compare(dmac_ir::Compare::Le, v_(j0) + Expr::Col, position()).then(
                        mul(Expr::Elem(scores), float(1.0 / (d as f32).sqrt())),
                        float(f32::NEG_INFINITY),
                    ),
                },
                Stmt::OnlineSoftmax {
                    scores,
                    row_max,
                    row_sum,
                    acc: (acc, int(e)),
                    rows: v_(rows),
                    cols: v_(keys),
                    taken: Taken::default(),
                },
                Stmt::Mma {
                    acc,
                    a: scores.into(),
                    b: tv.into(),
                    transpose_b: false,
                    accumulate: true,
                    m: v_(rows),
                    n: int(e),
                    k: v_(keys),
                },
            ],
        },
        Stmt::Map {
            dst: stats,
            rows: v_(rows),
            cols: Expr::Int(1),
            body: Expr::binary(
                Binary::Add,
                Expr::Elem(row_max),
                Expr::unary(Unary::Log, Expr::Elem(row_sum)),
            ),
        },
        Stmt::Map {
            dst: acc,
            rows: v_(rows),
            cols: int(e),
            body: Expr::compare(dmac_ir::Compare::Gt, Expr::Elem(row_sum), float(0.0))
                .then(Expr::binary(Binary::Div, Expr::Elem(acc), Expr::Elem(row_sum)), float(0.0)),
        },
        Stmt::Store {
            tensor: out,
            index: vec![v_(batch), v_(head), q0() + Expr::Row, Expr::Col],
            src: acc,
            rows: v_(rows),
            cols: int(e),
        },
        Stmt::Store {
            tensor: lse,
            index: vec![v_(batch), v_(head), q0() + Expr::Row],
            src: stats,
            rows: v_(rows),
            cols: Expr::Int(1),
        },
    ];
    program.kernels.push(kernel);
    dmac_schedule::kernel::verify(&program).expect("the program is well formed");
    program
}

/// `out` and `lse` by plain loops.
pub fn expected([b, h, g, m, n]: Shape, d: usize, e: usize, inputs: &[Values]) -> Vec<Values> {
    let (q, k, v) = (&inputs[0], &inputs[1], &inputs[2]);
    let (mut out, mut lse) = (Vec::new(), Vec::new());
    for row in 0..b * h * m {
        let (batch, head, i) = (row / (h * m), row / m % h, row % m);
        let keys = (batch * g + head / (h / g)) * n;
        let position = n as i64 - m as i64 + i as i64;
        let scores: Vec<f64> = (0..n)
            .take_while(|j| *j as i64 <= position)
            .map(|j| {
                let dot: f64 = (0..d).map(|x| q[row * d + x] * k[(keys + j) * d + x]).sum();
                dot / (d as f64).sqrt()
            })
            .collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|score| (score - most).exp()).sum();
        for x in 0..e {
            let total: f64 =
                scores.iter().enumerate().map(|(j, s)| (s - most).exp() * v[(keys + j) * e + x]).sum();
            out.push(if sum == 0.0 { 0.0 } else { total / sum });
        }
        lse.push(most + sum.ln());
    }
    vec![out, lse]
}
