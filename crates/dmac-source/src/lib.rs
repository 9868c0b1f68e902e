//! Named source text, spans, diagnostics and their rendering.
