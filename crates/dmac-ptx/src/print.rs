//! The printer: a module to PTX text.
//!
//! In: a [`Module`] that the checker let through. Out: its text. Nothing here decides anything but layout; names come
//! from roles, mnemonics from [`crate::spell`], the version from [`crate::requires`].

use crate::address::{Base, MemRef};
use crate::kernel::{Item, Kernel, Module, ParamKind, Target};
use crate::requires::version;
use crate::spell::{Arg, spell};
use crate::types::{Class, Cond, Imm};
use std::fmt::Write as _;

/// The symbol of dynamic shared memory.
const SHARED_SYMBOL: &str = "dynamic_shared";

pub(crate) fn module(module: &Module) -> String {
    let target = module.kernels.first().map_or(Target::Sm80, |k| k.target);
    assert!(module.kernels.iter().all(|k| k.target == target), "a PTX module has one target");
    let lowest = module.kernels.iter().map(version).max().unwrap_or(target.version());
    let mut out = format!(".version {lowest}\n.target {}\n.address_size 64\n", target.name());

    let mut files: Vec<&str> = Vec::new();
    for file in module.kernels.iter().flat_map(|k| &k.files) {
        if !files.contains(&file.as_str()) {
            files.push(file);
        }
    }
    if !files.is_empty() {
        out.push('\n');
    }
    for (i, file) in files.iter().enumerate() {
        let _ = writeln!(out, ".file {} \"{}\"", i + 1, ascii(file).replace('"', "_"));
    }

    if let Some(align) = module.kernels.iter().filter_map(|k| k.frame.shared).map(|(_, align)| align).max() {
        let _ = writeln!(out, "\n.extern .shared .align {align} .b8 {SHARED_SYMBOL}[];");
    }
    for k in &module.kernels {
        out.push('\n');
        kernel(&mut out, k, &files);
    }
    out
}

/// `ptxas` refuses anything but ASCII even in comments, and a backslash could join lines.
fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\\' => "/".to_owned(),
            '\n' | '\r' | '\t' => " ".to_owned(),
            c if c.is_ascii_control() || !c.is_ascii() => format!("<U+{:04X}>", u32::from(c)),
            c => c.to_string(),
        })
        .collect()
}

fn kernel(out: &mut String, k: &Kernel, files: &[&str]) {
    let params: Vec<String> = k
        .params
        .iter()
        .map(|p| match p.kind {
            ParamKind::Value(class) => format!("    .param .{} {}", param_type(class), p.name),
            ParamKind::Pointer(align) => format!("    .param .u64 .ptr .global .align {align} {}", p.name),
            ParamKind::TensorMap => format!("    .param .align 64 .b8 {}[128]", p.name),
        })
        .collect();
    if params.is_empty() {
        let _ = writeln!(out, ".visible .entry {}()", k.name);
    } else {
        let _ = writeln!(out, ".visible .entry {}(\n{}\n)", k.name, params.join(",\n"));
    }
    if let Some(n) = k.frame.threads {
        let _ = writeln!(out, ".reqntid {n}, 1, 1");
    }
    if let Some(n) = k.frame.min_ctas {
        let _ = writeln!(out, ".minnctapersm {n}");
    }
    if let Some(n) = k.frame.max_registers {
        let _ = writeln!(out, ".maxnreg {n}");
    }
    if let Some(n) = k.frame.cluster {
        let _ = writeln!(out, ".explicitcluster\n.reqnctapercluster {n}, 1, 1");
    }
    out.push_str("{\n");
    for role in &k.roles {
        let _ = writeln!(out, "    .reg .{} %{}<{}>;", role.class.name(), role.name, role.count);
    }
    out.push('\n');
    for item in &k.items {
        match item {
            Item::Inst { guard, inst } => {
                out.push_str("    ");
                instruction(out, k, *guard, inst);
                out.push('\n');
            }
            Item::Label(label) => {
                let _ = writeln!(out, "{}:", k.label_name(*label));
            }
            Item::NoUnroll => out.push_str("    .pragma \"nounroll\";\n"),
            Item::Comment(text) => {
                let _ = writeln!(out, "    // {}", ascii(text));
            }
            Item::Loc { file, line, column } => {
                let name = k.files[*file as usize].as_str();
                let index = files.iter().position(|f| *f == name).expect("the module collected every file");
                let _ = writeln!(out, "    .loc {} {line} {column}", index + 1);
            }
        }
    }
    out.push_str("}\n");
}

/// Parameters are declared with an integer type: `.b32` is legal, but tools show `.u32` better.
fn param_type(class: Class) -> &'static str {
    match class {
        Class::Pred => panic!("a predicate cannot be a kernel parameter"),
        Class::B16 => "u16",
        Class::B32 => "u32",
        Class::B64 => "u64",
        Class::F32 => "f32",
    }
}

/// One instruction as a line without its line break.
pub(crate) fn instruction(out: &mut String, k: &Kernel, guard: Option<Cond>, inst: &crate::inst::Inst) {
    if let Some(guard) = guard {
        let _ = write!(out, "@{}{} ", if guard.negated { "!" } else { "" }, k.register_name(guard.pred));
    }
    let spelled = spell(inst);
    out.push_str(&spelled.op);
    for (i, arg) in spelled.args.iter().enumerate() {
        out.push_str(if i == 0 { " " } else { ", " });
        argument(out, k, arg);
    }
    out.push(';');
}

fn argument(out: &mut String, k: &Kernel, arg: &Arg) {
    match arg {
        Arg::Def(r) | Arg::Use(r) | Arg::Update(r) => out.push_str(&k.register_name(*r)),
        Arg::Not(r) => {
            out.push('!');
            out.push_str(&k.register_name(*r));
        }
        Arg::Pair(d, p) => {
            let d = d.map_or_else(|| "_".to_owned(), |d| k.register_name(d));
            let _ = write!(out, "{d}|{}", k.register_name(*p));
        }
        Arg::Imm(Imm::Int(n)) => {
            let _ = write!(out, "{n}");
        }
        Arg::Imm(Imm::F32(bits)) => {
            let _ = write!(out, "0f{bits:08X}");
        }
        Arg::Hex(bits) => {
            let _ = write!(out, "0x{bits:02X}");
        }
        Arg::Group(args) => group(out, k, args),
        Arg::Mem(MemRef { base, offset }) => {
            out.push('[');
            match base {
                Base::Reg(r) => out.push_str(&k.register_name(*r)),
                Base::Param(p) => out.push_str(&k.param(*p).name),
            }
            if *offset != 0 {
                // A negative offset is written `+-8`: PTX has no other way.
                let _ = write!(out, "+{offset}");
            }
            out.push(']');
        }
        Arg::Tensor(map, at) => {
            let _ = write!(out, "[{}, ", k.register_name(*map));
            group(out, k, at);
            out.push(']');
        }
        Arg::Param(p) => out.push_str(&k.param(*p).name),
        Arg::SharedBase => out.push_str(SHARED_SYMBOL),
        Arg::Special(s) => out.push_str(s.name()),
        Arg::Label(l) => out.push_str(&k.label_name(*l)),
        Arg::Sink => out.push('_'),
    }
}

fn group(out: &mut String, k: &Kernel, args: &[Arg]) {
    out.push('{');
    for (i, arg) in args.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        argument(out, k, arg);
    }
    out.push('}');
}
