//! From the shapes of the input tensors to the size of every axis, or the reason why they do not fit together.
//!
//! Input → output: a graph, the dims of its inputs and the values of its parameters → a [`Shape`]. Why: nothing is
//! evaluated, launched or allocated on shapes that contradict each other, and a contradiction is told in the names of
//! the program. The run time uses this too, so a kernel sees only shapes that the oracle accepts.

use dmac_ir::{AxisId, AxisKind, Elem, Graph, Input, ParamType, ParamValue, Size};
use std::fmt;

/// The size of every axis of a graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    sizes: Vec<i64>,
    params: Vec<Option<i64>>,
}

/// Why shapes, lengths or parameters do not fit a program.
#[derive(Clone, PartialEq, Debug)]
pub enum ShapeError {
    /// Another number of tensors than the program has inputs.
    InputCount {
        /// The names of the inputs.
        expected: Vec<String>,
        /// How many were given.
        found: usize,
    },
    /// A tensor has another number of axes than it is declared with.
    Rank {
        /// The tensor.
        tensor: String,
        /// Its axes.
        axes: Vec<String>,
        /// Its dims.
        dims: Vec<usize>,
    },
    /// An axis has two sizes.
    Conflict {
        /// The axis.
        axis: String,
        /// Its size.
        expected: i64,
        /// Where that comes from.
        reason: String,
        /// The tensor that disagrees.
        tensor: String,
        /// Its size of the axis.
        found: i64,
    },
    /// Two statements about an axis of the program disagree.
    Fixed {
        /// The axis.
        axis: String,
        /// The size that it was compiled for.
        fixed: i64,
        /// The size that follows from the inputs.
        computed: i64,
    },
    /// `H` is not a multiple of `G`.
    Groups {
        /// `H`.
        heads: i64,
        /// `G`.
        kv_heads: i64,
    },
    /// A window or block has no positions, or windows do not advance.
    NotPositive {
        /// The axis.
        axis: String,
        /// `length` or `stride`.
        what: &'static str,
        /// Its value.
        value: i64,
    },
    /// An axis whose size cannot be computed: no tensor has it, or its expression divides by zero or overflows.
    Unknown {
        /// The axis.
        axis: String,
    },
    /// An axis longer than 32-bit positions reach.
    TooLong {
        /// The axis.
        axis: String,
        /// Its size.
        size: i64,
    },
    /// A tensor with more elements than can be addressed.
    TooLarge {
        /// The tensor.
        tensor: String,
        /// Its dims.
        dims: Vec<usize>,
    },
    /// Another number of parameter values than the program has parameters.
    ParamCount {
        /// The names of the parameters.
        expected: Vec<String>,
        /// How many were given.
        found: usize,
    },
    /// A parameter value of the other type.
    ParamType {
        /// The parameter.
        param: String,
        /// Its type.
        expected: ParamType,
    },
    /// An int parameter that does not fit 32 bits.
    ParamRange {
        /// The parameter.
        param: String,
        /// Its value.
        value: i64,
    },
    /// Another number of lengths than batch elements.
    LengthCount {
        /// `B`.
        batch: i64,
        /// How many were given.
        found: usize,
    },
    /// A length outside `0 ..= N`.
    Length {
        /// The batch element.
        batch: usize,
        /// Its length.
        length: i64,
        /// `N`.
        keys: i64,
    },
    /// An element outside the range that its input declares.
    Range {
        /// The tensor.
        tensor: String,
        /// The element, in row-major order.
        element: usize,
        /// Its value.
        value: i32,
        /// The declared range, inclusive.
        range: (i64, i64),
    },
}

