//! Kernel bodies: scopes, register declarations, labels, `.loc` lines, statements and their operands.

use super::{MAX_REGISTERS, Names, Parser, Symbol};
use crate::decode::{self, Operand, Stmt};
use crate::flow;
use crate::lexer::{ParseError, Pos, Tok};
use crate::module::{Kernel, SourceLine};
use crate::op::{Inst, Op, Reg};
use std::collections::BTreeMap;

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
    pub(super) fn body(&mut self, kernel: &mut Kernel) -> Result<(), ParseError> {
        let open = self.pos();
        self.expect('{')?;
        let mut globals = self.shared.clone();
        for p in &kernel.params {
            globals.insert(p.name.clone(), Symbol::Param(p.offset));
        }
        let names = Names {
            scopes: vec![globals, BTreeMap::new()],
            counts: [0; 3],
            spelled: [const { Vec::new() }; 3],
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
        kernel.names = body.names.spelled;
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
