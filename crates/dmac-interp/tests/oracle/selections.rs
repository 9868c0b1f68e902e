//! Selections and lifetimes against choices made by sorting all candidates, for both tie rules, with NaN, signed zeros and
//! infinities among the scores.

use crate::build::{Choice, Program, Random, Sizes, inputs};
use crate::plain::{Pair, assert_close, softmax};
use dmac_interp::{Inputs, Options, SelectionOracle, Tensor, evaluate};
use dmac_ir::{Binary, Compare, Elem, Graph, NodeId, Op, SelectLowering, Ties};
use proptest::prelude::*;
use std::cmp::Ordering;

const SIZES: Sizes = Sizes { b: 2, h: 4, g: 2, m: 9, n: 12, d: 4, e: 3 };

/// Scores `[B, G, N]` with few distinct values, so that ties are everywhere.
fn scores(sizes: Sizes, seed: u64) -> Vec<f32> {
    let values = [0.0, -0.0, 1.0, 1.0, 2.5, -3.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.25];
    let mut random = Random::new(seed);
    (0..sizes.b * sizes.g * sizes.n).map(|_| values[random.below(values.len() as u64) as usize]).collect()
}

/// Whether `x` at `i` is better than `y` at `j`.
fn beats(x: f32, i: usize, y: f32, j: usize, ties: Ties) -> bool {
    match x.partial_cmp(&y) {
        Some(Ordering::Greater) => true,
        Some(Ordering::Less) => false,
        // Equal, or a NaN: a number beats a NaN, and NaNs tie.
        _ if x.is_nan() != y.is_nan() => y.is_nan(),
        _ => {
            if ties == Ties::Low {
                i < j
            } else {
                i > j
            }
        }
    }
}

/// Whether the key is among the `n` best of the keys up to the position.
fn among_best(scores: &[f32], sizes: Sizes, n: i64, ties: Ties, p: Pair) -> bool {
    if p.j as i64 > p.i {
        return false;
    }
    let row = &scores[(p.b * sizes.g + p.g) * sizes.n..][..sizes.n];
    let better = (0..=p.i as usize).filter(|&other| beats(row[other], other, row[p.j], p.j, ties)).count();
    (better as i64) < n
}

/// A program that keeps the `n` best keys of the causal prefix: as a selection, or as lifetimes.
fn best(sizes: Sizes, n: i64, ties: Ties, as_lifetime: bool, scores: &[f32]) -> (Graph, Inputs) {
    let mut program = Program::new();
    let [ab, _, ag, _, an, ..] = program.axes;
    let score = program.input("score", Elem::F32, &[ab, ag, an]);
    let score = program.read(score, &[program.b, program.g, program.j]);
    let (exists, causal, n) = (program.exists(), program.causal(), program.int(n));
    let term = if as_lifetime {
        program.lifetime(score, ties, n)
    } else {
        let candidate = program.op(Binary::And, exists, causal);
        program.select(Choice::plain(ties), score, candidate, n)
    };
    let graph = program.softmax(&[exists, causal, term]);
    let score = Tensor::f32(&[sizes.b, sizes.g, sizes.n], scores.to_vec());
    let inputs = inputs(&graph, sizes, 11, vec![score]);
    (graph, inputs)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_selection_and_its_lifetimes_are_the_best_of_the_prefix(
        seed in 0_u64..1000, n in 0_i64..14, high: bool, m in 1_usize..16, lengths in prop::option::of((0_i64..13, 0_i64..13)),
    ) {
        let sizes = Sizes { m, ..SIZES };
        let ties = if high { Ties::High } else { Ties::Low };
        let scores = scores(sizes, seed);
        for as_lifetime in [false, true] {
            let (graph, mut inputs) = best(sizes, n, ties, as_lifetime, &scores);
            inputs.kv_len = lengths.map(|(x, y)| vec![x, y]);
            let outputs = evaluate(&graph, &inputs, &Options::default()).expect("evaluates");
            let kept = |p: Pair| among_best(&scores, sizes, n, ties, p);
            let (out, lse) = softmax(&inputs, sizes, &kept, &|s, _| s, None);
            assert_close(&outputs.tensors[0].data, &out, 1e-12);
            assert_close(&outputs.tensors[1].data, &lse, 1e-12);
        }
    }
}

