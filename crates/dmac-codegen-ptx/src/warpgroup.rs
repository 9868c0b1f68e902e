//! Kernels with roles, for Hopper: warp specialisation with TMA and `wgmma`.
//!
//! Input → output: a kernel whose statements stand in roles, with rings, barriers and products in flight → instructions.
//! A group of a role is a warpgroup. Block copies are bulk tensor copies from one thread, rows by index are `cp.async` from
//! the whole producer, products are `wgmma`. Elementwise statements are those of every other kernel: a warpgroup's
//! accumulator is held like the fragments of `mma.sync`, four warps of sixteen rows.

mod copy;
mod layout;
mod product;
mod softmax;
mod store;

use crate::emit::scalar::shared_by_lanes;
use crate::emit::value::{AnyReg, Bool, Value};
use crate::emit::{Emitter, TileRegs};
use crate::plan::{Form, WARP};
use crate::program::TensorMapSpec;
use dmac_ptx::{Addr, B32, Cmp, F32, Label, Pred, Reg, Shared, ShflMode, TensorMap, shared};
use dmac_schedule::kernel::{BarrierId, Expr, Kernel, Stmt, TileId};
pub(crate) use layout::Layout;
use softmax::Softmax;
use std::collections::BTreeMap;

/// Registers of a multiprocessor.
const REGISTERS: usize = 65536;

/// The tensor maps that a kernel's copies need, in the order of their parameters.
pub(crate) fn tensor_maps(kernel: &Kernel) -> Vec<TensorMapSpec> {
    copy::tensor_maps(kernel)
}

/// Whether a kernel's statements stand in roles.
pub(crate) fn has_roles(kernel: &Kernel) -> bool {
    kernel.body.iter().any(|stmt| matches!(stmt, Stmt::Role { .. }))
}

/// What is known of the role that is being emitted.
struct RoleState {
    /// Lane 0 of each warp.
    leader: Reg<Pred>,
    /// The number of the warpgroup in the block.
    warpgroup: Reg<B32>,
    /// The role's first warpgroup, and how many it has.
    first: u32,
    groups: u32,
    /// Threads of the role that go on.
    threads: Threads,
    /// No product is under way or to come.
    settled: bool,
}

/// How many threads of a role go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Threads {
    One,
    /// Those of its first warp.
    Warp,
    All,
}

impl Threads {
    /// Copies of blocks need one thread; one warp, where lanes share reductions or copy vectors. Whoever waits before a copy
    /// that others issue could fall behind by a phase: all who go on take part in every stage, or are one warp.
    fn of_role(kernel: &Kernel, body: &[Stmt]) -> Self {
        let (mut copies, mut all, mut lanes) = (false, false, false);
        for stmt in body {
            stmt.walk(&mut |stmt| {
                lanes |= stmt.expressions().into_iter().any(|x| x.any(&mut |x| shared_by_lanes(x)));
                match stmt {
                    Stmt::Copy { dst, index, arrive: Some(_), .. } => {
                        copies = true;
                        let vector = kernel.tile(dst.tile).rows == 1;
                        lanes |= vector;
                        all |= !vector && copy::origin(index).is_none();
                    }
                    Stmt::Mma { .. } | Stmt::Map { .. } | Stmt::Store { .. } => all = true,
                    _ => {}
                }
            });
        }
        match (copies && !all, lanes) {
            (false, _) => Self::All,
            (true, true) => Self::Warp,
            (true, false) => Self::One,
        }
    }

    /// Those that copy rows or vectors by themselves.
    fn count(self) -> u32 {
        if self == Self::All { 128 } else { WARP }
    }
}

pub(crate) struct Groups<'e, 'p> {
    e: &'e mut Emitter<'p>,
    layout: Layout,
    maps: Vec<(TensorMapSpec, TensorMap)>,
    packed: BTreeMap<TileId, Vec<Reg<B32>>>,
    softmax: Option<Softmax>,
    role: RoleState,
    /// Lower halves of descriptors, by tile.
    descriptors: BTreeMap<TileId, Reg<B32>>,
}

