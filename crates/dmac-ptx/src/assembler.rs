//! The assembler: typed methods that record instructions.
//!
//! In: calls such as `k.fma("scaled", x, scale, shift)`. Out: a checked [`Kernel`]. The methods are grouped in files
//! under the chapter titles of the PTX manual (section 9.7), so that whoever has the manual open finds them.
//!
//! Every method that makes a value takes a *destination* first: a role (`"row_max"`), which makes a new register of
//! that role, or a register, which is overwritten. It returns the register.

mod asynchronous_copy;
mod comparison_and_selection;
mod control_flow;
mod data_movement_and_conversion;
mod floating_point;
mod half_precision;
mod integer_arithmetic;
mod logic_and_shift;
mod mbarrier;
mod miscellaneous;
mod parallel_synchronization;
mod warp_matrix;
mod warpgroup_matrix;

pub use asynchronous_copy::BulkOptions;
pub use control_flow::Unroll;
pub use data_movement_and_conversion::Memory;
pub use warpgroup_matrix::{Accumulate, Major, SWIZZLE_128B_1024};

use crate::address::ParamId;
use crate::check::{CheckError, check};
use crate::inst::{Inst, Label};
use crate::kernel::{Frame, Item, Kernel, ParamDecl, ParamKind, Role, Target};
use crate::types::{Class, Cond, Pred, Reg, RegId, Stored, Ty};
use std::marker::PhantomData;

/// Records one kernel.
#[derive(Debug)]
pub struct Assembler {
    kernel: Kernel,
    guard: Option<Cond>,
    errors: Vec<CheckError>,
}

/// Where a value goes: a role for a new register, or a register.
pub trait Dest<T: Ty> {
    /// The register.
    fn register(self, k: &mut Assembler) -> Reg<T>;
}

impl<T: Ty> Dest<T> for &str {
    fn register(self, k: &mut Assembler) -> Reg<T> {
        k.reg(self)
    }
}

impl<T: Ty> Dest<T> for &String {
    fn register(self, k: &mut Assembler) -> Reg<T> {
        k.reg(self)
    }
}

impl<T: Ty> Dest<T> for Reg<T> {
    fn register(self, _: &mut Assembler) -> Reg<T> {
        self
    }
}

/// A parameter that holds a number of type `T`; pointers are `Param<B64>`.
#[derive(Clone, Copy, Debug)]
pub struct Param<T> {
    pub(crate) id: ParamId,
    ty: PhantomData<T>,
}

/// A parameter that holds a tensor map (128 bytes, made by the driver's `cuTensorMapEncodeTiled`).
#[derive(Clone, Copy, Debug)]
pub struct TensorMapParam {
    pub(crate) id: ParamId,
}

/// The generic address of a tensor map, in a register.
#[derive(Clone, Copy, Debug)]
pub struct TensorMap {
    pub(crate) at: RegId,
}

impl Assembler {
    /// An empty kernel called `name`.
    pub fn new(name: &str, target: Target) -> Self {
        let kernel = Kernel {
            name: name.to_owned(),
            target,
            params: Vec::new(),
            frame: Frame::default(),
            files: Vec::new(),
            items: Vec::new(),
            roles: Vec::new(),
            regs: Vec::new(),
            labels: Vec::new(),
            uniform: Vec::new(),
        };
        Assembler { kernel, guard: None, errors: Vec::new() }
    }

    /// Checks the kernel and hands it over.
    ///
    /// # Errors
    ///
    /// Everything that the checker refuses, in order of place; see [`CheckError`].
    pub fn finish(self) -> Result<Kernel, Vec<CheckError>> {
        let mut errors = self.errors;
        errors.extend(check(&self.kernel));
        if errors.is_empty() { Ok(self.kernel) } else { Err(errors) }
    }

    /// The flavour that is being written.
    pub fn target(&self) -> Target {
        self.kernel.target
    }

    // ---- the frame

    /// Threads of a CTA (`.reqntid`), along x.
    pub fn threads(&mut self, threads: u32) {
        self.kernel.frame.threads = Some(threads);
    }

    /// CTAs that must fit on a multiprocessor (`.minnctapersm`).
    pub fn min_ctas(&mut self, ctas: u32) {
        self.kernel.frame.min_ctas = Some(ctas);
    }

    /// Registers that a thread may have (`.maxnreg`).
    pub fn max_registers(&mut self, registers: u32) {
        self.kernel.frame.max_registers = Some(registers);
    }

    /// CTAs of a cluster (`.reqnctapercluster`), along x.
    pub fn cluster(&mut self, ctas: u32) {
        self.kernel.frame.cluster = Some(ctas);
    }

    /// Dynamic shared memory: bytes that the launch must give, alignment of the start (at most 1024).
    pub fn dynamic_shared(&mut self, bytes: u32, align: u32) {
        self.kernel.frame.shared = Some((bytes, align));
    }

    /// A parameter that is a number.
    pub fn param<T: Stored>(&mut self, name: &str) -> Param<T> {
        Param { id: self.declare(name, ParamKind::Value(T::CLASS)), ty: PhantomData }
    }

