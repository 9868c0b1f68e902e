//! Which matrix products of a kernel run in bf16: pairs of neighbours along the depth, f32 sums.
//!
//! Input → output: the uses of a kernel's tiles → the tiles that such products read, by their role. A product qualifies if
//! its right operand is copied from a tensor of bf16 and its left operand is too, or is the weights of an online softmax
//! that nothing else reads. A tile is held in one form only, so that all products of a tile qualify or none.

use super::Uses;
use dmac_schedule::Program;
use dmac_schedule::kernel::{Element, Expr, Stmt, TileId};
use std::collections::BTreeSet;

/// The operands of the products that run in bf16.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Pairs {
    /// Left operands that are rows of a tensor of bf16, read in place.
    pub(crate) left: BTreeSet<TileId>,
    /// Left operands that are weights: the softmax stores them as bf16 in place of the scores.
    pub(crate) weights: BTreeSet<TileId>,
    /// Right operands.
    pub(crate) right: BTreeSet<TileId>,
    /// The rows of all these products.
    pub(crate) rows: Option<Expr>,
}

/// A product: left and right operand, and its rows.
type Product<'a> = (TileId, TileId, &'a Expr);

impl Uses<'_> {
    pub(super) fn pairs(&self, program: &Program) -> Pairs {
        let mut products: Vec<Product<'_>> = Vec::new();
        for stmt in &self.kernel.body {
            stmt.walk(&mut |stmt| {
                if let Stmt::Mma { a, b, m, .. } = stmt {
                    products.push((a.tile, b.tile, m));
                }
            });
        }
        let mut pairs = Pairs::default();
        for (a, b, _) in &products {
            let bf16 = |id: &TileId| {
                let mut copies = self.copies(*id).into_iter();
                copies.all(|(tensor, ..)| program.tensor(tensor).element == Element::Bf16)
            };
            if self.replaceable(program, *b) && self.in_place(program, *b).is_some() && bf16(b) {
                pairs.right.insert(*b);
            }
            if self.rows_in_place(*a) && bf16(a) {
                pairs.left.insert(*a);
            } else if self.weights_only(*a) {
                pairs.weights.insert(*a);
            }
        }
        // Taking one tile away may take others with it.
        loop {
            let fits = |(a, b, _): &Product<'_>| {
                (pairs.left.contains(a) || pairs.weights.contains(a)) && pairs.right.contains(b)
            };
            let wrong: Vec<Product<'_>> = products.iter().filter(|product| !fits(product)).copied().collect();
            let mut changed = false;
            for (a, b, _) in wrong {
                changed |= pairs.left.remove(&a) | pairs.weights.remove(&a) | pairs.right.remove(&b);
            }
            if !changed {
                break;
            }
        }
        let rows: BTreeSet<&Expr> =
            products.iter().filter(|(_, b, _)| pairs.right.contains(b)).map(|(_, _, rows)| *rows).collect();
        match (rows.len(), rows.first()) {
            (1, Some(rows)) => Pairs { rows: Some((*rows).clone()), ..pairs },
            _ => Pairs::default(),
        }
    }

    /// Whether a left operand can be read from the tensor that it is copied from.
    fn rows_in_place(&self, id: TileId) -> bool {
        let tile = self.kernel.tile(id);
        let copies = self.copies(id);
        tile.stages == 1
            && tile.cols > 1
            && !copies.is_empty()
            && !self.elementwise.contains(&id)
            && !self.right.contains(&id)
            && !self.transposed.contains(&id)
            && copies.iter().all(|(tensor, index, rows, cols)| {
                let access = crate::rows::rows_of(index);
                let products = self.kernel.body.iter().all(|stmt| {
                    let mut same = true;
                    stmt.walk(&mut |stmt| {
                        if let Stmt::Mma { a, m, k, .. } = stmt
                            && a.tile == id
                        {
                            same &= m == *rows && k == *cols;
                        }
                    });
                    same
                });
                products && !self.written.contains(tensor) && access.is_some_and(|rows| rows.list.is_none())
            })
    }

    /// Whether what an online softmax leaves in a tile is read by products alone, the next statements but for copies.
    fn weights_only(&self, id: TileId) -> bool {
        let mut softmax = false;
        let mut fits = true;
        let mut check = |body: &[Stmt]| {
            let mut weights = false;
            let mut read = false;
            for stmt in body {
                let mut named = false;
                stmt.walk(&mut |inner| named |= names(inner, id));
                match stmt {
                    Stmt::OnlineSoftmax { scores, .. } if *scores == id => {
                        fits &= !read;
                        (weights, softmax) = (true, true);
                    }
                    Stmt::Mma { acc, a, b, .. } if a.tile == id => {
                        fits &= weights && b.tile != id && *acc != id;
                        read = true;
                    }
                    _ => fits &= !named || !weights,
                }
            }
        };
        check(&self.kernel.body);
        for stmt in &self.kernel.body {
            stmt.walk(&mut |stmt| stmt.bodies().into_iter().for_each(&mut check));
        }
        softmax && fits
    }
}

/// Whether a statement itself reads or writes a tile.
fn names(stmt: &Stmt, id: TileId) -> bool {
    let expression = super::expressions(stmt)
        .into_iter()
        .any(|expr| expr.any(&mut |x| matches!(x, Expr::Elem(tile) | Expr::At { tile, .. } if *tile == id)));
    expression
        || match stmt {
            Stmt::Copy { dst, .. } => dst.tile == id,
            Stmt::Store { src, .. } | Stmt::ReduceAdd { src, .. } => *src == id,
            Stmt::Fill { tile, .. } | Stmt::Map { dst: tile, .. } => *tile == id,
            Stmt::Mma { acc, a, b, .. } => [*acc, a.tile, b.tile].contains(&id),
            Stmt::RowReduce { dst, src, .. } => [*dst, *src].contains(&id),
            Stmt::OnlineSoftmax { scores, row_max, row_sum, acc, .. } => {
                [*scores, *row_max, *row_sum, acc.0].contains(&id)
            }
            Stmt::HeapOffer { scores, valid, .. } => [*scores, *valid].contains(&id),
            _ => false,
        }
}
