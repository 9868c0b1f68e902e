//! A whole program: a module with an entry for each kernel.

use crate::emit::heap::row_words;
use crate::emit::{Emitter, parameters};
use crate::plan::{POINT_THREADS, Plan, unsupported};
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
        let (plan, layout) = if warpgroup::has_roles(kernel) && target == Target::Sm90a {
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
        let mut params = parameters(program, kernel);
        params.extend(heaps.map(ParamSpec::Pointer));
        if layout.is_some() {
            params.extend(warpgroup::tensor_maps(kernel).into_iter().map(ParamSpec::TensorMap));
        }
        let name = format!("{}_{}", identifier(&program.name), identifier(&kernel.name));
        let mut emitter = Emitter::new(Assembler::new(&name, target), program, kernel, &plan, &params);
        match layout {
            Some(layout) => warpgroup::emit(&mut emitter, layout),
            None => emitter.kernel_body(heaps),
        }
        let compiled = emitter.k.finish().unwrap_or_else(|errors| {
            let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
            panic!("codegen: kernel `{}` of `{}`: {}", kernel.name, program.name, list.join("; "))
        });
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
            rounds: kernel.rounds.as_ref().map_or(Expr::Int(1), |rounds| rounds.count.clone()),
        });
        module.kernels.push(compiled);
    }
    if let Some(twice) = entries
        .iter()
        .enumerate()
        .find(|(at, entry)| entries[..*at].iter().any(|other| other.name == entry.name))
    {
        let kernel = &program.kernels[twice.0];
        return Err(unsupported(program, kernel, "another kernel has its name"));
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