/// Emits the body of a kernel with roles.
pub(crate) fn emit(e: &mut Emitter<'_>, layout: Layout) {
    e.own_point();
    let k = &mut e.k;
    k.min_ctas(1);
    k.comment("who this is: warps are uniform, and the assembler is to know it");
    let warp = k.shr_u("warp", e.thread.tid, 5);
    let warp = k.shfl(ShflMode::Idx, "warp", warp, 0);
    let in_group = k.and("warp_in_group", warp, 3);
    let quad = k.shr_u("quad", e.thread.lane, 2);
    e.thread.row = k.mad("fragment_row", in_group, 16, quad);
    e.thread.warp = warp;
    let warpgroup = k.shr_u("warpgroup", warp, 2);
    let leader = k.setp_u("leader", e.thread.lane, Cmp::Eq, 0);
    let maps = e.maps.clone().into_iter().map(|(spec, param)| (spec, e.k.tensor_map("map", param))).collect();
    let role = RoleState { leader, warpgroup, first: 0, groups: 0, threads: Threads::All, settled: false };
    let (packed, descriptors) = (BTreeMap::new(), BTreeMap::new());
    let mut groups = Groups { e, layout, maps, packed, softmax: None, role, descriptors };
    groups.kernel();
}

impl Groups<'_, '_> {
    fn kernel(&mut self) {
        let kernel = self.e.kernel;
        self.make_barriers();
        let end = self.e.k.label("end");
        let mut first = 0;
        for stmt in &kernel.body {
            match stmt {
                Stmt::Role { name, groups, registers, group, body } => {
                    let next = self.e.k.label("next_role");
                    let behind = first + *groups as u32;
                    if behind < self.layout.groups {
                        let other = self.e.k.setp_u("other_role", self.role.warpgroup, Cmp::Ge, behind);
                        self.e.k.branch_if(other, next);
                    }
                    self.e.k.comment(format!("role {name}"));
                    self.role.first = first;
                    self.role.groups = *groups as u32;
                    self.registers(*registers);
                    let AnyReg::B32(index) = self.e.variable(*group) else {
                        panic!("codegen: the group of a role is an int")
                    };
                    self.e.k.sub(index, self.role.warpgroup, first);
                    self.role_body(body, end);
                    if behind < self.layout.groups {
                        self.e.k.branch(end);
                        self.e.k.place(next);
                    }
                    first = behind;
                }
                stmt => self.stmt(stmt, &[]),
            }
        }
        self.e.k.place(end);
        self.e.k.ret();
    }

    /// A copy's phase ends with one arrival for each copy that is done by one thread, or one for each thread; a release's
    /// with one for each warp.
    fn make_barriers(&mut self) {
        let kernel = self.e.kernel;
        let mut counts: Vec<u32> =
            kernel.barriers.iter().map(|barrier| 4 * barrier.arrivals as u32).collect();
        for stmt in &kernel.body {
            let Stmt::Role { body, .. } = stmt else { continue };
            let threads = Threads::of_role(kernel, body).count();
            stmt.walk(&mut |stmt| {
                if let Stmt::Copy { index, arrive: Some((barrier, _)), .. } = stmt {
                    let threads = if copy::origin(index).is_some() { 1 } else { threads };
                    let copies = kernel.barriers[barrier.0 as usize].arrivals as u32;
                    counts[barrier.0 as usize] = copies * threads;
                }
            });
        }
        let (base, tid) = (self.e.thread.base, self.e.thread.tid);
        let k = &mut self.e.k;
        let first = k.setp_u("first", tid, Cmp::Eq, 0);
        let offsets = &self.layout.barriers;
        k.if_then(first, |k| {
            for ((barrier, &offset), count) in kernel.barriers.iter().zip(offsets).zip(counts) {
                for stage in 0..barrier.stages {
                    k.mbarrier_init(shared(base) + (offset as i32 + 8 * stage as i32), count);
                }
            }
            k.fence(dmac_ptx::Fence::MbarrierInit);
        });
        k.bar_sync_all();
    }

