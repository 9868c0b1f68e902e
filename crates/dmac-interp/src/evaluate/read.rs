//! Reading tensors: inputs, definitions, lifetimes, results of attention.
//!
//! Input → output: a tensor node and its indices at points → elements. Reading a definition means substituting the
//! indices into its expression; what was computed is kept in a [`Table`], a slice along one axis at a time. Definitions
//! over query rows keep the slices of one row only.

use super::Evaluator;
use crate::error::Error;
use crate::lanes::{Lanes, Value};
use crate::points::Points;
use crate::tensor::Data;
use dmac_ir::{AxisKind, Elem, Field, NodeId, Op, Scalar, Type, Var};

/// Elements (8 bytes each) beyond which a definition is recomputed at every read instead of kept.
const MOST_KEPT: usize = 1 << 28;

/// What is known of a definition's elements.
pub(super) struct Table {
    /// Elements to skip for each axis; 0 for query axes.
    strides: Vec<usize>,
    /// Slices to skip for each axis; 0 for query axes and the axis that slices run along.
    slice_strides: Vec<usize>,
    /// The axis that slices run along.
    lane: Option<usize>,
    /// The query axes, and the row whose elements are kept.
    query: Vec<usize>,
    row: Vec<i64>,
    data: Vec<f64>,
    slices: Vec<Slice>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slice {
    Unknown,
    Known,
    /// Some element has no value, so that only those that are read may be evaluated.
    Undefined,
}

impl Table {
    fn offset(&self, index: &[i64]) -> usize {
        index.iter().zip(&self.strides).map(|(&index, stride)| index as usize * stride).sum()
    }
}

impl Evaluator<'_> {
    /// Elements of a tensor. The indices may be out of range: an error.
    pub(super) fn read(&self, tensor: NodeId, index: &[Lanes<i64>], points: &Points) -> Result<Value, Error> {
        self.check_range(tensor, index, points)?;
        match self.graph.op(tensor) {
            Op::Input(id) => {
                let strides = strides_of(&self.shape.dims(&self.graph.input(*id).axes));
                Ok(match self.tensors[id.0 as usize].as_ref() {
                    Data::F32(data) => Value::Float(gather(index, &strides, |at| f64::from(data[at]))),
                    Data::I32(data) => Value::Int(gather(index, &strides, |at| i64::from(data[at]))),
                    Data::Bool(data) => Value::Bool(gather(index, &strides, |at| data[at])),
                })
            }
            Op::Define { vars, elem, .. } => self.read_definition(tensor, vars, *elem, index, points),
            Op::Lifetime { .. } => self.read_lifetime(tensor, index, points),
            Op::Field(field) => Ok(Value::Float(self.read_field(tensor, *field, index, points)?)),
            op => panic!("interpreter: {op:?} is not a tensor"),
        }
    }

    fn check_range(&self, tensor: NodeId, index: &[Lanes<i64>], points: &Points) -> Result<(), Error> {
        let Type::Tensor { axes, .. } = self.graph.ty(tensor) else {
            panic!("interpreter: %{} is not a tensor", tensor.0)
        };
        for (&axis, index) in axes.iter().zip(index) {
            let size = self.shape.size(axis);
            let outside = match index {
                Lanes::Same(value) => (*value < 0 || *value >= size).then_some(0),
                Lanes::Each(values) => values.iter().position(|&value| value < 0 || value >= size),
            };
            if let Some(point) = outside {
                return Err(Error::OutOfRange {
                    tensor: self.tensor_name(tensor),
                    axis: self.graph.axis(axis).name.clone(),
                    index: index.at(point),
                    size,
                    at: points.describe(self.graph, point),
                });
            }
        }
        Ok(())
    }

