//! Memory of a running program: tensors, and the tiles, scalars and heaps of one grid point.

use super::{Stored, dims_of, floats, params_of, rounded, sizes_of};
use crate::shape::Shape;
use crate::tensor::Inputs;
use dmac_ir::{ParamValue, Ties};
use dmac_schedule::kernel::{Kernel, Program, Role, TensorId, TileId};

/// Tensors, sizes and parameters.
pub(super) struct Global {
    pub sizes: Vec<f64>,
    pub params: Vec<f64>,
    tensors: Vec<Stored>,
}

impl Global {
    pub fn new(program: &Program, shape: &Shape, params: &[ParamValue]) -> Self {
        let mut global =
            Self { sizes: sizes_of(program, shape), params: params_of(params), tensors: Vec::new() };
        for tensor in &program.tensors {
            let dims = dims_of(&global, &tensor.dims);
            let data = vec![None; dims.iter().product()];
            global.tensors.push(Stored { name: tensor.name.clone(), role: tensor.role.clone(), dims, data });
        }
        global
    }

    pub fn load_inputs(&mut self, program: &Program, inputs: &Inputs) {
        for (tensor, decl) in self.tensors.iter_mut().zip(&program.tensors) {
            let values = match &decl.role {
                Role::Input(id) => floats(&inputs.tensors[id.0 as usize].data),
                Role::KeyLengths => {
                    if let Some(lengths) = &inputs.kv_len {
                        lengths.iter().map(|length| *length as f64).collect()
                    } else {
                        let keys = program.sizes.iter().position(|size| size.name == "N");
                        let keys = keys.map_or(0.0, |at| self.sizes[at]);
                        vec![keys; tensor.data.len()]
                    }
                }
                Role::Output(_) | Role::Workspace => continue,
            };
            tensor.data = values.into_iter().map(|value| Some(rounded(decl.element, value))).collect();
        }
    }

    fn offset(&self, tensor: TensorId, index: &[i64]) -> Result<usize, String> {
        let stored = &self.tensors[tensor.0 as usize];
        let mut offset = 0;
        for (&at, &size) in index.iter().zip(&stored.dims) {
            if at < 0 || at >= size as i64 {
                return Err(format!("{}{index:?} is outside {:?}", stored.name, stored.dims));
            }
            offset = offset * size + at as usize;
        }
        Ok(offset)
    }

    pub fn load(&self, tensor: TensorId, index: &[i64]) -> Result<f64, String> {
        let offset = self.offset(tensor, index)?;
        let stored = &self.tensors[tensor.0 as usize];
        stored.data[offset].ok_or_else(|| format!("{}{index:?} is read and was never written", stored.name))
    }

    pub fn store(
        &mut self,
        program: &Program,
        tensor: TensorId,
        index: &[i64],
        value: f64,
    ) -> Result<(), String> {
        let offset = self.offset(tensor, index)?;
        self.tensors[tensor.0 as usize].data[offset] = Some(rounded(program.tensor(tensor).element, value));
        Ok(())
    }

    pub fn into_tensors(self, _program: &Program) -> Vec<Stored> {
        self.tensors
    }
}

/// The tiles of a grid point: shared ones once, register ones once a thread group.
pub(super) struct Tiles {
    data: Vec<Vec<Option<f64>>>,
}

impl Tiles {
    pub fn new(kernel: &Kernel) -> Self {
        let data = kernel.tiles.iter().map(|tile| vec![None; tile.rows * tile.cols * tile.stages]).collect();
        Self { data }
    }

    fn offset(kernel: &Kernel, tile: TileId, stage: usize, row: i64, col: i64) -> Result<usize, String> {
        let decl = kernel.tile(tile);
        if row < 0 || row >= decl.rows as i64 || col < 0 || col >= decl.cols as i64 || stage >= decl.stages {
            return Err(format!("{}[{row}, {col}] stage {stage} is outside the tile", decl.name));
        }
        Ok((stage * decl.rows + row as usize) * decl.cols + col as usize)
    }

    pub fn load(
        &self,
        kernel: &Kernel,
        tile: TileId,
        stage: usize,
        row: i64,
        col: i64,
    ) -> Result<f64, String> {
        let offset = Self::offset(kernel, tile, stage, row, col)?;
        self.data[tile.0 as usize][offset]
            .ok_or_else(|| format!("{}[{row}, {col}] is read and holds nothing", kernel.tile(tile).name))
    }

    pub fn store(
        &mut self,
        kernel: &Kernel,
        tile: TileId,
        stage: usize,
        (row, col): (i64, i64),
        value: Option<f64>,
    ) -> Result<(), String> {
        let offset = Self::offset(kernel, tile, stage, row, col)?;
        self.data[tile.0 as usize][offset] = value.map(|value| rounded(kernel.tile(tile).element, value));
        Ok(())
    }
}

/// One row of a heap: what was offered and kept.
#[derive(Clone, Default)]
pub(super) struct Best {
    entries: Vec<(f64, i64)>,
}

impl Best {
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Offers an element; the index that does not fit is returned.
    pub fn push(&mut self, capacity: usize, ties: Ties, score: f64, index: i64) -> Option<i64> {
        self.entries.push((score, index));
        if self.entries.len() <= capacity {
            return None;
        }
        let worst = (0..self.entries.len())
            .reduce(
                |worst, other| {
                    if better(ties, self.entries[worst], self.entries[other]) { other } else { worst }
                },
            )
            .expect("an element was just offered");
        Some(self.entries.swap_remove(worst).1)
    }

    /// The indices kept, ascending.
    pub fn indices(&self) -> Vec<i64> {
        let mut indices: Vec<i64> = self.entries.iter().map(|entry| entry.1).collect();
        indices.sort_unstable();
        indices
    }
}

/// Whether `x` is kept rather than `y`.
fn better(ties: Ties, x: (f64, i64), y: (f64, i64)) -> bool {
    match (x.0.is_nan(), y.0.is_nan()) {
        (false, true) => true,
        (true, false) => false,
        (false, false) if x.0 != y.0 => x.0 > y.0,
        _ => match ties {
            Ties::Low => x.1 < y.1,
            Ties::High => x.1 > y.1,
        },
    }
}