    /// Moves registers from roles that need few to those that need many.
    fn registers(&mut self, wanted: Option<usize>) {
        let entry = REGISTERS / (128 * self.layout.groups as usize) / 8 * 8;
        match wanted {
            Some(wanted) if self.layout.groups > 2 && wanted < entry => {
                self.e.k.setmaxnreg_dec(wanted as u32);
            }
            Some(wanted) if self.layout.groups > 2 && wanted > entry => {
                self.e.k.setmaxnreg_inc(wanted as u32);
            }
            _ => {}
        }
    }

    fn role_body(&mut self, body: &[Stmt], end: Label) {
        let mut body = body.to_vec();
        let mut uses = false;
        for stmt in &body {
            stmt.walk(&mut |stmt| {
                uses |= matches!(stmt, Stmt::Mma { .. } | Stmt::Map { .. } | Stmt::Store { .. });
            });
        }
        self.role.threads = Threads::of_role(self.e.kernel, &body);
        if self.role.threads != Threads::All {
            let in_group = self.e.k.and("warp_in_group", self.e.thread.warp, 3);
            let other = self.e.k.setp_u("other_warp", in_group, Cmp::Ne, 0);
            self.e.k.branch_if(other, end);
        }
        if self.role.threads == Threads::One {
            let one = self.e.k.elect("one");
            self.e.k.branch_if(!one, end);
        }
        self.softmax = softmax::take_scale(&mut body);
        if uses {
            self.make_tiles();
        }
        let steps = |stmt: &Stmt| {
            let mut found = false;
            stmt.walk(&mut |stmt| found |= matches!(stmt, Stmt::OnlineSoftmax { .. }));
            found
        };
        let (begin, finish) = (body.iter().position(steps), body.iter().rposition(steps));
        let products = |stmt: &Stmt| {
            let mut found = false;
            stmt.walk(&mut |stmt| found |= matches!(stmt, Stmt::Mma { .. }));
            found
        };
        let last_product = body.iter().rposition(products);
        for (at, stmt) in body.iter().enumerate() {
            if let Some(softmax) = self.softmax.filter(|_| begin == Some(at)) {
                self.begin_softmax(softmax);
            }
            self.role.settled = last_product.is_none_or(|last| last < at);
            self.stmt(stmt, &body[at + 1..]);
            if let Some(softmax) = self.softmax.filter(|_| finish == Some(at)) {
                self.end_softmax(softmax);
            }
        }
    }

    /// Registers of the role's tiles. They start at zero: what the first visit reads of the last one must be something.
    fn make_tiles(&mut self) {
        let kernel = self.e.kernel;
        self.e.tiles.clear();
        for (at, tile) in kernel.tiles.iter().enumerate() {
            let id = TileId(at as u32);
            let name = format!("t_{}", tile.name);
            let k = &mut self.e.k;
            let regs = match self.e.plan.form(id) {
                Form::Shared(_) => TileRegs::Shared,
                _ if self.layout.packed.contains(&id) => {
                    self.packed.insert(id, k.regs(&name, tile.cols.div_ceil(8) * 2));
                    TileRegs::Shared
                }
                Form::Fragment => TileRegs::Fragment(
                    (0..tile.cols.div_ceil(8)).map(|_| std::array::from_fn(|_| k.mov(&name, 0.0))).collect(),
                ),
                Form::Rows if tile.element == dmac_schedule::kernel::Element::F32 => {
                    TileRegs::Floats(std::array::from_fn(|_| k.mov(&name, 0.0)))
                }
                Form::Rows => TileRegs::Words(std::array::from_fn(|_| k.mov(&name, 0))),
            };
            self.e.tiles.push(regs);
        }
        let base = self.e.thread.base;
        let operands: Vec<_> = self.layout.operands.iter().map(|(tile, operand)| (*tile, *operand)).collect();
        for (tile, operand) in operands {
            let at = self.e.k.add("operand_at", base, operand.offset);
            let leading = self.leading(tile, operand);
            let low = self.e.k.descriptor_low("operand", at, leading);
            self.descriptors.insert(tile, low);
        }
    }

