//! PTX text → [`Module`]: directives, declarations, scopes and labels; instructions go to the decoder.
//!
//! One pass over the tokens: a register must be declared before its use, as `ptxas` demands, so every operand is
//! resolved at once and only branch targets wait for the end of the body. The first error ends the parse and carries
//! its line and column; no input makes the parser panic.

use crate::decode::{self, Operand, Stmt};
use crate::flow;
use crate::lexer::{ParseError, Pos, Tok, lex};
use crate::module::{Kernel, Module, Param, SourceLine};
use crate::op::{Addr, Inst, Op, Reg, Special, Val};
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
    names: [Vec<String>; 3],
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
        self.names[file].push(name.clone());
        let scope = self.scopes.last_mut().expect("a body always has a scope");
        if scope.contains_key(&name) {
            return Err(pos.error(format!("`{name}` is declared twice")));
        }
        scope.insert(name, Symbol::Reg { reg, bits: ty.bits() });
        Ok(())
    }
}

struct Body {
    names: Names,
    insts: Vec<Inst>,
    /// Chain of scope numbers that are open, outermost first.
    chain: Vec<u32>,
    next_scope: u32,
    labels: BTreeMap<(u32, String), u32>,
    fixups: Vec<(usize, Vec<u32>, String, Pos)>,
    locs: Vec<SourceLine>,
    loc: Option<u32>,
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

    fn body(&mut self, kernel: &mut Kernel) -> Result<(), ParseError> {
        let open = self.pos();
        self.expect('{')?;
        let mut globals = self.shared.clone();
        for p in &kernel.params {
            globals.insert(p.name.clone(), Symbol::Param(p.offset));
        }
        let names = Names {
            scopes: vec![globals, BTreeMap::new()],
            counts: [0; 3],
            names: [const { Vec::new() }; 3],
        };
        let mut body = Body {
            names,
            insts: Vec::new(),
            chain: vec![0],
            next_scope: 1,
            labels: BTreeMap::new(),
            fixups: Vec::new(),
            locs: Vec::new(),
            loc: None,
        };
        while !body.chain.is_empty() {
            if self.peek() == Tok::End {
                return Err(open.error("this body is never closed"));
            }
            self.statement(&mut body)?;
        }
        for (inst, chain, label, pos) in &body.fixups {
            let target = chain.iter().rev().find_map(|s| body.labels.get(&(*s, label.clone())).copied());
            let Some(target) = target else { return Err(pos.error(format!("there is no label `{label}`"))) };
            body.insts[*inst].op = Op::Bra { target };
        }
        flow::find_reconvergence(&mut body.insts);
        kernel.insts = body.insts;
        kernel.locs = body.locs;
        kernel.counts = body.names.counts;
        kernel.names = body.names.names;
        Ok(())
    }

    fn statement(&mut self, body: &mut Body) -> Result<(), ParseError> {
        let pos = self.pos();
        match self.peek() {
            Tok::Punct('{') => {
                self.next();
                if body.chain.len() > 64 {
                    return Err(pos.error("scopes are nested more than 64 deep"));
                }
                body.chain.push(body.next_scope);
                body.next_scope += 1;
                body.names.scopes.push(BTreeMap::new());
                Ok(())
            }
            Tok::Punct('}') => {
                self.next();
                body.chain.pop();
                body.names.scopes.pop();
                Ok(())
            }
            Tok::Punct(';') => {
                self.next();
                Ok(())
            }
            Tok::Dot("reg") => self.registers(&mut body.names),
            Tok::Dot("shared") => {
                self.next();
                let (name, symbol) = self.shared_variable()?;
                body.names.scopes.last_mut().expect("a body always has a scope").insert(name, symbol);
                Ok(())
            }
            Tok::Dot("loc") => self.loc(body),
            Tok::Dot("pragma") => self.pragma(),
            Tok::Dot("file") => self.file(),
            Tok::Dot(what) => Err(pos.error(format!("`.{what}` inside a body is not modelled"))),
            Tok::Word(label) if self.peek_at(1) == Tok::Punct(':') => {
                self.next();
                self.next();
                let scope = *body.chain.last().expect("a body always has a scope");
                let here = body.insts.len() as u32;
                if body.labels.insert((scope, label.to_owned()), here).is_some() {
                    return Err(pos.error(format!("the label `{label}` is defined twice")));
                }
                Ok(())
            }
            Tok::Word(_) | Tok::Punct('@') => self.instruction(body),
            _ => self.unexpected("a statement"),
        }
    }

    fn registers(&mut self, names: &mut Names) -> Result<(), ParseError> {
        self.next();
        if let Tok::Dot("v2" | "v4") = self.peek() {
            return Err(self.pos().error("vector registers are not modelled"));
        }
        let pos = self.pos();
        let ty = self.ty()?;
        if ty.bits() == 8 {
            return Err(pos.error("registers have at least 16 bits"));
        }
        loop {
            let pos = self.pos();
            let name = self.word("a register name")?;
            if self.eat('<') {
                let n = self.small("a register count", MAX_REGISTERS as u64)?;
                self.expect('>')?;
                for i in 0..n {
                    names.declare(format!("{name}{i}"), ty, pos)?;
                }
            } else {
                names.declare(name.to_owned(), ty, pos)?;
            }
            if !self.eat(',') {
                return self.expect(';');
            }
        }
    }

