//! One grid point: its roles interleaved, its asynchronous copies landing late.

mod filter;
mod softmax;

use super::Random;
use super::memory::{Best, Global, Tiles};
use super::product::Product;
use super::scalar::Place;
use dmac_schedule::kernel::{
    Element, Expr, Kernel, MapReduction, Program, Space, Stmt, TileId, TileRef, VarId,
};

/// A statement list with a cursor; a loop frame also knows its bounds.
struct Frame<'a> {
    body: &'a [Stmt],
    at: usize,
    /// Loop variable, bound, step.
    repeat: Option<(VarId, i64, i64)>,
}

/// One group of threads.
struct Group<'a> {
    name: String,
    frames: Vec<Frame<'a>>,
    vars: Vec<Option<f64>>,
    /// Register tiles are the group's own.
    tiles: usize,
    /// Met at this named barrier, waiting for the others.
    meeting: Option<usize>,
}

/// A copy in flight: what it will write, and the barrier stage that it arrives on.
struct Flight {
    tile: TileId,
    stage: usize,
    writes: Vec<((i64, i64), f64)>,
    barrier: (usize, usize),
}

#[derive(Clone, Default)]
struct BarrierState {
    arrived: usize,
    phase: u64,
}

struct Machine<'a> {
    program: &'a Program,
    kernel: &'a Kernel,
    tiles: Vec<Tiles>,
    heaps: Vec<Vec<Best>>,
    capacities: Vec<usize>,
    barriers: Vec<Vec<BarrierState>>,
    flights: Vec<Flight>,
    /// Matrix products under way, by group, oldest first.
    products: Vec<Vec<Product>>,
    /// Whether products may be under way at all: the kernel waits for them.
    asynchronous: bool,
}

/// What a group does next.
enum Step {
    Ran,
    Blocked,
    Done,
}

/// Runs a grid point in one of the kernel's rounds.
pub(super) fn run(
    global: &mut Global,
    program: &Program,
    kernel: &Kernel,
    (round, grid): (i64, &[i64]),
    random: &mut Random,
) -> Result<(), String> {
    let mut vars = vec![None; kernel.vars.len()];
    if let Some(rounds) = &kernel.rounds {
        vars[rounds.var.0 as usize] = Some(round as f64);
    }
    for (axis, index) in kernel.grid.iter().zip(grid) {
        vars[axis.var.0 as usize] = Some(*index as f64);
    }
    let capacities: Result<Vec<usize>, String> = kernel
        .heaps
        .iter()
        .map(|heap| super::scalar::constant(global, &heap.capacity).map(|x| x.max(0.0) as usize))
        .collect();
    let mut machine = Machine {
        program,
        kernel,
        tiles: vec![Tiles::new(kernel)],
        heaps: kernel.heaps.iter().map(|heap| vec![Best::default(); heap.rows]).collect(),
        capacities: capacities?,
        barriers: kernel
            .barriers
            .iter()
            .map(|barrier| vec![BarrierState::default(); barrier.stages])
            .collect(),
        flights: Vec::new(),
        products: Vec::new(),
        asynchronous: false,
    };
    for stmt in &kernel.body {
        stmt.walk(&mut |stmt| machine.asynchronous |= matches!(stmt, Stmt::MmaWait { .. }));
    }
    let has_roles = kernel.body.iter().any(|stmt| matches!(stmt, Stmt::Role { .. }));
    let mut groups = Vec::new();
    if has_roles {
        for stmt in &kernel.body {
            if let Stmt::Role { name, groups: count, group, body, .. } = stmt {
                for index in 0..*count {
                    let mut vars = vars.clone();
                    vars[group.0 as usize] = Some(index as f64);
                    machine.tiles.push(Tiles::new(kernel));
                    let frames = vec![Frame { body, at: 0, repeat: None }];
                    let tiles = machine.tiles.len() - 1;
                    groups.push(Group {
                        name: format!("{name}[{index}]"),
                        frames,
                        vars,
                        tiles,
                        meeting: None,
                    });
                }
            } else if !matches!(stmt, Stmt::Set { .. } | Stmt::Comment(_)) {
                return Err("a kernel with roles does something outside them".into());
            } else {
                machine.single(global, stmt, &mut vars, 0)?;
            }
        }
    } else {
        let frames = vec![Frame { body: &kernel.body, at: 0, repeat: None }];
        groups.push(Group { name: "all".into(), frames, vars, tiles: 0, meeting: None });
    }
    machine.products.resize_with(machine.tiles.len(), Vec::new);
    machine.interleave(global, groups, random)
}