    /// The registers of a fragment in the order of the accumulator.
    fn fragment(&self, tile: TileId) -> Vec<Reg<F32>> {
        self.e.fragment(tile).into_iter().flatten().collect()
    }

    /// The registers of a row vector.
    fn pair(&self, tile: TileId) -> [Reg<F32>; 2] {
        match &self.e.tiles[tile.0 as usize] {
            TileRegs::Floats(rows) => *rows,
            other => panic!("codegen: {other:?} is no vector of floats"),
        }
    }

    fn barrier(&mut self, barrier: BarrierId, stage: &Expr) -> Addr<Shared> {
        let offset = self.layout.barriers[barrier.0 as usize] as i32;
        let base = self.e.thread.base;
        let stage = self.e.fresh(|e| e.int_value(stage));
        match stage.known() {
            Some(stage) => shared(base) + (offset + 8 * stage),
            None => {
                let stage = self.e.int(stage);
                let at = self.e.k.mad("barrier_at", stage, 8, base);
                shared(at) + offset
            }
        }
    }

    fn block(&mut self, body: &[Stmt]) {
        for (at, stmt) in body.iter().enumerate() {
            self.stmt(stmt, &body[at + 1..]);
        }
    }

    /// A statement; `rest` are those behind it in its list.
    fn stmt(&mut self, stmt: &Stmt, rest: &[Stmt]) {
        match stmt {
            Stmt::Comment(text) => self.e.k.comment(text.clone()),
            Stmt::Set { var, value } => {
                self.together(|e| {
                    let value = e.value(value);
                    e.assign(*var, value);
                });
                self.uniform(*var);
            }
            Stmt::For { var, lo, hi, step, body } => self.repeat(*var, [lo, hi, step], body),
            Stmt::If { cond, then, otherwise } => self.branch(cond, then, otherwise),
            Stmt::Wait { barrier, stage, parity } => {
                let at = self.barrier(*barrier, stage);
                let parity = self.e.fresh(|e| {
                    let parity = e.int_value(parity);
                    e.int_operand(parity)
                });
                self.e.k.mbarrier_wait(at, parity);
                if self.gathered(*barrier) {
                    // cp.async writes through the generic proxy, wgmma reads through the asynchronous one.
                    self.e.k.fence_proxy_async();
                }
            }
            Stmt::Arrive { barrier, stage } => {
                let at = self.barrier(*barrier, stage);
                self.e.k.bar_warp();
                let leader = self.role.leader;
                self.e.k.when(leader, |k| k.mbarrier_arrive(at));
            }
            Stmt::Copy { dst, tensor, index, rows, cols, arrive: Some((barrier, stage)) } => {
                self.copy(dst, (*tensor, index), (rows, cols), (*barrier, stage));
            }
            Stmt::Mma { acc, a, b, transpose_b, accumulate, .. } => {
                self.product(*acc, (a, b), *transpose_b, *accumulate);
            }
            Stmt::MmaWait { pending } => {
                self.e.k.wgmma_wait(*pending as u32);
                if *pending == 0 {
                    self.clear_short_operand(rest);
                }
            }
            Stmt::OnlineSoftmax { acc, cols, .. } => {
                let softmax = self.softmax.expect("codegen: a role has one softmax");
                self.online_softmax(softmax, acc.0, cols);
            }
            Stmt::Map { dst, cols, body: Expr::Elem(src), .. } if self.layout.packed.contains(dst) => {
                self.pack(*dst, *src, cols);
            }
            Stmt::Map { dst, rows, cols, body } => self.e.fresh(|e| e.map(*dst, rows, cols, body)),
            Stmt::Fill { tile, value } => self.e.fresh(|e| e.fill(*tile, value)),
            Stmt::Store { tensor, index, src, rows, cols } => {
                self.store((*tensor, index), *src, (rows, cols), self.role.settled);
            }
            other => panic!("codegen: {other:?} in a kernel with roles"),
        }
    }

