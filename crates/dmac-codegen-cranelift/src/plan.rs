//! The plan of a kernel: in what form each tile is held, and where in a worker's scratch memory.
//!
//! Input → output: a [`Kernel`] → a [`KernelPlan`]. The tile program says what a tile holds, not how; on a CPU the forms
//! differ by use:
//!
//! - **rows**: row-major f32 (also for storage elements, whose values were rounded when they were stored and are rounded
//!   when a [`Stmt::Map`] or a copy from a wider element writes them), `I32`, or bytes. The rule.
//! - **panels**: for tiles that are filled by copies and read as a transposed right operand: the copy packs straight into
//!   what the matrix micro-kernel reads.
//! - **view**: for tiles that are filled by copies of f32 rows and read as an operand in place: the copy only remembers the
//!   address, so that V is never copied.
//! - **pairs** of bf16, where the processor multiplies them ([`Pairs`]): right operands in panels or rows of pairs, left
//!   operands in place, weights over their scores.
//!
//! The running maximum of an online softmax is held times log2(e), because the micro-kernel works in powers of two;
//! [`TilePlan::log2`] says so, and reading or writing it elsewhere converts.

mod pairs;

pub(crate) use pairs::Pairs;

use crate::CompileError;
use crate::layout::ALIGNMENT;
use crate::rows::rows_of;
use dmac_cpu_kernels::KernelTable;
use dmac_schedule::Program;
use dmac_schedule::kernel::{Element, Expr, Kernel, ScalarType, Stmt, TensorId, TileId};
use std::collections::BTreeSet;

/// How a tile is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TilePlan {
    /// Bytes from the start of scratch memory to row 0, where it is held as rows.
    pub rows: Option<usize>,
    /// Elements from one row to the next.
    pub stride: usize,
    /// Bytes of an element.
    pub bytes: usize,
    /// Bytes from one stage of a ring to the next.
    pub stage: usize,
    /// Bytes from the start of scratch memory to the panels, where it is held so.
    pub panels: Option<usize>,
    /// Bytes from one stage's panels to the next.
    pub panel_stage: usize,
    /// Whether it is a view of a tensor.
    pub view: bool,
    /// Whether products with few rows read it from the tensor in place, so that its copy only remembers where.
    pub in_place: Option<InPlace>,
    /// In what form products read it as a right operand.
    pub form: Form,
    /// The number of the packed tensor whose panels or rows are used where they exist.
    pub packed: Option<usize>,
    /// Whether it holds logarithms to base 2 of what the program means.
    pub log2: bool,
}

/// What a heap is used as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeapUse {
    /// Single elements are offered, and what falls out is asked for.
    Push,
    /// Rows of a tile are offered.
    Offer,
}

/// A right operand that products with few rows read from its tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InPlace {
    /// The rows of the products.
    pub rows: Expr,
    /// The tensor's element.
    pub element: Element,
}

/// In what form a right operand is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// f32 rows.
    Rows,
    /// f32 panels of rows, transposed.
    Panels,
    /// Neighbouring rows of bf16, interleaved.
    RowPairs,
    /// Panels of rows of bf16, transposed, neighbours of a row together.
    PanelPairs,
}

impl Form {
    pub(crate) fn new(transposed: bool, paired: bool) -> Self {
        match (transposed, paired) {
            (false, false) => Self::Rows,
            (true, false) => Self::Panels,
            (false, true) => Self::RowPairs,
            (true, true) => Self::PanelPairs,
        }
    }

    /// Whether it is transposed into panels.
    pub(crate) fn panels(self) -> bool {
        matches!(self, Self::Panels | Self::PanelPairs)
    }
}

/// A tensor that is worth packing once for all points of a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Packed {
    pub tensor: TensorId,
    /// The axis whose elements are the rows.
    pub axis: usize,
    pub form: Form,
}

/// The plan of a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KernelPlan {
    pub tiles: Vec<TilePlan>,
    /// Tensors that may be packed before the kernel starts.
    pub packed: Vec<Packed>,
    /// The operands of products of bf16.
    pub pairs: Pairs,
    pub heaps: Vec<HeapUse>,
    /// Bytes from the start of scratch memory to a buffer for packing a right operand that is not held in panels.
    pub pack: usize,
    /// Bytes to the first buffer of values of elementary functions, and from one buffer to the next.
    pub strips: (usize, usize),
    /// Bytes of scratch memory without heaps, whose sizes are known at run time only.
    pub bytes: usize,
}