#[test]
fn forced_candidates_count_and_extra_ones_do_not() {
    let scores = scores(SIZES, 5);
    for (forced, extra) in [(true, false), (false, true), (true, true)] {
        let mut program = Program::new();
        let [ab, _, ag, _, an, ..] = program.axes;
        let score = program.input("score", Elem::F32, &[ab, ag, an]);
        let score = program.read(score, &[program.b, program.g, program.j]);
        let (j, i, three, two) = (program.at(program.j), program.position(), program.int(3), program.int(2));
        let candidate = program.causal();
        // Forced: j == 2 or j == 3. Extra: i - j < 3.
        let is = |program: &mut Program, value| program.graph.compare(Compare::Eq, j, value);
        let (second, third) = (is(&mut program, two), is(&mut program, three));
        let early = program.op(Binary::Or, second, third);
        let distance = program.op(Binary::Sub, i, j);
        let near = program.graph.compare(Compare::Lt, distance, three);
        let choice = Choice {
            forcing: forced.then_some(early),
            plus: extra.then_some(near),
            lowering: Some(SelectLowering::RowList),
            ..Choice::plain(Ties::Low)
        };
        let term = program.select(choice, score, candidate, three);
        let graph = program.softmax(&[candidate, term]);
        let table = Tensor::f32(&[SIZES.b, SIZES.g, SIZES.n], scores.clone());
        let inputs = inputs(&graph, SIZES, 12, vec![table]);
        let outputs = evaluate(&graph, &inputs, &Options::default()).expect("evaluates");
        let kept = |p: Pair| {
            let row = &scores[(p.b * SIZES.g + p.g) * SIZES.n..][..SIZES.n];
            let near = |j: usize| extra && p.i - (j as i64) < 3;
            let early = |j: usize| forced && (j == 2 || j == 3);
            if p.j as i64 > p.i {
                return false;
            }
            let ahead = |x: usize| match (early(x), early(p.j)) {
                (true, false) => true,
                (false, true) => false,
                _ => beats(row[x], x, row[p.j], p.j, Ties::Low),
            };
            near(p.j) || (0..=p.i as usize).filter(|&x| !near(x) && ahead(x)).count() < 3
        };
        let (out, _) = softmax(&inputs, SIZES, &kept, &|s, _| s, None);
        assert_close(&outputs.tensors[0].data, &out, 1e-12);
        let counts = outputs.selections.values().next().expect("a selection");
        assert!(counts.chosen < counts.candidates && counts.chosen > 0);
    }
}

/// A choice that swaps an element for another in one row.
struct Swapped {
    kept: Vec<Vec<i64>>,
    swap: (i64, i64),
}

impl SelectionOracle for Swapped {
    fn chosen(&self, _: NodeId, row: &[i64]) -> Option<Vec<i64>> {
        let mut chosen = self.kept[row[2] as usize].clone();
        if row == [0, 0, 8] {
            for element in &mut chosen {
                *element = if *element == self.swap.0 { self.swap.1 } else { *element };
            }
        }
        Some(chosen)
    }

    fn ends(&self, _: NodeId, _: &[i64]) -> Option<Vec<i64>> {
        None
    }
}

#[test]
fn a_choice_is_followed_and_checked_by_margin() {
    let sizes = Sizes { b: 1, h: 1, g: 1, m: 12, ..SIZES };
    // Keys 4 and 7 differ by less than f32 can tell after the sum, the others by much.
    let mut parts = vec![[0.0, 0.0, 0.0]; sizes.n];
    for (j, parts) in parts.iter_mut().enumerate() {
        *parts = [j as f32 / 10.0, 1.0, -0.5];
    }
    parts[4] = [1e3 / 3.0, 1.0, 0.1];
    parts[7] = [1e3 / 3.0, 1.1, 0.000_003];
    let mut program = Program::new();
    let [ab, _, ag, _, an, ..] = program.axes;
    let part = program.graph.add_axis(dmac_ir::Axis::new("x", dmac_ir::AxisKind::Free));
    let x = program.graph.add_var("x", part);
    let table = program.input("table", Elem::F32, &[ab, ag, an, part]);
    let read = program.read(table, &[program.b, program.g, program.j, x]);
    let third = program.graph.float(1.0 / 3.0);
    let term = program.op(Binary::Mul, read, third);
    let score = program.sum(&[dmac_ir::Domain::All(x)], term);
    let (candidate, three) = (program.causal(), program.int(3));
    let member = program.select(Choice::plain(Ties::Low), score, candidate, three);
    let graph = program.softmax(&[member]);
    let table = Tensor::f32(&[1, 1, sizes.n, 3], parts.concat());
    let inputs = inputs(&graph, sizes, 13, vec![table]);
    let total = |j: usize| parts[j].iter().map(|&x| f64::from(x)).sum::<f64>();
    let kept: Vec<Vec<i64>> = (0..sizes.m)
        .map(|i| {
            let mut order: Vec<usize> = (0..=i).collect();
            order.sort_by(|&x, &y| total(y).total_cmp(&total(x)));
            order.into_iter().take(3).map(|j| j as i64).collect()
        })
        .collect();
    let margin = |swap| {
        let oracle = Swapped { kept: kept.clone(), swap };
        let options = Options { selection: Some(&oracle), ..Options::default() };
        let outputs = evaluate(&graph, &inputs, &options).expect("evaluates");
        let kept = |p: Pair| {
            let chosen = &oracle.kept[p.i as usize];
            if p.i == 8 && p.j as i64 == swap.1 {
                return chosen.contains(&swap.0);
            }
            chosen.contains(&(p.j as i64)) && !(p.i == 8 && p.j as i64 == swap.0)
        };
        let (out, _) = softmax(&inputs, sizes, &kept, &|s, _| s, None);
        assert_close(&outputs.tensors[0].data, &out, 1e-12);
        outputs.selections.values().next().and_then(|counts| counts.margin.clone()).expect("a margin")
    };
    assert!(kept[8].contains(&4) && kept[8].contains(&7) && kept[8].contains(&8));
    assert!(margin((99, 98)).passes(), "the exact choice");
    let worse = margin((8, 5));
    assert!(!worse.passes() && worse.worst.is_finite(), "{worse:?}");
    let outside = margin((8, 10));
    assert_eq!(outside.reason, "element 10 is chosen and is no candidate");
    assert_eq!(margin((8, 4)).reason, "element 4 does not exist or is chosen twice");
    assert_eq!(margin((8, 40)).reason, "element 40 does not exist or is chosen twice");
}

