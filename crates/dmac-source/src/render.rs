//! Diagnostics as text: for people in a terminal, one line for editors, JSON for programs.

use annotate_snippets::{AnnotationKind, Group, Level, Patch, Renderer as Snippets, Snippet};

use crate::{Diagnostic, Severity, SourceFile, Span, json};

/// The form of a rendered diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// Several lines with the source and labels under it.
    #[default]
    Human,
    /// `file:line:column: error[E0103]: message`.
    Short,
    /// One JSON object on a line, in the shape of rustc's `--error-format=json`.
    Json,
}

/// Turns diagnostics into text.
#[derive(Clone, Copy, Debug)]
pub struct Renderer {
    format: Format,
    color: bool,
    width: usize,
}

impl Renderer {
    /// A renderer without colours, for lines of 120 columns.
    pub fn new(format: Format) -> Self {
        Self { format, color: false, width: 120 }
    }

    /// With ANSI colours or without. JSON has them in its `rendered` field only.
    #[must_use]
    pub fn color(mut self, color: bool) -> Self {
        self.color = color;
        self
    }

    /// Cuts source lines to this many columns.
    #[must_use]
    pub fn width(mut self, columns: usize) -> Self {
        self.width = columns.max(40);
        self
    }

    /// One diagnostic about `file`, without a newline at the end. Spans outside of the text are cut to it.
    pub fn render(&self, file: &SourceFile, diagnostic: &Diagnostic) -> String {
        match self.format {
            Format::Human => self.human(file, diagnostic),
            Format::Short => short(file, diagnostic),
            Format::Json => json::object(file, diagnostic, &self.human(file, diagnostic)),
        }
    }

    /// Several diagnostics in order, each ended by a newline; human ones are set apart by an empty line.
    pub fn render_all(&self, file: &SourceFile, diagnostics: &[Diagnostic]) -> String {
        let between = if self.format == Format::Human { "\n\n" } else { "\n" };
        diagnostics
            .iter()
            .flat_map(|diagnostic| [self.render(file, diagnostic), between.to_owned()])
            .collect()
    }

    fn human(&self, file: &SourceFile, diagnostic: &Diagnostic) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(&diagnostic.message).id(diagnostic.code.as_str());
        let mut main = Group::with_title(title);
        if !diagnostic.labels.is_empty() {
            let annotations = diagnostic.labels.iter().map(|label| {
                let kind = if label.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
                let text = (!label.text.is_empty()).then_some(label.text.as_str());
                kind.span(visible(file, label.span)).label(text)
            });
            let snippet = Snippet::source(file.text()).path(file.name()).annotations(annotations);
            main = main.element(snippet);
        }
        for note in &diagnostic.notes {
            main = main.element(Level::NOTE.message(note));
        }
        if let Some(help) = &diagnostic.help {
            main = main.element(Level::HELP.message(help));
        }
        let mut report = vec![main];
        if let Some(suggestion) = &diagnostic.suggestion {
            let patch = Patch::new(file.clamp(suggestion.span), suggestion.replacement.as_str());
            let snippet = Snippet::source(file.text()).path(file.name()).patch(patch);
            report.push(Level::HELP.secondary_title(&suggestion.message).element(snippet));
        }
        let snippets = if self.color { Snippets::styled() } else { Snippets::plain() };
        snippets.term_width(self.width).render(&report)
    }
}

fn short(file: &SourceFile, diagnostic: &Diagnostic) -> String {
    let place = diagnostic.primary_span().map_or(String::new(), |span| {
        let place = file.line_column(span.start);
        format!("{}:{}", place.line, place.column)
    });
    let name = file.name();
    let separator = if place.is_empty() { "" } else { ":" };
    let severity = diagnostic.severity.name();
    format!("{name}{separator}{place}: {severity}[{}]: {}", diagnostic.code, diagnostic.message)
}

/// The range to underline. An empty span is a place; the renderer draws it as one mark.
fn visible(file: &SourceFile, span: Span) -> std::ops::Range<usize> {
    file.clamp(span)
}
