//! A module from a program: every function declared, emitted and compiled.
//!
//! Input → output: a [`Program`] and any Cranelift module (just-in-time or object) → the module's functions, with their CLIF
//! and assembly as text where asked for. Names begin with `dmac_NAME_`.

use crate::CompileError;
use crate::emit::{Emitter, Imports, WORD};
use crate::layout::{Launch, Layout};
use crate::plan::KernelPlan;
use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, Function, Signature, Type, UserFuncName, Value, types};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Linkage, Module};
use dmac_cpu_kernels::KernelTable;
use dmac_schedule::Program;
use std::fmt::Write as _;

/// Which texts to make beside the code.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Texts {
    pub clif: bool,
    pub asm: bool,
}

/// The functions of a program in a module.
pub(crate) struct Built {
    pub layout: Layout,
    pub workspace_size: FuncId,
    pub check: FuncId,
    pub prepare: FuncId,
    /// Names and functions, in the order of [`Layout::launches`].
    pub launches: Vec<(String, FuncId)>,
    pub clif: String,
    pub asm: String,
}

/// The settings of all our code.
///
/// # Errors
/// Where Cranelift does not know a setting.
pub(crate) fn flags(pic: bool) -> Result<settings::Flags, CompileError> {
    let mut builder = settings::builder();
    let pic = if pic { "true" } else { "false" };
    // The optimiser sinks pure instructions to their uses, which costs more spills than it saves work: values are shared and
    // hoisted while they are emitted.
    for (name, value) in [("opt_level", "none"), ("is_pic", pic), ("enable_verifier", VERIFIER)] {
        builder.set(name, value).map_err(|error| CompileError::internal(&error))?;
    }
    Ok(settings::Flags::new(builder))
}

const VERIFIER: &str = if cfg!(debug_assertions) { "true" } else { "false" };

struct Builder<'p, 'a> {
    module: &'a mut dyn Module,
    imports: Imports,
    program: &'p Program,
    layout: Layout,
    texts: Texts,
    clif: String,
    asm: String,
}

/// Emits a whole program into a module.
pub(crate) fn build(
    module: &mut dyn Module,
    program: &Program,
    table: &'static KernelTable,
    texts: Texts,
) -> Result<Built, CompileError> {
    let plans = program
        .kernels
        .iter()
        .map(|kernel| KernelPlan::new(program, kernel, table))
        .collect::<Result<Vec<_>, _>>()?;
    let packs: Vec<usize> = plans.iter().map(|plan| plan.packed.len()).collect();
    let layout = Layout::new(program, &packs);
    let mut builder = Builder {
        module,
        imports: Imports::new(table),
        program,
        layout,
        texts,
        clif: String::new(),
        asm: String::new(),
    };
    let prefix = format!("dmac_{}_", program.name);
    let mut launches = Vec::new();
    for launch in builder.layout.launches.clone() {
        let name = match launch {
            Launch::Kernel(number) => symbol(&program.kernels[number].name),
            Launch::Pack { kernel, tensor } => {
                let packed = &plans[kernel].packed;
                let id = packed[tensor].tensor;
                let name = symbol(&program.tensor(id).name);
                let name = format!("{}_pack_{name}", symbol(&program.kernels[kernel].name));
                // A tensor is packed once for each range of its features that products read.
                match packed[..tensor].iter().filter(|earlier| earlier.tensor == id).count() {
                    0 => name,
                    earlier => format!("{name}_{earlier}"),
                }
            }
        };
        let symbol = format!("{prefix}kernel_{name}");
        let slots = &builder.layout.packed.clone();
        let id = builder.function(&symbol, Linkage::Local, &[WORD; 3], None, |e, params| {
            e.frame = Some(params[0]);
            e.args = e.slot(crate::layout::Table::Frame, Layout::ARGS);
            match launch {
                Launch::Kernel(number) => {
                    e.kernel_body(number, &program.kernels[number], &plans[number], params[1], params[2]);
                }
                Launch::Pack { kernel, tensor } => {
                    e.packing_body(slots[kernel][tensor], &plans[kernel].packed[tensor], params[1]);
                }
            }
        })?;
        launches.push((name, id));
    }
    let functions: Vec<FuncId> = launches.iter().map(|(_, id)| *id).collect();
    let name = format!("{prefix}workspace_size");
    let workspace_size = builder
        .function(&name, Linkage::Export, &[WORD], Some(WORD), |e, _| e.workspace_size_body(&plans))?;
    let name = format!("{prefix}check");
    let check = builder.function(&name, Linkage::Export, &[WORD], Some(types::I32), |e, _| e.check_body())?;
    let name = format!("{prefix}prepare");
    let prepare = builder.function(&name, Linkage::Export, &[WORD; 2], None, |e, params| {
        e.prepare_body(params[1], &plans);
    })?;
    let name = format!("{prefix}run");
    builder.function(&name, Linkage::Export, &[WORD; 4], Some(types::I32), |e, params| {
        e.run_body(params[1], params[2], params[3], (check, prepare), &functions);
    })?;
    let Builder { layout, clif, asm, .. } = builder;
    Ok(Built { layout, workspace_size, check, prepare, launches, clif, asm })
}

/// A name as part of a symbol: letters, digits and underscores.
pub(crate) fn symbol(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

impl<'p> Builder<'p, '_> {
    /// Adds a function's text, after its name and the names of the functions that it calls by number.
    fn print(&mut self, name: &str, function: &Function) {
        let _ = writeln!(self.clif, "; {name}");
        for (_, callee) in function.params.user_named_funcs() {
            let id = FuncId::from_u32(callee.index);
            let name = self.module.declarations().get_function_decl(id).linkage_name(id);
            let _ = writeln!(self.clif, "; u0:{} is {name}", callee.index);
        }
        let _ = writeln!(self.clif, "{}", function.display());
    }

    fn function(
        &mut self,
        name: &str,
        linkage: Linkage,
        params: &[Type],
        result: Option<Type>,
        body: impl FnOnce(&mut Emitter<'p, '_, '_>, &[Value]),
    ) -> Result<FuncId, CompileError> {
        let mut signature: Signature = self.module.make_signature();
        signature.params.extend(params.iter().map(|ty| AbiParam::new(*ty)));
        signature.returns.extend(result.map(AbiParam::new));
        let id = self
            .module
            .declare_function(name, linkage, &signature)
            .map_err(|error| CompileError::internal(&error))?;
        let mut context: Context = self.module.make_context();
        context.func.signature = signature;
        context.func.name = UserFuncName::testcase(name);
        context.set_disasm(self.texts.asm);
        let config = self.module.target_config();
        let mut scratch = FunctionBuilderContext::new();
        let mut b = FunctionBuilder::new(&mut context.func, &mut scratch);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        b.seal_block(entry);
        let values = b.block_params(entry).to_vec();
        let mut emitter =
            Emitter::new(b, &mut *self.module, &mut self.imports, self.program, &self.layout, values[0]);
        body(&mut emitter, &values);
        emitter.b.finalize(config);
        if self.texts.clif {
            self.print(name, &context.func);
        }
        self.module
            .define_function(id, &mut context)
            .map_err(|error| CompileError::internal(&format!("{name}: {error:?}")))?;
        if self.texts.asm
            && let Some(code) = context.compiled_code().and_then(|code| code.vcode.as_deref())
        {
            let _ = writeln!(self.asm, "{name}:\n{code}");
        }
        Ok(id)
    }
}
