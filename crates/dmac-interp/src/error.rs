//! What can go wrong while a program is evaluated.
//!
//! Every error names what the user wrote: the tensor, the axis, the values of the indices.

use crate::shape::ShapeError;
use dmac_ir::Elem;
use std::fmt;

/// Why a program cannot be evaluated on these inputs.
#[derive(Clone, PartialEq, Debug)]
pub enum Error {
    /// Shapes, lengths or parameters do not fit.
    Shape(ShapeError),
    /// A tensor with elements of another type.
    ElementType {
        /// The tensor.
        tensor: String,
        /// Its declared element type.
        wanted: Elem,
        /// What was given.
        found: &'static str,
    },
    /// A tensor whose data do not fit its dims.
    ElementCount {
        /// The tensor.
        tensor: String,
        /// The product of its dims.
        expected: usize,
        /// How many elements there are.
        found: usize,
    },
    /// A read outside a tensor that no mask, `if` or `and` excludes.
    OutOfRange {
        /// The tensor.
        tensor: String,
        /// The axis.
        axis: String,
        /// The index.
        index: i64,
        /// The size of the axis.
        size: i64,
        /// The values of the index variables at that point.
        at: Vec<(String, i64)>,
    },
    /// `div` or `mod` by zero.
    DivisionByZero {
        /// The values of the index variables at that point.
        at: Vec<(String, i64)>,
    },
    /// An int that does not fit.
    Overflow {
        /// The values of the index variables at that point.
        at: Vec<(String, i64)>,
    },
    /// A size that cannot be computed: it divides by zero or overflows.
    Size {
        /// The expression.
        size: String,
    },
    /// The tile of an axis is needed, but no tile size was given.
    NoTile {
        /// The axis.
        axis: String,
    },
    /// A query row that does not exist.
    Row {
        /// The row.
        row: usize,
        /// `M`.
        rows: usize,
    },
    /// A block-skip predicate that claims what is not so.
    Skip {
        /// The attention.
        attention: String,
        /// The number of the mask term.
        term: usize,
        /// What was claimed.
        claim: &'static str,
        /// The values of the index variables of the pair that contradicts.
        at: Vec<(String, i64)>,
    },
}

impl Error {
    /// Whether this says that an expression has no value at some point, so that it matters whether the point is
    /// evaluated at all.
    pub(crate) fn is_undefined_value(&self) -> bool {
        matches!(self, Self::OutOfRange { .. } | Self::DivisionByZero { .. } | Self::Overflow { .. })
    }
}

impl From<ShapeError> for Error {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |at: &[(String, i64)]| {
            let at: Vec<String> = at.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            if at.is_empty() { String::new() } else { format!(" at {}", at.join(", ")) }
        };
        match self {
            Self::Shape(error) => error.fmt(f),
            Self::ElementType { tensor, wanted, found } => {
                write!(f, "`{tensor}` is declared {wanted}, the tensor given is {found}")
            }
            Self::ElementCount { tensor, expected, found } => {
                write!(f, "`{tensor}` has {found} elements, its shape needs {expected}")
            }
            Self::OutOfRange { tensor, axis, index, size, at } => write!(
                f,
                "`{tensor}` is read at index {index} of axis {axis}, which has 0 .. {size}{} (E0601)",
                place(at)
            ),
            Self::DivisionByZero { at } => write!(f, "division by zero{}", place(at)),
            Self::Overflow { at } => write!(f, "an integer overflows{}", place(at)),
            Self::Size { size } => write!(f, "the size {size} cannot be computed"),
            Self::NoTile { axis } => write!(f, "no tile size is given for axis {axis}"),
            Self::Row { row, rows } => write!(f, "there is no query row {row}, M is {rows}"),
            Self::Skip { attention, term, claim, at } => write!(
                f,
                "attention {attention}: mask term {term} is said to be {claim} in a tile where it is not{}",
                place(at)
            ),
        }
    }
}

impl std::error::Error for Error {}
