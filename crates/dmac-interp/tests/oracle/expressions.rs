//! Scalar operations, reductions, windows and blocks, laziness, rounding: small outputs compared with values worked out
//! here.

use crate::build::{Program, Sizes, inputs};
use dmac_interp::{Arithmetic, Error, Inputs, Options, Storage, Tensor, evaluate};
use dmac_ir::{
    Axis, AxisKind, Binary, Compare, Domain, Elem, Graph, NodeId, Op, Param, ParamType, ParamValue,
    Reduction, Scalar, Size, Unary,
};

const SIZES: Sizes = Sizes { b: 1, h: 2, g: 1, m: 4, n: 10, d: 4, e: 4 };

fn run(graph: &Graph, inputs: &Inputs) -> Result<Vec<f64>, Error> {
    Ok(evaluate(graph, inputs, &Options::default())?.tensors.remove(0).data)
}

fn value(graph: &Graph) -> Result<Vec<f64>, Error> {
    run(graph, &inputs(graph, SIZES, 1, vec![]))
}

/// A scalar expression's value.
fn scalar(build: impl Fn(&mut Program) -> NodeId) -> f64 {
    let mut program = Program::new();
    let body = build(&mut program);
    let elem = match program.graph.ty(body).as_scalar() {
        Some(Scalar::F32) => Elem::F32,
        Some(Scalar::Int) => Elem::I32,
        _ => Elem::Bool,
    };
    program.emit(&[], elem, body);
    value(&program.graph).expect("evaluates")[0]
}

#[test]
fn integers_divide_by_floor() {
    for (x, y, quotient, rest) in
        [(7, 2, 3, 1), (-7, 2, -4, 1), (7, -2, -4, -1), (-7, -2, 3, -1), (-6, 3, -2, 0)]
    {
        let of = |op| {
            scalar(|p: &mut Program| {
                let (x, y) = (p.int(x), p.int(y));
                p.op(op, x, y)
            })
        };
        assert_eq!(
            (of(Binary::IntDiv), of(Binary::IntMod)),
            (f64::from(quotient), f64::from(rest)),
            "{x}, {y}"
        );
    }
}

#[test]
fn functions_are_accurate_at_their_ends() {
    let of = |op, x: f32| {
        scalar(|p: &mut Program| {
            let x = p.graph.float(x);
            p.graph.unary(op, x)
        })
    };
    assert_eq!(of(Unary::Softplus, 100.0), 100.0);
    assert!((of(Unary::Softplus, -30.0) - (-30.0_f64).exp()).abs() < 1e-20);
    assert_eq!(of(Unary::LogSigmoid, -1000.0), -1000.0);
    assert_eq!(of(Unary::Sigmoid, -1000.0), 0.0);
    assert_eq!(of(Unary::Floor, -0.5), -1.0);
    assert_eq!(of(Unary::Rsqrt, 4.0), 0.5);
    assert!(of(Unary::Relu, f32::NAN).is_nan());
    assert_eq!(of(Unary::Relu, -3.0), 0.0);
    let two = |op, x: f32, y: f32| {
        scalar(|p: &mut Program| {
            let (x, y) = (p.graph.float(x), p.graph.float(y));
            p.op(op, x, y)
        })
    };
    assert!(two(Binary::Max, 1.0, f32::NAN).is_nan() && two(Binary::Min, f32::NAN, 1.0).is_nan());
    assert_eq!(two(Binary::Max, 1.0, 2.0), 2.0);
    let int_of = |x: f32| {
        scalar(|p: &mut Program| {
            let x = p.graph.float(x);
            p.graph.cast(x, Scalar::Int)
        })
    };
    assert_eq!(int_of(-1.5), -2.0);
    assert_eq!(int_of(1e20), f64::from(i32::MAX));
    assert_eq!(int_of(f32::NAN), 0.0);
}

#[test]
fn float_comparisons_and_floor_see_f32() {
    // 1/3 + 2/3 is 1 + 2^-54 or so in float64 of f32 thirds; in f32 the sum of these two rounds to 1.
    let third = |p: &mut Program| {
        let (x, y) = (p.graph.float(1.0 / 3.0), p.graph.float(2.0 / 3.0));
        p.op(Binary::Add, x, y)
    };
    let exact = f64::from(1.0_f32 / 3.0) + f64::from(2.0_f32 / 3.0);
    assert!(exact != 1.0, "the example needs a difference");
    let equal = scalar(|p: &mut Program| {
        let (sum, one) = (third(p), p.graph.float(1.0));
        p.graph.compare(Compare::Eq, sum, one)
    });
    assert_eq!(equal, 1.0);
}