    /// What a tensor is called in the program.
    fn tensor_name(&self, tensor: NodeId) -> String {
        match self.graph.op(tensor) {
            Op::Input(id) => self.graph.input(*id).name.clone(),
            Op::Define { name, .. } => name.clone(),
            Op::Field(field) => {
                let Op::Attend(attend) = self.graph.op(self.operands(tensor)[0]) else {
                    panic!("interpreter: %{} is a field of no attention", tensor.0);
                };
                match field {
                    Field::Out => attend.name.clone(),
                    Field::Lse => format!("{}.lse", attend.name),
                    Field::RowMax => format!("{}.row_max", attend.name),
                    Field::Prob => format!("{}.prob", attend.name),
                }
            }
            _ => format!("%{}", tensor.0),
        }
    }

    fn read_definition(
        &self,
        id: NodeId,
        vars: &[Var],
        elem: Elem,
        index: &[Lanes<i64>],
        points: &Points,
    ) -> Result<Value, Error> {
        if !self.enter_table(id, vars, index) {
            return self.substitute(id, vars, elem, index, points.len());
        }
        // The slices that are read: consecutive points mostly share one.
        let (lane, wanted) = {
            let table = self.tables[id.0 as usize].borrow();
            let Some(table) = table.as_ref() else { panic!("interpreter: table of %{} vanished", id.0) };
            let slices = gather(index, &table.slice_strides, |slice| slice);
            let mut wanted: Vec<(usize, usize)> = Vec::new();
            for point in 0..if let Lanes::Each(slices) = &slices { slices.len() } else { 1 } {
                let slice = slices.at(point);
                if table.slices[slice] != Slice::Known && wanted.last().is_none_or(|last| last.0 != slice) {
                    wanted.push((slice, point));
                }
            }
            (table.lane, wanted)
        };
        for (slice, point) in wanted {
            let at: Vec<i64> = index.iter().map(|index| index.at(point)).collect();
            if !self.fill_slice(id, vars, elem, lane, slice, &at)? {
                return self.substitute(id, vars, elem, index, points.len());
            }
        }
        let table = self.tables[id.0 as usize].borrow();
        let Some(table) = table.as_ref() else { panic!("interpreter: table of %{} vanished", id.0) };
        Ok(match elem.scalar() {
            Scalar::F32 => Value::Float(gather(index, &table.strides, |at| table.data[at])),
            Scalar::Int => Value::Int(gather(index, &table.strides, |at| table.data[at] as i64)),
            Scalar::Bool => Value::Bool(gather(index, &table.strides, |at| table.data[at] != 0.0)),
        })
    }

