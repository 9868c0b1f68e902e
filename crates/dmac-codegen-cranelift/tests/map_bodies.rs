//! Random scalar bodies: the vector code of a map, its scalar rest and its strips agree with an evaluation of the
//! expression in Rust.

mod support;

use dmac_ir::{Binary, Compare, InputId, Reduction, Unary};
use dmac_schedule::Program;
use dmac_schedule::kernel::{
    Element, Expr, Kernel, Role, ScalarType, Space, Stmt, Storage, TensorDecl, TensorId, Tile, TileId, VarId,
};
use proptest::prelude::*;
use support::{Call, Values, encode, random};

const TABLE: usize = 11;

/// A kernel of one point: `out = body` over a matrix, a row vector, a column vector and a table.
struct Case {
    program: Program,
    rows: usize,
    cols: usize,
}

const MATRIX: TileId = TileId(0);
const ROW_VECTOR: TileId = TileId(1);
const SINGLE_ROW: TileId = TileId(2);
const FLAGS: TileId = TileId(3);
const OUT: TileId = TileId(4);
const TABLE_F32: TensorId = TensorId(4);
const TABLE_INT: TensorId = TensorId(5);
const MATRIX_TENSOR: TensorId = TensorId(0);
const BOUND: VarId = VarId(0);

fn case(rows: usize, cols: usize, storage: Element, body: Expr) -> Case {
    let int = |x: usize| Expr::Int(x as i64);
    let mut program = Program {
        name: "bodies".into(),
        storage: Storage::F32,
        sizes: vec![],
        params: vec![],
        tensors: vec![],
        requires: vec![],
        kernels: vec![],
        selections: vec![],
    };
    let inputs = [
        ("matrix", storage, vec![int(rows), int(cols)]),
        ("per_row", Element::F32, vec![int(rows)]),
        ("per_col", storage, vec![int(cols)]),
        ("flags", Element::Bool, vec![int(rows), int(cols)]),
        ("table", storage, vec![int(3), int(TABLE)]),
        ("ints", Element::I32, vec![int(TABLE)]),
    ];
    for (at, (name, element, dims)) in inputs.into_iter().enumerate() {
        let role = Role::Input(InputId(at as u32));
        program.add_tensor(TensorDecl { name: name.into(), role, element, dims });
    }
    let out = program.add_tensor(TensorDecl {
        name: "out".into(),
        role: Role::Output(0),
        element: Element::F32,
        dims: vec![int(rows), int(cols)],
    });
    let mut kernel = Kernel::new("bodies");
    kernel.add_var("t", ScalarType::Int);
    let shapes = [
        ("matrix", Element::F32, rows, cols),
        ("row_vector", Element::F32, rows, 1),
        ("single_row", Element::F32, 1, cols),
        ("flags", Element::Bool, rows, cols),
        ("result", Element::F32, rows, cols),
    ];
    for (name, element, rows, cols) in shapes {
        kernel.add_tile(Tile { name: name.into(), element, rows, cols, space: Space::Shared, stages: 1 });
    }
    let copy = |tile: TileId, tensor: u32, index: Vec<Expr>, rows: usize, cols: usize| Stmt::Copy {
        dst: tile.into(),
        tensor: TensorId(tensor),
        index,
        rows: int(rows),
        cols: int(cols),
        arrive: None,
    };
    kernel.body = vec![
        copy(MATRIX, 0, vec![Expr::Row, Expr::Col], rows, cols),
        copy(ROW_VECTOR, 1, vec![Expr::Row], rows, 1),
        copy(SINGLE_ROW, 2, vec![Expr::Col], 1, cols),
        copy(FLAGS, 3, vec![Expr::Row, Expr::Col], rows, cols),
        Stmt::Fill { tile: OUT, value: Expr::float(-77.0) },
        Stmt::Map { dst: OUT, rows: int(rows), cols: int(cols), body },
        Stmt::Store {
            tensor: out,
            index: vec![Expr::Row, Expr::Col],
            src: OUT,
            rows: int(rows),
            cols: int(cols),
        },
    ];
    program.kernels.push(kernel);
    dmac_schedule::kernel::verify(&program).expect("the program is well formed");
    Case { program, rows, cols }
}

/// A small generator: expressions are chosen by a sequence of pseudo-random numbers.
struct Source(u64);

