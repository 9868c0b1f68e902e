//! The best program that a target has for a graph.
//!
//! Input → output: a graph whose attentions are tiled → the tile program of the first schedule whose kernels take the form
//! that it is for. A target with warpgroups has two: wide tiles for kernels with specialised warps, and narrow ones for the
//! kernels that cannot have them, whose threads would not have the registers for wide tiles.

use crate::kernel::{Expr, Kernel, Program, Space, Stmt, Storage};
use crate::lower::lower;
use crate::pipeline;
use crate::target::Family;
use crate::{Schedule, Target};
use dmac_ir::Graph;
use dmac_source::Diagnostic;

/// A program and the schedule that it came from.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The program.
    pub program: Program,
    /// Its schedule.
    pub schedule: Schedule,
}

/// Lowers with the best schedule that the target has for the graph and these feature sizes, or as given: then the kernels that
/// can have specialised warps have them, and the others have the same tiles.
///
/// # Errors
/// What the target cannot do.
pub fn choose(
    graph: &Graph,
    target: &Target,
    schedule: Option<Schedule>,
    (head_dim, value_dim): (i64, i64),
    storage: Storage,
) -> Result<Chosen, Vec<Diagnostic>> {
    let warpgroups = target.warpgroups && storage != Storage::F32;
    let specialised = |schedule: &Schedule| -> Result<(Program, Vec<String>), Vec<Diagnostic>> {
        let mut program = lower(graph, target, schedule, storage)?;
        let names =
            if warpgroups { pipeline::specialise(&mut program, target.tile_bytes) } else { Vec::new() };
        Ok((program, names))
    };
    if let Some(schedule) = schedule {
        return Ok(Chosen { program: specialised(&schedule)?.0, schedule });
    }
    if warpgroups {
        for schedule in Schedule::specialised(target, head_dim, value_dim) {
            let (program, names) = specialised(&schedule)?;
            let is_form = |kernel: &Kernel| names.contains(&kernel.name) || !pipeline::accumulates(kernel);
            let fits = schedule.kv_tile <= most_keys(&program) && schedule.q_tile <= most_rows(&program);
            if fits && program.kernels.iter().all(is_form) {
                return Ok(Chosen { program, schedule });
            }
        }
    }
    let mut schedule = Schedule::choose(target, head_dim, value_dim);
    let mut program = lower(graph, target, &schedule, storage)?;
    if target.family == Family::Gpu && schedule.kv_tile > most_keys(&program) {
        schedule.kv_tile = most_keys(&program);
        program = lower(graph, target, &schedule, storage)?;
    }
    Ok(Chosen { program, schedule })
}

/// The most rows of a tile: few where a pair of query and key needs a loop, as in a table of blocks, so that most tiles are
/// attended as a whole or not at all.
fn most_rows(program: &Program) -> usize {
    let mut most = usize::MAX;
    for kernel in program.kernels.iter().filter(|kernel| pipeline::accumulates(kernel)) {
        for stmt in &kernel.body {
            stmt.walk(&mut |stmt| {
                if let Stmt::Map { dst, body, .. } = stmt
                    && kernel.tile(*dst).cols > 1
                    && body.any(&mut |x| matches!(x, Expr::Reduce { .. }))
                {
                    most = pipeline::GROUP_ROWS;
                }
            });
        }
    }
    most
}

/// The most keys of a tile that a GPU's registers hold beside what the scores of one key need: a value that is loaded for a
/// pair of query and key has an address and a predicate in flight for each of a thread's scores, and rows that are copied by
/// index have their indices too. The bounds are where the vendor's assembler begins to spill at 128 features.
fn most_keys(program: &Program) -> usize {
    let is_load = |expr: &Expr| expr.any(&mut |x| matches!(x, Expr::Load { .. }));
    let mut most = usize::MAX;
    for kernel in program.kernels.iter().filter(|kernel| pipeline::accumulates(kernel)) {
        let (mut loads, mut gathers) = (false, false);
        for stmt in &kernel.body {
            stmt.walk(&mut |stmt| match stmt {
                Stmt::Map { dst, body, .. } => {
                    let tile = kernel.tile(*dst);
                    loads |= tile.space == Space::Register && tile.cols > 1 && is_load(body);
                }
                Stmt::Copy { index, .. } => gathers |= index.iter().any(is_load),
                _ => {}
            });
        }
        most = most.min(match (loads, gathers) {
            (true, true) => 32,
            (true, false) | (false, true) => 64,
            (false, false) => usize::MAX,
        });
    }
    most
}
