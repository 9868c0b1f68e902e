//! Object files for C and anything that links C, and the text of the code.
//!
//! Input → output: a [`Program`] and a [`Machine`] → an object with the functions of [`crate::launch`], the micro-kernels
//! that they call linked in as local symbols, so that one file is all that a C program needs (the linker supplies
//! `memset` at most). Neither allocates nor calls a C library.

use crate::CompileError;
use crate::build::{Texts, build};
use crate::target::Machine;
use cranelift_module::default_libcall_names;
use cranelift_object::{ObjectBuilder, ObjectModule};
use dmac_schedule::Program;
use object::read::{self, Object as _, ObjectSection as _, ObjectSymbol as _};
use object::write::{self, Relocation, Symbol, SymbolId, SymbolSection};
use object::{
    RelocationFlags, RelocationTarget, SectionIndex, SectionKind, SymbolFlags, SymbolIndex, SymbolKind,
    SymbolScope,
};
use std::collections::{BTreeMap, BTreeSet};

/// The code of a program as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeText {
    /// Cranelift's intermediate form, a function after the other.
    pub clif: String,
    /// The target's instructions, with virtual labels.
    pub asm: String,
}

/// Compiles a program to an object file's bytes.
///
/// For another architecture or object format than this crate was built for the micro-kernels are left undefined
/// (`dmac_rt_<isa>_<name>`): build `dmac-cpu-kernels` for that target and link its object.
///
/// # Errors
/// What a CPU kernel cannot do (see [`CompileError`]).
pub fn compile_object(program: &Program, machine: &Machine) -> Result<Vec<u8>, CompileError> {
    let mut module = module(program, machine)?;
    build(&mut module, program, machine.table, Texts::default())?;
    let mut product = module.finish();
    if machine.embeds_kernels() {
        link_kernels(&mut product.object)?;
    }
    product.emit().map_err(|error| CompileError::internal(&error))
}

/// The code of a program as text, without comments on the machine that compiled it.
///
/// # Errors
/// What a CPU kernel cannot do (see [`CompileError`]).
pub fn code_text(program: &Program, machine: &Machine) -> Result<CodeText, CompileError> {
    let mut module = module(program, machine)?;
    let built = build(&mut module, program, machine.table, Texts { clif: true, asm: true })?;
    Ok(CodeText { clif: built.clif, asm: built.asm })
}

fn module(program: &Program, machine: &Machine) -> Result<ObjectModule, CompileError> {
    let builder = ObjectBuilder::new(machine.isa.clone(), program.name.clone(), default_libcall_names())
        .map_err(|error| CompileError::internal(&error))?;
    Ok(ObjectModule::new(builder))
}

/// The embedded micro-kernels, as they are taken over into another object.
struct Kernels<'data> {
    file: read::File<'data>,
    /// Sections that something refers to.
    needed: BTreeSet<usize>,
}

impl Kernels<'_> {
    /// Marks a section and all that it refers to.
    fn need(&mut self, section: SectionIndex) -> Result<(), CompileError> {
        let mut open = vec![section];
        while let Some(section) = open.pop() {
            if !self.needed.insert(section.0) {
                continue;
            }
            let section =
                self.file.section_by_index(section).map_err(|error| CompileError::internal(&error))?;
            for (_, relocation) in section.relocations() {
                open.extend(self.section_of(relocation.target()));
            }
        }
        Ok(())
    }

    fn section_of(&self, target: RelocationTarget) -> Option<SectionIndex> {
        match target {
            RelocationTarget::Symbol(symbol) => {
                self.file.symbol_by_index(symbol).ok().and_then(|symbol| symbol.section_index())
            }
            RelocationTarget::Section(section) => Some(section),
            _ => None,
        }
    }
}

