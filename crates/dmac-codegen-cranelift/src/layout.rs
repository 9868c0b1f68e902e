//! The calling convention: what lies where in the argument table and in the frame.
//!
//! Input → output: a program → slot numbers. Both tables are arrays of 8-byte slots, so that Rust, C and generated code
//! see the same bytes whatever a compiler's padding rules are.
//!
//! **Arguments**, filled by the caller, unchanged by the code:
//!
//! | slots | what |
//! |---|---|
//! | 1 | workers: how many calls of one kernel may run at a time; each has scratch memory of its own |
//! | 1 a size | run-time sizes, `int64` |
//! | 1 a parameter | `int64`, or an f32 in the low half |
//! | 1 + (rank - 1) a tensor | pointer, then the strides of all axes but the last in elements, for inputs, key lengths and outputs in the order of the program. The last axis is contiguous. Key lengths may be null. |
//!
//! **Frame**, at the start of the workspace, filled by the generated `prepare`:
//!
//! | slots | what |
//! |---|---|
//! | 1 | the argument table |
//! | 2 | scratch memory of worker 0, and bytes from one worker's to the next |
//! | 1 + (rank - 1) a tensor | key lengths (the caller's, or filled with `N`) and workspaces |
//! | 1 a grid axis | extents of every kernel's grid |
//! | 1 a packed tensor | its panels, or null where packing it would not pay |
//! | 1 a launch | its points |

use dmac_schedule::Program;
use dmac_schedule::kernel::{Role, TensorId};

/// Every part of a workspace starts at a multiple of this many bytes.
pub const ALIGNMENT: usize = 64;

/// Which of the two tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table {
    /// The caller's arguments.
    Args,
    /// The frame at the start of the workspace.
    Frame,
}

/// Where the pointer of a tensor lies; the strides of all its axes but the last follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The table.
    pub table: Table,
    /// The slot of the pointer.
    pub pointer: usize,
}

/// A launch of a grid of points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Launch {
    /// Packs a tensor once for all points of the kernel that follows.
    Pack {
        /// The kernel.
        kernel: usize,
        /// The number of the tensor among those that are packed for it.
        tensor: usize,
    },
    /// A kernel of the program.
    Kernel(usize),
}

/// Slot numbers of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Slot of the first size.
    pub sizes: usize,
    /// Slot of the first parameter.
    pub params: usize,
    /// Slots of the argument table.
    pub args: usize,
    /// Where the caller puts a tensor: all but workspaces.
    pub given: Vec<Option<usize>>,
    /// Where kernels find a tensor.
    pub places: Vec<Place>,
    /// For each kernel, the frame's slot of the first extent of its grid.
    pub extents: Vec<usize>,
    /// For each kernel and each tensor that may be packed for it, the frame's slot of the panels.
    pub packed: Vec<Vec<usize>>,
    /// What is launched, in order.
    pub launches: Vec<Launch>,
    /// For each launch, the frame's slot with the number of its points.
    pub points: Vec<usize>,
    /// Slots of the frame.
    pub frame: usize,
}

impl Layout {
    /// Slot of the number of workers.
    pub const WORKERS: usize = 0;
    /// The frame's slot of the argument table.
    pub const ARGS: usize = 0;
    /// The frame's slot of the first worker's scratch memory.
    pub const SCRATCH: usize = 1;
    /// The frame's slot of the bytes of one worker's scratch memory.
    pub const SCRATCH_BYTES: usize = 2;

    /// The layout of a program, for whose kernels so many tensors may be packed each.
    pub(crate) fn new(program: &Program, packs: &[usize]) -> Self {
        let sizes = 1;
        let params = sizes + program.sizes.len();
        let mut args = params + program.params.len();
        let mut frame = 3;
        let mut given = Vec::new();
        let mut places = Vec::new();
        for tensor in &program.tensors {
            let slots = tensor.dims.len().max(1);
            let take = |next: &mut usize| {
                let first = *next;
                *next += slots;
                first
            };
            let from_caller = (tensor.role != Role::Workspace).then(|| take(&mut args));
            places.push(match tensor.role {
                Role::KeyLengths | Role::Workspace => {
                    Place { table: Table::Frame, pointer: take(&mut frame) }
                }
                Role::Input(_) | Role::Output(_) => {
                    Place { table: Table::Args, pointer: from_caller.unwrap_or_default() }
                }
            });
            given.push(from_caller);
        }
        let mut extents = Vec::new();
        for kernel in &program.kernels {
            extents.push(frame);
            frame += kernel.grid.len();
        }
        let (mut packed, mut launches) = (Vec::new(), Vec::new());
        for kernel in 0..program.kernels.len() {
            let count = packs.get(kernel).copied().unwrap_or(0);
            packed.push((frame..frame + count).collect());
            frame += count;
            launches.extend((0..count).map(|tensor| Launch::Pack { kernel, tensor }));
            launches.push(Launch::Kernel(kernel));
        }
        let points = (frame..frame + launches.len()).collect();
        frame += launches.len();
        Self { sizes, params, args, given, places, extents, packed, launches, points, frame }
    }

    /// Where kernels find a tensor.
    pub fn place(&self, tensor: TensorId) -> Place {
        self.places[tensor.0 as usize]
    }
}