impl Shape {
    /// The sizes of all axes. `dims` has one entry for each input of the graph, `params` one for each parameter.
    pub fn resolve(graph: &Graph, dims: &[Vec<usize>], params: &[ParamValue]) -> Result<Self, ShapeError> {
        let params = resolve_params(graph, params)?;
        if dims.len() != graph.inputs.len() {
            let expected = graph.inputs.iter().map(|input| input.name.clone()).collect();
            return Err(ShapeError::InputCount { expected, found: dims.len() });
        }
        let mut known: Vec<Option<(i64, String)>> = graph
            .axes
            .iter()
            .map(|axis| axis.size.map(|size| (size, "the program is compiled for it".to_owned())))
            .collect();
        for (input, dims) in graph.inputs.iter().zip(dims) {
            if dims.len() != input.axes.len() {
                let axes = input.axes.iter().map(|&axis| graph.axis(axis).name.clone()).collect();
                return Err(ShapeError::Rank { tensor: input.name.clone(), axes, dims: dims.clone() });
            }
            let bytes = dims.iter().try_fold(8_usize, |product, &dim| product.checked_mul(dim.max(1)));
            if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
                return Err(ShapeError::TooLarge { tensor: input.name.clone(), dims: dims.clone() });
            }
            for (&axis, &dim) in input.axes.iter().zip(dims) {
                if computed(&graph.axis(axis).kind) {
                    continue;
                }
                let slot = &mut known[axis.0 as usize];
                match slot {
                    None => *slot = Some((dim as i64, format!("`{}` has it", input.name))),
                    Some((expected, reason)) if *expected != dim as i64 => {
                        return Err(ShapeError::Conflict {
                            axis: graph.axis(axis).name.clone(),
                            expected: *expected,
                            reason: reason.clone(),
                            tensor: input.name.clone(),
                            found: dim as i64,
                        });
                    }
                    Some(_) => {}
                }
            }
        }
        let mut sizes: Vec<Option<i64>> =
            known.iter().map(|slot| slot.as_ref().map(|(size, _)| *size)).collect();
        resolve_computed(graph, &params, &mut sizes)?;
        let mut resolved = Vec::with_capacity(sizes.len());
        for (axis, size) in graph.axes.iter().zip(sizes) {
            let size = size.ok_or_else(|| ShapeError::Unknown { axis: axis.name.clone() })?;
            if size > i64::from(i32::MAX) {
                return Err(ShapeError::TooLong { axis: axis.name.clone(), size });
            }
            resolved.push(size);
        }
        let shape = Self { sizes: resolved, params };
        shape.check_computed(graph, dims)?;
        shape.check_groups(graph)?;
        Ok(shape)
    }

    /// The size of an axis.
    pub fn size(&self, axis: AxisId) -> i64 {
        self.sizes[axis.0 as usize]
    }

    /// The sizes of some axes.
    pub fn dims(&self, axes: &[AxisId]) -> Vec<usize> {
        axes.iter().map(|&axis| self.size(axis) as usize).collect()
    }

    /// The value of a symbolic size; `None` if it divides by zero or overflows.
    pub fn eval(&self, size: &Size) -> Option<i64> {
        size.eval(&|param| self.params[param.0 as usize], &|axis| Some(self.size(axis)))
    }

    /// Checks that the elements of an int input lie in its declared range.
    pub fn check_range(&self, input: &Input, data: &[i32]) -> Result<(), ShapeError> {
        let range = input.range_at(&|param| self.params[param.0 as usize], &|axis| Some(self.size(axis)));
        let Some(range) = range.filter(|_| input.elem == Elem::I32) else { return Ok(()) };
        match data.iter().position(|&value| i64::from(value) < range.0 || i64::from(value) > range.1) {
            Some(element) => {
                Err(ShapeError::Range { tensor: input.name.clone(), element, value: data[element], range })
            }
            None => Ok(()),
        }
    }

    /// Checks one length for each batch element, each in `0 ..= N`.
    pub fn check_lengths(&self, graph: &Graph, lengths: &[i64]) -> Result<(), ShapeError> {
        let of_kind = |kind| graph.find_axis(&kind).map_or(0, |axis| self.size(axis));
        let (batch, keys) = (of_kind(AxisKind::Batch), of_kind(AxisKind::Key));
        if lengths.len() as i64 != batch {
            return Err(ShapeError::LengthCount { batch, found: lengths.len() });
        }
        match lengths.iter().position(|length| !(0..=keys).contains(length)) {
            Some(at) => Err(ShapeError::Length { batch: at, length: lengths[at], keys }),
            None => Ok(()),
        }
    }

    /// Axes with a size of their own must have it in every tensor, and the size that they were compiled for.
    fn check_computed(&self, graph: &Graph, dims: &[Vec<usize>]) -> Result<(), ShapeError> {
        for (input, dims) in graph.inputs.iter().zip(dims) {
            for (&axis, &dim) in input.axes.iter().zip(dims) {
                if self.size(axis) != dim as i64 {
                    return Err(ShapeError::Conflict {
                        axis: graph.axis(axis).name.clone(),
                        expected: self.size(axis),
                        reason: "the program computes it".to_owned(),
                        tensor: input.name.clone(),
                        found: dim as i64,
                    });
                }
            }
        }
        Ok(())
    }

    fn check_groups(&self, graph: &Graph) -> Result<(), ShapeError> {
        let head = graph.find_axis(&AxisKind::Head).map(|axis| self.size(axis));
        let kv_head = graph.find_axis(&AxisKind::KvHead).map(|axis| self.size(axis));
        let (Some(heads), Some(kv_heads)) = (head, kv_head) else { return Ok(()) };
        let divisible = if kv_heads == 0 { heads == 0 } else { heads % kv_heads == 0 };
        if divisible { Ok(()) } else { Err(ShapeError::Groups { heads, kv_heads }) }
    }
}

