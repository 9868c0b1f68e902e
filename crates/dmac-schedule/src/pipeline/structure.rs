//! What the specialisation needs of a kernel, found by its data flow.
//!
//! Input → output: a kernel → the same kernel with its visits sharing their tiles, and which tile plays which part; or
//! nothing. A *visit* is the innermost list of statements that ends in a product into the kernel's accumulator.

use super::substitute;
use crate::kernel::{Element, Expr, Kernel, Program, Space, Stmt, TileId};
use std::collections::BTreeMap;

/// The parts of a kernel.
pub(super) struct Structure {
    /// Rows of a query tile.
    pub rows: usize,
    /// How many of them there are, at run time.
    pub row_count: Expr,
    /// Shared tiles of the rows, copied once.
    pub left: Vec<TileId>,
    /// Shared tiles that a visit copies for its scores.
    pub keys: Vec<TileId>,
    /// Shared vectors of one value a key that a visit loads.
    pub columns: Vec<TileId>,
    /// The shared tile that a visit copies for the accumulator.
    pub values: TileId,
    /// Scores, in whose place the weights are computed.
    pub scores: TileId,
    /// The accumulator.
    pub acc: TileId,
    /// The row vectors and columns of the online softmax, if there is one.
    pub online: bool,
    /// Whether rows are copied by index.
    pub gathers: bool,
}

/// What a visit consists of.
#[derive(Default)]
pub(super) struct Visit {
    /// Scalars that come first.
    pub front: Vec<Stmt>,
    /// Copies of keys.
    pub keys: Vec<Stmt>,
    /// Copies of per-key vectors.
    pub columns: Vec<Stmt>,
    /// Products that make the scores.
    pub scores: Vec<Stmt>,
    /// What is done to the scores.
    pub middle: Vec<Stmt>,
    /// The copy of values.
    pub values: Vec<Stmt>,
    /// The product into the accumulator.
    pub output: Vec<Stmt>,
}

impl Structure {
    /// Whether this list is a visit.
    pub fn is_visit(&self, body: &[Stmt]) -> bool {
        body.iter().any(|stmt| matches!(stmt, Stmt::Mma { acc, .. } if *acc == self.acc))
    }

    /// Whether a visit is nested in this statement.
    pub fn has_visit(&self, stmt: &Stmt) -> bool {
        let mut found = false;
        stmt.walk(&mut |stmt| found |= matches!(stmt, Stmt::Mma { acc, .. } if *acc == self.acc));
        found
    }

    /// Sorts the statements of a visit.
    pub fn visit(&self, body: &[Stmt]) -> Visit {
        let mut visit = Visit::default();
        for stmt in body {
            let list = match stmt {
                Stmt::Copy { dst, .. } if self.keys.contains(&dst.tile) => &mut visit.keys,
                Stmt::Copy { dst, .. } if dst.tile == self.values => &mut visit.values,
                Stmt::Map { dst, .. } | Stmt::Copy { dst: crate::kernel::TileRef { tile: dst, .. }, .. }
                    if self.columns.contains(dst) =>
                {
                    &mut visit.columns
                }
                Stmt::Mma { acc, .. } if *acc == self.acc => &mut visit.output,
                Stmt::Mma { .. } => &mut visit.scores,
                _ if visit.scores.is_empty() => &mut visit.front,
                _ => &mut visit.middle,
            };
            list.push(stmt.clone());
        }
        visit
    }
}

/// The visits of a kernel: innermost lists in loops that accumulate a product of a register tile.
fn visits(body: &[Stmt], in_loop: bool) -> Vec<&[Stmt]> {
    let mut found = Vec::new();
    let accumulates = |stmt: &Stmt| matches!(stmt, Stmt::Mma { accumulate: true, transpose_b: false, .. });
    if in_loop && body.iter().any(accumulates) {
        found.push(body);
    }
    for stmt in body {
        let in_loop = in_loop || matches!(stmt, Stmt::For { .. });
        for nested in stmt.bodies() {
            found.extend(visits(nested, in_loop));
        }
    }
    found
}

/// Whether a kernel has visits.
pub(super) fn accumulates(kernel: &Kernel) -> bool {
    !visits(&kernel.body, false).is_empty()
}