    /// Emits scalars that whole warps compute: lanes share reductions.
    fn together<R>(&mut self, f: impl FnOnce(&mut Emitter<'_>) -> R) -> R {
        self.e.together = self.role.threads != Threads::One;
        let result = self.e.fresh(f);
        self.e.together = false;
        result
    }

    /// Scalars are the same for all threads of a role.
    fn uniform(&mut self, var: dmac_schedule::kernel::VarId) {
        match self.e.variable(var) {
            AnyReg::B32(register) => self.e.k.assume_uniform(register),
            AnyReg::F32(register) => self.e.k.assume_uniform(register),
            AnyReg::Pred(register) => self.e.k.assume_uniform(register),
            AnyReg::B64(_) => {}
        }
    }

    fn repeat(&mut self, var: dmac_schedule::kernel::VarId, [lo, hi, step]: [&Expr; 3], body: &[Stmt]) {
        let AnyReg::B32(counter) = self.e.variable(var) else { panic!("codegen: a loop counts ints") };
        let end = self.e.fresh(|e| {
            let start = e.int_value(lo);
            e.assign(var, Value::Int(start));
            let end = e.int_value(hi);
            e.int(end)
        });
        self.uniform(var);
        let more = self.e.k.setp_s("more", counter, Cmp::Lt, end);
        self.e.k.assume_uniform(more);
        let (head, done) = (self.e.k.label("visit"), self.e.k.label("visits_end"));
        self.e.k.branch_if(!more, done);
        self.e.k.place(head);
        self.e.k.no_unroll();
        self.block(body);
        self.e.fresh(|e| {
            let step = e.int_value(step);
            let step = e.int_operand(step);
            e.k.add(counter, counter, step);
            let end = e.int_value(hi);
            let end = e.int_operand(end);
            e.k.setp_s(more, counter, Cmp::Lt, end);
        });
        self.e.k.branch_if(more, head);
        self.e.k.place(done);
    }

    fn branch(&mut self, cond: &Expr, then: &[Stmt], otherwise: &[Stmt]) {
        let holds = match self.together(|e| e.bool_value(cond)) {
            Bool::Constant(true) => return self.block(then),
            Bool::Constant(false) => return self.block(otherwise),
            Bool::Register(holds) => holds,
        };
        self.e.k.assume_uniform(holds);
        let (other, end) = (self.e.k.label("else"), self.e.k.label("endif"));
        if then.is_empty() {
            self.e.k.branch_if(holds, end);
            self.block(otherwise);
            self.e.k.place(end);
            self.e.k.place(other);
            return;
        }
        self.e.k.branch_if(!holds, other);
        self.block(then);
        if !otherwise.is_empty() {
            self.e.k.branch(end);
        }
        self.e.k.place(other);
        self.block(otherwise);
        self.e.k.place(end);
    }

    /// Whether rows that products read are copied by index onto this barrier.
    fn gathered(&self, barrier: BarrierId) -> bool {
        let mut found = false;
        for stmt in &self.e.kernel.body {
            stmt.walk(&mut |stmt| {
                if let Stmt::Copy { dst, index, arrive: Some((on, _)), .. } = stmt {
                    let operand = self.layout.operands.contains_key(&dst.tile);
                    found |= *on == barrier && operand && copy::origin(index).is_none();
                }
            });
        }
        found
    }
}
