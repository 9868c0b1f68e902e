//! PTX text → [`Module`]: directives, declarations, scopes and labels; instructions go to the decoder.
//!
//! One pass over the tokens: a register must be declared before its use, as `ptxas` demands, so every operand is
//! resolved at once and only branch targets wait for the end of the body. The first error ends the parse and carries
//! its line and column; no input makes the parser panic.

mod body;

use crate::lexer::{ParseError, Pos, Tok, lex};
use crate::module::{Kernel, Module, Param};
use crate::op::{Addr, Reg, Special, Val};
use crate::types::Ty;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Registers of one class that a kernel may declare.
const MAX_REGISTERS: usize = 60_000;
/// Bytes of shared memory or parameters that a kernel may declare; far above any device.
const MAX_BYTES: u64 = 1 << 20;

/// Parses PTX text into a module.
///
/// # Errors
/// The first malformed or unsupported construct, with its line and column.
pub fn parse(text: &str) -> Result<Module, ParseError> {
    let toks = lex(text)?;
    let source: Arc<str> = Arc::from(text);
    Parser {
        toks,
        at: 0,
        source,
        files: BTreeMap::new(),
        shared: BTreeMap::new(),
        static_smem: 0,
        dynamic_align: 16,
    }
    .module()
}

/// What a name in a kernel stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Symbol {
    Reg {
        reg: Reg,
        bits: u32,
    },
    /// Offset in the parameter buffer.
    Param(u32),
    /// A shared-memory address.
    Shared(u32),
    DynamicShared,
}

struct Parser<'a> {
    toks: Vec<(Tok<'a>, Pos)>,
    at: usize,
    source: Arc<str>,
    files: BTreeMap<u64, String>,
    shared: BTreeMap<String, Symbol>,
    static_smem: u32,
    dynamic_align: u32,
}

/// Names visible in a kernel body, innermost scope last.
pub(crate) struct Names {
    scopes: Vec<BTreeMap<String, Symbol>>,
    counts: [usize; 3],
    spelled: [Vec<String>; 3],
}

impl Names {
    pub(crate) fn find(&self, name: &str) -> Option<Symbol> {
        self.scopes.iter().rev().find_map(|s| s.get(name).copied())
    }

