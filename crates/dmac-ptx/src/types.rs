//! Register types, typed registers and typed operands.
//!
//! In: a type marker (`B32`, `F32`, `Pred`, …) chosen by the caller. Out: [`Reg<T>`] and [`Operand<T>`], thin typed
//! wrappers over the erased [`RegId`] and [`Src`] that the instruction enum stores.
//!
//! Why: `ptxas` lets a `.b32` register hold anything, so a float added to an integer is found at run time, on a GPU,
//! if at all. Here the register's type is part of the Rust type and the mistake does not compile. Signedness is *not*
//! part of the type, as in the ISA itself: bits have none, instructions do (`min_s`, `shr_u`).

use std::marker::PhantomData;
use std::ops::Not;

/// The register classes of PTX that dmac uses, as run-time data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// One bit: the outcome of a comparison, a guard.
    Pred,
    /// 16 bits: one f16 or bf16, or a multicast mask.
    B16,
    /// 32 bits: an integer, a shared-memory address, or two packed 16-bit floats.
    B32,
    /// 64 bits: an integer, a global address, a matrix descriptor, a cache policy.
    B64,
    /// One IEEE single.
    F32,
}

impl Class {
    /// The type suffix in a `.reg` declaration.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Pred => "pred",
            Class::B16 => "b16",
            Class::B32 => "b32",
            Class::B64 => "b64",
            Class::F32 => "f32",
        }
    }

    /// Size in memory in bytes; predicates have none and count as 0.
    pub const fn bytes(self) -> u32 {
        match self {
            Class::Pred => 0,
            Class::B16 => 2,
            Class::B32 | Class::F32 => 4,
            Class::B64 => 8,
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A register type, as a compile-time marker. Sealed: the set is [`Class`].
pub trait Ty: sealed::Sealed + Copy + 'static {
    /// The same type as data.
    const CLASS: Class;
}

/// A type with `add`, `sub` and `mul`: [`B32`], [`B64`], [`F32`].
pub trait Number: Stored {}
/// An integer type: [`B32`], [`B64`].
pub trait Int: Number {}
/// A type that can be in memory: all but [`Pred`].
pub trait Stored: Ty {}
/// A type with bitwise operations: [`Pred`], [`B16`], [`B32`], [`B64`].
pub trait Bits: Ty {}

macro_rules! marker {
    ($(#[$doc:meta])* $name:ident : $($capability:ident),*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name;
        impl sealed::Sealed for $name {}
        impl Ty for $name {
            const CLASS: Class = Class::$name;
        }
        $(impl $capability for $name {})*
    };
}

marker! {
    /// Marker of [`Class::Pred`].
    Pred: Bits
}
marker! {
    /// Marker of [`Class::B16`].
    B16: Bits, Stored
}
marker! {
    /// Marker of [`Class::B32`].
    B32: Number, Int, Bits, Stored
}
marker! {
    /// Marker of [`Class::B64`].
    B64: Number, Int, Bits, Stored
}
marker! {
    /// Marker of [`Class::F32`].
    F32: Number, Stored
}

/// A register of one kernel, without its type: an index into the kernel's register table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegId(pub(crate) u32);

/// A register of type `T`. Copyable: it is a name, not a value.
#[derive(Debug)]
pub struct Reg<T> {
    pub(crate) id: RegId,
    ty: PhantomData<T>,
}

impl<T> Clone for Reg<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Reg<T> {}
impl<T> PartialEq for Reg<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}
impl<T> Eq for Reg<T> {}

impl<T: Ty> Reg<T> {
    pub(crate) fn from_id(id: RegId) -> Self {
        Reg { id, ty: PhantomData }
    }

    /// The register without its type.
    pub fn id(self) -> RegId {
        self.id
    }
}

/// An immediate value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imm {
    /// An integer; printed in decimal. Negative values are two's complement at the operand's width.
    Int(i64),
    /// The bits of an f32; printed as `0fXXXXXXXX`.
    F32(u32),
}

/// A source operand without its type: a register or an immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Src {
    /// A register.
    Reg(RegId),
    /// An immediate.
    Imm(Imm),
}

/// A source operand of type `T`: a [`Reg<T>`] or a Rust number that fits it.
#[derive(Debug)]
pub struct Operand<T> {
    pub(crate) src: Src,
    ty: PhantomData<T>,
}

impl<T> Clone for Operand<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Operand<T> {}

impl<T> Operand<T> {
    fn imm(imm: Imm) -> Self {
        Operand { src: Src::Imm(imm), ty: PhantomData }
    }
}

impl<T: Ty> From<Reg<T>> for Operand<T> {
    fn from(reg: Reg<T>) -> Self {
        Operand { src: Src::Reg(reg.id), ty: PhantomData }
    }
}

macro_rules! integer_operand {
    ($($number:ty => $marker:ty),* $(,)?) => {
        $(impl From<$number> for Operand<$marker> {
            fn from(value: $number) -> Self {
                Operand::imm(Imm::Int(value as i64))
            }
        })*
    };
}
integer_operand! {
    i32 => B32, u32 => B32, u16 => B16,
    i32 => B64, u32 => B64, i64 => B64, u64 => B64,
}

impl From<f32> for Operand<F32> {
    fn from(value: f32) -> Self {
        Operand::imm(Imm::F32(value.to_bits()))
    }
}

/// A predicate register or its negation: what guards an instruction or decides a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cond {
    pub(crate) pred: RegId,
    pub(crate) negated: bool,
}

impl From<Reg<Pred>> for Cond {
    fn from(pred: Reg<Pred>) -> Self {
        Cond { pred: pred.id, negated: false }
    }
}

impl Not for Cond {
    type Output = Cond;
    fn not(self) -> Cond {
        Cond { negated: !self.negated, ..self }
    }
}

impl Not for Reg<Pred> {
    type Output = Cond;
    fn not(self) -> Cond {
        !Cond::from(self)
    }
}

/// The ids of a slice of typed registers.
pub(crate) fn ids<T: Ty>(regs: &[Reg<T>]) -> Box<[RegId]> {
    regs.iter().map(|r| r.id).collect()
}
