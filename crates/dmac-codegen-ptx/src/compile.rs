//! A whole program: a module with an entry for each kernel.

use crate::emit::heap::row_words;
use crate::emit::rounds::GROUP_POINTS;
use crate::emit::{Emitter, parameters};
use crate::plan::{GROUP_ROUNDS, POINT_THREADS, Plan, unsupported};
use crate::program::{Entry, ParamSpec, PtxProgram};
use crate::warpgroup::{self, Layout};
use dmac_ir::Compare;
use dmac_ptx::{Assembler, Module, Target};
use dmac_schedule::Program;
use dmac_schedule::kernel::{Element, Expr, Kernel, Role, TensorDecl, TensorId};
use dmac_schedule::target::{SM_80, SM_90A};
use dmac_source::Diagnostic;

/// Blocks of a kernel with heaps: at least as many as there are schedulers of warps on the largest GPUs, because a block
/// is one warp, and where their space allows enough for all the warps that a multiprocessor can hold.
const HEAP_BLOCKS: std::ops::Range<i64> = 600..4096;
/// Words of the heaps of all blocks, if that is not too few blocks: 512 MiB.
const HEAP_WORDS: i64 = 128 << 20;

/// Compiles a tile program.
///
/// # Errors
/// A kernel that does not fit the target: E0503, naming the kernel and what it does.
///
/// # Panics
/// If generated code breaks the rules of the assembler: a mistake of this crate.
pub fn compile(program: &Program, target: Target) -> Result<PtxProgram, Box<Diagnostic>> {
    let limit = match target {
        Target::Sm80 => SM_80.tile_bytes,
        Target::Sm90a => SM_90A.tile_bytes,
    };
    let mut tensors = program.tensors.clone();
    let mut module = Module::default();
    let mut entries = Vec::new();
    let mut requires = program.requires.clone();
    for kernel in &program.kernels {
        let (mut plan, layout) = if warpgroup::has_roles(kernel) && target == Target::Sm90a {
            let (layout, plan) = Layout::new(program, kernel, limit)?;
            (plan, Some(layout))
        } else {
            (Plan::new(program, kernel, limit)?, None)
        };
        let points = kernel.grid.iter().fold(Expr::Int(1), |points, axis| points * axis.extent.clone());
        let space = heap_space(kernel, &points);
        let heap_blocks = space.as_ref().map(|decl| decl.dims[0].clone());
        let heaps = space.map(|decl| {
            tensors.push(decl);
            TensorId(tensors.len() as u32 - 1)
        });
        let name = format!("{}_{}", identifier(&program.name), identifier(&kernel.name));
        let mut rounds = kernel.rounds.as_ref().map_or(Expr::Int(1), |rounds| rounds.count.clone());
        if plan.point_threads && kernel.rounds.as_ref().is_some_and(|rounds| rounds.doubling) {
            let (entry, compiled) = group_rounds(program, kernel, target, &plan, &name);
            entries.push(entry);
            module.kernels.push(compiled);
            rounds = (rounds - Expr::Int(i64::from(GROUP_ROUNDS))).max(Expr::Int(0));
            plan.first_round = GROUP_ROUNDS;
        }
        let mut params = parameters(program, kernel);
        params.extend(heaps.map(ParamSpec::Pointer));
        if layout.is_some() {
            params.extend(warpgroup::tensor_maps(kernel).into_iter().map(ParamSpec::TensorMap));
        }
        let mut emitter = Emitter::new(Assembler::new(&name, target), program, kernel, &plan, &params);
        match layout {
            Some(layout) => warpgroup::emit(&mut emitter, layout),
            None => emitter.kernel_body(heaps),
        }
        let compiled = finish(emitter);
        let blocks = if let Some(blocks) = heap_blocks {
            blocks
        } else if plan.point_threads {
            let most = Expr::compare(Compare::Le, points.clone(), Expr::Int(i64::from(i32::MAX)));
            requires.push((most, format!("`{}` has more than 2^31 - 1 points", kernel.name)));
            points.ceil_div(Expr::Int(i64::from(POINT_THREADS)))
        } else {
            points
        };
        entries.push(Entry {
            name,
            params,
            grid: [blocks, Expr::Int(1), Expr::Int(1)],
            threads: plan.threads(),
            shared_bytes: Expr::Int(i64::from(plan.shared_bytes)),
            rounds,
        });
        module.kernels.push(compiled);
    }
    for (at, kernel) in program.kernels.iter().enumerate() {
        if program.kernels[..at].iter().any(|other| identifier(&other.name) == identifier(&kernel.name)) {
            return Err(unsupported(program, kernel, "another kernel has its name"));
        }
    }
    Ok(PtxProgram {
        name: program.name.clone(),
        target,
        storage: program.storage,
        text: module.text(),
        entries,
        sizes: program.sizes.clone(),
        params: program.params.clone(),
        tensors,
        requires,
        selections: program.selections.clone(),
    })
}

/// The launch that runs the first rounds of a kernel, a group of points in each block.
fn group_rounds(
    program: &Program,
    kernel: &Kernel,
    target: Target,
    plan: &Plan,
    name: &str,
) -> (Entry, dmac_ptx::Kernel) {
    let name = format!("{name}_in_blocks");
    let plan = plan.of_group_rounds();
    let mut params = parameters(program, kernel);
    params.retain(|param| *param != ParamSpec::Round);
    let mut emitter = Emitter::new(Assembler::new(&name, target), program, kernel, &plan, &params);
    emitter.group_rounds();
    let mut axes: Vec<Expr> = kernel.grid.iter().map(|axis| axis.extent.clone()).collect();
    let last = axes.pop().expect("rounds have points");
    axes.push(last.ceil_div(Expr::Int(i64::from(GROUP_POINTS))));
    let entry = Entry {
        name,
        params,
        grid: [axes.into_iter().fold(Expr::Int(1), |blocks, axis| blocks * axis), Expr::Int(1), Expr::Int(1)],
        threads: plan.threads(),
        shared_bytes: Expr::Int(0),
        rounds: Expr::Int(1),
    };
    (entry, finish(emitter))
}

/// The finished kernel of an emitter.
fn finish(emitter: Emitter<'_>) -> dmac_ptx::Kernel {
    let (program, kernel) = (&emitter.program.name, &emitter.kernel.name);
    emitter.k.finish().unwrap_or_else(|errors| {
        // One mistake is found in hundreds of instructions.
        let first: Vec<String> = errors.iter().take(3).map(ToString::to_string).collect();
        panic!("codegen: kernel `{kernel}` of `{program}`: {} errors: {}", errors.len(), first.join("; "))
    })
}

/// The space of a kernel's heaps: for each block, the rows of all.
fn heap_space(kernel: &Kernel, points: &Expr) -> Option<TensorDecl> {
    if kernel.heaps.is_empty() {
        return None;
    }
    let words = kernel
        .heaps
        .iter()
        .fold(Expr::Int(0), |sum, heap| sum + row_words(heap) * Expr::Int(heap.rows as i64));
    let fit = Expr::Int(HEAP_WORDS).int_div(words.clone());
    let blocks = fit.max(Expr::Int(HEAP_BLOCKS.start)).min(Expr::Int(HEAP_BLOCKS.end));
    Some(TensorDecl {
        name: format!("heaps_{}", kernel.name),
        role: Role::Workspace,
        element: Element::I32,
        dims: vec![points.clone().min(blocks), words],
    })
}

/// A name of letters, digits and underscores.
fn identifier(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