    fn declare(&mut self, name: String, ty: Ty, pos: Pos) -> Result<(), ParseError> {
        let file = match ty.bits() {
            1 => 2,
            64 => 1,
            128 => return Err(pos.error("128-bit registers are not modelled")),
            _ => 0,
        };
        let index = self.counts[file];
        if index >= MAX_REGISTERS {
            return Err(pos.error(format!("more than {MAX_REGISTERS} registers of one class")));
        }
        let reg = match file {
            0 => Reg::W(index as u16),
            1 => Reg::D(index as u16),
            _ => Reg::P(index as u16),
        };
        self.counts[file] += 1;
        self.spelled[file].push(name.clone());
        let scope = self.scopes.last_mut().expect("a body always has a scope");
        if scope.contains_key(&name) {
            return Err(pos.error(format!("`{name}` is declared twice")));
        }
        scope.insert(name, Symbol::Reg { reg, bits: ty.bits() });
        Ok(())
    }
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Tok<'a> {
        self.toks[self.at].0
    }
    fn peek_at(&self, ahead: usize) -> Tok<'a> {
        self.toks.get(self.at + ahead).map_or(Tok::End, |t| t.0)
    }
    fn pos(&self) -> Pos {
        self.toks[self.at].1
    }
    fn next(&mut self) -> Tok<'a> {
        let t = self.toks[self.at].0;
        if self.at + 1 < self.toks.len() {
            self.at += 1;
        }
        t
    }
    fn eat(&mut self, c: char) -> bool {
        let hit = self.peek() == Tok::Punct(c);
        if hit {
            self.next();
        }
        hit
    }
    fn eat_dot(&mut self, s: &str) -> bool {
        let hit = self.peek() == Tok::Dot(s);
        if hit {
            self.next();
        }
        hit
    }
    fn unexpected<T>(&self, wanted: &str) -> Result<T, ParseError> {
        Err(self.pos().error(format!("expected {wanted}, found {}", self.peek())))
    }
    fn expect(&mut self, c: char) -> Result<(), ParseError> {
        if self.eat(c) { Ok(()) } else { self.unexpected(&format!("`{c}`")) }
    }
    fn word(&mut self, wanted: &str) -> Result<&'a str, ParseError> {
        match self.peek() {
            Tok::Word(w) => {
                self.next();
                Ok(w)
            }
            _ => self.unexpected(wanted),
        }
    }
    fn int(&mut self, wanted: &str) -> Result<u64, ParseError> {
        match self.peek() {
            Tok::Int(v) => {
                self.next();
                Ok(v)
            }
            _ => self.unexpected(wanted),
        }
    }
    fn small(&mut self, wanted: &str, max: u64) -> Result<u32, ParseError> {
        let pos = self.pos();
        let v = self.int(wanted)?;
        if v > max { Err(pos.error(format!("{wanted} is larger than {max}"))) } else { Ok(v as u32) }
    }

    fn module(&mut self) -> Result<Module, ParseError> {
        if !self.eat_dot("version") {
            return self.unexpected("`.version`");
        }
        let version = match self.peek() {
            Tok::Float(_, text) => {
                let mut it = text.split('.').map(|s| s.parse::<u32>().unwrap_or(u32::MAX));
                (it.next().unwrap_or(0), it.next().unwrap_or(0))
            }
            _ => return self.unexpected("a version such as 8.0"),
        };
        self.next();
        if !self.eat_dot("target") {
            return self.unexpected("`.target`");
        }
        let target = self.word("a target such as sm_90a")?.to_owned();
        while self.eat(',') {
            self.word("a target option")?;
        }
        if self.eat_dot("address_size") && self.int("64")? != 64 {
            return self.unexpected("`.address_size 64`; 32-bit addresses are not modelled");
        }
        let mut kernels: Vec<Arc<Kernel>> = Vec::new();
        loop {
            let pos = self.pos();
            match self.peek() {
                Tok::End => break,
                Tok::Dot("visible" | "weak" | "extern") => {
                    self.next();
                }
                Tok::Dot("file") => self.file()?,
                Tok::Dot("shared") => {
                    self.next();
                    let (name, symbol) = self.shared_variable()?;
                    if self.shared.insert(name.clone(), symbol).is_some() {
                        return Err(pos.error(format!("`{name}` is declared twice")));
                    }
                }
                Tok::Dot("section") => self.section()?,
                Tok::Dot("pragma") => self.pragma()?,
                Tok::Dot("entry") => {
                    self.next();
                    let kernel = self.entry()?;
                    if kernels.iter().any(|k| k.name == kernel.name) {
                        return Err(pos.error(format!("the entry `{}` is defined twice", kernel.name)));
                    }
                    kernels.push(Arc::new(kernel));
                }
                Tok::Dot(what @ ("func" | "global" | "const" | "alias" | "tex" | "common")) => {
                    return Err(pos.error(format!("`.{what}` at module level is not modelled")));
                }
                _ => return self.unexpected("a directive or an `.entry`"),
            }
        }
        Ok(Module { version, target, kernels })
    }

    /// `.file 1 "path"[, time, size]`
    fn file(&mut self) -> Result<(), ParseError> {
        self.next();
        let index = self.int("a file number")?;
        let Tok::Str(path) = self.next() else { return self.unexpected("a path in quotes") };
        self.files.insert(index, path.to_owned());
        while self.eat(',') {
            self.int("a time stamp or a size")?;
        }
        Ok(())
    }

    /// `.section .debug_x { … }` holds nothing that execution needs.
    fn section(&mut self) -> Result<(), ParseError> {
        let pos = self.pos();
        self.next();
        self.next();
        self.expect('{')?;
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                Tok::Punct('{') => depth += 1,
                Tok::Punct('}') => depth -= 1,
                Tok::End => return Err(pos.error("this section is never closed")),
                _ => {}
            }
        }
        Ok(())
    }

    fn pragma(&mut self) -> Result<(), ParseError> {
        self.next();
        loop {
            let Tok::Str(_) = self.next() else { return self.unexpected("a pragma string") };
            if !self.eat(',') {
                break;
            }
        }
        self.expect(';')
    }

    fn ty(&mut self) -> Result<Ty, ParseError> {
        match self.peek() {
            Tok::Dot(s) => match Ty::parse(s) {
                Some(t) => {
                    self.next();
                    Ok(t)
                }
                None => self.unexpected("a type"),
            },
            _ => self.unexpected("a type"),
        }
    }

    fn align(&mut self, default: u32) -> Result<u32, ParseError> {
        if !self.eat_dot("align") {
            return Ok(default);
        }
        let pos = self.pos();
        let a = self.small("an alignment", 1024)?;
        if a.is_power_of_two() { Ok(a) } else { Err(pos.error("an alignment must be a power of two")) }
    }

    /// After `.shared`: `.align N .ty name[n][m];`
    fn shared_variable(&mut self) -> Result<(String, Symbol), ParseError> {
        let align = self.align(0)?;
        let pos = self.pos();
        let ty = self.ty()?;
        if ty == Ty::Pred {
            return Err(pos.error("shared memory holds no predicates"));
        }
        let name = self.word("a name")?.to_owned();
        let align = if align == 0 { ty.bytes().max(1) } else { align };
        let mut bytes = u64::from(ty.bytes());
        let mut dynamic = false;
        while self.eat('[') {
            if self.eat(']') {
                dynamic = true;
                continue;
            }
            bytes = bytes.saturating_mul(self.int("an array size")?);
            self.expect(']')?;
        }
        self.expect(';')?;
        if dynamic {
            self.dynamic_align = self.dynamic_align.max(align);
            return Ok((name, Symbol::DynamicShared));
        }
        let at = u64::from(self.static_smem.next_multiple_of(align));
        if at.saturating_add(bytes) > MAX_BYTES {
            return Err(pos.error("more shared memory than any device has"));
        }
        self.static_smem = (at + bytes) as u32;
        Ok((name, Symbol::Shared(crate::launch::SHARED_BASE + at as u32)))
    }

    fn params(&mut self) -> Result<(Vec<Param>, u32), ParseError> {
        let mut out: Vec<Param> = Vec::new();
        let mut size = 0u32;
        if !self.eat('(') || self.eat(')') {
            return Ok((out, 0));
        }
        loop {
            if !self.eat_dot("param") {
                return self.unexpected("`.param`");
            }
            let pos = self.pos();
            let mut ty = None;
            let mut align = 0;
            let mut pointer = false;
            loop {
                match self.peek() {
                    // The alignment after `.ptr` is that of the memory behind the pointer.
                    Tok::Dot("align") => {
                        let a = self.align(0)?;
                        if !pointer {
                            align = a;
                        }
                    }
                    Tok::Dot("ptr") => {
                        pointer = true;
                        self.next();
                    }
                    Tok::Dot("global" | "shared" | "const" | "local") if pointer => {
                        self.next();
                    }
                    Tok::Dot(s) if ty.is_none() && Ty::parse(s).is_some_and(|t| t != Ty::Pred) => {
                        ty = Ty::parse(s);
                        self.next();
                    }
                    _ => break,
                }
            }
            let Some(ty) = ty else { return self.unexpected("the parameter's type") };
            let name = self.word("the parameter's name")?.to_owned();
            let mut bytes = ty.bytes().max(1);
            let array = self.eat('[');
            if array {
                bytes = bytes.saturating_mul(self.small("an array size", 4096)?);
                self.expect(']')?;
            }
            let offset = size.next_multiple_of(align.max(ty.bytes()).max(1));
            size = offset + bytes;
            if u64::from(size) > 32764 {
                return Err(pos.error("more than 32764 bytes of parameters"));
            }
            if out.iter().any(|p| p.name == name) {
                return Err(pos.error(format!("the parameter `{name}` is declared twice")));
            }
            out.push(Param { name, offset, size: bytes, array });
            if self.eat(',') {
                continue;
            }
            self.expect(')')?;
            return Ok((out, size));
        }
    }

    fn triple(&mut self) -> Result<[u32; 3], ParseError> {
        let mut t = [1; 3];
        for (i, v) in t.iter_mut().enumerate() {
            if i > 0 && !self.eat(',') {
                break;
            }
            *v = self.small("a size", 1 << 20)?.max(1);
        }
        Ok(t)
    }

    fn entry(&mut self) -> Result<Kernel, ParseError> {
        let name = self.word("the entry's name")?.to_owned();
        let (params, param_bytes) = self.params()?;
        let mut kernel = Kernel {
            name,
            param_bytes,
            params,
            insts: Vec::new(),
            counts: [0; 3],
            names: [const { Vec::new() }; 3],
            locs: Vec::new(),
            static_smem: 0,
            dynamic_align: 0,
            reqntid: None,
            maxntid: None,
            minnctapersm: None,
            maxnreg: None,
            cluster: None,
            text: Arc::clone(&self.source),
        };
        loop {
            let pos = self.pos();
            match self.peek() {
                Tok::Dot("reqntid") => {
                    self.next();
                    kernel.reqntid = Some(self.triple()?);
                }
                Tok::Dot("maxntid") => {
                    self.next();
                    kernel.maxntid = Some(self.triple()?);
                }
                Tok::Dot("reqnctapercluster") => {
                    self.next();
                    kernel.cluster = Some(self.triple()?);
                }
                Tok::Dot("minnctapersm") => {
                    self.next();
                    kernel.minnctapersm = Some(self.small("a count", 64)?.max(1));
                }
                Tok::Dot("maxnreg") => {
                    self.next();
                    kernel.maxnreg = Some(self.small("a count", 255)?);
                }
                Tok::Dot("maxclusterrank" | "maxnctapersm") => {
                    self.next();
                    self.small("a count", 64)?;
                }
                Tok::Dot("explicitcluster" | "noreturn") => {
                    self.next();
                }
                Tok::Dot("pragma") => self.pragma()?,
                Tok::Punct('{') => break,
                _ => return Err(pos.error(format!("expected a directive or `{{`, found {}", self.peek()))),
            }
        }
        self.body(&mut kernel)?;
        kernel.static_smem = self.static_smem;
        kernel.dynamic_align = self.dynamic_align;
        Ok(kernel)
    }
}

/// The address of a symbol or a register, for `[…]` operands.
pub(crate) fn symbol_value(symbol: Symbol) -> Option<Val> {
    match symbol {
        Symbol::Reg { reg: Reg::W(i), .. } => Some(Val::W(i)),
        Symbol::Reg { reg: Reg::D(i), .. } => Some(Val::D(i)),
        Symbol::Reg { reg: Reg::P(_), .. } => None,
        Symbol::Param(at) | Symbol::Shared(at) => Some(Val::Imm(u64::from(at))),
        Symbol::DynamicShared => Some(Val::Special(Special::DynamicBase)),
    }
}

/// An address of `base` and `offset`.
pub(crate) fn address(base: Val, offset: i64) -> Addr {
    Addr { base, offset }
}
