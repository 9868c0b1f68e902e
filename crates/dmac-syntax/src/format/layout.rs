//! Text with places where it may be broken into lines, and the decision where it is.
//!
//! Wadler's "A prettier printer" with the usual greedy reading: a group is put on one line if it fits into what is
//! left of the line, and otherwise all of its own breaks become line ends; groups within it decide for themselves.

/// Text that is not yet cut into lines.
#[derive(Clone, Debug)]
pub(super) enum Layout {
    Text(String),
    /// A blank, or a line end.
    Line,
    /// Nothing, or a line end.
    Cut,
    /// Text only where the group around it is broken.
    IfBroken(&'static str),
    /// Line ends within it indent one level more.
    Indent(Box<Layout>),
    /// One decision for all breaks that are directly in it.
    Group(Box<Layout>),
    Row(Vec<Layout>),
}

/// Columns of one level of indentation.
pub(super) const INDENT: usize = 4;

impl Layout {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn row(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::Row(parts.into_iter().collect())
    }

    pub fn group(self) -> Self {
        Self::Group(Box::new(self))
    }

    pub fn indent(self) -> Self {
        Self::Indent(Box::new(self))
    }

    /// `open a, b close`, either on one line or with one element a line and, if `trailing`, a comma after the last.
    pub fn list(open: &'static str, elements: Vec<Self>, close: &'static str, trailing: bool) -> Self {
        if elements.is_empty() {
            return Self::row([Self::text(open), Self::text(close)]);
        }
        let mut inner = vec![Self::Cut];
        for (at, element) in elements.into_iter().enumerate() {
            if at > 0 {
                inner.extend([Self::text(","), Self::Line]);
            }
            inner.push(element);
        }
        if trailing {
            inner.push(Self::IfBroken(","));
        }
        Self::row([Self::text(open), Self::Row(inner).indent(), Self::Cut, Self::text(close)]).group()
    }

    /// On one line, however long.
    pub fn flat(&self) -> String {
        let mut out = String::new();
        self.write_flat(&mut out);
        out
    }

    fn write_flat(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Line => out.push(' '),
            Self::Cut | Self::IfBroken(_) => {}
            Self::Indent(inner) | Self::Group(inner) => inner.write_flat(out),
            Self::Row(parts) => parts.iter().for_each(|part| part.write_flat(out)),
        }
    }

    /// Width on one line, in characters.
    fn width(&self) -> usize {
        match self {
            Self::Text(text) => text.chars().count(),
            Self::Line => 1,
            Self::Cut | Self::IfBroken(_) => 0,
            Self::Indent(inner) | Self::Group(inner) => inner.width(),
            Self::Row(parts) => parts.iter().map(Self::width).sum(),
        }
    }

    /// Cut into lines of at most `width` columns where that is possible, beginning at column `indent`, where the
    /// lines after the first are indented to.
    pub fn render(&self, indent: usize, width: usize) -> String {
        let mut page = Page { out: String::new(), column: indent, width };
        page.write(self, indent, false, 0);
        page.out
    }
}

struct Page {
    out: String,
    column: usize,
    width: usize,
}

impl Page {
    /// `tail` is the width of what follows on the same line and cannot be broken off.
    fn write(&mut self, layout: &Layout, indent: usize, broken: bool, tail: usize) {
        match layout {
            Layout::Text(text) => {
                self.out.push_str(text);
                self.column += text.chars().count();
            }
            Layout::Line | Layout::Cut if broken => {
                self.out.push('\n');
                self.out.extend(std::iter::repeat_n(' ', indent));
                self.column = indent;
            }
            Layout::Line => {
                self.out.push(' ');
                self.column += 1;
            }
            Layout::IfBroken(text) if broken => self.out.push_str(text),
            Layout::Cut | Layout::IfBroken(_) => {}
            Layout::Indent(inner) => self.write(inner, indent + INDENT, broken, tail),
            Layout::Group(inner) => {
                let fits = self.column + inner.width() + tail <= self.width;
                self.write(inner, indent, !fits, tail);
            }
            Layout::Row(parts) => {
                for (at, part) in parts.iter().enumerate() {
                    let tail = unbreakable(&parts[at + 1..], broken).unwrap_or_else(|whole| whole + tail);
                    self.write(part, indent, broken, tail);
                }
            }
        }
    }
}

/// Width of the text before the first possible line end: `Ok` if there is one, otherwise `Err` of the whole width.
fn unbreakable(parts: &[Layout], broken: bool) -> Result<usize, usize> {
    let mut width = 0;
    for part in parts {
        match part {
            Layout::Line | Layout::Cut if broken => return Ok(width),
            Layout::Text(_) | Layout::Line | Layout::Cut => width += part.width(),
            Layout::IfBroken(text) => width += if broken { text.len() } else { 0 },
            Layout::Indent(inner) => match unbreakable(std::slice::from_ref(inner), broken) {
                Ok(more) => return Ok(width + more),
                Err(more) => width += more,
            },
            // A group can break itself if need be, at its own first break.
            Layout::Group(inner) => match unbreakable(std::slice::from_ref(inner), true) {
                Ok(more) => return Ok(width + more),
                Err(more) => width += more,
            },
            Layout::Row(inner) => match unbreakable(inner, broken) {
                Ok(more) => return Ok(width + more),
                Err(more) => width += more,
            },
        }
    }
    Err(width)
}
