//! What a program does for one shape: attended pairs and where they are, the points of every kernel, memory.
//!
//! Input → output: a compiled attention and sizes of random inputs → text. Pairs are counted, by a program that shares the
//! masks and selections of this one, so the map shows what is attended for these inputs; points and bytes come from the
//! expressions that the compiled code evaluates.

use crate::args::{ExplainArgs, Sizes};
use crate::inputs::{params_with, random_inputs};
use crate::terminal::Failure;
use dmac::runtime::Rayon;
use dmac::schedule::kernel::{Expr, Kernel, Role};
use dmac::{Attention, HeldInputs, PairMap, ParamValue, Program, Schedule};
use std::fmt::Write as _;

/// Characters of a line of a map.
const COLUMNS: usize = 64;

/// Lines of a map.
const LINES: usize = 32;

pub fn explain(
    text: &mut String,
    attention: &Attention,
    sizes: &Sizes,
    args: &ExplainArgs,
) -> Result<(), Failure> {
    let compiled = attention.compiled();
    if let Some((name, _)) =
        args.params.iter().find(|(name, _)| !compiled.graph.params.iter().any(|param| param.name == *name))
    {
        return Err(Failure::usage(format!("the program has no run-time parameter `{name}`")));
    }
    let params = params_with(compiled, &args.params)?;
    let inputs = random_inputs(compiled, sizes, params.clone(), args.seed)?;
    let held = HeldInputs::of(&compiled.graph, compiled.program.storage, &inputs);
    let refused = |error: dmac::RunError| Failure::io(error.to_string());
    let bound = held.arguments().bind(&compiled.graph, &compiled.program).map_err(refused)?;
    let all = compiled.graph.axes.iter().enumerate();
    let all =
        all.map(|(at, axis)| format!("{}={}", axis.name, bound.shape.size(dmac::ir::AxisId(at as u32))));
    let _ = writeln!(text, "\nfor {}, seed {}", all.collect::<Vec<_>>().join(", "), args.seed);

    let feature = |kind| compiled.graph.find_axis(&kind).map_or(0, |axis| bound.shape.size(axis));
    let schedule = Schedule::choose(
        &dmac::schedule::target::NATIVE,
        feature(dmac::ir::AxisKind::Feature),
        feature(dmac::ir::AxisKind::ValueFeature),
    );
    let cells = COLUMNS.min(longest(&bound.shape, &compiled.graph).div_ceil(schedule.kv_tile)).max(1);
    let maps = attention.pairs(&held.arguments(), cells, schedule.kv_tile, &Rayon).map_err(refused)?;
    for map in &maps {
        Tiles::of(map, &schedule).write(text);
    }
    let call = Call { program: &compiled.program, sizes: &bound.sizes, params: &bound.params };
    call.write_points(text, &schedule);
    call.write_memory(text, attention);
    Ok(())
}

/// What of a rectangle of pairs is attended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    None,
    Some,
    All,
}

/// The rectangles of one attention: rows of whole query tiles, keys of whole key tiles.
struct Tiles<'a> {
    map: &'a PairMap,
    rows: usize,
}

impl<'a> Tiles<'a> {
    fn of(map: &'a PairMap, schedule: &Schedule) -> Self {
        let lines = map.dims[2].div_ceil(schedule.q_tile).max(1);
        Self { map, rows: schedule.q_tile * lines.div_ceil(LINES) }
    }

    fn size(&self) -> (usize, usize) {
        let keys = self.map.keys.max(0) as usize;
        (self.map.dims[2].div_ceil(self.rows), keys.div_ceil(self.map.width as usize))
    }

    /// The pairs of a rectangle, and how many of them are attended.
    fn count(&self, at: usize, line: usize, column: usize) -> (u64, u64) {
        let [_, _, rows, cells] = self.map.dims;
        let width = self.map.width as usize;
        let rows_here = line * self.rows..rows.min((line + 1) * self.rows);
        let keys_here = width.min(self.map.keys as usize - column * width);
        let counts = rows_here.clone().map(|row| self.map.counts[(at * rows + row) * cells + column]);
        (rows_here.len() as u64 * keys_here as u64, counts.map(|count| count.max(0) as u64).sum())
    }

    fn share(&self, at: usize, line: usize, column: usize) -> Share {
        match self.count(at, line, column) {
            (_, 0) => Share::None,
            (pairs, attended) if pairs == attended => Share::All,
            _ => Share::Some,
        }
    }