/// Takes the micro-kernels that an object calls over into it, and nothing else.
fn link_kernels(to: &mut write::Object<'_>) -> Result<(), CompileError> {
    let file = read::File::parse(dmac_cpu_kernels::OBJECT).map_err(|error| CompileError::internal(&error))?;
    let mut kernels = Kernels { file, needed: BTreeSet::new() };
    let mut called: Vec<(SymbolIndex, SymbolId)> = Vec::new();
    let defined: Vec<(SymbolIndex, Vec<u8>, SectionIndex)> = kernels
        .file
        .symbols()
        .filter(read::ObjectSymbol::is_global)
        .filter_map(|symbol| {
            Some((symbol.index(), symbol.name_bytes().ok()?.to_vec(), symbol.section_index()?))
        })
        .collect();
    for (index, name, section) in defined {
        if let Some(id) = to.symbol_id(&name) {
            kernels.need(section)?;
            called.push((index, id));
        }
    }
    let mut sections = BTreeMap::new();
    for index in &kernels.needed {
        let section = kernels
            .file
            .section_by_index(SectionIndex(*index))
            .map_err(|error| CompileError::internal(&error))?;
        let name = section.name_bytes().map_err(|error| CompileError::internal(&error))?.to_vec();
        let data = section.data().map_err(|error| CompileError::internal(&error))?;
        let kind = match section.kind() {
            SectionKind::Text => SectionKind::Text,
            SectionKind::Data => SectionKind::Data,
            SectionKind::ReadOnlyDataWithRel => SectionKind::ReadOnlyDataWithRel,
            _ => SectionKind::ReadOnlyData,
        };
        let id = to.add_section(Vec::new(), name, kind);
        to.append_section_data(id, data, section.align());
        sections.insert(*index, id);
    }
    let mut symbols: BTreeMap<usize, SymbolId> = BTreeMap::new();
    for (index, id) in called {
        let symbol = kernels.file.symbol_by_index(index).map_err(|error| CompileError::internal(&error))?;
        let section = symbol.section_index().map(|section| sections[&section.0]);
        let ours = to.symbol_mut(id);
        // Local, so that two programs with kernels of their own can be linked together.
        ours.section = section.map_or(SymbolSection::Undefined, SymbolSection::Section);
        ours.value = symbol.address();
        ours.size = symbol.size();
        ours.kind = symbol.kind();
        ours.scope = SymbolScope::Compilation;
        symbols.insert(index.0, id);
    }
    let needed: Vec<usize> = sections.keys().copied().collect();
    for index in needed {
        let section = kernels
            .file
            .section_by_index(SectionIndex(index))
            .map_err(|error| CompileError::internal(&error))?;
        for (offset, relocation) in section.relocations() {
            let symbol = match relocation.target() {
                RelocationTarget::Symbol(symbol) => {
                    target_symbol(&kernels, to, &sections, &mut symbols, symbol)?
                }
                RelocationTarget::Section(section) => to.section_symbol(sections[&section.0]),
                _ => {
                    return Err(CompileError::internal(
                        &"a relocation of the micro-kernels without a target",
                    ));
                }
            };
            let flags: RelocationFlags = relocation.flags();
            to.add_relocation(
                sections[&index],
                Relocation { offset, symbol, addend: relocation.addend(), flags },
            )
            .map_err(|error| CompileError::internal(&error))?;
        }
    }
    Ok(())
}

/// The symbol in the new object for one of the micro-kernels' object.
fn target_symbol(
    kernels: &Kernels<'_>,
    to: &mut write::Object<'_>,
    sections: &BTreeMap<usize, write::SectionId>,
    symbols: &mut BTreeMap<usize, SymbolId>,
    index: SymbolIndex,
) -> Result<SymbolId, CompileError> {
    if let Some(id) = symbols.get(&index.0) {
        return Ok(*id);
    }
    let symbol = kernels.file.symbol_by_index(index).map_err(|error| CompileError::internal(&error))?;
    let section = symbol.section_index().map(|section| sections[&section.0]);
    let name = symbol.name_bytes().map_err(|error| CompileError::internal(&error))?.to_vec();
    let id = match section {
        Some(section) if symbol.kind() == SymbolKind::Section => to.section_symbol(section),
        None if to.symbol_id(&name).is_some() => to.symbol_id(&name).expect("codegen: the symbol is there"),
        _ => to.add_symbol(Symbol {
            name,
            value: symbol.address(),
            size: symbol.size(),
            // Labels of constants have no type; what is undefined are functions of the toolchain.
            kind: match (symbol.kind(), section) {
                (SymbolKind::Unknown, Some(_)) => SymbolKind::Data,
                (SymbolKind::Unknown, None) => SymbolKind::Text,
                (kind, _) => kind,
            },
            scope: if section.is_some() { SymbolScope::Compilation } else { SymbolScope::Unknown },
            weak: symbol.is_weak(),
            section: section.map_or(SymbolSection::Undefined, SymbolSection::Section),
            flags: SymbolFlags::None,
        }),
    };
    symbols.insert(index.0, id);
    Ok(id)
}
