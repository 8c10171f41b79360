//! Diagnostics as text with source lines, and as JSON.

use std::ops::Range;

use codespan_reporting::diagnostic as codespan;
use codespan_reporting::files::SimpleFiles;
use codespan_reporting::term;

use super::diagnostic::{At, Diagnostic, Diagnostics, Severity, Span};
use super::source::{Document, Sources};

/// Whether escape sequences colour the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal.
    Always,
    /// Everywhere else.
    Never,
}

/// All diagnostics one after the other, each with its source lines.
pub fn text(diagnostics: &Diagnostics, colour: Colour) -> String {
    let mut files = SimpleFiles::new();
    for document in diagnostics.sources().documents() {
        files.add(document.name.as_str(), document.text.as_str());
    }
    let config = term::Config { tab_width: 2, ..term::Config::default() };
    let mut out = Vec::new();
    for diagnostic in diagnostics.entries() {
        let shown = convert(diagnostic, diagnostics.sources());
        let written = match colour {
            Colour::Always => {
                let styles = term::Styles::default();
                let mut writer = term::StylesWriter::new(
                    codespan_reporting::term::termcolor::Ansi::new(&mut out),
                    &styles,
                );
                term::emit_to_write_style(&mut writer, &config, &files, &shown)
            }
            Colour::Never => term::emit_to_io_write(&mut out, &config, &files, &shown),
        };
        if written.is_err() {
            out.extend_from_slice(
                format!("{}: {}\n", diagnostic.severity.word(), diagnostic.message).as_bytes(),
            );
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn convert(diagnostic: &Diagnostic, sources: &Sources) -> codespan::Diagnostic<usize> {
    let severity = match diagnostic.severity {
        Severity::Error => codespan::Severity::Error,
        Severity::Warning => codespan::Severity::Warning,
    };
    let mut shown = codespan::Diagnostic::new(severity).with_message(&diagnostic.message);
    let mut notes = Vec::new();
    for (index, label) in diagnostic.labels.iter().enumerate() {
        match &label.at {
            At::Span(span) => {
                let Some(document) = sources.documents().get(span.document as usize) else { continue };
                let style =
                    if index == 0 { codespan::LabelStyle::Primary } else { codespan::LabelStyle::Secondary };
                let label = codespan::Label::new(style, span.document as usize, byte_range(document, *span))
                    .with_message(&label.text);
                shown.labels.push(label);
            }
            At::Place(place) if label.text.is_empty() => notes.push(format!("at {place}")),
            At::Place(place) => notes.push(format!("at {place}: {}", label.text)),
        }
    }
    notes.extend(diagnostic.hint.iter().map(|hint| format!("hint: {hint}")));
    shown.with_notes(notes)
}

/// Characters to bytes, cut at the end of the first line: a label never spans lines.
fn byte_range(document: &Document, span: Span) -> Range<usize> {
    let text = &document.text;
    let start = text.char_indices().nth(span.start as usize).map_or(text.len(), |(index, _)| index);
    let rest = text.get(start..).unwrap_or_default();
    let length = (span.end.saturating_sub(span.start)) as usize;
    let bytes = rest.char_indices().nth(length).map_or(rest.len(), |(index, _)| index);
    let line = rest.find('\n').unwrap_or(rest.len());
    let shown = rest.get(..bytes.min(line)).unwrap_or_default().trim_end();
    start..start + shown.len()
}

/// An array of objects `{severity, class, message, file, line, column, label, hint, related}`; line and column
/// count from 1, the column in characters.
pub fn json(diagnostics: &Diagnostics) -> serde_json::Value {
    let entries = diagnostics.entries().iter().map(|diagnostic| {
        let mut labels = diagnostic.labels.iter().map(|label| {
            let mut object = position(&label.at, diagnostics.sources());
            object.insert("label".to_owned(), label.text.clone().into());
            object
        });
        let mut object = serde_json::Map::new();
        object.insert("severity".to_owned(), diagnostic.severity.word().into());
        object.insert("class".to_owned(), diagnostic.class.word().into());
        object.insert("message".to_owned(), diagnostic.message.clone().into());
        object.extend(labels.next().unwrap_or_default());
        object.insert("hint".to_owned(), diagnostic.hint.clone().into());
        object.insert("related".to_owned(), labels.map(serde_json::Value::Object).collect());
        serde_json::Value::Object(object)
    });
    entries.collect()
}

fn position(at: &At, sources: &Sources) -> serde_json::Map<String, serde_json::Value> {
    let mut object = serde_json::Map::new();
    match at {
        At::Span(span) => {
            if let Some(document) = sources.documents().get(span.document as usize) {
                let before: Vec<char> = document.text.chars().take(span.start as usize).collect();
                let line = before.iter().filter(|c| **c == '\n').count() + 1;
                let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
                object.insert("file".to_owned(), document.name.clone().into());
                object.insert("line".to_owned(), line.into());
                object.insert("column".to_owned(), column.into());
            }
        }
        At::Place(place) => {
            object.insert("at".to_owned(), place.to_string().into());
        }
    }
    object
}
