//! Statements that an attention by hand does not use: reductions, additions to tensors, gathered products, heaps.

mod support;

use dmac_ir::{InputId, Ties};
use dmac_schedule::Program;
use dmac_schedule::kernel::{
    Element, Expr, GridAxis, Heap, Kernel, MapReduction, Role, ScalarType, Space, Stmt, Storage, TensorDecl,
    TensorId, Tile, TileId,
};
use support::{Call, Values, distance, random, rounded};

/// A program of one kernel under construction.
struct Build {
    program: Program,
    kernel: Kernel,
}

fn int(x: usize) -> Expr {
    Expr::Int(x as i64)
}

impl Build {
    fn new() -> Self {
        let program = Program {
            name: "statements".into(),
            storage: Storage::F32,
            sizes: vec![],
            params: vec![],
            tensors: vec![],
            requires: vec![],
            kernels: vec![],
            selections: vec![],
        };
        Self { program, kernel: Kernel::new("statements") }
    }

    fn tensor(&mut self, role: Role, element: Element, dims: &[usize]) -> TensorId {
        let name = format!("t{}", self.program.tensors.len());
        let dims = dims.iter().map(|dim| int(*dim)).collect();
        self.program.add_tensor(TensorDecl { name, role, element, dims })
    }

    fn input(&mut self, at: u32, element: Element, dims: &[usize]) -> TensorId {
        self.tensor(Role::Input(InputId(at)), element, dims)
    }

    fn tile(&mut self, element: Element, rows: usize, cols: usize) -> TileId {
        let name = format!("tile{}", self.kernel.tiles.len());
        self.kernel.add_tile(Tile { name, element, rows, cols, space: Space::Shared, stages: 1 })
    }

    fn run(mut self, inputs: &[Values]) -> Vec<Vec<Values>> {
        self.program.kernels.push(self.kernel);
        dmac_schedule::kernel::verify(&self.program).expect("the program is well formed");
        let call = Call { program: &self.program, sizes: vec![], params: vec![] };
        dmac_cpu_kernels::available().map(|table| call.run_with(table.name(), inputs)).collect()
    }
}

fn copy(dst: TileId, tensor: TensorId, rows: Expr, shape: (usize, usize)) -> Stmt {
    let index = vec![rows, Expr::Col];
    Stmt::Copy { dst: dst.into(), tensor, index, rows: int(shape.0), cols: int(shape.1), arrive: None }
}

fn store(tensor: TensorId, src: TileId, (rows, cols): (usize, usize)) -> Stmt {
    Stmt::Store { tensor, index: vec![Expr::Row, Expr::Col], src, rows: int(rows), cols: int(cols) }
}

#[test]
fn rows_are_reduced() {
    let (rows, cols) = (5, 23);
    for (op, start) in [(MapReduction::Sum, 2.0), (MapReduction::Max, 0.5), (MapReduction::Min, -0.5)] {
        let mut build = Build::new();
        let from = build.input(0, Element::F32, &[rows, cols]);
        let out = build.tensor(Role::Output(0), Element::F32, &[rows, 2]);
        let (tile, fresh, running) = (
            build.tile(Element::F32, rows, cols),
            build.tile(Element::F32, rows, 1),
            build.tile(Element::F32, rows, 1),
        );
        let reduce = |dst, accumulate| Stmt::RowReduce {
            dst,
            src: tile,
            op,
            rows: int(rows),
            cols: int(cols),
            accumulate,
        };
        let column = |src, at| Stmt::Store {
            tensor: out,
            index: vec![Expr::Row, int(at)],
            src,
            rows: int(rows),
            cols: int(1),
        };
        build.kernel.body = vec![
            copy(tile, from, Expr::Row, (rows, cols)),
            Stmt::Fill { tile: running, value: Expr::float(start) },
            reduce(fresh, false),
            reduce(running, true),
            column(fresh, 0),
            column(running, 1),
        ];
        let input = rounded(Element::F32, &random(3, rows * cols));
        let expected: Values = input
            .chunks(cols)
            .flat_map(|row| {
                let reduce = |start: f64| match op {
                    MapReduction::Sum => row.iter().sum::<f64>() + start,
                    MapReduction::Max => row.iter().copied().fold(start, f64::max),
                    MapReduction::Min => row.iter().copied().fold(start, f64::min),
                };
                let nothing = match op {
                    MapReduction::Sum => 0.0,
                    MapReduction::Max => f64::NEG_INFINITY,
                    MapReduction::Min => f64::INFINITY,
                };
                [reduce(nothing), reduce(f64::from(start))]
            })
            .collect();
        for found in build.run(&[input]) {
            assert!(distance(&found[0], &expected) <= 1e-5, "{op:?}");
        }
    }
}