/// What the statements of a kernel do with its tiles.
struct Uses<'a> {
    kernel: &'a Kernel,
    /// Tensors that the kernel writes.
    written: BTreeSet<TensorId>,
    /// Tiles read or written by anything but copies and matrix products.
    elementwise: BTreeSet<TileId>,
    left: BTreeSet<TileId>,
    right: BTreeSet<TileId>,
    transposed: BTreeSet<TileId>,
    maxima: BTreeSet<TileId>,
    copied: BTreeSet<TileId>,
}

/// The expressions that a statement evaluates itself, those of nested statements apart.
pub(crate) fn expressions(stmt: &Stmt) -> Vec<&Expr> {
    match stmt {
        Stmt::For { lo, hi, step, .. } => vec![lo, hi, step],
        Stmt::If { cond, .. } => vec![cond],
        Stmt::Set { value, .. } | Stmt::Fill { value, .. } => vec![value],
        Stmt::Copy { dst, index, rows, cols, .. } => {
            index.iter().chain([rows, cols]).chain(dst.stage.as_deref()).collect()
        }
        Stmt::Store { index, rows, cols, .. } | Stmt::ReduceAdd { index, rows, cols, .. } => {
            index.iter().chain([rows, cols]).collect()
        }
        Stmt::StoreElem { index, value, .. } => index.iter().chain([value]).collect(),
        Stmt::Map { rows, cols, body, .. } => vec![rows, cols, body],
        Stmt::Mma { a, b, m, n, k, .. } => {
            a.stage.as_deref().into_iter().chain(b.stage.as_deref()).chain([m, n, k]).collect()
        }
        Stmt::RowReduce { rows, cols, .. } => vec![rows, cols],
        Stmt::OnlineSoftmax { acc, rows, cols, .. } => vec![&acc.1, rows, cols],
        Stmt::HeapClear { row, .. } => vec![row],
        Stmt::HeapPush { row, score, index, .. } => vec![row, score, index],
        Stmt::HeapOffer { row, first, cols, .. } => vec![row, first, cols],
        Stmt::HeapStore { row, index, .. } => index.iter().chain([row]).collect(),
        Stmt::Filter { lo, hi, source, keep, index, limit, .. } => {
            index.iter().chain([lo, hi, source, keep, limit]).collect()
        }
        Stmt::Wait { .. }
        | Stmt::Arrive { .. }
        | Stmt::Sync { .. }
        | Stmt::Role { .. }
        | Stmt::MmaWait { .. }
        | Stmt::Comment(_) => Vec::new(),
    }
}

impl<'a> Uses<'a> {
    fn new(kernel: &'a Kernel) -> Self {
        let mut uses = Self {
            kernel,
            written: BTreeSet::new(),
            elementwise: BTreeSet::new(),
            left: BTreeSet::new(),
            right: BTreeSet::new(),
            transposed: BTreeSet::new(),
            maxima: BTreeSet::new(),
            copied: BTreeSet::new(),
        };
        for stmt in &kernel.body {
            stmt.walk(&mut |stmt| uses.note(stmt));
        }
        uses
    }

    fn note(&mut self, stmt: &Stmt) {
        for expr in expressions(stmt) {
            let elementwise = &mut self.elementwise;
            expr.any(&mut |x| {
                if let Expr::Elem(tile) | Expr::At { tile, .. } = x {
                    elementwise.insert(*tile);
                }
                false
            });
        }
        match stmt {
            Stmt::Copy { dst, .. } => {
                self.copied.insert(dst.tile);
            }
            Stmt::Store { tensor, src, .. } | Stmt::ReduceAdd { tensor, src, .. } => {
                self.written.insert(*tensor);
                self.elementwise.insert(*src);
            }
            Stmt::StoreElem { tensor, .. } | Stmt::HeapStore { tensor, .. } | Stmt::Filter { tensor, .. } => {
                self.written.insert(*tensor);
            }
            Stmt::Fill { tile, .. } | Stmt::Map { dst: tile, .. } => {
                self.elementwise.insert(*tile);
            }
            Stmt::Mma { acc, a, b, transpose_b, .. } => {
                self.elementwise.insert(*acc);
                self.left.insert(a.tile);
                if *transpose_b { &mut self.transposed } else { &mut self.right }.insert(b.tile);
            }
            Stmt::RowReduce { dst, src, .. } => self.elementwise.extend([*dst, *src]),
            Stmt::OnlineSoftmax { scores, row_max, row_sum, acc, taken, .. } => {
                self.maxima.insert(*row_max);
                self.elementwise.extend(taken.columns.into_iter().flat_map(|(first, end)| [first, end]));
                self.elementwise.extend([*scores, *row_max, *row_sum, acc.0]);
            }
            Stmt::HeapOffer { scores, valid, .. } => self.elementwise.extend([*scores, *valid]),
            _ => {}
        }
    }

