//! What the command prints, and how it ends.

use crate::args::{Global, MessageFormat};
use dmac::source::{Diagnostic, Format, Renderer, SourceFile};
use std::io::{IsTerminal as _, Write as _};

/// How the command ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// All is well.
    Ok = 0,
    /// Errors in programs, differences in formatting, or results that do not match.
    Mismatch = 1,
    /// Arguments that make no sense together (clap uses the same code).
    Usage = 2,
    /// Files that cannot be read or written, tensors that do not fit.
    Io = 3,
    /// A device or target that is not there.
    NoDevice = 4,
}

/// Why the command cannot go on.
#[derive(Debug)]
pub struct Failure {
    /// How it ends.
    pub exit: Exit,
    /// What, where, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure of a file or its contents.
    pub fn io(message: impl Into<String>) -> Self {
        Self { exit: Exit::Io, message: message.into() }
    }

    /// Arguments that make no sense together.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }
}

/// Standard output and error.
pub struct Terminal {
    format: Format,
    color: bool,
    width: Option<usize>,
}

impl Terminal {
    pub fn new(global: &Global) -> Self {
        let format = match global.message_format {
            MessageFormat::Human => Format::Human,
            MessageFormat::Short => Format::Short,
            MessageFormat::Json => Format::Json,
        };
        let color = match global.color {
            clap::ColorChoice::Always => true,
            clap::ColorChoice::Never => false,
            clap::ColorChoice::Auto => {
                anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
            }
        };
        Self { format, color, width: None }
    }

    /// Data. A closed pipe (`dmac ... | head`) ends the command quietly.
    pub fn data(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => Err(Failure::io(format!("cannot write to standard output: {error}"))),
        }
    }

    /// A message to the user.
    pub fn note(&self, text: &str) {
        // There is nowhere to report that stderr is closed.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// An error that is not about a program's text.
    pub fn error(&self, text: &str) {
        if self.color {
            self.note(&format!("\u{1b}[1;31merror\u{1b}[0m: {text}"));
        } else {
            self.note(&format!("error: {text}"));
        }
    }

    /// Diagnostics about a text: to stderr, but JSON is data.
    pub fn diagnostics(&self, source: &SourceFile, diagnostics: &[Diagnostic]) -> Result<(), Failure> {
        if diagnostics.is_empty() {
            return Ok(());
        }
        let mut renderer = Renderer::new(self.format).color(self.color && self.format == Format::Human);
        if let Some(width) = self.width {
            renderer = renderer.width(width);
        }
        let text = renderer.render_all(source, diagnostics);
        if self.format == Format::Json {
            return self.data(&text);
        }
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
        Ok(())
    }

    /// A progress bar, where a person is watching.
    pub fn progress(&self, total: u64, what: &str) -> indicatif::ProgressBar {
        if !std::io::stderr().is_terminal() {
            return indicatif::ProgressBar::hidden();
        }
        let bar = indicatif::ProgressBar::new(total);
        if let Ok(style) = indicatif::ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {eta}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar
    }
}