    /// `.loc file line column [, function_name …]`: ends with its line.
    fn loc(&mut self, body: &mut Body) -> Result<(), ParseError> {
        let line_no = self.pos().line;
        self.next();
        let pos = self.pos();
        let file = self.int("a file number")?;
        let line = self.int("a line")? as u32;
        let column = self.int("a column")? as u32;
        while self.pos().line == line_no && !matches!(self.peek(), Tok::End | Tok::Punct('}')) {
            self.next();
        }
        let Some(file) = self.files.get(&file) else {
            return Err(pos.error(format!("there is no `.file {file}`")));
        };
        body.locs.push(SourceLine { file: file.clone(), line, column });
        body.loc = Some(body.locs.len() as u32 - 1);
        Ok(())
    }

    fn instruction(&mut self, body: &mut Body) -> Result<(), ParseError> {
        let start = self.pos();
        let guard = if self.eat('@') {
            let negated = self.eat('!');
            let pos = self.pos();
            let name = self.word("a predicate register")?;
            match body.names.find(name) {
                Some(Symbol::Reg { reg: Reg::P(index), .. }) => Some((index, negated)),
                Some(_) => return Err(pos.error(format!("`{name}` is not a predicate"))),
                None => return Err(pos.error(format!("`{name}` is not declared"))),
            }
        } else {
            None
        };
        let pos = self.pos();
        let base = self.word("an instruction")?;
        let mut mods = Vec::new();
        while let Tok::Dot(m) = self.peek() {
            self.next();
            mods.push(m);
        }
        let mut operands = Vec::new();
        if self.peek() != Tok::Punct(';') {
            loop {
                operands.push(self.operand()?);
                if !self.eat(',') {
                    break;
                }
            }
        }
        let end = self.pos();
        self.expect(';')?;
        let op = if base == "bra" {
            let [(Operand::Name(label, None), at)] = operands.as_slice() else {
                return Err(pos.error("`bra` takes one label"));
            };
            if let Some(m) = mods.iter().find(|m| **m != "uni") {
                return Err(pos.error(format!("unknown modifier `.{m}` of `bra`")));
            }
            body.fixups.push((body.insts.len(), body.chain.clone(), (*label).to_owned(), *at));
            Op::Bra { target: 0 }
        } else {
            decode::decode(&body.names, Stmt::new(pos, base, mods, operands))?
        };
        if body.insts.len() >= 1 << 24 {
            return Err(pos.error("more than 16 million instructions"));
        }
        body.insts.push(Inst {
            guard,
            op,
            span: (start.at, end.at),
            line: start.line,
            column: start.col,
            loc: body.loc,
            reconverge: None,
        });
        Ok(())
    }

    /// One operand, which may be `d|p`.
    fn operand(&mut self) -> Result<(Operand<'a>, Pos), ParseError> {
        let pos = self.pos();
        let first = self.simple_operand()?;
        if self.eat('|') {
            let second = self.simple_operand()?;
            return Ok((Operand::Pair(Box::new((first, pos)), Box::new((second, pos))), pos));
        }
        Ok((first, pos))
    }

    fn simple_operand(&mut self) -> Result<Operand<'a>, ParseError> {
        match self.peek() {
            Tok::Punct('{') => {
                self.next();
                let mut items = Vec::new();
                loop {
                    let pos = self.pos();
                    items.push((self.scalar_operand()?, pos));
                    if !self.eat(',') {
                        break;
                    }
                }
                self.expect('}')?;
                Ok(Operand::Vector(items))
            }
            Tok::Punct('[') => self.address(),
            _ => self.scalar_operand(),
        }
    }

    fn scalar_operand(&mut self) -> Result<Operand<'a>, ParseError> {
        let t = self.peek();
        match t {
            Tok::Punct('!') => {
                self.next();
                Ok(Operand::Not(self.word("a predicate register")?))
            }
            Tok::Punct('-') => {
                self.next();
                match self.next() {
                    Tok::Int(v) => Ok(Operand::Int(v.wrapping_neg())),
                    Tok::Float(v, _) => Ok(Operand::Float(-v)),
                    _ => self.unexpected("a number after `-`"),
                }
            }
            Tok::Int(v) => {
                self.next();
                Ok(Operand::Int(v))
            }
            Tok::Float(v, _) => {
                self.next();
                Ok(Operand::Float(v))
            }
            Tok::F32Bits(v) => {
                self.next();
                Ok(Operand::F32Bits(v))
            }
            Tok::F64Bits(v) => {
                self.next();
                Ok(Operand::F64Bits(v))
            }
            Tok::Word(name) => {
                self.next();
                match self.peek() {
                    Tok::Dot(part) if name.starts_with('%') => {
                        self.next();
                        Ok(Operand::Name(name, Some(part)))
                    }
                    _ => Ok(Operand::Name(name, None)),
                }
            }
            _ => self.unexpected("an operand"),
        }
    }

    /// `[base]`, `[base + 16]`, `[base, {coordinates}]`.
    fn address(&mut self) -> Result<Operand<'a>, ParseError> {
        self.expect('[')?;
        let pos = self.pos();
        let base = self.scalar_operand()?;
        let mut offset = 0i64;
        loop {
            if self.eat('+') {
                let negative = self.eat('-');
                let v = self.int("an offset")? as i64;
                offset = offset.wrapping_add(if negative { v.wrapping_neg() } else { v });
            } else if self.eat('-') {
                offset = offset.wrapping_sub(self.int("an offset")? as i64);
            } else {
                break;
            }
        }
        let coords = if self.eat(',') {
            match self.simple_operand()? {
                Operand::Vector(items) => Some(items),
                _ => return self.unexpected("coordinates in braces"),
            }
        } else {
            None
        };
        self.expect(']')?;
        Ok(Operand::Address { base: Box::new((base, pos)), offset, coords })
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