impl<'a> Machine<'a> {
    fn interleave(
        &mut self,
        global: &mut Global,
        mut groups: Vec<Group<'a>>,
        random: &mut Random,
    ) -> Result<(), String> {
        let mut running: Vec<usize> = (0..groups.len()).collect();
        while !running.is_empty() {
            let mut order = running.clone();
            for at in (1..order.len()).rev() {
                order.swap(at, random.below(at + 1));
            }
            let mut progress = false;
            for index in order {
                // A few statements at a time, so that groups get far apart.
                for _ in 0..=random.below(8) {
                    if !self.flights.is_empty() && random.below(4) == 0 {
                        let landed = random.below(self.flights.len());
                        self.land(landed)?;
                        progress = true;
                    }
                    let group = &mut groups[index];
                    if !self.products[group.tiles].is_empty() && random.below(4) == 0 {
                        let left = self.products[group.tiles].len() - 1;
                        self.settle(group.tiles, left)?;
                    }
                    let step =
                        self.step(global, group).map_err(|message| format!("{}: {message}", group.name))?;
                    match step {
                        Step::Ran => progress = true,
                        Step::Blocked => break,
                        Step::Done => {
                            running.retain(|other| *other != index);
                            progress = true;
                            break;
                        }
                    }
                }
                self.meet(&mut groups);
            }
            if !progress && self.flights.is_empty() {
                let waiting: Vec<&str> = running.iter().map(|&index| groups[index].name.as_str()).collect();
                return Err(format!("deadlock: {} wait for what never comes", waiting.join(", ")));
            }
            if !progress {
                self.land(0)?;
            }
        }
        match (self.flights.is_empty(), self.products.iter().all(Vec::is_empty)) {
            (true, true) => Ok(()),
            (false, _) => Err("a copy is still in flight at the end".into()),
            (_, false) => Err("a product is still in flight at the end".into()),
        }
    }

    /// Completes a group's oldest products until so many are left.
    fn settle(&mut self, group: usize, pending: usize) -> Result<(), String> {
        while self.products[group].len() > pending {
            let product = self.products[group].remove(0);
            product.complete(self.kernel, &mut self.tiles, group, &mut self.products[group])?;
        }
        Ok(())
    }

    /// Completes a copy.
    fn land(&mut self, index: usize) -> Result<(), String> {
        let flight = self.flights.swap_remove(index);
        for (place, value) in flight.writes {
            self.tiles[0].store(self.kernel, flight.tile, flight.stage, place, Some(value))?;
        }
        self.arrive(flight.barrier.0, flight.barrier.1);
        Ok(())
    }

    fn arrive(&mut self, barrier: usize, stage: usize) {
        let state = &mut self.barriers[barrier][stage];
        state.arrived += 1;
        if state.arrived == self.kernel.barriers[barrier].arrivals {
            state.arrived = 0;
            state.phase += 1;
        }
    }