    /// A parameter that points to global memory, aligned to `align` bytes (a power of two).
    pub fn param_pointer(&mut self, name: &str, align: u32) -> Param<crate::types::B64> {
        Param { id: self.declare(name, ParamKind::Pointer(align)), ty: PhantomData }
    }

    /// A parameter that is a tensor map.
    pub fn param_tensor_map(&mut self, name: &str) -> TensorMapParam {
        TensorMapParam { id: self.declare(name, ParamKind::TensorMap) }
    }

    fn declare(&mut self, name: &str, kind: ParamKind) -> ParamId {
        self.kernel.params.push(ParamDecl { name: name.to_owned(), kind });
        ParamId(self.kernel.params.len() as u32 - 1)
    }

    // ---- registers

    /// A new register of a role. Roles number their registers on their own: `%row_max0`, `%row_max1`.
    pub fn reg<T: Ty>(&mut self, role: &str) -> Reg<T> {
        Reg::from_id(self.new_register(role, T::CLASS))
    }

    /// `n` new registers of a role, with consecutive numbers.
    pub fn regs<T: Ty>(&mut self, role: &str, n: usize) -> Vec<Reg<T>> {
        (0..n).map(|_| self.reg(role)).collect()
    }

    fn new_register(&mut self, role: &str, class: Class) -> RegId {
        let role = role_name(role);
        let roles = &mut self.kernel.roles;
        let at = roles.iter().position(|r| r.name == role).unwrap_or_else(|| {
            roles.push(Role { name: role.clone(), class, count: 0 });
            roles.len() - 1
        });
        if roles[at].class != class {
            // One role, one type: the declaration `.reg .f32 %s<64>` has one. The offender gets a role of its own so
            // that recording can go on and every error is reported at once.
            let error = CheckError::role_class(&self.kernel, &role, class);
            if !self.errors.iter().any(|e| e.kind == error.kind) {
                self.errors.push(error);
            }
            return self.new_register(&format!("{role}_{}", class.name()), class);
        }
        let number = roles[at].count;
        roles[at].count += 1;
        self.kernel.regs.push((at as u32, number));
        RegId(self.kernel.regs.len() as u32 - 1)
    }

    /// Vouches that all lanes of a warp hold the same value in `reg`, where the checker cannot see it (a value loaded
    /// from a per-CTA table, say). Branches on what is computed from it count as uniform.
    pub fn assume_uniform<T: Ty>(&mut self, reg: Reg<T>) {
        self.kernel.uniform.push(reg.id);
    }

    // ---- reading aids and source lines

    /// A comment line: what the next instructions do, in the words of the source.
    pub fn comment(&mut self, text: impl Into<String>) {
        self.kernel.items.push(Item::Comment(text.into()));
    }

    /// Says that the next instructions come from `line`:`column` (both from 1) of `file`.
    pub fn location(&mut self, file: &str, line: u32, column: u32) {
        let files = &mut self.kernel.files;
        let at = files.iter().position(|f| f == file).unwrap_or_else(|| {
            files.push(file.to_owned());
            files.len() - 1
        });
        self.kernel.items.push(Item::Loc { file: at as u32, line, column });
    }

    // ---- guards

    /// Records `body` with every instruction guarded by `cond`: `@%p0 st…`. For a few instructions without branches;
    /// for more, see [`Assembler::if_then`].
    ///
    /// # Panics
    ///
    /// If guards are nested: PTX has one guard an instruction.
    pub fn when(&mut self, cond: impl Into<Cond>, body: impl FnOnce(&mut Self)) {
        assert!(self.guard.is_none(), "guards do not nest; combine the predicates first");
        self.guard = Some(cond.into());
        body(self);
        self.guard = None;
    }

    // ---- recording

    pub(crate) fn push(&mut self, inst: Inst) {
        self.kernel.items.push(Item::Inst { guard: self.guard, inst });
    }

    /// Makes the destination's register, records `inst` with it, returns it.
    fn into<T: Ty>(&mut self, d: impl Dest<T>, inst: impl FnOnce(RegId) -> Inst) -> Reg<T> {
        let d = d.register(self);
        self.push(inst(d.id));
        d
    }

    fn new_label(&mut self, role: &str) -> Label {
        let role = role_name(role);
        let number = self.kernel.labels.iter().filter(|(r, _)| *r == role).count() as u32;
        self.kernel.labels.push((role, number));
        Label(self.kernel.labels.len() as u32 - 1)
    }

    /// A throw-away predicate for control flow.
    fn predicate(&mut self, role: &str) -> Reg<Pred> {
        self.reg(role)
    }
}

/// A role that ends in a digit would run into its number: `x1` and `x` both give `%x10`. An underscore ends it.
fn role_name(role: &str) -> String {
    let mut name: String = role.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    if name.ends_with(|c: char| c.is_ascii_digit()) {
        name.push('_');
    }
    name
}
