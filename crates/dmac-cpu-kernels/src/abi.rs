//! What a code generator must know of each run-time function: name, arguments, result.
//!
//! Input: the list of functions. Output: [`Kernel`], [`Signature`] and the function-pointer types, all expanded from it, and a
//! text form of the whole that a snapshot pins.

use core::fmt;

use crate::list::kernel_list;

/// What a machine register holds for an argument or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineType {
    /// A pointer or a length: as wide as an address.
    Word,
    /// A 32-bit integer.
    I32,
    /// An f32.
    F32,
}

/// The kind of an argument or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgKind {
    /// A count, an offset or a stride in elements: `usize`.
    Size,
    /// A number or a flag: `i32`.
    I32,
    /// A factor: `f32`.
    F32,
    /// A pointer to the named elements, only read.
    In(&'static str),
    /// A pointer to the named elements, written and perhaps read.
    Out(&'static str),
}

impl ArgKind {
    /// The register that carries it.
    pub const fn machine(self) -> MachineType {
        match self {
            Self::Size | Self::In(_) | Self::Out(_) => MachineType::Word,
            Self::I32 => MachineType::I32,
            Self::F32 => MachineType::F32,
        }
    }
}

impl fmt::Display for ArgKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => f.write_str("size"),
            Self::I32 => f.write_str("i32"),
            Self::F32 => f.write_str("f32"),
            Self::In(of) => write!(f, "in {of}"),
            Self::Out(of) => write!(f, "out {of}"),
        }
    }
}

/// One argument of a run-time function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name in the contract.
    pub name: &'static str,
    /// Its kind.
    pub kind: ArgKind,
}

/// One run-time function as a caller sees it. The calling convention is the platform's C convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Which function.
    pub kernel: Kernel,
    /// Its name: the end of its symbol.
    pub name: &'static str,
    /// Its arguments in order.
    pub params: &'static [Param],
    /// Its result, if it has one.
    pub result: Option<ArgKind>,
    /// Its contract.
    pub doc: &'static str,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (i, param) in self.params.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}: {}", param.name, param.kind)?;
        }
        f.write_str(")")?;
        self.result.map_or(Ok(()), |kind| write!(f, " -> {kind}"))
    }
}

/// The kind of a Rust type.
trait Kind {
    const KIND: Option<ArgKind>;
}

macro_rules! kinds {
    ($($ty:ty => $kind:expr;)*) => { $(impl Kind for $ty {
        const KIND: Option<ArgKind> = $kind;
    })* };
}

kinds! {
    () => None;
    usize => Some(ArgKind::Size);
    i32 => Some(ArgKind::I32);
    f32 => Some(ArgKind::F32);
    *const u8 => Some(ArgKind::In("bytes"));
    *const u16 => Some(ArgKind::In("bf16"));
    *const u32 => Some(ArgKind::In("bf16 pairs"));
    *const i32 => Some(ArgKind::In("i32"));
    *const f32 => Some(ArgKind::In("f32"));
    *mut u8 => Some(ArgKind::Out("bytes"));
    *mut u16 => Some(ArgKind::Out("bf16"));
    *mut u32 => Some(ArgKind::Out("bf16 pairs"));
    *mut u64 => Some(ArgKind::Out("entries"));
    *mut i32 => Some(ArgKind::Out("i32"));
    *mut f32 => Some(ArgKind::Out("f32"));
}

/// The kind of an argument: every argument has one.
const fn kind<T: Kind>() -> ArgKind {
    match T::KIND {
        Some(kind) => kind,
        None => panic!("an argument without a kind"),
    }
}

macro_rules! define {
    ((); $($(#[doc = $doc:literal])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty;)*) => {
        /// A run-time function, named like its field in [`Functions`].
        #[allow(non_camel_case_types, reason = "a variant is spelled like the function that it names")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kernel { $($(#[doc = $doc])* $name,)* }

        /// The functions of one instruction set.
        #[derive(Clone, Copy, Debug)]
        pub struct Functions { $($(#[doc = $doc])* pub $name: unsafe extern "C" fn($($arg: $ty),*) -> $ret,)* }

        impl Functions {
            /// The address of a function, for a linker or a JIT's table of symbols.
            pub fn address(&self, kernel: Kernel) -> *const u8 {
                match kernel { $(Kernel::$name => self.$name as *const u8,)* }
            }
        }

        /// All run-time functions in the order of their list.
        pub const SIGNATURES: &[Signature] = &[$(Signature {
            kernel: Kernel::$name,
            name: stringify!($name),
            params: &[$(Param { name: stringify!($arg), kind: kind::<$ty>() }),*],
            result: <$ret as Kind>::KIND,
            doc: concat!($($doc, "\n"),*),
        },)*];
    };
}

kernel_list!(define!());

impl Kernel {
    /// What callers must know of it.
    pub fn signature(self) -> &'static Signature {
        &SIGNATURES[self as usize]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.signature().name
    }
}

/// All signatures, one a line.
pub struct SignatureList;

impl fmt::Display for SignatureList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SIGNATURES.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}
