//! The statements of an attention: the one unnamed or each branch; and the outputs.

use super::Resolver;
use super::names::Meaning;
use super::scope::{Place, Scope};
use crate::builtins::NORMALIZERS;
use crate::hir::{
    self, Attention, AttentionIx, AxisIx, Emit, InputIx, Operand, Step, StepKind, Tensor, UNNAMED, VarIx,
};
use dmac_ir::{Field, Normalize, Ties};
use dmac_source::{Code, Diagnostic, Span, nearest};
use dmac_syntax::ast::{self, Ident, Stmt, StmtKind};

impl Resolver<'_> {
    /// Makes all attentions, without their statements: lets may read them before they are looked into.
    pub(super) fn declare_attentions(&mut self, attention: &ast::Attention) {
        if !self.program.branches {
            self.declare_attention(&Ident::new(UNNAMED, attention.name.span), None);
        }
        for stmt in &attention.body {
            if let StmtKind::Branch(branch) = &stmt.kind
                && self.is_declared_at(&branch.name).is_some()
            {
                self.declare_attention(&branch.name, branch.over.as_ref());
            }
        }
    }

    fn declare_attention(&mut self, name: &Ident, over: Option<&ast::Over>) {
        let key = over.and_then(|over| over.axis.as_ref()).and_then(|axis| self.var(axis));
        let [queries, keys, values] = [0, 1, 2].map(|input| {
            let tensor = Tensor::Input(InputIx(input));
            Operand { tensor, axes: self.program.tensor_axes(tensor) }
        });
        let attention = Attention {
            name: name.name.clone(),
            span: name.span,
            queries,
            keys,
            values,
            key: key.unwrap_or_else(|| self.builtin_var("j")),
            feature: self.builtin_var("d"),
            scale: None,
            normalize: Normalize::Softmax,
            sink: None,
            steps: vec![],
        };
        self.program.attentions.push(attention);
    }

    /// Fills in the statements of all attentions.
    pub(super) fn attentions(&mut self, attention: &ast::Attention) {
        if !self.program.branches {
            self.attention(AttentionIx(0), None, &attention.body);
            return;
        }
        for stmt in &attention.body {
            match &stmt.kind {
                StmtKind::Branch(branch) => {
                    if let Some(Meaning::Attention(id)) = self.is_declared_at(&branch.name) {
                        self.attention(id, branch.over.as_ref(), &branch.body);
                    }
                }
                kind => self.beside_branches(kind, stmt.span, &attention.body),
            }
        }
    }

    /// Reports a statement of an attention where the attentions are branches.
    fn beside_branches(&mut self, kind: &StmtKind, span: Span, body: &[Stmt]) {
        let what = match kind {
            StmtKind::Scale(_) => "scale",
            StmtKind::Score(_) => "score",
            StmtKind::Mask(_) => "mask",
            StmtKind::Select(_) => "select",
            StmtKind::Normalize(_) => "normalize",
            _ => return,
        };
        let branch = body.iter().find_map(|stmt| match &stmt.kind {
            StmtKind::Branch(branch) => Some(branch.name.span),
            _ => None,
        });
        let mut diagnostic =
            Diagnostic::error(Code::E0404, format!("`{what}` next to branches belongs to none of them"))
                .label(span, "which branch is this about?")
                .help("write it into each branch that it is about");
        if let Some(branch) = branch {
            diagnostic = diagnostic.secondary(branch, "the program has branches");
        }
        self.report(diagnostic);
    }

    fn attention(&mut self, id: AttentionIx, over: Option<&ast::Over>, body: &[Stmt]) {
        let mut attention = self.program.attentions[id.0].clone();
        let key = attention.key;
        let part = |part: fn(&ast::Over) -> &Option<Ident>| over.and_then(|over| part(over).as_ref());
        let queries = self.operand(part(|over| &over.queries), InputIx(0));
        let keys = self.operand(part(|over| &over.keys), InputIx(1));
        let values = self.operand(part(|over| &over.values), InputIx(2));
        let key_axis = self.program.axis_of(key);
        attention.feature = self.check_operands([&queries, &keys, &values], key_axis, over, attention.span);
        (attention.queries, attention.keys, attention.values) = (queries.0, keys.0, values.0);
        let rows = ["b", "h", "g", "i"].map(|name| self.builtin_var(name));
        let scope = |place: Place, further: &[VarIx]| {
            let mut scope = Scope::new(place);
            rows.iter().chain(further).for_each(|&var| scope.bind(var));
            scope
        };
        let pair = |place| scope(place, &[key]);
        let (mut scaled, mut normalized): (Option<Span>, Option<Span>) = (None, None);
        for stmt in body {
            let kind = match &stmt.kind {
                StmtKind::Scale(value) => {
                    if !self.given_twice("scale", stmt.span, &mut scaled) {
                        attention.scale = Some(self.expr(value, &mut scope(Place::Scale, &[])));
                    }
                    continue;
                }
                StmtKind::Normalize(normalize) => {
                    if !self.given_twice("normalize", stmt.span, &mut normalized) {
                        let mut rows = Scope::new(Place::Sink);
                        ["b", "h"]
                            .map(|name| self.builtin_var(name))
                            .into_iter()
                            .for_each(|var| rows.bind(var));
                        self.normalize(normalize, &mut attention, &mut rows);
                    }
                    continue;
                }
                StmtKind::Score(value) => StepKind::Score(self.expr(value, &mut pair(Place::Score))),
                StmtKind::Mask(value) => StepKind::Mask(self.expr(value, &mut pair(Place::Mask))),
                StmtKind::Select(select) => {
                    let over = select.block.as_ref().map_or(Some(key), |block| self.var(block));
                    let Some(over) = over else { continue };
                    let count = self.expr(&select.count, &mut Scope::new(Place::Size));
                    let operand = self.expr(&select.operand, &mut scope(Place::Operand, &[over]));
                    let mut part = |part: &Option<ast::Expr>| {
                        part.as_ref().map(|part| self.expr(part, &mut scope(Place::Candidates, &[over])))
                    };
                    StepKind::Select(Box::new(hir::Select {
                        count,
                        over,
                        over_span: select.block.as_ref().map_or(select.operand.span, |block| block.span),
                        operand,
                        among: part(&select.among),
                        forcing: part(&select.forcing),
                        plus: part(&select.plus),
                        ties: match select.ties.as_ref().map(|ties| ties.node) {
                            Some(ast::Ties::High) => Ties::High,
                            Some(ast::Ties::Low) | None => Ties::Low,
                        },
                    }))
                }
                kind => {
                    if self.program.branches {
                        self.inside_branch(kind, stmt.span);
                    }
                    continue;
                }
            };
            attention.steps.push(Step { span: stmt.span, kind });
        }
        self.program.attentions[id.0] = attention;
    }

    /// An index that every program has.
    fn builtin_var(&self, name: &str) -> VarIx {
        self.names
            .var(name)
            .unwrap_or_else(|| panic!("resolve: the index `{name}` was not made at the start"))
    }

    /// Reports a statement that a branch cannot contain.
    fn inside_branch(&mut self, kind: &StmtKind, span: Span) {
        let what = match kind {
            StmtKind::Input(_) => "input",
            StmtKind::Axis(_) => "axis",
            StmtKind::Let(_) => "let",
            StmtKind::Branch(_) => "branch",
            StmtKind::Output(_) => "output",
            StmtKind::Emit(_) => "emit",
            _ => return,
        };
        let diagnostic = Diagnostic::error(Code::E0407, format!("`{what}` cannot stand in a branch"))
            .label(span, "not a statement of a branch")
            .help("move it out of the branch: declarations are known in all branches, wherever they stand");
        self.report(diagnostic);
    }

    fn given_twice(&mut self, what: &str, span: Span, first: &mut Option<Span>) -> bool {
        let Some(earlier) = *first else {
            *first = Some(span);
            return false;
        };
        let diagnostic = Diagnostic::error(Code::E0405, format!("`{what}` is given twice"))
            .label(span, "given again")
            .secondary(earlier, "first given here");
        self.report(diagnostic);
        true
    }

    /// The tensor in the place of `q`, `k` or `v`; no span where it is that one.
    fn operand(&mut self, name: Option<&Ident>, default: InputIx) -> (Operand, Option<Span>) {
        let builtin = Tensor::Input(default);
        let mut operand = Operand { tensor: builtin, axes: self.program.tensor_axes(builtin) };
        let Some(name) = name else { return (operand, None) };
        let meaning = self.names.get(&name.name).map(|named| named.meaning);
        match meaning {
            Some(Meaning::Input(input)) => operand.tensor = Tensor::Input(input),
            Some(Meaning::Let(binding)) => {
                self.program.lets[binding.0].stored_as_real = true;
                operand.tensor = Tensor::Let(binding);
            }
            Some(Meaning::Broken) => {}
            Some(meaning) => {
                let diagnostic =
                    Diagnostic::error(Code::E0209, format!("expected a tensor, found {}", meaning.kind()))
                        .label(name.span, "queries, keys and values are inputs or `let`s");
                self.report(diagnostic);
            }
            None => {
                let tensors =
                    self.names.all(|meaning| matches!(meaning, Meaning::Input(_) | Meaning::Let(_)));
                let similar = nearest(&name.name, tensors).map(str::to_owned);
                let mut diagnostic = Diagnostic::error(Code::E0201, format!("unknown name `{name}`"))
                    .label(name.span, "not declared");
                if let Some(similar) = similar {
                    diagnostic =
                        diagnostic.suggest(name.span, &*similar, format!("did you mean `{similar}`?"));
                }
                self.report(diagnostic);
            }
        }
        operand.axes = self.program.tensor_axes(operand.tensor);
        (operand, Some(name.span))
    }

    /// Reports queries, keys and values whose axes do not fit each other; gives the index that is contracted.
    fn check_operands(
        &mut self,
        operands: [&(Operand, Option<Span>); 3],
        key: AxisIx,
        over: Option<&ast::Over>,
        branch: Span,
    ) -> VarIx {
        let [queries, keys, values] = operands;
        let contracted = keys.0.axes.last().copied().unwrap_or(AxisIx::D);
        let expected = [
            ("queries", queries, [AxisIx::B, AxisIx::H, AxisIx::M, contracted]),
            ("keys", keys, [AxisIx::B, AxisIx::G, key, contracted]),
            ("values", values, [AxisIx::B, AxisIx::G, key, AxisIx::E]),
        ];
        let whole = over.map_or(branch, |over| over.span);
        for (what, (operand, span), axes) in expected {
            if operand.axes == axes {
                continue;
            }
            let spell = |axes: &[AxisIx]| {
                let names: Vec<&str> = axes.iter().map(|&axis| self.program.index_name(axis)).collect();
                format!("[{}]", names.join(", "))
            };
            let name = self.program.tensor_name(operand.tensor);
            let (expected, found) = (spell(&axes), spell(&operand.axes));
            let message =
                format!("the {what} of this branch need the axes {expected}, but `{name}` has {found}");
            let mut diagnostic = Diagnostic::error(Code::E0312, message)
                .label(span.unwrap_or(whole), format!("expected {expected}, found {found}"));
            if span.is_none() {
                let default = format!("without `{what} ...` a branch has `{name}`");
                diagnostic = diagnostic.note(default);
            }
            self.report(diagnostic);
        }
        let name = self.program.index_name(contracted).to_owned();
        self.var(&Ident::new(name, whole)).unwrap_or_else(|| self.builtin_var("d"))
    }

    fn normalize(&mut self, normalize: &ast::Normalize, attention: &mut Attention, scope: &mut Scope) {
        let name = &normalize.name;
        let Some(row) = NORMALIZERS.iter().find(|row| row.name == name.name) else {
            let names: Vec<&str> = NORMALIZERS.iter().map(|row| row.name).collect();
            let mut diagnostic =
                Diagnostic::error(Code::E0214, format!("there is no normalization `{name}`"))
                    .label(name.span, format!("expected one of {}", names.join(", ")));
            if let Some(similar) = nearest(&name.name, names) {
                diagnostic = diagnostic.suggest(name.span, similar, format!("did you mean `{similar}`?"));
            }
            self.report(diagnostic);
            return;
        };
        attention.normalize = row.means;
        let Some(with) = &normalize.with else { return };
        attention.sink = Some(self.expr(with, scope));
        if let Some(means) = row.with {
            attention.normalize = means;
            return;
        }
        attention.sink = None;
        let diagnostic = Diagnostic::error(Code::E0214, format!("`{name}` takes no argument"))
            .label(with.span, "not expected here")
            .note("`with` adds a term to the sum that softmax divides by; other normalizations have no sum");
        self.report(diagnostic);
    }

    /// `output` and `emit`.
    pub(super) fn outputs(&mut self, attention: &ast::Attention) {
        let mut output_at = None;
        let mut emitted: Vec<(String, Span)> = Vec::new();
        for stmt in &attention.body {
            match &stmt.kind {
                StmtKind::Output(value) => {
                    if self.given_twice("output", stmt.span, &mut output_at) {
                        continue;
                    }
                    let mut scope = Scope::new(Place::Output);
                    for name in ["b", "h", "i", "e"] {
                        scope.bind(self.builtin_var(name));
                    }
                    self.program.output = Some(self.expr(value, &mut scope));
                }
                StmtKind::Emit(entries) => {
                    for entry in entries {
                        let Some(emit) = self.emit(entry) else { continue };
                        if let Some((_, first)) = emitted.iter().find(|(name, _)| *name == emit.name) {
                            let diagnostic =
                                Diagnostic::error(Code::E0405, format!("`{}` is emitted twice", emit.name))
                                    .label(entry.span, "given again")
                                    .secondary(*first, "first given here");
                            self.report(diagnostic);
                            continue;
                        }
                        emitted.push((emit.name.clone(), entry.span));
                        self.program.emits.push(emit);
                    }
                }
                _ => {}
            }
        }
        if self.program.branches && output_at.is_none() {
            let branches: Vec<&str> =
                self.program.attentions.iter().map(|attention| attention.name.as_str()).collect();
            let example = branches.first().copied().unwrap_or("BRANCH");
            let diagnostic =
                Diagnostic::error(Code::E0406, "a program with branches says what its output is")
                    .label(attention.name.span, "no `output` in this program")
                    .help(format!("write `output {example}`, or an expression over the branches"));
            self.report(diagnostic);
        }
    }

    fn emit(&mut self, entry: &ast::Emit) -> Option<Emit> {
        let statistic = |name: &str| match name {
            "lse" => Some(Field::Lse),
            "row_max" => Some(Field::RowMax),
            _ => None,
        };
        let known = |resolver: &mut Self, ident: &Ident| {
            let mut diagnostic = Diagnostic::error(Code::E0215, format!("`{ident}` cannot be emitted"))
                .label(ident.span, "expected `lse` or `row_max`");
            if let Some(similar) = nearest(&ident.name, ["lse", "row_max"]) {
                diagnostic = diagnostic.suggest(ident.span, similar, format!("did you mean `{similar}`?"));
            }
            resolver.report(diagnostic);
        };
        let Some(field) = &entry.field else {
            let Some(field) = statistic(&entry.name.name) else {
                known(self, &entry.name);
                return None;
            };
            if self.program.branches {
                let diagnostic = Diagnostic::error(Code::E0215, format!("whose `{}`?", entry.name))
                    .label(entry.span, "each branch has its own")
                    .help(format!("name the branch: `emit BRANCH.{}`", entry.name));
                self.report(diagnostic);
                return None;
            }
            let name = entry.name.name.clone();
            return Some(Emit { name, attention: AttentionIx(0), field, span: entry.span });
        };
        let meaning = self.names.get(&entry.name.name).map(|named| named.meaning);
        let attention = match meaning {
            Some(Meaning::Attention(attention)) => attention,
            Some(Meaning::Broken) => return None,
            _ => {
                let branches = self.names.all(|meaning| matches!(meaning, Meaning::Attention(_)));
                let similar = nearest(&entry.name.name, branches).map(str::to_owned);
                let mut diagnostic =
                    Diagnostic::error(Code::E0201, format!("there is no branch `{}`", entry.name))
                        .label(entry.name.span, "not a branch");
                if let Some(similar) = similar {
                    diagnostic =
                        diagnostic.suggest(entry.name.span, &*similar, format!("did you mean `{similar}`?"));
                }
                self.report(diagnostic);
                return None;
            }
        };
        let Some(statistic) = statistic(&field.name) else {
            known(self, field);
            return None;
        };
        let name = format!("{}.{field}", entry.name);
        Some(Emit { name, attention, field: statistic, span: entry.span })
    }
}