    /// Whether all copies to a tile are rows of floats, so that they can be packed.
    fn packs(&self, program: &Program, id: TileId) -> bool {
        let mut fits = self.kernel.tile(id).cols > 1;
        for stmt in &self.kernel.body {
            stmt.walk(&mut |stmt| {
                if let Stmt::Copy { dst, tensor, index, .. } = stmt
                    && dst.tile == id
                {
                    let element = program.tensor(*tensor).element;
                    fits &= element.scalar() == ScalarType::F32
                        && !rounds(self.kernel.tile(id).element, element)
                        && rows_of(index).is_some();
                }
            });
        }
        fits
    }

    /// Whether a tile can be a view: one stage, filled only by copies of f32 rows of tensors that this kernel does not
    /// write, and read only by matrix products within what was copied.
    fn view(&self, program: &Program, id: TileId) -> bool {
        let tile = self.kernel.tile(id);
        if tile.stages > 1
            || tile.cols == 1
            || !self.copied.contains(&id)
            || self.elementwise.contains(&id)
            || self.transposed.contains(&id)
        {
            return false;
        }
        let mut fits = true;
        let mut extents: BTreeSet<(&Expr, &Expr)> = BTreeSet::new();
        for stmt in &self.kernel.body {
            stmt.walk(&mut |stmt| {
                if let Stmt::Copy { dst, tensor, index, rows, cols, .. } = stmt
                    && dst.tile == id
                {
                    extents.insert((rows, cols));
                    fits &= program.tensor(*tensor).element == Element::F32
                        && !self.written.contains(tensor)
                        && matches!(rows_of(index), Some(rows) if rows.list.is_none());
                }
            });
        }
        for stmt in &self.kernel.body {
            stmt.walk(&mut |stmt| {
                if let Stmt::Mma { a, b, m, n, k, .. } = stmt {
                    if a.tile == id {
                        fits &= extents.iter().all(|(rows, cols)| *rows == m && *cols == k);
                    }
                    if b.tile == id {
                        // Rows beyond those copied are zero, so that the depth can stop with them.
                        fits &= extents.iter().all(|(_, cols)| *cols == n);
                    }
                }
            });
        }
        fits
    }
}

/// Whether copying an element to a tile's element rounds.
pub(crate) fn rounds(tile: Element, tensor: Element) -> bool {
    tile.scalar() == ScalarType::F32 && tile != Element::F32 && tile != tensor
}

