//! The graph IR: what an attention program computes, in index notation, before anything is said about how.
//!
//! Input → output: the front end builds a [`Graph`]; passes rewrite it; the schedule lowers it to a tile program;
//! the interpreter evaluates it directly.
//!
//! # Meaning
//!
//! A node is either *scalar*, *tensor*, *set* or *attention* valued ([`Type`]).
//!
//! A scalar node is an expression over **index variables** ([`Var`]): its value is a function of its free variables
//! ([`Node::free`]), each of which ranges over an [`Axis`]. `Op::Index(j)` is the coordinate of `j`, so
//! `mul(read(q, b, h, i, d), read(k, b, g, j, d))` has the free variables `b h g i j d`, and
//! `reduce sum [d]` of it has `b h g i j`. There are no loops, no tiles, no memory: a scalar node may be evaluated any
//! number of times, anywhere its free variables are bound.
//!
//! A variable is bound by the op that names it: [`Op::Define`] (a tensor given by an expression), [`Op::Reduce`],
//! [`Op::Select`] and [`Op::Attend`]. Whoever binds a query head `h` also binds its key/value head `g = h div (H / G)`.
//! Reading a tensor ([`Op::Read`]) substitutes the indices for the variables of its definition.
//!
//! Nodes are hash-consed: building the same operation on the same operands twice gives the same node. Passes rebuild a
//! graph with [`Graph::rewrite`] rather than mutate it, so dead nodes vanish and numbering stays dense and
//! deterministic.
//!
//! ```
//! use dmac_ir::{Axis, AxisKind, Compare, Graph, Op};
//!
//! let mut graph = Graph::new("example");
//! let key = graph.add_axis(Axis::new("N", AxisKind::Key));
//! let j = graph.add_var("j", key);
//! let index = graph.index(j);
//! let three = graph.int(3);
//! let early = graph.compare(Compare::Lt, index, three);
//! assert_eq!(graph.print_node(early), "%2 = lt %0 %1 : bool [j]");
//! assert_eq!(graph.add(Op::Index(j), &[]), index);
//! ```

mod axis;
mod construct;
mod graph;
mod op;
mod print;
mod ty;
mod verify;

pub use axis::{Axis, AxisId, AxisKind, Size, Var, VarInfo};
pub use graph::{Graph, Input, InputId, Node, NodeId, Output, Param, ParamId, ParamType, ParamValue, Use};
pub use op::{
    Attend, Attendance, Binary, Compare, Domain, Edge, Field, FloatBits, Form, Normalize, Op, Reduction,
    Select, SelectLowering, Ties, Tiling, Unary, Walk,
};
pub use ty::{Elem, Scalar, Type};
pub use verify::{Invariant, Violation};