    /// Makes a definition's table ready for the row that is read; false if there can be none.
    fn enter_table(&self, id: NodeId, vars: &[Var], index: &[Lanes<i64>]) -> bool {
        let mut slot = self.tables[id.0 as usize].borrow_mut();
        let is_query = |at: &usize| *self.kind(vars[*at]) == AxisKind::Query;
        let query: Vec<usize> = (0..vars.len()).filter(is_query).collect();
        let mut row = Vec::with_capacity(query.len());
        for &at in &query {
            match index[at] {
                Lanes::Same(value) => row.push(value),
                Lanes::Each(_) => return false,
            }
        }
        if slot.is_none() {
            let dims: Vec<usize> = vars
                .iter()
                .map(|&var| if *self.kind(var) == AxisKind::Query { 1 } else { self.extent(var) as usize })
                .collect();
            let count = dims.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim));
            let Some(count) = count.filter(|&count| count <= MOST_KEPT) else { return false };
            let lane = (0..vars.len()).filter(|at| !query.contains(at)).max_by_key(|&at| dims[at]);
            let no_stride = |mut strides: Vec<usize>, axes: &[usize]| {
                for &axis in axes {
                    strides[axis] = 0;
                }
                strides
            };
            let mut slice_dims = dims.clone();
            if let Some(lane) = lane {
                slice_dims[lane] = 1;
            }
            let slices = slice_dims.iter().product();
            let sliced: Vec<usize> = query.iter().copied().chain(lane).collect();
            *slot = Some(Table {
                strides: no_stride(strides_of(&dims), &query),
                slice_strides: no_stride(strides_of(&slice_dims), &sliced),
                lane,
                query: query.clone(),
                row: row.clone(),
                data: vec![0.0; count],
                slices: vec![Slice::Unknown; slices],
            });
        }
        let Some(table) = slot.as_mut() else { return false };
        debug_assert_eq!(table.query, query);
        if table.row != row {
            table.row = row;
            table.slices.fill(Slice::Unknown);
        }
        true
    }

    /// Computes the slice through element `at`; false if some element of it has no value.
    fn fill_slice(
        &self,
        id: NodeId,
        vars: &[Var],
        elem: Elem,
        lane: Option<usize>,
        slice: usize,
        at: &[i64],
    ) -> Result<bool, Error> {
        let state = |evaluator: &Self| {
            evaluator.tables[id.0 as usize].borrow().as_ref().map(|table| table.slices[slice])
        };
        match state(self) {
            Some(Slice::Known) => return Ok(true),
            Some(Slice::Undefined) => return Ok(false),
            _ => {}
        }
        let mut index: Vec<Lanes<i64>> = at.iter().map(|&at| Lanes::Same(at)).collect();
        let mut first = at.to_vec();
        let mut len = 1;
        if let Some(lane) = lane {
            len = self.extent(vars[lane]) as usize;
            index[lane] = Lanes::each((0..len as i64).collect());
            first[lane] = 0;
        }
        let values = match self.substitute(id, vars, elem, &index, len) {
            Ok(values) => Some(values.into_floats()),
            Err(error) if error.is_undefined_value() => None,
            Err(error) => return Err(error),
        };
        let mut table = self.tables[id.0 as usize].borrow_mut();
        let Some(table) = table.as_mut() else { panic!("interpreter: table of %{} vanished", id.0) };
        let Some(values) = values else {
            table.slices[slice] = Slice::Undefined;
            return Ok(false);
        };
        let (start, stride) = (table.offset(&first), lane.map_or(1, |lane| table.strides[lane]));
        for point in 0..len {
            table.data[start + point * stride] = values.at(point);
        }
        table.slices[slice] = Slice::Known;
        Ok(true)
    }

    /// The elements of a definition at given indices, computed from its expression.
    fn substitute(
        &self,
        id: NodeId,
        vars: &[Var],
        elem: Elem,
        index: &[Lanes<i64>],
        len: usize,
    ) -> Result<Value, Error> {
        let body = self.operands(id)[0];
        let points = Points::root(self.graph).with_all(len, vars, index);
        let points = self.bind_group(points, vars, &[body]);
        let storage = self.storage;
        Ok(match elem {
            Elem::F32 => Value::Float(self.eval_floats(body, &points)?.map(|x| f64::from(x as f32))),
            Elem::Real => Value::Float(self.eval_floats(body, &points)?.map(|x| storage.round(x))),
            Elem::I32 | Elem::Bool => self.eval(body, &points)?,
        })
    }
}

/// Row-major strides.
fn strides_of(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// `f` of the offset of each element.
fn gather<T: Copy>(index: &[Lanes<i64>], strides: &[usize], f: impl Fn(usize) -> T) -> Lanes<T> {
    let mut start = 0;
    let mut varying: Vec<(&[i64], usize)> = Vec::new();
    for (index, &stride) in index.iter().zip(strides) {
        match index {
            Lanes::Same(value) => start += *value as usize * stride,
            Lanes::Each(values) if stride > 0 => varying.push((values, stride)),
            Lanes::Each(_) => {}
        }
    }
    match varying.as_slice() {
        [] => Lanes::Same(f(start)),
        [(values, stride)] => Lanes::each(values.iter().map(|&at| f(start + at as usize * stride)).collect()),
        all => Lanes::each(
            (0..all[0].0.len())
                .map(|point| {
                    f(all
                        .iter()
                        .fold(start, |offset, (values, stride)| offset + values[point] as usize * stride))
                })
                .collect(),
        ),
    }
}
