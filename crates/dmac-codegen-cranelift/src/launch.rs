//! The functions around kernels: how large the workspace is, how it is prepared, and the launch of all kernels.
//!
//! Input → output: a program's layout → four functions, all of them called with the tables of [`crate::layout`]:
//!
//! - `int64_t workspace_size(const args *)`: bytes of workspace, scratch memory of all workers included.
//! - `int32_t check(const args *)`: 0, or the number, from 1, of the first requirement that does not hold.
//! - `void prepare(const args *, void *workspace)`: fills the frame.
//! - `int32_t run(const args *, void *workspace, parallel_for, void *context)`: check, prepare and all kernels in order. Without
//!   a `parallel_for` the points run one after the other.

use crate::emit::{ACCESS, Emitter, WORD};
use crate::layout::{ALIGNMENT, Launch, Layout, Table};
use crate::plan::{KernelPlan, Packed};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, InstBuilder, Signature, Value, types};
use cranelift_module::{FuncId, Module};
use dmac_schedule::kernel::{Expr, Role};

/// The axis of query rows: every graph's fourth.
const QUERY_AXIS: dmac_ir::AxisId = dmac_ir::AxisId(3);
/// The axis of keys: every graph's fifth.
const KEY_AXIS: dmac_ir::AxisId = dmac_ir::AxisId(4);
/// A tensor is packed before a kernel whose points use each of its matrices at least this many times, ...
const PACKING_USES: i64 = 4;
/// ... for at least this many query rows.
const PACKING_ROWS: i64 = 16;

/// Where the parts of a workspace begin, in bytes from its start.
struct Parts {
    /// Key lengths for when the caller has none.
    lengths: Value,
    /// Workspace tensors, in the order of the program's tensors.
    tensors: Vec<Value>,
    /// Panels of packed tensors, of each kernel; 0 where packing does not pay.
    packed: Vec<Vec<Value>>,
    scratch: Value,
    /// Bytes of one worker's scratch memory.
    worker: Value,
    end: Value,
}

/// The signature of `parallel_for(context, count, body, state)`.
pub(crate) fn parallel_for(module: &dyn Module) -> Signature {
    let mut signature = module.make_signature();
    signature.params.extend([AbiParam::new(WORD); 4]);
    signature
}