impl Uses<'_> {
    /// The copies to a tile: tensor, indices, rows, columns.
    fn copies(&self, id: TileId) -> Vec<(TensorId, &[Expr], &Expr, &Expr)> {
        let mut found = Vec::new();
        for stmt in &self.kernel.body {
            stmt.walk(&mut |stmt| {
                if let Stmt::Copy { dst, tensor, index, rows, cols, .. } = stmt
                    && dst.tile == id
                {
                    found.push((*tensor, index.as_slice(), rows, cols));
                }
            });
        }
        found
    }

    /// Whether a tile's contents can be taken from the tensor instead: rows of one element type that this kernel does not
    /// write, and products that read just what was copied.
    fn replaceable(&self, program: &Program, id: TileId) -> bool {
        let tile = self.kernel.tile(id);
        let copies = self.copies(id);
        let only = !self.elementwise.contains(&id) && !self.left.contains(&id) && tile.stages == 1;
        let Some((first, ..)) = copies.first() else { return false };
        let mut fits = only && tile.cols > 1;
        for (tensor, index, ..) in &copies {
            let element = program.tensor(*tensor).element;
            fits &= element == program.tensor(*first).element
                && element.scalar() == ScalarType::F32
                && !rounds(tile.element, element)
                && !self.written.contains(tensor)
                && rows_of(index).is_some();
        }
        for stmt in &self.kernel.body {
            stmt.walk(&mut |stmt| {
                if let Stmt::Mma { b, transpose_b, n, k, accumulate, .. } = stmt
                    && b.tile == id
                {
                    let (rows, cols) = if *transpose_b { (n, k) } else { (k, n) };
                    fits &= copies.iter().all(|(_, _, r, c)| *r == rows && *c == cols);
                    fits &= !(*transpose_b && *accumulate);
                }
            });
        }
        fits
    }

    fn in_place(&self, program: &Program, id: TileId) -> Option<InPlace> {
        let (tensor, ..) = *self.copies(id).first()?;
        Some(InPlace { rows: self.product_rows(id)?, element: program.tensor(tensor).element })
    }

    /// The rows of all products with a tile on the right, where these are known when it is copied: an expression of
    /// constants and of variables that are set once.
    fn product_rows(&self, id: TileId) -> Option<Expr> {
        let mut sets: Vec<usize> = vec![0; self.kernel.vars.len()];
        let mut found: BTreeSet<&Expr> = BTreeSet::new();
        for stmt in &self.kernel.body {
            stmt.walk(&mut |stmt| match stmt {
                // A loop's variable changes.
                Stmt::For { var, .. } => sets[var.0 as usize] += 2,
                Stmt::Set { var, .. } => sets[var.0 as usize] += 1,
                Stmt::HeapPush { evicted: var, .. } | Stmt::HeapStore { count: var, .. } => {
                    sets[var.0 as usize] += 2;
                }
                Stmt::Filter { var, item, count, .. } => {
                    for var in [var, item, count] {
                        sets[var.0 as usize] += 2;
                    }
                }
                Stmt::Role { group, .. } => sets[group.0 as usize] += 2,
                Stmt::Mma { b, m, .. } if b.tile == id => {
                    found.insert(m);
                }
                _ => {}
            });
        }
        let mut found = found.into_iter();
        let (Some(rows), None) = (found.next(), found.next()) else { return None };
        let changes = rows.any(&mut |x| match x {
            Expr::Var(var) => sets[var.0 as usize] > 1,
            Expr::Load { .. } | Expr::At { .. } | Expr::Reduce { .. } => true,
            _ => false,
        });
        (!changes).then(|| rows.clone())
    }

    /// The tensor to pack for a tile, if its panels can be taken from a packed one: whole rows without a list.
    fn packable(&self, program: &Program, id: TileId, form: Form) -> Option<Packed> {
        let copies = self.copies(id);
        let mut found: Option<Packed> = None;
        for (tensor, index, _, cols) in copies {
            let access = rows_of(index)?;
            let whole = access.list.is_none()
                && access.first.last() == Some(&Expr::Int(0))
                && program.tensor(tensor).dims.last() == Some(cols);
            let packed = Packed { tensor, axis: access.axis?, form };
            if !whole || found.as_ref().is_some_and(|other| *other != packed) {
                return None;
            }
            found = Some(packed);
        }
        found
    }
}