#[test]
fn reductions_over_nothing_have_their_neutral_value() {
    let of = |op, float: bool| {
        let mut program = Program::new();
        let nothing = program.graph.add_axis(Axis::new("z", AxisKind::Sized(Size::Const(-3))));
        let z = program.graph.add_var("z", nothing);
        let index = program.at(z);
        let body = match op {
            Reduction::Any | Reduction::All => program.graph.compare(Compare::Eq, index, index),
            _ if float => program.graph.cast(index, Scalar::F32),
            _ => index,
        };
        let body = program.graph.add(Op::Reduce { op, domains: vec![Domain::All(z)] }, &[body]);
        let elem = match program.graph.ty(body).as_scalar() {
            Some(Scalar::F32) => Elem::F32,
            Some(Scalar::Int) => Elem::I32,
            _ => Elem::Bool,
        };
        program.emit(&[], elem, body);
        value(&program.graph).expect("evaluates")[0]
    };
    assert_eq!((of(Reduction::Sum, true), of(Reduction::Sum, false)), (0.0, 0.0));
    assert_eq!((of(Reduction::Max, true), of(Reduction::Min, true)), (f64::NEG_INFINITY, f64::INFINITY));
    assert_eq!(
        (of(Reduction::Max, false), of(Reduction::Min, false)),
        (f64::from(i32::MIN), f64::from(i32::MAX))
    );
    assert!(of(Reduction::Mean, true).is_nan());
    assert_eq!((of(Reduction::Any, true), of(Reduction::All, true)), (0.0, 1.0));
}

#[test]
fn windows_and_blocks_end_where_they_must() {
    // Sums of positions: windows of 4 each 3 of 10 keys; blocks of 4, the last short.
    let kinds = [
        (
            |n| AxisKind::Windows { of: n, length: Size::Const(4), stride: Size::Const(3) },
            vec![6.0, 18.0, 30.0],
        ),
        (|n| AxisKind::Blocks { of: n, length: Size::Const(4) }, vec![6.0, 22.0, 17.0]),
    ] as [(fn(dmac_ir::AxisId) -> AxisKind, Vec<f64>); 2];
    for (kind, sums) in kinds {
        let mut program = Program::new();
        let axis = program.graph.add_axis(Axis::new("c", kind(program.axes[4])));
        let c = program.graph.add_var("c", axis);
        let j = program.at(program.j);
        let domain = Domain::Positions { var: program.j, part: c };
        let body = program.sum(&[domain], j);
        program.emit(&[c], Elem::I32, body);
        assert_eq!(value(&program.graph).expect("evaluates"), sums);
        // About a batch element, positions end with its keys.
        let mut program = Program::new();
        let axis = program.graph.add_axis(Axis::new("c", kind(program.axes[4])));
        let c = program.graph.add_var("c", axis);
        let v = program.read(program.v, &[program.b, program.g, program.j, program.e]);
        let one = program.op(Binary::Div, v, v);
        let count = program.sum(&[Domain::Positions { var: program.j, part: c }], one);
        program.emit(&[program.b, program.g, c, program.e], Elem::F32, count);
        let mut inputs = inputs(&program.graph, SIZES, 1, vec![]);
        inputs.kv_len = Some(vec![7]);
        let counts = run(&program.graph, &inputs).expect("evaluates");
        let first: Vec<f64> = counts.iter().step_by(SIZES.e).copied().collect();
        let expected = if sums[1] == 18.0 { [4.0, 4.0, 1.0] } else { [4.0, 3.0, 0.0] };
        assert_eq!(first, expected);
    }
}

#[test]
fn heads_of_a_group_and_keys_of_a_batch_element() {
    let sizes = Sizes { b: 2, h: 6, g: 3, ..SIZES };
    let mut program = Program::new();
    let h = program.at(program.h);
    let sum = program.sum(&[Domain::Heads { var: program.h, kv_head: program.g }], h);
    program.emit(&[program.g], Elem::I32, sum);
    let found = run(&program.graph, &inputs(&program.graph, sizes, 1, vec![])).expect("evaluates");
    assert_eq!(found, [1.0, 5.0, 9.0]);
    let mut program = Program::new();
    let j = program.at(program.j);
    let sum = program.sum(&[Domain::Keys { var: program.j, batch: program.b }], j);
    program.emit(&[program.b], Elem::I32, sum);
    let mut inputs = inputs(&program.graph, sizes, 1, vec![]);
    inputs.kv_len = Some(vec![4, 0]);
    assert_eq!(run(&program.graph, &inputs).expect("evaluates"), [6.0, 0.0]);
}

/// `table[j - 4]` under `guard(j)`, over the keys; the table has 3 elements.
fn guarded(guard: impl Fn(&mut Program, NodeId, NodeId) -> NodeId) -> Result<Vec<f64>, Error> {
    let mut program = Program::new();
    let axis = program.graph.add_axis(Axis::new("x", AxisKind::Free));
    let table = program.input("table", Elem::I32, &[axis]);
    let (j, four) = (program.at(program.j), program.int(4));
    let index = program.op(Binary::Sub, j, four);
    let read = program.graph.read(table, &[index]);
    let body = guard(&mut program, index, read);
    program.emit(&[program.j], Elem::I32, body);
    run(&program.graph, &inputs(&program.graph, SIZES, 1, vec![Tensor::i32(&[3], vec![10, 20, 30])]))
}