/// The element chosen from row 6 on, where key 6 is a candidate.
struct Chosen(i64);
impl SelectionOracle for Chosen {
    fn chosen(&self, _: NodeId, row: &[i64]) -> Option<Vec<i64>> {
        Some(vec![if row[2] < 2 {
            0
        } else if row[2] < 6 {
            2
        } else {
            self.0
        }])
    }
    fn ends(&self, _: NodeId, _: &[i64]) -> Option<Vec<i64>> {
        None
    }
}

#[test]
fn scores_within_their_error_may_be_ordered_either_way() {
    let sizes = Sizes { b: 1, h: 1, g: 1, m: 9, n: 9, ..SIZES };
    // The score is a sum whose terms cancel, so that f32 gets it wrong by more than keys 2 and 6 differ.
    let mut program = Program::new();
    let [ab, _, ag, _, an, ..] = program.axes;
    let part = program.graph.add_axis(dmac_ir::Axis::new("x", dmac_ir::AxisKind::Free));
    let x = program.graph.add_var("x", part);
    let table = program.input("table", Elem::F32, &[ab, ag, an, part]);
    let read = program.read(table, &[program.b, program.g, program.j, x]);
    let score = program.sum(&[dmac_ir::Domain::All(x)], read);
    let (candidate, one) = (program.causal(), program.int(1));
    let member = program.select(Choice::plain(Ties::Low), score, candidate, one);
    let graph = program.softmax(&[member]);
    let mut parts = vec![[1000.1, 0.013, -1000.0]; sizes.n];
    parts[2] = [1000.3, 0.200_01, -1000.0];
    parts[6] = [1000.3, 0.2, -1000.0];
    let inputs = inputs(&graph, sizes, 14, vec![Tensor::f32(&[1, 1, sizes.n, 3], parts.concat())]);
    let margin = |element| {
        let oracle = Chosen(element);
        let options = Options { selection: Some(&oracle), ..Options::default() };
        let outputs = evaluate(&graph, &inputs, &options).expect("evaluates");
        outputs.selections.values().next().and_then(|counts| counts.margin.clone()).expect("a margin")
    };
    assert!(margin(2).passes());
    assert!(margin(6).passes() && margin(6).worst > 0.0, "{:?}", margin(6));
    assert!(!margin(5).passes());
}

/// Ends as something else computed them.
struct Ends(Vec<i64>);

impl SelectionOracle for Ends {
    fn chosen(&self, _: NodeId, _: &[i64]) -> Option<Vec<i64>> {
        None
    }

    fn ends(&self, _: NodeId, _: &[i64]) -> Option<Vec<i64>> {
        Some(self.0.clone())
    }
}

#[test]
fn ends_of_lifetimes_are_followed_and_checked() {
    let sizes = Sizes { b: 1, h: 1, g: 1, m: 6, n: 6, ..SIZES };
    let scores = [1.0, 5.0, 2.0, 4.0, 3.0, 6.0];
    let (graph, inputs) = best(sizes, 2, Ties::Low, true, &scores);
    let node = graph.node_ids().find(|&id| matches!(graph.op(id), Op::Lifetime { .. })).expect("a lifetime");
    // 0 is dropped when 2 enters, 2 when 3 does, 4 is never kept, 3 is dropped when 5 enters.
    let right = vec![2, 6, 3, 5, 4, 6];
    let check = |ends: Vec<i64>| {
        let oracle = Ends(ends);
        let options = Options { selection: Some(&oracle), ..Options::default() };
        let outputs = evaluate(&graph, &inputs, &options).expect("evaluates");
        let kept = |p: Pair| p.j as i64 <= p.i && p.i < oracle.0.get(p.j).copied().unwrap_or(-1);
        let (out, _) = softmax(&inputs, sizes, &kept, &|s, _| s, None);
        assert_close(&outputs.tensors[0].data, &out, 1e-12);
        let counts = &outputs.selections[&node];
        (counts.margin.clone().expect("a margin"), counts.candidates, counts.chosen)
    };
    let (margin, candidates, chosen) = check(right);
    assert!(margin.passes(), "{margin:?}");
    assert_eq!((candidates, chosen), (21, 11));
    assert!(!check(vec![6, 2, 3, 5, 4, 6]).0.passes(), "the weaker of two was kept");
    let (long, ..) = check(vec![3, 6, 3, 5, 4, 6]);
    assert_eq!(long.reason, "at position 2, 3 elements live, not 2");
    assert_eq!(check(vec![2, 6]).0.reason, "there is not one end for each element");
}