    fn write(&self, text: &mut String) {
        let (map, (lines, columns)) = (self.map, self.size());
        let [batch, heads, rows, cells] = map.dims;
        let attended = map.attended();
        let _ = writeln!(
            text,
            "\nattention {}: {attended} of {} pairs attended ({})",
            map.name,
            map.pairs(),
            percent(attended, map.pairs())
        );
        let per_row =
            map.counts.chunks(cells.max(1)).map(|row| row.iter().map(|&count| i64::from(count)).sum());
        let per_row: Vec<i64> = per_row.collect();
        if let (Some(least), Some(most)) = (per_row.iter().min(), per_row.iter().max()) {
            let _ = writeln!(text, "  a row attends to {least} to {most} of {} keys", map.keys);
        }
        if batch * heads * rows == 0 || columns == 0 {
            return;
        }
        let (mut number, mut pairs) = ([0_u64; 3], [0_u64; 3]);
        for at in 0..batch * heads {
            for line in 0..lines {
                for column in 0..columns {
                    let share = self.share(at, line, column) as usize;
                    number[share] += 1;
                    pairs[share] += self.count(at, line, column).0;
                }
            }
        }
        let _ = writeln!(
            text,
            "  of {} tiles of {} rows and {} keys, {} have no attended pair ({} of all pairs), {} some, {} only attended ones",
            number.iter().sum::<u64>(),
            self.rows.min(rows),
            map.width.min(map.keys),
            number[Share::None as usize],
            percent(pairs[Share::None as usize], map.pairs()),
            number[Share::Some as usize],
            number[Share::All as usize],
        );
        let _ = writeln!(
            text,
            "  batch element 0, head 0, rows down, keys to the right: `.` none, `+` some, `#` all"
        );
        for line in 0..lines {
            text.push_str("    ");
            for column in 0..columns {
                text.push(match self.share(0, line, column) {
                    Share::None => '.',
                    Share::Some => '+',
                    Share::All => '#',
                });
            }
            text.push('\n');
        }
    }
}

/// The sizes and parameters of a call.
struct Call<'a> {
    program: &'a Program,
    sizes: &'a [i64],
    params: &'a [ParamValue],
}

impl Call<'_> {
    fn value(&self, expr: &Expr) -> u64 {
        let size = |size: dmac::schedule::kernel::SizeId| self.sizes.get(size.0 as usize).copied();
        let param = |param: dmac::ir::ParamId| match self.params.get(param.0 as usize) {
            Some(ParamValue::Int(value)) => Some(*value),
            _ => None,
        };
        let value = expr.eval(&size, &param);
        value.unwrap_or_else(|| panic!("explain: `{}` has no value", self.program.print_expr(expr))).max(0)
            as u64
    }

    fn write_points(&self, text: &mut String, schedule: &Schedule) {
        let _ = writeln!(
            text,
            "\nschedule on this processor: tiles of {} query rows and {} keys, selections of {} rows at a time",
            schedule.q_tile, schedule.kv_tile, schedule.select_tile
        );
        text.push_str("kernels by points, each of which is one thread's work\n");
        for kernel in &self.program.kernels {
            let _ = writeln!(text, "  {}: {}", kernel.name, self.points(kernel));
        }
    }

    fn points(&self, kernel: &Kernel) -> String {
        let extents: Vec<u64> = kernel.grid.iter().map(|axis| self.value(&axis.extent)).collect();
        let named = kernel.grid.iter().zip(&extents);
        let named = named.map(|(axis, extent)| format!("{} {extent}", kernel.var(axis.var).name));
        format!("{} = {}", named.collect::<Vec<_>>().join(" x "), extents.iter().product::<u64>())
    }

    fn write_memory(&self, text: &mut String, attention: &Attention) {
        let total = attention.executable().workspace_bytes(self.sizes, self.params, 1);
        let more = attention.executable().workspace_bytes(self.sizes, self.params, 2) - total;
        let _ = writeln!(text, "\nworkspace on this processor, beyond inputs and outputs");
        let mut sum = 0;
        for tensor in self.program.tensors.iter().filter(|tensor| tensor.role == Role::Workspace) {
            let element = tensor.element.bytes() as u64;
            let bytes = tensor.dims.iter().map(|dim| self.value(dim)).product::<u64>() * element;
            let dims = tensor.dims.iter().map(|dim| self.program.print_expr(dim)).collect::<Vec<_>>();
            let _ = writeln!(text, "  {} [{}]: {element} bytes each, {bytes}", tensor.name, dims.join(", "));
            sum += bytes;
        }
        let rest = total.saturating_sub(sum).saturating_sub(more);
        let _ = writeln!(text, "  packed tensors, key lengths, the frame: {rest}");
        let _ = writeln!(text, "  scratch memory, for each thread: {more}");
        let _ = writeln!(text, "  together, with one thread: {total}");
    }
}

/// The longest axis: no key axis is longer.
fn longest(shape: &dmac::interp::Shape, graph: &dmac::ir::Graph) -> usize {
    let sizes = (0..graph.axes.len()).map(|at| shape.size(dmac::ir::AxisId(at as u32)));
    sizes.max().unwrap_or(0).max(0) as usize
}

fn percent(part: u64, all: u64) -> String {
    if all == 0 { "0 %".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / all as f64) }
}