#[test]
fn a_read_that_is_excluded_does_not_happen() {
    let inside = |p: &mut Program, index: NodeId| {
        let (zero, three) = (p.int(0), p.int(3));
        let above = p.graph.compare(Compare::Ge, index, zero);
        let below = p.graph.compare(Compare::Lt, index, three);
        p.op(Binary::And, above, below)
    };
    let expected = [-1.0, -1.0, -1.0, -1.0, 10.0, 20.0, 30.0, -1.0, -1.0, -1.0];
    let by_if = guarded(|p, index, read| {
        let (condition, other) = (inside(p, index), p.int(-1));
        p.graph.add(Op::If, &[condition, read, other])
    });
    assert_eq!(by_if.expect("evaluates"), expected);
    // `and` in either order, `or` of the negation.
    for (swapped, negated) in [(false, false), (true, false), (false, true)] {
        let by_logic = guarded(|p, index, read| {
            let (condition, fifteen) = (inside(p, index), p.int(15));
            let large = p.graph.compare(Compare::Gt, read, fifteen);
            let both = if negated {
                let outside = p.graph.unary(Unary::Not, condition);
                let small = p.graph.unary(Unary::Not, large);
                let either = p.op(Binary::Or, outside, small);
                p.graph.unary(Unary::Not, either)
            } else {
                let (x, y) = if swapped { (large, condition) } else { (condition, large) };
                p.op(Binary::And, x, y)
            };
            p.graph.cast(both, Scalar::Int)
        });
        assert_eq!(by_logic.expect("evaluates"), [0., 0., 0., 0., 0., 1., 1., 0., 0., 0.]);
    }
    let error = guarded(|_, _, read| read).expect_err("out of range");
    let text = "`table` is read at index -4 of axis x, which has 0 .. 3 at j = 0 (E0601)";
    assert_eq!(error.to_string(), text);
    let error = guarded(|p, index, _| p.op(Binary::IntDiv, index, index)).expect_err("a zero divisor");
    assert_eq!(error.to_string(), "division by zero at j = 4");
}

#[test]
fn a_let_is_evaluated_only_where_it_is_read() {
    // let shifted[j] = table[j - 4], read for j in 4 .. 7 only.
    let mut program = Program::new();
    let axis = program.graph.add_axis(Axis::new("x", AxisKind::Free));
    let table = program.input("table", Elem::I32, &[axis]);
    let (j, four, seven) = (program.at(program.j), program.int(4), program.int(7));
    let index = program.op(Binary::Sub, j, four);
    let read = program.graph.read(table, &[index]);
    let define = Op::Define { name: "shifted".into(), vars: vec![program.j], elem: Elem::I32 };
    let shifted = program.graph.add(define, &[read]);
    let element = program.read(shifted, &[program.j]);
    let inside = program.graph.add(Op::InRange, &[j, four, seven]);
    let other = program.int(0);
    let body = program.graph.add(Op::If, &[inside, element, other]);
    program.emit(&[program.j], Elem::I32, body);
    let table = Tensor::i32(&[3], vec![10, 20, 30]);
    let found = run(&program.graph, &inputs(&program.graph, SIZES, 1, vec![table])).expect("evaluates");
    assert_eq!(found, [0., 0., 0., 0., 10., 20., 30., 0., 0., 0.]);
}

#[test]
fn lets_are_rounded_to_their_type_and_outputs_are_not() {
    let mut program = Program::new();
    let param = program.graph.add_param(Param {
        name: "p".into(),
        ty: ParamType::Float,
        default: ParamValue::Float(1.0),
    });
    let (p, three) = (program.graph.add(Op::Param(param), &[]), program.graph.float(3.0));
    let body = program.op(Binary::Div, p, three);
    program.emit(&[], Elem::F32, body);
    assert_eq!(value(&program.graph).expect("evaluates"), [1.0 / 3.0]);
    let stored = |elem: Elem, storage: Storage, arithmetic: Arithmetic| {
        let mut program = Program::new();
        let (one, three) = (program.graph.float(1.0), program.graph.float(3.0));
        let body = program.op(Binary::Div, one, three);
        let define = Op::Define { name: "third".into(), vars: vec![], elem };
        let third = program.graph.add(define, &[body]);
        let read = program.graph.read(third, &[]);
        program.emit(&[], Elem::F32, read);
        let inputs = Inputs { storage, ..inputs(&program.graph, SIZES, 1, vec![]) };
        let options = Options { arithmetic, ..Options::default() };
        evaluate(&program.graph, &inputs, &options).expect("evaluates").tensors[0].data[0]
    };
    let exact = |elem, storage| stored(elem, storage, Arithmetic::Exact);
    assert_eq!(exact(Elem::F32, Storage::Bf16), f64::from(1.0_f32 / 3.0));
    assert_eq!(exact(Elem::Real, Storage::F32), f64::from(1.0_f32 / 3.0));
    // 1.0101011b * 2^-2 and 1.0101010101b * 2^-2.
    assert_eq!(exact(Elem::Real, Storage::Bf16), 171.0 / 512.0);
    assert_eq!(exact(Elem::Real, Storage::F16), 1365.0 / 4096.0);
    assert_eq!(stored(Elem::F32, Storage::F32, Arithmetic::Plain), f64::from(1.0_f32 / 3.0));
}