impl Source {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) % n
    }

    /// An int that stays small.
    fn int(&mut self, depth: u32) -> Expr {
        if depth == 0 {
            return match self.below(4) {
                0 => Expr::Row,
                1 | 2 => Expr::Col,
                _ => Expr::Int(self.below(13) as i64 - 6),
            };
        }
        match self.below(8) {
            0 | 1 => self.int(depth - 1) + self.int(depth - 1),
            2 => self.int(depth - 1) - self.int(depth - 1),
            3 => self.int(depth - 1).min(self.int(depth - 1)),
            4 => {
                let divisor = [1, 2, 3, 4, 7, 8][self.below(6) as usize];
                let op = if self.below(2) == 0 { Binary::IntDiv } else { Binary::IntMod };
                Expr::binary(op, self.int(depth - 1), Expr::Int(divisor))
            }
            5 => self.boolean(depth - 1).then(self.int(depth - 1), self.int(depth - 1)),
            6 => self.guarded(depth - 1, |_, at| Expr::load(TABLE_INT, [at]), Expr::Int(0)),
            _ => Expr::cast(ScalarType::Int, self.boolean(depth - 1)),
        }
    }

    /// `if at is in the table then f(at) else otherwise`, or the same with `or` and `and`.
    fn guarded(&mut self, depth: u32, f: impl FnOnce(&mut Self, Expr) -> Expr, otherwise: Expr) -> Expr {
        let at = self.int(depth);
        let inside = Expr::and(
            Expr::compare(Compare::Ge, at.clone(), Expr::Int(0)),
            Expr::lt(at.clone(), Expr::Int(TABLE as i64)),
        );
        let value = f(self, at);
        if self.below(2) == 0 {
            inside.then(value, otherwise)
        } else {
            Expr::unary(Unary::Not, inside).then(otherwise, value)
        }
    }

    /// A float that Rust computes bit for bit.
    fn float(&mut self, depth: u32) -> Expr {
        if depth == 0 {
            return match self.below(5) {
                0 => Expr::float(self.below(9) as f32 / 4.0 - 1.0),
                1 => Expr::Elem(ROW_VECTOR),
                2 => Expr::Elem(SINGLE_ROW),
                _ => Expr::Elem(MATRIX),
            };
        }
        match self.below(12) {
            0 => Expr::binary(Binary::Add, self.float(depth - 1), self.float(depth - 1)),
            1 => Expr::binary(Binary::Sub, self.float(depth - 1), self.float(depth - 1)),
            2 => Expr::binary(Binary::Mul, self.float(depth - 1), self.float(depth - 1)),
            3 => self.float(depth - 1).max(self.float(depth - 1)),
            4 => {
                let op = [Unary::Neg, Unary::Abs, Unary::Relu, Unary::Floor][self.below(4) as usize];
                Expr::unary(op, self.float(depth - 1))
            }
            5 => Expr::cast(ScalarType::F32, self.int(depth - 1)),
            6 => self.boolean(depth - 1).then(self.float(depth - 1), self.float(depth - 1)),
            7 => self.guarded(
                depth - 1,
                |s, at| Expr::load(TABLE_F32, [Expr::Int(s.below(3) as i64), at]),
                Expr::float(f32::NEG_INFINITY),
            ),
            // The table along its first axis: lanes apart by a stride.
            8 => Expr::load(
                TABLE_F32,
                [
                    Expr::binary(Binary::IntMod, self.int(depth - 1), Expr::Int(3)),
                    Expr::Int(self.below(5) as i64),
                ],
            ),
            9 => Expr::load(MATRIX_TENSOR, [Expr::Row, Expr::Col]),
            10 => {
                let op = if self.below(2) == 0 { Reduction::Sum } else { Reduction::Max };
                let hi = if self.below(2) == 0 {
                    Expr::Int(self.below(5) as i64)
                } else {
                    Expr::binary(Binary::IntMod, self.int(depth - 1), Expr::Int(4))
                };
                let element = Expr::load(TABLE_F32, [Expr::Int(1), Expr::Var(BOUND)]);
                let body = Expr::binary(Binary::Mul, element, self.float(0));
                Expr::Reduce {
                    op,
                    var: BOUND,
                    lo: Box::new(Expr::Int(0)),
                    hi: Box::new(hi),
                    body: Box::new(body),
                }
            }
            _ => Expr::At {
                tile: MATRIX,
                row: Box::new(Expr::Row),
                col: Box::new(Expr::binary(Binary::IntMod, self.int(depth - 1), Expr::Int(2))),
            },
        }
    }

    fn boolean(&mut self, depth: u32) -> Expr {
        if depth == 0 {
            return match self.below(3) {
                0 => Expr::Elem(FLAGS),
                1 => Expr::lt(Expr::Col, Expr::Row),
                _ => Expr::compare(Compare::Ge, Expr::Elem(MATRIX), Expr::float(0.0)),
            };
        }
        let compare = [Compare::Eq, Compare::Ne, Compare::Lt, Compare::Le, Compare::Gt, Compare::Ge];
        match self.below(6) {
            0 => Expr::and(self.boolean(depth - 1), self.boolean(depth - 1)),
            1 => Expr::or(self.boolean(depth - 1), self.boolean(depth - 1)),
            2 => Expr::unary(Unary::Not, self.boolean(depth - 1)),
            3 => Expr::compare(compare[self.below(6) as usize], self.int(depth - 1), self.int(depth - 1)),
            4 => Expr::compare(compare[self.below(6) as usize], self.float(depth - 1), self.float(depth - 1)),
            _ => self.guarded(
                depth - 1,
                |_, at| Expr::compare(Compare::Gt, Expr::load(TABLE_INT, [at]), Expr::Int(4)),
                Expr::Bool(false),
            ),
        }
    }

    /// A body: exact floats under elementary functions and conditions.
    fn body(&mut self) -> Expr {
        let op = [
            Unary::Exp,
            Unary::Log,
            Unary::Tanh,
            Unary::Sigmoid,
            Unary::Softplus,
            Unary::LogSigmoid,
            Unary::Sqrt,
            Unary::Rsqrt,
        ][self.below(8) as usize];
        match self.below(5) {
            0 => self.float(3),
            1 => Expr::unary(op, self.float(2)),
            2 => self.boolean(2).then(Expr::unary(op, self.float(2)), self.float(2)),
            3 => self.guarded(
                1,
                |s, at| {
                    let row = Expr::Int(s.below(3) as i64);
                    Expr::unary(op, Expr::load(TABLE_F32, [row, at]))
                },
                Expr::float(1.0),
            ),
            _ => Expr::binary(Binary::Mul, Expr::unary(op, self.float(2)), self.float(1)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Number {
    Int(i64),
    Float(f32),
    Bool(bool),
}

struct Reference<'a> {
    case: &'a Case,
    inputs: &'a [Values],
    row: usize,
    col: usize,
    bound: i64,
}

impl Reference<'_> {
    fn int(&mut self, expr: &Expr) -> i64 {
        match self.eval(expr) {
            Number::Int(x) => x,
            other => panic!("{other:?} is no int"),
        }
    }

    fn truth(&mut self, expr: &Expr) -> bool {
        self.eval(expr) == Number::Bool(true)
    }

    fn eval(&mut self, expr: &Expr) -> Number {
        use Number::{Bool, Float, Int};
        let at = self.row * self.case.cols + self.col;
        let float = |x: f64| Float(x as f32);
        match expr {
            Expr::Int(x) => Int(*x),
            Expr::Float(x) => Float(x.get()),
            Expr::Bool(x) => Bool(*x),
            Expr::Row => Int(self.row as i64),
            Expr::Col => Int(self.col as i64),
            Expr::Var(_) => Int(self.bound),
            Expr::CeilLog2(_) | Expr::Pow2(_) | Expr::Order(_) => panic!("{expr:?} is no element of a tile"),
            Expr::Elem(MATRIX) => float(self.inputs[0][at]),
            Expr::Elem(ROW_VECTOR) => float(self.inputs[1][self.row]),
            Expr::Elem(SINGLE_ROW) => float(self.inputs[2][self.col]),
            Expr::Elem(_) => Bool(self.inputs[3][at] != 0.0),
            Expr::At { row, col, .. } => {
                let (row, col) = (self.int(row) as usize, self.int(col) as usize);
                assert!(row < self.case.rows && col < self.case.cols.max(2));
                let inside = col < self.case.cols;
                float(if inside { self.inputs[0][row * self.case.cols + col] } else { 0.0 })
            }
            Expr::Load { tensor, index } => {
                let index: Vec<usize> = index.iter().map(|x| self.int(x) as usize).collect();
                match *tensor {
                    TABLE_F32 => float(self.inputs[4][index[0] * TABLE + index[1]]),
                    TABLE_INT => Int(self.inputs[5][index[0]] as i64),
                    _ => float(self.inputs[0][index[0] * self.case.cols + index[1]]),
                }
            }
            Expr::Unary(op, x) => match (op, self.eval(x)) {
                (Unary::Not, Bool(x)) => Bool(!x),
                (op, Float(x)) => Float(match op {
                    Unary::Neg => -x,
                    Unary::Abs => x.abs(),
                    Unary::Relu => {
                        if x > 0.0 {
                            x
                        } else {
                            0.0
                        }
                    }
                    Unary::Floor => x.floor(),
                    Unary::Exp => x.exp(),
                    Unary::Log => x.ln(),
                    Unary::Sqrt => x.sqrt(),
                    Unary::Rsqrt => 1.0 / x.sqrt(),
                    Unary::Tanh => x.tanh(),
                    Unary::Sigmoid => (1.0 / (1.0 + f64::from(-x).exp())) as f32,
                    Unary::Softplus => {
                        f64::from(x).max(0.0) as f32 + f64::from(-x.abs()).exp().ln_1p() as f32
                    }
                    Unary::LogSigmoid => {
                        f64::from(x).min(0.0) as f32 - f64::from(-x.abs()).exp().ln_1p() as f32
                    }
                    Unary::Not => unreachable!(),
                }),
                (op, x) => panic!("{op:?} of {x:?}"),
            },
            Expr::Binary(Binary::And, x, y) => Bool(self.truth(x) && self.truth(y)),
            Expr::Binary(Binary::Or, x, y) => Bool(self.truth(x) || self.truth(y)),
            Expr::Binary(op, x, y) => match (self.eval(x), self.eval(y)) {
                (Int(x), Int(y)) => Int(match op {
                    Binary::Add => x + y,
                    Binary::Sub => x - y,
                    Binary::Mul => x * y,
                    Binary::Min => x.min(y),
                    Binary::Max => x.max(y),
                    Binary::IntDiv => x.div_euclid(y),
                    Binary::IntMod => x.rem_euclid(y),
                    _ => panic!("{op:?} of ints"),
                }),
                (Float(x), Float(y)) => Float(match op {
                    Binary::Add => x + y,
                    Binary::Sub => x - y,
                    Binary::Mul => x * y,
                    Binary::Max => {
                        if x > y {
                            x
                        } else {
                            y
                        }
                    }
                    _ => panic!("{op:?} of floats"),
                }),
                other => panic!("{op:?} of {other:?}"),
            },
            Expr::Compare(op, x, y) => {
                let (x, y) = match (self.eval(x), self.eval(y)) {
                    (Int(x), Int(y)) => (x as f64, y as f64),
                    (Float(x), Float(y)) => (f64::from(x), f64::from(y)),
                    other => panic!("{other:?} compared"),
                };
                Bool(match op {
                    Compare::Eq => x == y,
                    Compare::Ne => x != y,
                    Compare::Lt => x < y,
                    Compare::Le => x <= y,
                    Compare::Gt => x > y,
                    Compare::Ge => x >= y,
                })
            }
            Expr::If(c, x, y) => {
                if self.truth(c) {
                    self.eval(x)
                } else {
                    self.eval(y)
                }
            }
            Expr::Cast(to, x) => match (to, self.eval(x)) {
                (ScalarType::F32, Int(x)) => Float(x as f32),
                (ScalarType::Int, Bool(x)) => Int(i64::from(x)),
                other => panic!("{other:?}"),
            },
            Expr::Reduce { op, hi, body, .. } => {
                let mut total = if *op == Reduction::Sum { 0.0 } else { f32::NEG_INFINITY };
                for t in 0..self.int(hi) {
                    self.bound = t;
                    let Float(x) = self.eval(body) else { panic!("a float body") };
                    total = match op {
                        Reduction::Sum => total + x,
                        _ => {
                            if total > x {
                                total
                            } else {
                                x
                            }
                        }
                    };
                }
                Float(total)
            }
            Expr::Size(_) | Expr::Param(_) => panic!("{expr:?} is not generated"),
        }
    }
}

fn agrees(seed: u64, rows: usize, cols: usize, storage: Element) {
    let body = Source(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).body();
    let case = case(rows, cols, storage, body.clone());
    let held = |seed, count| {
        support::decode(
            storage,
            &encode(storage, &random(seed, count).iter().map(|x| x * 3.0).collect::<Vec<_>>()),
        )
    };
    let inputs = vec![
        held(seed, rows * cols),
        support::rounded(Element::F32, &random(seed ^ 1, rows)),
        held(seed ^ 2, cols),
        random(seed ^ 3, rows * cols).iter().map(|x| f64::from(u8::from(*x > 0.0))).collect(),
        held(seed ^ 4, 3 * TABLE),
        random(seed ^ 5, TABLE).iter().map(|x| (x * 9.0).floor()).collect(),
    ];
    let call = Call { program: &case.program, sizes: vec![], params: vec![] };
    let found = &call.run(&inputs)[0];
    for row in 0..rows {
        for col in 0..cols {
            let mut reference = Reference { case: &case, inputs: &inputs, row, col, bound: 0 };
            let Number::Float(wanted) = reference.eval(&body) else { panic!("a float body") };
            let (wanted, got) = (f64::from(wanted), found[row * cols + col]);
            let near = wanted == got
                || (wanted.is_nan() && got.is_nan())
                || (wanted - got).abs() <= 2e-6 * wanted.abs().max(1e-3);
            assert!(near, "[{row}, {col}]: {got}, not {wanted}\n{}", case.program);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn vector_code_agrees_with_scalars(seed in any::<u64>(), rows in 1_usize..7, cols in 2_usize..23) {
        agrees(seed, rows, cols, Element::F32);
    }

    #[test]
    fn storage_types_are_read_in_bodies(seed in any::<u64>(), cols in 2_usize..14, half in any::<bool>()) {
        agrees(seed, 3, cols, if half { Element::F16 } else { Element::Bf16 });
    }
}