impl Emitter<'_, '_, '_> {
    fn round_up(&mut self, value: Value) -> Value {
        let up = self.add_const(value, ALIGNMENT as i64 - 1);
        self.b.ins().band_imm_s(up, -(ALIGNMENT as i64))
    }

    fn parts(&mut self, plans: &[KernelPlan]) -> Parts {
        let mut next = self.int((8 * self.layout.frame).next_multiple_of(ALIGNMENT) as i64);
        let lengths = next;
        let mut tensors = Vec::new();
        for tensor in &self.program.tensors {
            if !matches!(tensor.role, Role::Workspace | Role::KeyLengths) {
                continue;
            }
            if tensor.role == Role::Workspace {
                tensors.push(next);
            }
            let mut bytes = self.int(tensor.element.bytes() as i64);
            for dim in &tensor.dims {
                let extent = self.extent(dim);
                bytes = self.b.ins().imul(bytes, extent);
            }
            let bytes = self.round_up(bytes);
            next = self.b.ins().iadd(next, bytes);
        }
        let mut packed = Vec::new();
        for (number, plan) in plans.iter().enumerate() {
            let mut places = Vec::new();
            for source in &plan.packed {
                let pays = self.packing_pays(number, source);
                let bytes = self.packed_bytes(source);
                let matrices = self.packed_matrices(source);
                let bytes = self.b.ins().imul(bytes, matrices);
                let bytes = self.round_up(bytes);
                let zero = self.int(0);
                let bytes = self.b.ins().select(pays, bytes, zero);
                places.push(self.b.ins().select(pays, next, zero));
                next = self.b.ins().iadd(next, bytes);
            }
            packed.push(places);
        }
        let scratch = next;
        let mut worker = self.int(ALIGNMENT as i64);
        for (kernel, plan) in self.program.kernels.iter().zip(plans) {
            let heaps = self.heap_bytes(&kernel.heaps, &plan.heaps);
            let bytes = self.add_const(heaps, plan.bytes as i64);
            worker = self.b.ins().smax(worker, bytes);
        }
        let worker = self.round_up(worker);
        let workers = self.slot(Table::Args, Layout::WORKERS);
        let one = self.int(1);
        let workers = self.b.ins().smax(workers, one);
        let all = self.b.ins().imul(worker, workers);
        let end = self.b.ins().iadd(scratch, all);
        Parts { lengths, tensors, packed, scratch, worker, end }
    }

    /// The points of a kernel's grid.
    fn grid_points(&mut self, number: usize) -> Value {
        let mut points = self.int(1);
        for grid in &self.program.kernels[number].grid {
            let extent = self.extent(&grid.extent);
            points = self.b.ins().imul(points, extent);
        }
        points
    }

    /// Whether a tensor is used often enough to be packed once.
    fn packing_pays(&mut self, number: usize, packed: &Packed) -> Value {
        let points = self.grid_points(number);
        let matrices = self.packed_matrices(packed);
        let uses = self.scaled(matrices, PACKING_USES);
        let mut pays = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, points, uses);
        if let Some(at) = self.program.sizes.iter().position(|size| size.axis == QUERY_AXIS) {
            let rows = self.slot(Table::Args, self.layout.sizes + at);
            let many = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, rows, PACKING_ROWS);
            pays = self.b.ins().band(pays, many);
        }
        pays
    }

    pub(crate) fn workspace_size_body(&mut self, plans: &[KernelPlan]) {
        let parts = self.parts(plans);
        self.b.ins().return_(&[parts.end]);
    }

    pub(crate) fn check_body(&mut self) {
        for (number, (condition, _)) in self.program.requires.iter().enumerate() {
            let holds = self.scalar(condition);
            let failed = self.int32(number as i32 + 1);
            let (bad, good) = (self.b.create_block(), self.b.create_block());
            self.b.ins().brif(holds, good, &[], bad, &[]);
            self.b.seal_block(bad);
            self.b.seal_block(good);
            self.b.switch_to_block(bad);
            self.b.ins().return_(&[failed]);
            self.b.switch_to_block(good);
        }
        let fine = self.int32(0);
        self.b.ins().return_(&[fine]);
    }

    pub(crate) fn prepare_body(&mut self, workspace: Value, plans: &[KernelPlan]) {
        self.frame = Some(workspace);
        let parts = self.parts(plans);
        let args = self.args;
        self.set_frame(Layout::ARGS, args);
        let scratch = self.b.ins().iadd(workspace, parts.scratch);
        self.set_frame(Layout::SCRATCH, scratch);
        self.set_frame(Layout::SCRATCH_BYTES, parts.worker);
        let mut workspaces = parts.tensors.into_iter();
        for (index, tensor) in self.program.tensors.iter().enumerate() {
            let place = self.layout.places[index];
            match tensor.role {
                Role::Input(_) | Role::Output(_) => {}
                Role::KeyLengths => {
                    let slot = self.layout.given[index].expect("codegen: key lengths have an argument");
                    let given = self.slot(Table::Args, slot);
                    let own = self.b.ins().iadd(workspace, parts.lengths);
                    self.default_lengths(given, own, &tensor.dims);
                    let lengths = self.b.ins().select(given, given, own);
                    self.set_frame(place.pointer, lengths);
                }
                Role::Workspace => {
                    let start = workspaces.next().expect("codegen: every workspace has a place");
                    let address = self.b.ins().iadd(workspace, start);
                    self.set_frame(place.pointer, address);
                    let mut stride = self.int(1);
                    for axis in (1..tensor.dims.len()).rev() {
                        let extent = self.extent(&tensor.dims[axis]);
                        stride = self.b.ins().imul(stride, extent);
                        self.set_frame(place.pointer + axis, stride);
                    }
                }
            }
        }
        for (number, kernel) in self.program.kernels.iter().enumerate() {
            for (axis, grid) in kernel.grid.iter().enumerate() {
                let extent = self.extent(&grid.extent);
                self.set_frame(self.layout.extents[number] + axis, extent);
            }
        }
        let zero = self.int(0);
        for (at, launch) in self.layout.launches.iter().enumerate() {
            let points = match *launch {
                Launch::Kernel(number) => self.grid_points(number),
                Launch::Pack { kernel, tensor } => {
                    let start = parts.packed[kernel][tensor];
                    let address = self.b.ins().iadd(workspace, start);
                    let address = self.b.ins().select(start, address, zero);
                    self.set_frame(self.layout.packed[kernel][tensor], address);
                    let points = self.packing_points(&plans[kernel].packed[tensor]);
                    self.b.ins().select(start, points, zero)
                }
            };
            self.set_frame(self.layout.points[at], points);
        }
        self.b.ins().return_(&[]);
    }

    /// Fills key lengths with the number of keys, where the caller gives none.
    fn default_lengths(&mut self, given: Value, own: Value, dims: &[Expr]) {
        let keys = self.program.sizes.iter().position(|size| size.axis == KEY_AXIS);
        let Some(keys) = keys else { return };
        let keys = self.slot(Table::Args, self.layout.sizes + keys);
        let count = self.extent(&dims[0]);
        self.branch(
            given,
            |_| {},
            |e| {
                let zero = e.int(0);
                e.count_by(zero, count, 1, |e, at| {
                    let to = e.offset(own, at, 4);
                    e.b.ins().istore32(ACCESS, keys, to, 0);
                });
            },
        );
    }

    pub(crate) fn run_body(
        &mut self,
        workspace: Value,
        parallel: Value,
        context: Value,
        (check, prepare): (FuncId, FuncId),
        launches: &[FuncId],
    ) {
        let args = self.args;
        let function = self.module.declare_func_in_func(check, self.b.func);
        let call = self.b.ins().call(function, &[args]);
        let failed = self.b.inst_results(call)[0];
        let (bad, good) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(failed, bad, &[], good, &[]);
        self.b.seal_block(bad);
        self.b.seal_block(good);
        self.b.switch_to_block(bad);
        self.b.ins().return_(&[failed]);
        self.b.switch_to_block(good);
        let function = self.module.declare_func_in_func(prepare, self.b.func);
        self.b.ins().call(function, &[args, workspace]);
        self.frame = Some(workspace);
        let signature = parallel_for(self.module);
        let signature = self.b.import_signature(signature);
        for (number, kernel) in launches.iter().enumerate() {
            let count = self.slot(Table::Frame, self.layout.points[number]);
            let function = self.module.declare_func_in_func(*kernel, self.b.func);
            self.branch(
                parallel,
                |e| {
                    let body = e.b.ins().func_addr(WORD, function);
                    e.b.ins().call_indirect(signature, parallel, &[context, count, body, workspace]);
                },
                |e| {
                    let zero = e.int(0);
                    e.count_by(zero, count, 1, |e, point| {
                        e.b.ins().call(function, &[workspace, point, zero]);
                    });
                },
            );
        }
        let fine = self.b.ins().iconst(types::I32, 0);
        self.b.ins().return_(&[fine]);
    }
}