/// `out = A * K[list]^T * V[list]`, with K and V in a storage type: few rows read them in place, many are packed.
fn gathered(rows: usize, element: Element) {
    let (keys, listed, depth, width) = (50, 21, 16, 24);
    let mut build = Build::new();
    let a = build.input(0, Element::F32, &[rows, depth]);
    let k = build.input(1, element, &[keys, depth]);
    let v = build.input(2, element, &[keys, width]);
    let list = build.input(3, Element::I32, &[listed]);
    let out = build.tensor(Role::Output(0), Element::F32, &[rows, width]);
    let left = build.tile(Element::F32, rows, depth);
    let right = build.tile(element, 32, depth);
    let values = build.tile(element, 32, width);
    let scores = build.tile(Element::F32, rows, 32);
    let acc = build.tile(Element::F32, rows, width);
    let row = Expr::load(list, [Expr::Row]);
    let mma = |acc, a: TileId, b: TileId, transpose_b, n, k| Stmt::Mma {
        acc,
        a: a.into(),
        b: b.into(),
        transpose_b,
        accumulate: !transpose_b,
        m: int(rows),
        n: int(n),
        k: int(k),
    };
    build.kernel.body = vec![
        copy(left, a, Expr::Row, (rows, depth)),
        copy(right, k, row.clone(), (listed, depth)),
        copy(values, v, row, (listed, width)),
        Stmt::Fill { tile: acc, value: Expr::float(1.0) },
        mma(scores, left, right, true, listed, depth),
        mma(acc, scores, values, false, width, listed),
        store(out, acc, (rows, width)),
    ];
    let inputs = [
        rounded(Element::F32, &random(1, rows * depth)),
        rounded(element, &random(2, keys * depth)),
        rounded(element, &random(3, keys * width)),
        (0..listed).map(|x| (x * 7 % keys) as f64).collect(),
    ];
    let at = |x: usize| inputs[3][x] as usize;
    let mut expected = vec![1.0; rows * width];
    for r in 0..rows {
        for x in 0..listed {
            let score: f64 =
                (0..depth).map(|d| inputs[0][r * depth + d] * inputs[1][at(x) * depth + d]).sum();
            for e in 0..width {
                expected[r * width + e] += score * inputs[2][at(x) * width + e];
            }
        }
    }
    for found in build.run(&inputs) {
        assert!(distance(&found[0], &expected) <= 2e-5, "{rows} rows of {element}");
    }
}

#[test]
fn products_of_gathered_rows() {
    for rows in [1, 4, 5, 19] {
        for element in [Element::F32, Element::F16, Element::Bf16] {
            gathered(rows, element);
        }
    }
}

#[test]
fn points_add_to_a_tensor() {
    let (points, rows, cols) = (6, 3, 7);
    let mut build = Build::new();
    let from = build.input(0, Element::F32, &[points * rows, cols]);
    let sums = build.tensor(Role::Output(0), Element::F32, &[rows, cols]);
    let tile = build.tile(Element::F32, rows, cols);
    let zero = build.tile(Element::F32, rows, cols);
    let point = build.kernel.add_var("point", ScalarType::Int);
    build.kernel.grid = vec![GridAxis { var: point, extent: int(points), descending: false }];
    let first = Expr::compare(dmac_ir::Compare::Eq, Expr::Var(point), int(0));
    let add = Stmt::ReduceAdd {
        tensor: sums,
        index: vec![Expr::Row, Expr::Col],
        src: tile,
        rows: int(rows),
        cols: int(cols),
    };
    build.kernel.body = vec![
        Stmt::Fill { tile: zero, value: Expr::float(0.0) },
        Stmt::If { cond: first, then: vec![store(sums, zero, (rows, cols))], otherwise: vec![] },
        copy(tile, from, Expr::Var(point) * int(rows) + Expr::Row, (rows, cols)),
        add,
    ];
    let input = rounded(Element::F32, &random(9, points * rows * cols));
    let expected: Values =
        (0..rows * cols).map(|x| (0..points).map(|point| input[point * rows * cols + x]).sum()).collect();
    for found in build.run(&[input]) {
        assert!(distance(&found[0], &expected) <= 1e-5);
    }
}

/// The indices of the best, ascending; of equal scores the lower or the higher index first.
fn best(scores: &[f64], valid: &[f64], count: usize, ties: Ties) -> Vec<f64> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|x| valid[*x] != 0.0).collect();
    order.sort_by(|x, y| {
        let tie = if ties == Ties::High { y.cmp(x) } else { x.cmp(y) };
        scores[*y].total_cmp(&scores[*x]).then(tie)
    });
    order.truncate(count);
    order.sort_unstable();
    order.into_iter().map(|x| x as f64).collect()
}