    /// Lets the groups go on that have all met.
    fn meet(&self, groups: &mut [Group<'_>]) {
        let ids: Vec<usize> = groups.iter().filter_map(|group| group.meeting).collect();
        for id in ids {
            let wanted = self.kernel.body.iter().find_map(|stmt| wanted_groups(stmt, id)).unwrap_or(1);
            if groups.iter().filter(|group| group.meeting == Some(id)).count() >= wanted {
                for group in groups.iter_mut().filter(|group| group.meeting == Some(id)) {
                    group.meeting = None;
                }
            }
        }
    }

    fn step(&mut self, global: &mut Global, group: &mut Group<'a>) -> Result<Step, String> {
        if group.meeting.is_some() {
            return Ok(Step::Blocked);
        }
        let Some(frame) = group.frames.last_mut() else { return Ok(Step::Done) };
        let Some(stmt) = frame.body.get(frame.at) else {
            if let Some((var, hi, step)) = frame.repeat {
                let next = group.vars[var.0 as usize].unwrap_or(0.0) as i64 + step;
                if next < hi {
                    group.vars[var.0 as usize] = Some(next as f64);
                    frame.at = 0;
                    return Ok(Step::Ran);
                }
            }
            group.frames.pop();
            return Ok(Step::Ran);
        };
        match stmt {
            Stmt::For { var, lo, hi, step, body } => {
                frame.at += 1;
                let (lo, hi, step) = (
                    self.int(global, group, lo)?,
                    self.int(global, group, hi)?,
                    self.int(global, group, step)?,
                );
                if step <= 0 {
                    return Err(format!("a loop of step {step}"));
                }
                if lo < hi {
                    group.vars[var.0 as usize] = Some(lo as f64);
                    group.frames.push(Frame { body, at: 0, repeat: Some((*var, hi, step)) });
                }
            }
            Stmt::If { cond, then, otherwise } => {
                frame.at += 1;
                let body = if self.int(global, group, cond)? == 0 { otherwise } else { then };
                group.frames.push(Frame { body, at: 0, repeat: None });
            }
            Stmt::Wait { barrier, stage, parity } => {
                let stage_value = {
                    let group = &*group;
                    self.int(global, group, stage)? as usize
                };
                let parity = self.int(global, group, parity)? as u64;
                let phase = self.barriers[barrier.0 as usize][stage_value].phase;
                // A phase of that parity has completed if the current, incomplete one has the other parity.
                if phase % 2 == parity % 2 {
                    return Ok(Step::Blocked);
                }
                group.frames.last_mut().expect("a group that runs has a frame").at += 1;
            }
            Stmt::Arrive { barrier, stage } => {
                frame.at += 1;
                let stage = self.int(global, group, stage)? as usize;
                self.arrive(barrier.0 as usize, stage);
            }
            Stmt::Sync { id, .. } => {
                frame.at += 1;
                group.meeting = Some(*id);
            }
            stmt => {
                frame.at += 1;
                let mut vars = std::mem::take(&mut group.vars);
                let result = self.single(global, stmt, &mut vars, group.tiles);
                group.vars = vars;
                result?;
            }
        }
        Ok(Step::Ran)
    }

    fn int(&self, global: &Global, group: &Group<'_>, expr: &Expr) -> Result<i64, String> {
        self.place(global, &group.vars, group.tiles, None).int(expr)
    }

    fn place<'p>(
        &'p self,
        global: &'p Global,
        vars: &'p [Option<f64>],
        group: usize,
        element: Option<(i64, i64)>,
    ) -> Place<'p> {
        Place {
            global,
            program: self.program,
            kernel: self.kernel,
            tiles: &self.tiles,
            group,
            vars,
            element,
            bound: Vec::new(),
        }
    }

    fn stage(
        &self,
        global: &Global,
        vars: &[Option<f64>],
        group: usize,
        tile: &TileRef,
    ) -> Result<usize, String> {
        match &tile.stage {
            None => Ok(0),
            Some(stage) => self.place(global, vars, group, None).int(stage).map(|stage| stage as usize),
        }
    }

    /// A statement without control flow.
    fn single(
        &mut self,
        global: &mut Global,
        stmt: &Stmt,
        vars: &mut [Option<f64>],
        group: usize,
    ) -> Result<(), String> {
        let kernel = self.kernel;
        let int = |this: &Self, global: &Global, vars: &[Option<f64>], x: &Expr| {
            this.place(global, vars, group, None).int(x)
        };
        match stmt {
            Stmt::Comment(_) => {}
            Stmt::MmaWait { pending } => self.settle(group, *pending)?,
            Stmt::Set { var, value } => {
                vars[var.0 as usize] = Some(self.place(global, vars, group, None).value(value)?);
            }
            Stmt::Copy { dst, tensor, index, rows, cols, arrive } => {
                let (rows, cols) = (int(self, global, vars, rows)?, int(self, global, vars, cols)?);
                let decl = kernel.tile(dst.tile);
                let stage = self.stage(global, vars, group, dst)?;
                let mut writes = Vec::new();
                for row in 0..decl.rows as i64 {
                    for col in 0..decl.cols as i64 {
                        let value = if row < rows && col < cols {
                            let mut place = self.place(global, vars, group, Some((row, col)));
                            let at: Result<Vec<i64>, String> = index.iter().map(|x| place.int(x)).collect();
                            global.load(*tensor, &at?)?
                        } else {
                            0.0
                        };
                        writes.push(((row, col), value));
                    }
                }
                if let Some((barrier, at)) = arrive {
                    let at = int(self, global, vars, at)? as usize;
                    for (place, _) in &writes {
                        self.tiles[0].store(kernel, dst.tile, stage, *place, None)?;
                    }
                    let barrier = (barrier.0 as usize, at);
                    self.flights.push(Flight { tile: dst.tile, stage, writes, barrier });
                } else {
                    for (place, value) in writes {
                        self.tiles[bank(kernel, dst.tile, group)].store(
                            kernel,
                            dst.tile,
                            stage,
                            place,
                            Some(value),
                        )?;
                    }
                }
            }
            Stmt::Store { tensor, index, src, rows, cols }
            | Stmt::ReduceAdd { tensor, index, src, rows, cols } => {
                let (rows, cols) = (int(self, global, vars, rows)?, int(self, global, vars, cols)?);
                for row in 0..rows {
                    for col in 0..cols {
                        let mut place = self.place(global, vars, group, Some((row, col)));
                        let at: Result<Vec<i64>, String> = index.iter().map(|x| place.int(x)).collect();
                        let at = at?;
                        let mut value =
                            self.tiles[bank(kernel, *src, group)].load(kernel, *src, 0, row, col)?;
                        if matches!(stmt, Stmt::ReduceAdd { .. }) {
                            value += global.load(*tensor, &at)?;
                        }
                        global.store(self.program, *tensor, &at, value)?;
                    }
                }
            }
            Stmt::StoreElem { tensor, index, value } => {
                let mut place = self.place(global, vars, group, None);
                let at: Result<Vec<i64>, String> = index.iter().map(|x| place.int(x)).collect();
                let (at, value) = (at?, place.value(value)?);
                global.store(self.program, *tensor, &at, value)?;
            }
            Stmt::Fill { tile, value } => {
                let value = self.place(global, vars, group, None).value(value)?;
                let decl = kernel.tile(*tile);
                for row in 0..decl.rows as i64 {
                    for col in 0..decl.cols as i64 {
                        self.tiles[bank(kernel, *tile, group)].store(
                            kernel,
                            *tile,
                            0,
                            (row, col),
                            Some(value),
                        )?;
                    }
                }
            }
            Stmt::Map { dst, rows, cols, body } => {
                let (rows, cols) = (int(self, global, vars, rows)?, int(self, global, vars, cols)?);
                for row in 0..rows {
                    for col in 0..cols {
                        let value = self.place(global, vars, group, Some((row, col))).value(body)?;
                        self.tiles[bank(kernel, *dst, group)].store(
                            kernel,
                            *dst,
                            0,
                            (row, col),
                            Some(value),
                        )?;
                    }
                }
            }
            Stmt::Mma { acc, a, b, transpose_b, accumulate, m, n, k } => {
                let (m, n) = (int(self, global, vars, m)?, int(self, global, vars, n)?);
                let k = int(self, global, vars, k)?;
                let (a_stage, b_stage) =
                    (self.stage(global, vars, group, a)?, self.stage(global, vars, group, b)?);
                let product = Product::new(
                    *acc,
                    (a.tile, a_stage),
                    (b.tile, b_stage),
                    (*transpose_b, *accumulate),
                    (m, n, k),
                );
                let product = product.issue(kernel, &mut self.tiles, group, &self.products[group])?;
                self.products[group].push(product);
                if !self.asynchronous {
                    self.settle(group, 0)?;
                }
            }
            Stmt::RowReduce { dst, src, op, rows, cols, accumulate } => {
                let (rows, cols) = (int(self, global, vars, rows)?, int(self, global, vars, cols)?);
                for row in 0..rows {
                    let mut values = Vec::new();
                    if *accumulate {
                        values.push(self.tiles[bank(kernel, *dst, group)].load(kernel, *dst, 0, row, 0)?);
                    }
                    for col in 0..cols {
                        values.push(self.tiles[bank(kernel, *src, group)].load(kernel, *src, 0, row, col)?);
                    }
                    let value = match op {
                        MapReduction::Sum => values.iter().sum(),
                        MapReduction::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                        MapReduction::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
                    };
                    self.tiles[bank(kernel, *dst, group)].store(kernel, *dst, 0, (row, 0), Some(value))?;
                }
            }
            Stmt::OnlineSoftmax { scores, row_max, row_sum, acc, rows, cols, taken } => {
                let (rows, cols) = (int(self, global, vars, rows)?, int(self, global, vars, cols)?);
                let features = int(self, global, vars, &acc.1)?;
                for row in 0..rows {
                    let cols = (cols, *taken);
                    self.softmax_row(group, (*scores, *row_max, *row_sum, acc.0), row, cols, features)?;
                }
            }
            Stmt::HeapClear { heap, row } => {
                let row = int(self, global, vars, row)? as usize;
                self.heaps[heap.0 as usize][row].clear();
            }
            Stmt::HeapPush { heap, row, score, index, evicted } => {
                let row = int(self, global, vars, row)? as usize;
                let mut place = self.place(global, vars, group, None);
                let (score, index) = (place.value(score)?, place.int(index)?);
                let ties = kernel.heaps[heap.0 as usize].ties;
                let capacity = self.capacities[heap.0 as usize];
                let out = self.heaps[heap.0 as usize][row].push(
                    capacity,
                    ties,
                    super::rounded(Element::F32, score),
                    index,
                );
                vars[evicted.0 as usize] = Some(out.unwrap_or(-1) as f64);
            }
            Stmt::HeapOffer { heap, row, scores, valid, first, cols } => {
                let row = int(self, global, vars, row)?;
                let (first, cols) = (int(self, global, vars, first)?, int(self, global, vars, cols)?);
                let ties = kernel.heaps[heap.0 as usize].ties;
                let capacity = self.capacities[heap.0 as usize];
                for col in 0..cols {
                    if self.tiles[bank(kernel, *valid, group)].load(kernel, *valid, 0, row, col)? != 0.0 {
                        let score =
                            self.tiles[bank(kernel, *scores, group)].load(kernel, *scores, 0, row, col)?;
                        self.heaps[heap.0 as usize][row as usize].push(capacity, ties, score, first + col);
                    }
                }
            }
            Stmt::HeapStore { heap, row, tensor, index, count } => {
                let row = int(self, global, vars, row)? as usize;
                let mut place = self.place(global, vars, group, None);
                let at: Result<Vec<i64>, String> = index.iter().map(|x| place.int(x)).collect();
                let mut at = at?;
                let kept = self.heaps[heap.0 as usize][row].indices();
                at.push(0);
                for (slot, key) in kept.iter().enumerate() {
                    *at.last_mut().expect("the slot was just pushed") = slot as i64;
                    global.store(self.program, *tensor, &at, *key as f64)?;
                }
                vars[count.0 as usize] = Some(kept.len() as f64);
            }
            Stmt::Filter { .. } => self.filter(global, stmt, vars, group)?,
            other => return Err(format!("{other:?} in a place where it cannot be")),
        }
        Ok(())
    }
}

/// Which tiles hold one: shared tiles are the first, register tiles a group's own.
pub(super) fn bank(kernel: &Kernel, tile: TileId, group: usize) -> usize {
    if kernel.tile(tile).space == Space::Shared { 0 } else { group }
}

/// How many groups meet at a named barrier.
fn wanted_groups(stmt: &Stmt, wanted: usize) -> Option<usize> {
    let mut found = None;
    stmt.walk(&mut |stmt| {
        if let Stmt::Sync { id, groups } = stmt
            && *id == wanted
        {
            found = Some(*groups);
        }
    });
    found
}
