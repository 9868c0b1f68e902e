//! The names of one attention program: what each means, which are indices, what is declared twice.

use crate::hir::{AttentionIx, AxisIx, InputIx, LetIx, ParamIx, VarIx};
use dmac_source::Span;
use std::collections::{BTreeMap, BTreeSet};

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    Param(ParamIx),
    Input(InputIx),
    Let(LetIx),
    Attention(AttentionIx),
    /// The size of an axis: `N`.
    Size(AxisIx),
    /// An index over an axis: `j`. Its primed forms are indices over the same axis.
    Index(AxisIx),
    /// The score so far.
    Score,
    /// The attention's scale.
    Scale,
    /// Declared, but in a way that was reported: every use is fine.
    Broken,
}

impl Meaning {
    /// What it is, for messages.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Param(_) => "a parameter",
            Self::Input(_) => "an input",
            Self::Let(_) => "a `let`",
            Self::Attention(_) => "a branch",
            Self::Size(_) => "a size",
            Self::Index(_) => "an index",
            Self::Score => "the current score",
            Self::Scale => "the scale",
            Self::Broken => "a faulty declaration",
        }
    }
}

/// A declared name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    pub meaning: Meaning,
    /// None for what every program has.
    pub span: Option<Span>,
}

/// The names of a program.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    named: BTreeMap<String, Named>,
    /// Names that are declared more than once: what a use of them means is not known.
    ambiguous: BTreeSet<String>,
    vars: BTreeMap<String, VarIx>,
}

impl Names {
    /// What every program has: `b h g i j d e`, their sizes, `q k v`, `score`, `scale`.
    pub(crate) fn builtin() -> Self {
        let mut names = Self { named: BTreeMap::new(), ambiguous: BTreeSet::new(), vars: BTreeMap::new() };
        let mut declare = |name: &str, meaning| {
            names.named.insert(name.to_owned(), Named { meaning, span: None });
        };
        for (axis, (index, size)) in BUILTIN_AXES.into_iter().enumerate() {
            declare(index, Meaning::Index(AxisIx(axis)));
            declare(size, Meaning::Size(AxisIx(axis)));
        }
        for (input, name) in ["q", "k", "v"].into_iter().enumerate() {
            declare(name, Meaning::Input(InputIx(input)));
        }
        declare("score", Meaning::Score);
        declare("scale", Meaning::Scale);
        names
    }

    /// Declares a name; gives the earlier declaration if there is one, which stays.
    pub(crate) fn declare(&mut self, name: &str, meaning: Meaning, span: Span) -> Option<Named> {
        if let Some(&earlier) = self.named.get(name) {
            self.ambiguous.insert(name.to_owned());
            return Some(earlier);
        }
        self.named.insert(name.to_owned(), Named { meaning, span: Some(span) });
        None
    }

    /// The first declaration of a name.
    pub(crate) fn declared(&self, name: &str) -> Option<Named> {
        self.named.get(name).copied()
    }

    /// What a name means; the primed form of an index is an index over its axis.
    pub(crate) fn get(&self, name: &str) -> Option<Named> {
        if self.ambiguous.contains(name) {
            return Some(Named { meaning: Meaning::Broken, span: None });
        }
        let whole = self.named.get(name).copied();
        whole.or_else(|| {
            let base = self.named.get(name.trim_end_matches('\'')).copied();
            base.filter(|named| matches!(named.meaning, Meaning::Index(_) | Meaning::Broken))
        })
    }

    /// The axis whose size a name is: that of the index `t` is `T`.
    pub(crate) fn size(&self, name: &str) -> Option<AxisIx> {
        let index = name.to_ascii_lowercase();
        match self.declared(&index).filter(|_| index != name)?.meaning {
            Meaning::Index(axis) if axis.0 >= BUILTIN_AXES.len() => Some(axis),
            _ => None,
        }
    }

    /// The variable of an index name that was met before.
    pub(crate) fn var(&self, name: &str) -> Option<VarIx> {
        self.vars.get(name).copied()
    }

    /// Notes the variable of an index name.
    pub(crate) fn add_var(&mut self, name: &str, var: VarIx) {
        self.vars.insert(name.to_owned(), var);
    }

    /// All names for which `keep` holds, in order.
    pub(crate) fn all(&self, keep: impl Fn(Meaning) -> bool) -> impl Iterator<Item = &str> {
        self.named.iter().filter(move |(_, named)| keep(named.meaning)).map(|(name, _)| name.as_str())
    }
}

/// Index and size of the first seven axes, in the order of [`AxisIx`].
pub(crate) const BUILTIN_AXES: [(&str, &str); 7] =
    [("b", "B"), ("h", "H"), ("g", "G"), ("i", "M"), ("j", "N"), ("d", "D"), ("e", "E")];
