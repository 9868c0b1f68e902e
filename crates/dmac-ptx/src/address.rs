//! Addresses typed by state space.
//!
//! In: a base register (32 bits for shared memory, 64 for global and generic) and a constant byte offset. Out:
//! [`Addr<S>`], which only the instructions of that space take.
//!
//! Why: a global pointer handed to `ldmatrix`, or a generic one to `cp.async`, is a fault on the device with no line
//! number. Here it does not compile.

use crate::types::{B32, B64, Int, Reg, RegId};
use std::marker::PhantomData;
use std::ops::Add;

/// A state space as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceName {
    /// Shared memory of the executing CTA.
    Shared,
    /// Shared memory of any CTA of the cluster.
    SharedCluster,
    /// Global memory.
    Global,
    /// Kernel parameters.
    Param,
    /// The generic window over all of them.
    Generic,
}

/// A state space as a compile-time marker.
pub trait Space: Copy + 'static {
    /// The type of the register that holds an address of this space.
    type Base: Int;
    /// The same space as data.
    const NAME: SpaceName;
}

macro_rules! space {
    ($(#[$doc:meta])* $name:ident, $base:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl Space for $name {
            type Base = $base;
            const NAME: SpaceName = SpaceName::$name;
        }
    };
}

space! {
    /// Shared memory of this CTA; addresses are 32 bits.
    Shared, B32
}
space! {
    /// Shared memory of a CTA of the cluster, as made by `mapa`; addresses are 32 bits.
    SharedCluster, B32
}
space! {
    /// Global memory; addresses are 64 bits.
    Global, B64
}
space! {
    /// A generic address, 64 bits. Only what needs one takes one (a tensor map).
    Generic, B64
}

/// A kernel parameter: an index into the kernel's parameter list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParamId(pub(crate) u32);

/// What an address is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A register.
    Reg(RegId),
    /// The start of a kernel parameter.
    Param(ParamId),
}

/// An address without its space's type: base plus a constant offset in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemRef {
    /// What the offset is added to.
    pub base: Base,
    /// Bytes.
    pub offset: i32,
}

impl MemRef {
    pub(crate) fn register(reg: RegId) -> Self {
        MemRef { base: Base::Reg(reg), offset: 0 }
    }

    pub(crate) fn param(param: ParamId) -> Self {
        MemRef { base: Base::Param(param), offset: 0 }
    }
}

/// An address in space `S`: `[base + offset]`.
#[derive(Clone, Copy, Debug)]
pub struct Addr<S> {
    pub(crate) at: MemRef,
    space: PhantomData<S>,
}

impl<S: Space> Addr<S> {
    /// `[base]`.
    pub fn new(base: Reg<S::Base>) -> Self {
        Addr { at: MemRef::register(base.id), space: PhantomData }
    }

    /// `[base + offset]`, offset in bytes.
    #[must_use]
    pub fn plus(self, offset: i32) -> Self {
        Addr { at: MemRef { offset: self.at.offset + offset, ..self.at }, ..self }
    }
}

impl<S: Space> Add<i32> for Addr<S> {
    type Output = Addr<S>;
    fn add(self, offset: i32) -> Addr<S> {
        self.plus(offset)
    }
}

/// `[base]` in this CTA's shared memory.
pub fn shared(base: Reg<B32>) -> Addr<Shared> {
    Addr::new(base)
}

/// `[base]` in global memory.
pub fn global(base: Reg<B64>) -> Addr<Global> {
    Addr::new(base)
}
