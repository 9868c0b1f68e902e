//! Reductions over the tiles of a block mask, in blocks instead of elements.
//!
//! Input → output: a reduction over `lo <= x < hi` whose body knows no more of x than a quotient, as the skip predicate of
//! a block table does → the same reduction over quotients. A tile of 128 rows has two or three blocks of 64.

use crate::kernel::{Expr, VarId};
use dmac_ir::{Binary, Reduction};

/// The reduction of `body` over `var`, over its quotients where it has no use for more.
pub(super) fn reduce(op: Reduction, (var, lo, hi): (VarId, Expr, Expr), body: Expr) -> Expr {
    let make = |lo: Expr, hi: Expr, body: Expr| Expr::Reduce {
        op,
        var,
        lo: Box::new(lo),
        hi: Box::new(hi),
        body: Box::new(body),
    };
    // Equal items must count once.
    if !matches!(op, Reduction::Any | Reduction::All | Reduction::Min | Reduction::Max) {
        return make(lo, hi, body);
    }
    let Some(quotient) = quotient(&body, var) else { return make(lo, hi, body) };
    let at = |x: Expr| quotient.replace(&|part| (*part == Expr::Var(var)).then(|| x.clone()));
    let (first, last) = (at(lo.clone()), at(hi.clone() - Expr::Int(1)));
    let end = Expr::lt(lo, hi).then(last + Expr::Int(1), first.clone());
    make(first, end, body.replace(&|part| (*part == quotient).then_some(Expr::Var(var))))
}

/// The sub-expression `(var + shift) div constant` that is all of `var` in `body`. Every integer between two quotients is
/// a quotient of something between.
fn quotient(body: &Expr, var: VarId) -> Option<Expr> {
    let knows = |x: &Expr, var: VarId| x.any(&mut |part| *part == Expr::Var(var));
    let mut bound = Vec::new();
    body.any(&mut |x| {
        if let Expr::Reduce { var, .. } = x {
            bound.push(*var);
        }
        false
    });
    let mut found = None;
    body.any(&mut |x| {
        if let Expr::Binary(Binary::IntDiv, shifted, by) = x
            && matches!(**by, Expr::Int(1..))
            && is_shifted(shifted, var)
            && !bound.iter().any(|&inner| knows(x, inner))
        {
            found = Some(x.clone());
        }
        found.is_some()
    });
    let found = found?;
    let rest = body.replace(&|x| (*x == found).then_some(Expr::Int(0)));
    (!knows(&rest, var)).then_some(found)
}

/// Whether an expression is `var` plus something that does not depend on it.
fn is_shifted(x: &Expr, var: VarId) -> bool {
    let knows = |x: &Expr| x.any(&mut |part| *part == Expr::Var(var));
    match x {
        Expr::Var(own) => *own == var,
        Expr::Binary(Binary::Add, x, y) => {
            (is_shifted(x, var) && !knows(y)) || (is_shifted(y, var) && !knows(x))
        }
        Expr::Binary(Binary::Sub, x, y) => is_shifted(x, var) && !knows(y),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{SizeId, TensorId};
    use dmac_ir::Compare;

    fn equals(x: Expr, y: Expr) -> Expr {
        Expr::compare(Compare::Eq, x, y)
    }

    #[test]
    fn a_body_of_quotients_is_reduced_over_quotients() {
        let var = VarId(3);
        let block = (Expr::Var(var) + Expr::Size(SizeId(0))).int_div(Expr::Int(64));
        let table = |x: Expr| Expr::load(TensorId(0), [x]);
        let body = Expr::and(Expr::lt(Expr::Int(0), block.clone()), equals(table(block), Expr::Int(5)));
        let (lo, hi) = (Expr::Var(VarId(0)), Expr::Var(VarId(1)));
        let Expr::Reduce { lo: first, hi: end, body, .. } = reduce(Reduction::Any, (var, lo, hi), body)
        else {
            panic!("a reduction stays one")
        };
        let known =
            Expr::and(Expr::lt(Expr::Int(0), Expr::Var(var)), equals(table(Expr::Var(var)), Expr::Int(5)));
        assert_eq!(*body, known);
        // Rows 60 .. 130 with a shift of 10 are in blocks 1 and 2; rows 60 .. 60 in none.
        for (lo, hi, blocks) in [(60, 130, Some(1..3)), (60, 60, None), (0, 1, Some(0..1))] {
            let value = |x: &Expr| {
                let x = x.replace(&|part| match part {
                    Expr::Var(VarId(0)) => Some(Expr::Int(lo)),
                    Expr::Var(VarId(1)) => Some(Expr::Int(hi)),
                    Expr::Size(_) => Some(Expr::Int(10)),
                    _ => None,
                });
                match x {
                    Expr::Int(value) => value,
                    x => panic!("{x:?} is not constant"),
                }
            };
            let range = value(&first)..value(&end);
            assert_eq!((!range.is_empty()).then_some(range), blocks);
        }
    }

    #[test]
    fn what_needs_the_element_or_its_multiplicity_keeps_it() {
        let var = VarId(3);
        let range = || (var, Expr::Int(0), Expr::Int(9));
        let block = Expr::Var(var).int_div(Expr::Int(4));
        let mixed = equals(block.clone(), Expr::Var(var));
        let kept = |x: &Expr| matches!(x, Expr::Reduce { hi, .. } if **hi == Expr::Int(9));
        assert!(kept(&reduce(Reduction::Any, range(), mixed)));
        assert!(kept(&reduce(Reduction::Sum, range(), block.clone())));
        assert!(!kept(&reduce(Reduction::Max, range(), block)));
        // The inner variable is bound inside: nothing of it may leave.
        let inner = VarId(4);
        let both = (Expr::Var(var) + Expr::Var(inner)).int_div(Expr::Int(4));
        let nested = Expr::Reduce {
            op: Reduction::Any,
            var: inner,
            lo: Box::new(Expr::Int(0)),
            hi: Box::new(Expr::Int(2)),
            body: Box::new(equals(both, Expr::Int(1))),
        };
        assert!(kept(&reduce(Reduction::Any, range(), nested)));
    }
}
