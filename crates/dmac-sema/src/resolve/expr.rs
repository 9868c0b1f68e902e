//! Expressions: what each name in them means, given what is bound where they stand.

use super::names::Meaning;
use super::scope::{Bound, Call, Place, Scope};
use super::{MAX_NODES, Resolver};
use crate::builtins::builtin;
use crate::hir::{AttentionIx, AxisDef, AxisIx, Binder, Domain, Expr, ExprKind, Tensor, VarIx, field_name};
use dmac_ir::Field;
use dmac_source::{Code, Diagnostic, Span, nearest};
use dmac_syntax::ast::{self, Ident};

/// How deeply expressions may nest after functions are inlined: as deeply as the parser lets them nest before.
const MAX_DEPTH: usize = 256;

impl Resolver<'_> {
    /// Resolves an expression.
    pub(super) fn expr(&mut self, expr: &ast::Expr, scope: &mut Scope) -> Expr {
        if !self.fits(1, 1, expr.span) {
            return Expr::error(expr.span);
        }
        self.nodes += 1;
        self.depth += 1;
        let kind = self.kind(expr, scope);
        self.depth -= 1;
        Expr::new(kind, expr.span)
    }

    /// Whether an expression of that size and depth may be added where we are. Reported once if not.
    fn fits(&mut self, nodes: usize, depth: usize, span: Span) -> bool {
        let diagnostic = if self.depth + depth > MAX_DEPTH {
            Diagnostic::error(Code::E0218, "the expression is nested too deeply")
                .label(span, format!("this is more than {MAX_DEPTH} levels deep"))
                .help("put a part of it into a `let`")
        } else if self.nodes + nodes > MAX_NODES {
            Diagnostic::error(Code::E0218, format!("the program has more than {MAX_NODES} operations"))
                .label(span, "too much when this is expanded")
                .help("functions are inlined where they are called: use a `let` for what is used often")
        } else {
            return true;
        };
        if !std::mem::replace(&mut self.exhausted, true) {
            self.report(diagnostic);
        }
        false
    }

    pub(super) fn boxed(&mut self, expr: &ast::Expr, scope: &mut Scope) -> Box<Expr> {
        Box::new(self.expr(expr, scope))
    }

    fn kind(&mut self, expr: &ast::Expr, scope: &mut Scope) -> ExprKind {
        match &expr.kind {
            ast::ExprKind::Int(value) => ExprKind::Int(*value),
            ast::ExprKind::Float { value, .. } => ExprKind::Float(*value),
            ast::ExprKind::Bool(value) => ExprKind::Bool(*value),
            ast::ExprKind::Name(name) => self.name(name, scope),
            ast::ExprKind::Index { base, indices } => self.read(base, indices, scope),
            ast::ExprKind::Field { base, field } => {
                let Some((attention, field)) = self.field(base, field) else { return ExprKind::Error };
                self.bare(Tensor::Field(attention, field), expr.span, scope)
            }
            ast::ExprKind::Call { function, args } => self.call(function, args, expr.span, scope),
            ast::ExprKind::Unary { op, operand, .. } => ExprKind::Unary(*op, self.boxed(operand, scope)),
            ast::ExprKind::Binary { op, op_span, lhs, rhs } => {
                let (lhs, rhs) = (self.boxed(lhs, scope), self.boxed(rhs, scope));
                ExprKind::Binary { op: *op, op_span: *op_span, lhs, rhs }
            }
            ast::ExprKind::If { condition, then, otherwise } => ExprKind::If {
                condition: self.boxed(condition, scope),
                then: self.boxed(then, scope),
                otherwise: self.boxed(otherwise, scope),
            },
            ast::ExprKind::Reduce { op, binders, body, .. } => {
                let outer = scope.count();
                let binders: Vec<Option<Binder>> =
                    binders.iter().map(|binder| self.binder(binder, scope)).collect();
                let body = self.boxed(body, scope);
                scope.truncate(outer);
                match binders.into_iter().collect::<Option<Vec<Binder>>>() {
                    Some(binders) => ExprKind::Reduce { op: *op, binders, body },
                    None => ExprKind::Error,
                }
            }
            ast::ExprKind::Error => ExprKind::Error,
        }
    }

    fn name(&mut self, name: &Ident, scope: &mut Scope) -> ExprKind {
        if let Some(call) = &scope.call {
            return self.argument(name, call);
        }
        let Some(named) = self.names.get(&name.name) else {
            if let Some(axis) = self.names.size(&name.name) {
                return ExprKind::Size(axis);
            }
            self.unknown_name(name);
            return ExprKind::Error;
        };
        match named.meaning {
            Meaning::Param(param) => ExprKind::Param(param),
            Meaning::Size(axis) => ExprKind::Size(axis),
            Meaning::Index(axis) => self.index(name, axis, scope),
            Meaning::Input(input) => self.bare(Tensor::Input(input), name.span, scope),
            Meaning::Let(binding) => self.bare(Tensor::Let(binding), name.span, scope),
            Meaning::Attention(attention) => {
                self.bare(Tensor::Field(attention, Field::Out), name.span, scope)
            }
            Meaning::Score if scope.place.has_score() => ExprKind::Score,
            Meaning::Scale if scope.place.has_score() => ExprKind::Scale,
            meaning @ (Meaning::Score | Meaning::Scale) => {
                let diagnostic = Diagnostic::error(
                    Code::E0216,
                    format!("`{name}` is not known in {}", scope.place.name()),
                )
                .label(
                    name.span,
                    format!("{} can be read in `score = ...` and in the operand of `select`", meaning.kind()),
                );
                self.report(diagnostic);
                ExprKind::Error
            }
            Meaning::Broken => ExprKind::Error,
        }
    }

    /// A name inside a user function.
    fn argument(&mut self, name: &Ident, call: &Call) -> ExprKind {
        let Some(arg) = call.args.get(&name.name) else {
            // Reported once, where the function is checked on its own.
            return ExprKind::Error;
        };
        if !self.fits(arg.nodes, arg.depth, name.span) {
            return ExprKind::Error;
        }
        self.nodes += arg.nodes;
        arg.value.kind.clone()
    }

    /// An index as a number.
    fn index(&mut self, name: &Ident, axis: AxisIx, scope: &mut Scope) -> ExprKind {
        let Some(var) = self.var(name) else { return ExprKind::Error };
        let Some(bound) = scope.binding(&self.program, var) else {
            self.unbound(name, scope);
            return ExprKind::Error;
        };
        if axis == AxisIx::M {
            let Some(batch) = scope.batch(&self.program) else {
                let diagnostic = Diagnostic::error(
                    Code::E0217,
                    format!("the position `{name}` needs a batch element"),
                )
                .label(name.span, "used as a number")
                .note(
                    "sequences of a batch may have different lengths, and positions count from the last key",
                )
                .help("bind `b` as well");
                self.report(diagnostic);
                return ExprKind::Error;
            };
            return ExprKind::Position { query: var, batch };
        }
        match bound {
            Bound::Plainly => ExprKind::Index(var),
            Bound::By(head) => ExprKind::KvHeadOf(head),
        }
    }

    fn unbound(&mut self, name: &Ident, scope: &mut Scope) {
        if scope.was_reported(&name.name) {
            return;
        }
        let axis = self.names.var(&name.name).map(|var| self.program.axis_of(var));
        let is_block = axis.is_some_and(|axis| matches!(self.program.axis(axis).def, AxisDef::Blocks { .. }));
        let bound: Vec<String> =
            scope.bound().iter().map(|&var| format!("`{}`", self.program.var(var).name)).collect();
        let known = if bound.is_empty() {
            format!("no index can be used in {}", scope.place.name())
        } else {
            format!("bound here: {}", bound.join(", "))
        };
        let help = match scope.place {
            Place::Size => "a size is made of numbers, parameters and other sizes (`N`, `H`)".to_owned(),
            Place::Let => format!(
                "bind it on the left side, `let ...[..., {name}]`, or in a reduction, `sum({name}: ...)`"
            ),
            Place::Operand | Place::Candidates if is_block => {
                format!("to select blocks, name their index: `select top(...) {name} of ...`")
            }
            _ => format!("only a reduction binds more indices: `sum({name}: ...)`"),
        };
        let diagnostic = Diagnostic::error(Code::E0204, format!("the index `{name}` is not bound here"))
            .label(name.span, "not bound")
            .note(known)
            .help(help);
        self.report(diagnostic);
    }

    fn unknown_name(&mut self, name: &Ident) {
        let call = builtin(&name.name).is_some() || self.functions.get(&name.name).is_some();
        let similar = nearest(&name.name, self.names.all(|_| true)).map(str::to_owned);
        let mut diagnostic = Diagnostic::error(Code::E0201, format!("unknown name `{name}`"));
        diagnostic = match similar {
            _ if call => {
                diagnostic.label(name.span, "this is a function").help(format!("call it: `{name}(...)`"))
            }
            Some(similar) => diagnostic.label(name.span, "not declared").suggest(
                name.span,
                &*similar,
                format!("did you mean `{similar}`?"),
            ),
            None => diagnostic
                .label(name.span, "not declared")
                .help("declare it: a parameter, an `input`, an `axis` or a `let`"),
        };
        self.report(diagnostic);
    }

    /// A tensor without indices: fine for rank 0, and for results of attentions in `output`.
    fn bare(&mut self, tensor: Tensor, span: Span, scope: &Scope) -> ExprKind {
        if scope.place == Place::Size {
            self.not_a_size(tensor, span);
            return ExprKind::Error;
        }
        let axes = self.program.tensor_axes(tensor);
        if axes.is_empty() {
            return ExprKind::Read { tensor, indices: vec![] };
        }
        if let (Tensor::Field(_, field), Place::Output) = (tensor, scope.place)
            && field != Field::Prob
        {
            let indices = axes.iter().map(|&axis| self.own_index(axis, span)).collect();
            return ExprKind::Read { tensor, indices };
        }
        let name = self.program.tensor_name(tensor);
        let expected = self.spelled(tensor);
        let indices = if axes.len() == 1 { "an index".to_owned() } else { format!("{} indices", axes.len()) };
        let diagnostic = Diagnostic::error(Code::E0305, format!("`{name}` needs {indices}"))
            .label(span, "a tensor, not a number")
            .help(format!("write `{expected}`"));
        self.report(diagnostic);
        ExprKind::Error
    }

    /// Reports a tensor in a size.
    fn not_a_size(&mut self, tensor: Tensor, span: Span) {
        let name = self.program.tensor_name(tensor);
        let diagnostic =
            Diagnostic::error(Code::E0307, format!("`{name}` is not known before the kernel runs"))
                .label(span, "a tensor in a size")
                .help("a size is made of ints, parameters and sizes (`N`, `H`) with `+ - * div mod min max`");
        self.report(diagnostic);
    }

    /// The index that `output` binds for an axis.
    fn own_index(&mut self, axis: AxisIx, span: Span) -> Expr {
        let name = self.program.index_name(axis).to_owned();
        match self.var(&Ident::new(name, span)) {
            Some(var) if axis == AxisIx::M => Expr::new(ExprKind::Row(var), span),
            Some(var) => Expr::new(ExprKind::Index(var), span),
            None => Expr::error(span),
        }
    }

    /// A tensor with the indices of its axes, as it would be written.
    pub(super) fn spelled(&self, tensor: Tensor) -> String {
        let axes = self.program.tensor_axes(tensor);
        let mut names: Vec<String> = Vec::new();
        for axis in axes {
            let mut name = self.program.index_name(axis).to_owned();
            while names.contains(&name) {
                name.push('\'');
            }
            names.push(name);
        }
        let name = self.program.tensor_name(tensor);
        if names.is_empty() { name } else { format!("{name}[{}]", names.join(", ")) }
    }

    fn read(&mut self, base: &ast::Expr, indices: &[ast::Expr], scope: &mut Scope) -> ExprKind {
        let tensor = self.tensor(base, scope);
        if let Some(tensor) = tensor.filter(|_| scope.place == Place::Size) {
            self.not_a_size(tensor, base.span);
            return ExprKind::Error;
        }
        let axes = tensor.map(|tensor| self.program.tensor_axes(tensor));
        let mut resolved = Vec::new();
        for (at, index) in indices.iter().enumerate() {
            let over_queries = axes.as_ref().is_some_and(|axes| axes.get(at) == Some(&AxisIx::M));
            resolved.push(if over_queries { self.row(index, scope) } else { self.expr(index, scope) });
        }
        let (Some(tensor), Some(axes)) = (tensor, axes) else { return ExprKind::Error };
        if axes.len() != indices.len() {
            let name = self.program.tensor_name(tensor);
            let span = indices.iter().map(|index| index.span).reduce(Span::join).unwrap_or(base.span);
            let message =
                format!("`{name}` has {} axes, but {} indices stand here", axes.len(), indices.len());
            let diagnostic = Diagnostic::error(Code::E0305, message)
                .label(span, format!("expected {}, found {}", axes.len(), indices.len()))
                .help(format!("write `{}`", self.spelled(tensor)));
            self.report(diagnostic);
            return ExprKind::Error;
        }
        ExprKind::Read { tensor, indices: resolved }
    }

    /// What is read: a tensor, or a field of a branch.
    fn tensor(&mut self, base: &ast::Expr, scope: &Scope) -> Option<Tensor> {
        match &base.kind {
            ast::ExprKind::Name(name) if scope.call.is_some() => {
                if scope.call.as_ref().is_some_and(|call| call.args.contains_key(&name.name)) {
                    let diagnostic =
                        Diagnostic::error(Code::E0213, "a function works on numbers, not on tensors")
                            .label(base.span, "read as a tensor")
                            .help("give the function an element of it: `f(x[b, j])`");
                    self.report(diagnostic);
                }
                None
            }
            ast::ExprKind::Name(name) => {
                let Some(named) = self.names.get(&name.name) else {
                    self.unknown_name(name);
                    return None;
                };
                match named.meaning {
                    Meaning::Input(input) => Some(Tensor::Input(input)),
                    Meaning::Let(binding) => Some(Tensor::Let(binding)),
                    Meaning::Attention(attention) => Some(Tensor::Field(attention, Field::Out)),
                    Meaning::Broken => None,
                    meaning => {
                        let diagnostic = Diagnostic::error(
                            Code::E0209,
                            format!("expected a tensor, found {}", meaning.kind()),
                        )
                        .label(name.span, format!("`{name}` is {} and has no elements", meaning.kind()));
                        self.report(diagnostic);
                        None
                    }
                }
            }
            ast::ExprKind::Field { base, field } => {
                self.field(base, field).map(|(attention, field)| Tensor::Field(attention, field))
            }
            ast::ExprKind::Error => None,
            _ => {
                let diagnostic = Diagnostic::error(Code::E0209, "only tensors have elements")
                    .label(base.span, "not the name of a tensor");
                self.report(diagnostic);
                None
            }
        }
    }

    fn field(&mut self, base: &ast::Expr, field: &Ident) -> Option<(AttentionIx, Field)> {
        let meaning = base.as_name().and_then(|name| self.names.get(&name.name)).map(|named| named.meaning);
        let attention = match (meaning, base.as_name()) {
            (Some(Meaning::Attention(attention)), _) => attention,
            (Some(Meaning::Broken), _) => return None,
            (None, Some(name)) => {
                self.unknown_name(name);
                return None;
            }
            (meaning, _) => {
                let what = meaning.map_or("an expression", Meaning::kind);
                let diagnostic = Diagnostic::error(Code::E0209, format!("expected a branch, found {what}"))
                    .label(base.span, "only branches have fields");
                self.report(diagnostic);
                return None;
            }
        };
        let known = [Field::Lse, Field::RowMax, Field::Prob];
        let found = known.into_iter().find(|known| field_name(*known) == Some(&field.name));
        if found.is_none() {
            let names = known.into_iter().filter_map(field_name);
            let mut diagnostic = Diagnostic::error(Code::E0210, format!("a branch has no field `{field}`"))
                .label(field.span, "unknown field")
                .note("the fields of a branch are `lse`, `row_max` and `prob`; its name alone is its output");
            if let Some(similar) = nearest(&field.name, names) {
                diagnostic = diagnostic.suggest(field.span, similar, format!("did you mean `{similar}`?"));
            }
            self.report(diagnostic);
        }
        found.map(|field| (attention, field))
    }

    /// The index of an axis of query rows: only the row's own.
    fn row(&mut self, index: &ast::Expr, scope: &mut Scope) -> Expr {
        let name = index.as_name().filter(|_| scope.call.is_none());
        let meaning = name.and_then(|name| self.names.get(&name.name)).map(|named| named.meaning);
        if let (Some(name), Some(Meaning::Index(AxisIx::M))) = (name, meaning) {
            let Some(var) = self.var(name) else { return Expr::error(index.span) };
            if scope.binding(&self.program, var).is_none() {
                self.unbound(name, scope);
                return Expr::error(index.span);
            }
            return Expr::new(ExprKind::Row(var), index.span);
        }
        // What is wrong inside of it is of interest too; an unknown name then is the better message.
        let before = self.diagnostics.len();
        let resolved = self.expr(index, scope);
        if self.diagnostics.len() == before && !matches!(resolved.kind, ExprKind::Error) {
            let diagnostic = Diagnostic::error(
                Code::E0306,
                "a tensor over `i` is read at the row's own element only",
            )
            .label(index.span, "expected plain `i`")
            .note("which queries there are differs from call to call, so no row can read another's element")
            .help("a tensor over `j` can be read at any position");
            self.report(diagnostic);
        }
        Expr::error(index.span)
    }

    fn binder(&mut self, binder: &ast::Binder, scope: &mut Scope) -> Option<Binder> {
        let name = &binder.index;
        if scope.call.is_some() {
            // Reported where the function is checked on its own.
            return None;
        }
        let var = self.var(name)?;
        if scope.bound().contains(&var) {
            let diagnostic =
                Diagnostic::error(Code::E0205, format!("the index `{name}` is already bound here"))
                    .label(name.span, "bound a second time")
                    .help(format!("a second index over the same axis has a prime: `{name}'`"));
            self.report(diagnostic);
            return None;
        }
        let axis = self.program.axis_of(var);
        if axis == AxisIx::M {
            let diagnostic = Diagnostic::error(Code::E0306, "queries cannot be reduced")
                .label(name.span, format!("`{name}` ranges over other rows"))
                .note("which queries there are differs from call to call, so no row can depend on another")
                .help("keys can be reduced: `sum(j: ...)`");
            self.report(diagnostic);
            scope.bind(var);
            return None;
        }
        let domain = match &binder.within {
            None => match scope.batch(&self.program) {
                Some(batch) if axis == AxisIx::N => Some(Domain::Keys(batch)),
                _ => Some(Domain::Whole),
            },
            Some(within) => self.within(name, var, within, scope),
        };
        scope.bind(var);
        domain.map(|domain| Binder { var, domain })
    }

    /// The range of `h in g` and of `j in s`.
    fn within(&mut self, name: &Ident, var: VarIx, within: &Ident, scope: &mut Scope) -> Option<Domain> {
        let part = self.var(within)?;
        let bound = scope.binding(&self.program, part);
        if bound.is_none() {
            self.unbound(within, scope);
            return None;
        }
        let (axis, of) = (self.program.axis_of(var), self.program.axis_of(part));
        if axis == AxisIx::H && of == AxisIx::G {
            if bound == Some(Bound::Plainly) {
                return Some(Domain::Heads(part));
            }
            let diagnostic =
                Diagnostic::error(Code::E0311, format!("`{within}` is bound here by a query head only"))
                    .label(within.span, "not an index of its own")
                    .help(format!("compute this in a `let` over `{within}`"));
            self.report(diagnostic);
            return None;
        }
        match self.program.axis(of).def {
            AxisDef::Windows { of, .. } | AxisDef::Blocks { of, .. } if of == axis => {
                return Some(Domain::Positions(part));
            }
            _ => {}
        }
        let diagnostic = Diagnostic::error(Code::E0311, format!("`{name}` does not range within `{within}`"))
            .label(name.span.join(within.span), format!("`{within}` has no `{name}` in it"))
            .note("`h in g` are the query heads of a key/value head, `j in s` the positions of a window or block");
        self.report(diagnostic);
        None
    }
}