/// Whether the size of such an axis follows from others.
pub(crate) fn computed(kind: &AxisKind) -> bool {
    matches!(kind, AxisKind::Windows { .. } | AxisKind::Blocks { .. } | AxisKind::Sized(_))
}

/// Int values of the parameters, by number; `None` for floats.
fn resolve_params(graph: &Graph, params: &[ParamValue]) -> Result<Vec<Option<i64>>, ShapeError> {
    if params.len() != graph.params.len() {
        let expected = graph.params.iter().map(|param| param.name.clone()).collect();
        return Err(ShapeError::ParamCount { expected, found: params.len() });
    }
    let mut values = Vec::with_capacity(params.len());
    for (param, value) in graph.params.iter().zip(params) {
        values.push(match (param.ty, value) {
            (ParamType::Int, &ParamValue::Int(value)) => {
                if i32::try_from(value).is_err() {
                    return Err(ShapeError::ParamRange { param: param.name.clone(), value });
                }
                Some(value)
            }
            (ParamType::Float, ParamValue::Float(_)) => None,
            (expected, _) => {
                return Err(ShapeError::ParamType { param: param.name.clone(), expected });
            }
        });
    }
    Ok(values)
}

/// Computes the sizes of windows, blocks and sized axes. An axis may be computed from one that is declared later, so
/// this repeats until nothing new becomes known.
pub(crate) fn resolve_computed(
    graph: &Graph,
    params: &[Option<i64>],
    sizes: &mut [Option<i64>],
) -> Result<(), ShapeError> {
    let mut pending: Vec<usize> =
        (0..graph.axes.len()).filter(|&at| computed(&graph.axes[at].kind)).collect();
    loop {
        let before = pending.len();
        let mut waiting = Vec::new();
        for at in pending {
            let axis = &graph.axes[at];
            let eval = |size: &Size| {
                size.eval(&|param| params[param.0 as usize], &|axis: AxisId| sizes[axis.0 as usize])
            };
            let positive = |what: &'static str, size: &Size| match eval(size) {
                Some(value) if value < 1 => {
                    Err(ShapeError::NotPositive { axis: axis.name.clone(), what, value })
                }
                value => Ok(value),
            };
            let of_size = |of: AxisId| sizes[of.0 as usize];
            let size = match &axis.kind {
                AxisKind::Windows { of, length, stride } => {
                    match (of_size(*of), positive("length", length)?, positive("stride", stride)?) {
                        (Some(size), Some(length), _) if size < length => Some(0),
                        (Some(size), Some(length), Some(stride)) => Some((size - length) / stride + 1),
                        _ => None,
                    }
                }
                AxisKind::Blocks { of, length } => match (of_size(*of), positive("length", length)?) {
                    (Some(size), Some(length)) => Some((size + length - 1) / length),
                    _ => None,
                },
                AxisKind::Sized(size) => eval(size).map(|size| size.max(0)),
                _ => None,
            };
            match (size, axis.size) {
                (Some(computed), Some(fixed)) if computed != fixed => {
                    return Err(ShapeError::Fixed { axis: axis.name.clone(), fixed, computed });
                }
                (Some(size), _) => sizes[at] = Some(size),
                (None, _) => waiting.push(at),
            }
        }
        if waiting.is_empty() || waiting.len() == before {
            return match waiting.first() {
                Some(&at) => Err(ShapeError::Unknown { axis: graph.axes[at].name.clone() }),
                None => Ok(()),
            };
        }
        pending = waiting;
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |dims: &[usize]| {
            let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
            format!("[{}]", dims.join(", "))
        };
        match self {
            Self::InputCount { expected, found } => {
                let names = expected.join("`, `");
                write!(f, "the program has {} inputs (`{names}`), {found} given", expected.len())
            }
            Self::Rank { tensor, axes, dims } => write!(
                f,
                "`{tensor}` has the axes [{}], but the tensor given has the shape {}",
                axes.join(", "),
                list(dims)
            ),
            Self::Conflict { axis, expected, reason, tensor, found } => {
                write!(f, "axis {axis} is {found} in `{tensor}`, but {expected} elsewhere ({reason})")
            }
            Self::Fixed { axis, fixed, computed } => {
                write!(
                    f,
                    "axis {axis} is {computed} for these inputs, but the program is compiled for {fixed}"
                )
            }
            Self::Groups { heads, kv_heads } => write!(
                f,
                "the number of query heads H = {heads} is not a multiple of the key/value heads G = {kv_heads}"
            ),
            Self::NotPositive { axis, what, value } => {
                write!(f, "the {what} of axis {axis} is {value}; it must be at least 1")
            }
            Self::Unknown { axis } => write!(f, "the size of axis {axis} cannot be computed from the inputs"),
            Self::TooLong { axis, size } => {
                write!(
                    f,
                    "axis {axis} has the size {size}; positions have 32 bits, so {} is the most",
                    i32::MAX
                )
            }
            Self::TooLarge { tensor, dims } => {
                write!(f, "`{tensor}` with the shape {} has too many elements", list(dims))
            }
            Self::ParamCount { expected, found } => {
                let names = expected.join("`, `");
                write!(f, "the program has {} run-time parameters (`{names}`), {found} given", expected.len())
            }
            Self::ParamType { param, expected } => {
                let expected = match expected {
                    ParamType::Int => "an int",
                    ParamType::Float => "a float",
                };
                write!(f, "parameter `{param}` must be {expected}")
            }
            Self::ParamRange { param, value } => {
                write!(f, "parameter `{param}` is {value}, which does not fit 32 bits")
            }
            Self::LengthCount { batch, found } => {
                write!(
                    f,
                    "there must be one key length for each of the {batch} batch elements, {found} given"
                )
            }
            Self::Length { batch, length, keys } => {
                write!(f, "the key length of batch element {batch} is {length}; it must lie in 0 ..= {keys}")
            }
            Self::Range { tensor, element, value, range } => write!(
                f,
                "element {element} of `{tensor}` is {value}, outside its declared range {} .. {}",
                range.0, range.1
            ),
        }
    }
}

impl std::error::Error for ShapeError {}