#[test]
fn rows_are_offered_to_top_lists() {
    let (rows, cols) = (3, 90);
    for capacity in [0, 1, 7, 100] {
        for ties in [Ties::Low, Ties::High] {
            let mut build = Build::new();
            let scores = build.input(0, Element::F32, &[rows, cols]);
            let valid = build.input(1, Element::Bool, &[rows, cols]);
            let out = build.tensor(Role::Output(0), Element::I32, &[rows, capacity.max(1) + 1]);
            let (tile, flags) = (build.tile(Element::F32, rows, 32), build.tile(Element::Bool, rows, 32));
            let [row, first, count] =
                ["row", "first", "count"].map(|x| build.kernel.add_var(x, ScalarType::Int));
            let heap =
                build.kernel.add_heap(Heap { name: "best".into(), rows, capacity: int(capacity), ties });
            let width = (int(cols) - Expr::Var(first)).min(int(32));
            let part = |dst: TileId, tensor| Stmt::Copy {
                dst: dst.into(),
                tensor,
                index: vec![Expr::Row, Expr::Var(first) + Expr::Col],
                rows: int(rows),
                cols: width.clone(),
                arrive: None,
            };
            let each_row = |body| Stmt::For { var: row, lo: int(0), hi: int(rows), step: int(1), body };
            let offer = Stmt::HeapOffer {
                heap,
                row: Expr::Var(row),
                scores: tile,
                valid: flags,
                first: Expr::Var(first),
                cols: width.clone(),
            };
            build.kernel.body = vec![
                each_row(vec![Stmt::HeapClear { heap, row: Expr::Var(row) }]),
                Stmt::For {
                    var: first,
                    lo: int(0),
                    hi: int(cols),
                    step: int(32),
                    body: vec![part(tile, scores), part(flags, valid), each_row(vec![offer])],
                },
                each_row(vec![
                    Stmt::HeapStore {
                        heap,
                        row: Expr::Var(row),
                        tensor: out,
                        index: vec![Expr::Var(row)],
                        count,
                    },
                    Stmt::StoreElem {
                        tensor: out,
                        index: vec![Expr::Var(row), int(capacity.max(1))],
                        value: Expr::Var(count),
                    },
                ]),
            ];
            // Few different scores, so that there are ties.
            let inputs = [
                random(5, rows * cols).iter().map(|x| (x * 9.0).floor()).collect(),
                random(6, rows * cols).iter().map(|x| f64::from(u8::from(*x > -0.3))).collect::<Values>(),
            ];
            for found in build.run(&inputs) {
                for (row, stored) in found[0].chunks(capacity.max(1) + 1).enumerate() {
                    let range = row * cols..(row + 1) * cols;
                    let expected = best(&inputs[0][range.clone()], &inputs[1][range], capacity, ties);
                    assert_eq!(stored.last(), Some(&(expected.len() as f64)));
                    assert_eq!(stored[..expected.len()], expected, "{capacity} {ties:?}");
                }
            }
        }
    }
}

#[test]
fn what_falls_out_of_a_heap_is_told() {
    let count = 40;
    for capacity in [0, 1, 6, 50] {
        let mut build = Build::new();
        let scores = build.input(0, Element::F32, &[count]);
        let out = build.tensor(Role::Output(0), Element::I32, &[count]);
        let [at, evicted] = ["at", "evicted"].map(|x| build.kernel.add_var(x, ScalarType::Int));
        let heap = Heap { name: "best".into(), rows: 1, capacity: int(capacity), ties: Ties::Low };
        let heap = build.kernel.add_heap(heap);
        build.kernel.body = vec![
            Stmt::HeapClear { heap, row: int(0) },
            Stmt::For {
                var: at,
                lo: int(0),
                hi: int(count),
                step: int(1),
                body: vec![
                    Stmt::HeapPush {
                        heap,
                        row: int(0),
                        score: Expr::load(scores, [Expr::Var(at)]),
                        index: Expr::Var(at),
                        evicted,
                    },
                    Stmt::StoreElem { tensor: out, index: vec![Expr::Var(at)], value: Expr::Var(evicted) },
                ],
            },
        ];
        let input: Values = random(8, count).iter().map(|x| (x * 5.0).floor()).collect();
        let mut kept: Vec<usize> = Vec::new();
        let expected: Values = (0..count)
            .map(|at| {
                kept.push(at);
                if kept.len() <= capacity {
                    return -1.0;
                }
                let worst = *kept
                    .iter()
                    .min_by(|x, y| input[**x].total_cmp(&input[**y]).then(y.cmp(x)))
                    .expect("something is kept");
                kept.retain(|x| *x != worst);
                worst as f64
            })
            .collect();
        for found in build.run(std::slice::from_ref(&input)) {
            assert_eq!(found[0], expected, "capacity {capacity}");
        }
    }
}