/// The tiles of a list of statements in order of appearance.
fn tiles_of(body: &[Stmt]) -> Vec<TileId> {
    let mut found = Vec::new();
    for stmt in body {
        let mut stmt = stmt.clone();
        substitute::tiles(&mut stmt, &mut |tile| {
            if !found.contains(tile) {
                found.push(*tile);
            }
        });
    }
    found
}

/// Lets all visits use the tiles of the first, where their lists of tiles correspond.
fn share_tiles(kernel: &mut Kernel) -> Option<()> {
    let lists: Vec<Vec<TileId>> = visits(&kernel.body, false).into_iter().map(tiles_of).collect();
    let (first, others) = lists.split_first()?;
    let mut to = BTreeMap::new();
    for other in others {
        if other.len() != first.len() {
            return None;
        }
        for (&mine, &other) in first.iter().zip(other) {
            let (a, b) = (kernel.tile(mine), kernel.tile(other));
            let alike = (a.element, a.rows, a.cols, a.space) == (b.element, b.rows, b.cols, b.space);
            if !alike || *to.entry(other).or_insert(mine) != mine {
                return None;
            }
        }
    }
    substitute::rename(&mut kernel.body, &|tile| to.get(&tile).copied().unwrap_or(tile));
    Some(())
}

/// Finds the structure, in the kernel with its tiles shared.
pub(super) fn find(program: &Program, kernel: &Kernel) -> Option<(Kernel, Structure)> {
    if !kernel.heaps.is_empty() || !kernel.barriers.is_empty() {
        return None;
    }
    let mut kernel = kernel.clone();
    share_tiles(&mut kernel)?;
    let (mut products, mut last) = (Vec::new(), None);
    for stmt in *visits(&kernel.body, false).first()? {
        if let Stmt::Mma { acc, a, b, transpose_b, accumulate, m, .. } = stmt {
            if last.is_some() {
                return None;
            }
            if kernel.tile(a.tile).space == Space::Register {
                (*accumulate && !transpose_b).then_some(())?;
                last = Some((*acc, a.tile, b.tile, m.clone()));
            } else {
                transpose_b.then_some(())?;
                products.push((*acc, a.tile, b.tile));
            }
        }
    }
    let (acc, weights, values, row_count) = last?;
    let scores = products.first()?.0;
    if products.iter().any(|product| product.0 != scores) {
        return None;
    }
    if weights != scores {
        in_place(&kernel, scores, weights)?;
        substitute::rename(&mut kernel.body, &|tile| if tile == weights { scores } else { tile });
    }
    let mut structure = Structure {
        rows: kernel.tile(scores).rows,
        row_count,
        left: distinct(products.iter().map(|product| product.1)),
        keys: distinct(products.iter().map(|product| product.2)),
        columns: Vec::new(),
        values,
        scores,
        acc,
        online: false,
        gathers: false,
    };
    check(program, &kernel, &mut structure)?;
    Some((kernel, structure))
}

fn distinct(tiles: impl Iterator<Item = TileId>) -> Vec<TileId> {
    let mut found = Vec::new();
    for tile in tiles {
        if !found.contains(&tile) {
            found.push(tile);
        }
    }
    found
}

/// Whether `weights` may be computed in the place of `scores`: they are alike, and what reads the one writes the other.
fn in_place(kernel: &Kernel, scores: TileId, weights: TileId) -> Option<()> {
    let (a, b) = (kernel.tile(scores), kernel.tile(weights));
    let mut fits = (a.element, a.rows, a.cols, a.space) == (b.element, b.rows, b.cols, b.space);
    for stmt in &kernel.body {
        stmt.walk(&mut |stmt| match stmt {
            Stmt::Map { dst, body, .. } => {
                let reads = body.any(&mut |x| *x == Expr::Elem(scores));
                fits &= !reads || *dst == weights || *dst == scores;
            }
            Stmt::Store { src, .. } | Stmt::ReduceAdd { src, .. } | Stmt::RowReduce { src, .. } => {
                fits &= *src != scores && *src != weights;
            }
            _ => {}
        });
    }
    fits.then_some(())
}