fn align(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

impl KernelPlan {
    pub(crate) fn new(program: &Program, kernel: &Kernel, table: &KernelTable) -> Result<Self, CompileError> {
        let uses = Uses::new(kernel);
        let pairs = if table.native_bf16 { uses.pairs(program) } else { Pairs::default() };
        let mut bytes = 0;
        let mut take = |size: usize| {
            let start = bytes;
            bytes += align(size);
            start
        };
        let mut tiles = Vec::new();
        let mut packed: Vec<Packed> = Vec::new();
        let mut pack = 0;
        let mut longest = 0;
        for (index, tile) in kernel.tiles.iter().enumerate() {
            let id = TileId(index as u32);
            let element = if tile.element == Element::Bool { 1 } else { 4 };
            // Rows start at a vector's boundary; a row vector is contiguous.
            let stride = if tile.cols == 1 { 1 } else { tile.cols.next_multiple_of(16) };
            longest = longest.max(tile.rows).max(tile.cols);
            let stage = align(tile.rows * stride * element);
            let panel_stage = align(tile.rows.next_multiple_of(table.panel) * tile.cols * 4);
            let only_copied = uses.copied.contains(&id) && !uses.elementwise.contains(&id);
            let panels = uses.transposed.contains(&id) && only_copied && uses.packs(program, id);
            if uses.transposed.contains(&id) && !panels {
                pack = pack.max(panel_stage);
            }
            let view = uses.view(program, id);
            let in_place = !panels || uses.left.contains(&id) || uses.right.contains(&id);
            let rows = !view && in_place;
            let replaceable = !view && uses.replaceable(program, id);
            let in_place = if replaceable { uses.in_place(program, id) } else { None };
            // A tile has one form; that of f32 which is in rows already is not worth a copy.
            let one_form = uses.transposed.contains(&id) != uses.right.contains(&id);
            let form = Form::new(panels, pairs.right.contains(&id));
            let source = if replaceable && one_form { uses.packable(program, id, form) } else { None };
            let source = source
                .filter(|source| form != Form::Rows || program.tensor(source.tensor).element != Element::F32);
            let source = source.map(|source| {
                packed.iter().position(|other| *other == source).unwrap_or_else(|| {
                    packed.push(source);
                    packed.len() - 1
                })
            });
            tiles.push(TilePlan {
                rows: rows.then(|| take(stage * tile.stages)),
                stride,
                bytes: element,
                stage,
                panels: panels.then(|| take(panel_stage * tile.stages)),
                panel_stage,
                view,
                in_place,
                form,
                packed: source,
                log2: uses.maxima.contains(&id),
            });
        }
        let heaps = heap_uses(kernel)?;
        check_roles(kernel)?;
        check_rings(program, kernel)?;
        let pack = take(pack);
        let buffers = strip_buffers(kernel);
        let buffer = align(longest * 4);
        let strips = (take(buffers * buffer), buffer);
        Ok(Self { tiles, packed, pairs, heaps, pack, strips, bytes })
    }

    pub(crate) fn tile(&self, id: TileId) -> &TilePlan {
        &self.tiles[id.0 as usize]
    }
}

/// The most different elementary functions in one map.
fn strip_buffers(kernel: &Kernel) -> usize {
    let mut most = 0;
    for stmt in &kernel.body {
        stmt.walk(&mut |stmt| {
            if let Stmt::Map { body, .. } = stmt {
                let mut found = BTreeSet::new();
                body.any(&mut |x| {
                    if let Expr::Unary(op, _) = x
                        && crate::emit::scalar::strip(*op).is_some()
                    {
                        found.insert(x.clone());
                    }
                    false
                });
                most = most.max(found.len());
            }
        });
    }
    most
}

fn heap_uses(kernel: &Kernel) -> Result<Vec<HeapUse>, CompileError> {
    let mut pushed = BTreeSet::new();
    let mut offered = BTreeSet::new();
    for stmt in &kernel.body {
        stmt.walk(&mut |stmt| match stmt {
            Stmt::HeapPush { heap, .. } => {
                pushed.insert(heap.0);
            }
            Stmt::HeapOffer { heap, .. } => {
                offered.insert(heap.0);
            }
            _ => {}
        });
    }
    if let Some(both) = pushed.intersection(&offered).next() {
        let name = &kernel.heaps[*both as usize].name;
        return Err(CompileError::unsupported(
            kernel,
            format!("the heap `{name}` takes single elements and rows; a CPU kernel can do only one of them"),
        ));
    }
    Ok((0..kernel.heaps.len())
        .map(|heap| if offered.contains(&(heap as u32)) { HeapUse::Offer } else { HeapUse::Push })
        .collect())
}

/// Roles run one after the other here, which is right only if there is one: a producer would overrun its consumer's ring.
fn check_roles(kernel: &Kernel) -> Result<(), CompileError> {
    let mut roles = 0;
    for stmt in &kernel.body {
        stmt.walk(&mut |stmt| roles += usize::from(matches!(stmt, Stmt::Role { .. })));
    }
    if roles > 1 {
        return Err(CompileError::unsupported(
            kernel,
            format!("it has {roles} roles that run at the same time; a CPU kernel has one"),
        ));
    }
    Ok(())
}

/// Copies to a stage of a ring are done by micro-kernels only: elementwise code knows stage 0 alone.
fn check_rings(program: &Program, kernel: &Kernel) -> Result<(), CompileError> {
    let mut wrong = None;
    for stmt in &kernel.body {
        stmt.walk(&mut |stmt| {
            if let Stmt::Copy { dst, tensor, index, .. } = stmt {
                let tile = kernel.tile(dst.tile);
                let element = program.tensor(*tensor).element;
                if tile.stages > 1 && (rows_of(index).is_none() || rounds(tile.element, element)) {
                    wrong = Some(tile.name.clone());
                }
            }
        });
    }
    wrong.map_or(Ok(()), |tile| {
        Err(CompileError::unsupported(
            kernel,
            format!("the ring `{tile}` is filled by what is no copy of rows"),
        ))
    })
}