fn is_half(element: Element) -> bool {
    matches!(element, Element::F16 | Element::Bf16)
}

/// Whether every statement has a place in one of the roles; fills in what was left open.
fn check(program: &Program, kernel: &Kernel, structure: &mut Structure) -> Option<()> {
    let operands = || structure.left.iter().chain(&structure.keys).chain([&structure.values]);
    for &tile in operands() {
        let decl = kernel.tile(tile);
        (decl.space == Space::Shared && is_half(decl.element)).then_some(())?;
    }
    let mut columns = Vec::new();
    for visit in visits(&kernel.body, false) {
        for stmt in visit {
            match stmt {
                Stmt::Map { dst, body, .. } if kernel.tile(*dst).space == Space::Shared => {
                    let vector = kernel.tile(*dst).rows == 1 && matches!(body, Expr::Load { .. });
                    vector.then_some(())?;
                    columns.push(*dst);
                }
                Stmt::Copy { dst, index, .. } => {
                    let tile = dst.tile;
                    (structure.keys.contains(&tile) || structure.values == tile).then_some(())?;
                    structure.gathers |= index.iter().any(|x| x.any(&mut |x| matches!(x, Expr::Load { .. })));
                }
                Stmt::OnlineSoftmax { scores, acc, .. } => {
                    (*scores == structure.scores && acc.0 == structure.acc).then_some(())?;
                    structure.online = true;
                }
                Stmt::Map { .. }
                | Stmt::Mma { .. }
                | Stmt::Set { .. }
                | Stmt::If { .. }
                | Stmt::Comment(_) => {}
                _ => return None,
            }
        }
        structure.columns = distinct(columns.iter().copied());
        let parts = structure.visit(visit);
        let (keys, values) = (parts.keys.len(), parts.values.len());
        (keys == structure.keys.len() && values == 1 && !parts.scores.is_empty()).then_some(())?;
        // The copies must come from what the visit's scalars say before its products.
        (!parts.front.iter().any(|stmt| !matches!(stmt, Stmt::Set { .. } | Stmt::Comment(_))))
            .then_some(())?;
        let wide = |tile: TileId| kernel.tile(tile).cols > 1 && tile != structure.scores;
        for stmt in &parts.middle {
            let mut spare = false;
            stmt.walk(&mut |stmt| spare |= matches!(stmt, Stmt::Map { dst, .. } if wide(*dst)));
            (!spare).then_some(())?;
        }
    }
    let mut copied = Vec::new();
    for stmt in &kernel.body {
        if structure.has_visit(stmt) {
            loops(stmt, structure)?;
            continue;
        }
        match stmt {
            Stmt::Copy { dst, rows, .. } => {
                (structure.left.contains(&dst.tile) && *rows == structure.row_count).then_some(())?;
                copied.push(dst.tile);
            }
            Stmt::Map { dst, .. } | Stmt::Fill { tile: dst, .. } => {
                (kernel.tile(*dst).space == Space::Register).then_some(())?;
            }
            Stmt::Store { .. } | Stmt::RowReduce { .. } | Stmt::Set { .. } | Stmt::Comment(_) => {}
            _ => return None,
        }
    }
    (copied.len() == structure.left.len() && distinct(copied.into_iter()).len() == structure.left.len())
        .then_some(())?;
    // Values of other types than the operands' would need a conversion on the way.
    let storage: Element = program.storage.into();
    (kernel.tile(structure.values).element == storage).then_some(())
}

/// Whether a loop nest holds nothing but scalars, conditions and visits.
fn loops(stmt: &Stmt, structure: &Structure) -> Option<()> {
    let body = match stmt {
        Stmt::For { body, .. } => body,
        Stmt::If { then, otherwise, .. } if otherwise.is_empty() => then,
        _ => return None,
    };
    if structure.is_visit(body) {
        return Some(());
    }
    for stmt in body {
        match stmt {
            Stmt::Set { .. } | Stmt::Comment(_) => {}
            stmt if structure.has_visit(stmt) => loops(stmt, structure)?,
            _ => return None,
        }
    }
    Some(())
}
