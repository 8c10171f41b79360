//! Diagnostics as text with source lines, and as JSON.

use std::borrow::Cow;
use std::ops::Range;

use codespan_reporting::diagnostic as codespan;
use codespan_reporting::files::SimpleFiles;
use codespan_reporting::term;

use super::diagnostic::{At, Diagnostic, Diagnostics, Severity, Span};
use super::source::Sources;

/// Of a longer line only what is around the mistake is shown.
const LINE_CHARS_MAX: usize = 240;
/// So much of it before the mistake.
const BEFORE_CHARS_MAX: usize = 60;
/// Most characters that are underlined.
const LABEL_CHARS_MAX: usize = 120;

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
        files.add(harmless(&document.name), harmless(&document.text));
    }
    let indexes = Index::of_all(diagnostics.sources());
    let config = term::Config { tab_width: 2, ..term::Config::default() };
    let mut out = Vec::new();
    for diagnostic in diagnostics.entries() {
        let shown = convert(diagnostic, &indexes);
        if let Some(column) = far_column(diagnostic, &indexes) {
            let mut wide = Vec::new();
            if term::emit_to_io_write(&mut wide, &config, &files, &shown).is_ok() {
                out.extend_from_slice(narrow(&String::from_utf8_lossy(&wide), column).as_bytes());
                continue;
            }
        }
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
                format!("{}: {}\n", diagnostic.severity.word(), harmless(&diagnostic.message)).as_bytes(),
            );
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The text without characters that a terminal carries out, or that have a reader see another order than there is; as many bytes.
fn harmless(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let ends_a_line = c == '\r' && chars.peek() == Some(&'\n');
        if harmful(c) && !ends_a_line {
            safe.extend(std::iter::repeat_n('?', c.len_utf8()));
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// The column of the first label where a line is too long to be shown whole.
fn far_column(diagnostic: &Diagnostic, indexes: &[Index<'_>]) -> Option<usize> {
    let spans = diagnostic.labels.iter().filter_map(|label| match &label.at {
        At::Span(span) => Some(*span),
        At::Place(_) => None,
    });
    let places = spans.filter_map(|span| Some(indexes.get(span.document as usize)?.place(span.start)));
    let places: Vec<Spot> = places.collect();
    let too_wide = places.iter().any(|spot| spot.width > LINE_CHARS_MAX);
    places.first().filter(|_| too_wide).map(|spot| spot.column)
}

/// Where a character stands, counted in characters from 0.
struct Spot {
    line: usize,
    column: usize,
    /// Of its line, with what ends it.
    width: usize,
}

/// Finds lines and bytes of a document's characters without going through all of it for each mistake.
struct Index<'a> {
    text: &'a str,
    /// The byte at which each [`STRIDE`]th character begins.
    bytes: Vec<usize>,
    /// The number of the first character of each line.
    lines: Vec<usize>,
    chars: usize,
}

/// Characters between two that the index knows.
const STRIDE: usize = 1024;

impl<'a> Index<'a> {
    fn of_all(sources: &'a Sources) -> Vec<Self> {
        sources.documents().iter().map(|document| Self::new(&document.text)).collect()
    }

    fn new(text: &'a str) -> Self {
        let (mut bytes, mut lines, mut chars) = (Vec::new(), vec![0], 0);
        for (at, c) in text.char_indices() {
            if chars % STRIDE == 0 {
                bytes.push(at);
            }
            chars += 1;
            if c == '\n' {
                lines.push(chars);
            }
        }
        Self { text, bytes, lines, chars }
    }

    /// The byte at which a character begins.
    fn byte(&self, index: usize) -> usize {
        let known = self.bytes.get(index / STRIDE).copied().unwrap_or(self.text.len());
        let rest = self.text.get(known..).unwrap_or_default();
        rest.char_indices().nth(index % STRIDE).map_or(self.text.len(), |(at, _)| known + at)
    }

    fn place(&self, index: u32) -> Spot {
        let index = (index as usize).min(self.chars);
        let line = self.lines.partition_point(|first| *first <= index).saturating_sub(1);
        let first = self.lines.get(line).copied().unwrap_or_default();
        let next = self.lines.get(line + 1).copied().unwrap_or(self.chars);
        Spot { line, column: index - first, width: next - first }
    }

    /// Characters to bytes, cut at the end of the first line: a label never spans lines.
    fn byte_range(&self, span: Span) -> Range<usize> {
        let start = self.byte(span.start as usize);
        let length = (span.end.saturating_sub(span.start) as usize).min(LABEL_CHARS_MAX);
        let end = self.byte((span.start as usize).saturating_add(length));
        let shown = self.text.get(start..end).unwrap_or_default();
        start..start + shown.split('\n').next().unwrap_or_default().trim_end().len()
    }
}

/// The same picture with what is around this column of lines that are too long.
fn narrow(picture: &str, column: usize) -> String {
    let from = column.saturating_sub(BEFORE_CHARS_MAX);
    let mut out = String::new();
    for line in picture.lines() {
        match line.split_once("│ ") {
            Some((gutter, rest)) => {
                let is_source = gutter.contains(|c: char| c.is_ascii_digit());
                let left: String = rest.chars().skip(from).take(LINE_CHARS_MAX).collect();
                let more = is_source && rest.chars().count() > from + LINE_CHARS_MAX;
                let (begin, end) =
                    (if is_source && from > 0 { "…" } else { " " }, if more { "…" } else { "" });
                out.push_str(format!("{gutter}│ {begin}{left}{end}").trim_end());
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn convert(diagnostic: &Diagnostic, indexes: &[Index<'_>]) -> codespan::Diagnostic<usize> {
    let severity = match diagnostic.severity {
        Severity::Error => codespan::Severity::Error,
        Severity::Warning => codespan::Severity::Warning,
    };
    let mut shown = codespan::Diagnostic::new(severity).with_message(harmless(&diagnostic.message));
    let mut notes = Vec::new();
    for (index, label) in diagnostic.labels.iter().enumerate() {
        match &label.at {
            At::Span(span) => {
                let Some(index_of) = indexes.get(span.document as usize) else { continue };
                let style =
                    if index == 0 { codespan::LabelStyle::Primary } else { codespan::LabelStyle::Secondary };
                let label = codespan::Label::new(style, span.document as usize, index_of.byte_range(*span))
                    .with_message(harmless(&label.text));
                shown.labels.push(label);
            }
            At::Place(place) if label.text.is_empty() => notes.push(format!("at {place}")),
            At::Place(place) => notes.push(format!("at {place}: {}", label.text)),
        }
    }
    notes.extend(diagnostic.hint.iter().map(|hint| format!("hint: {hint}")));
    shown.with_notes(notes.iter().map(|note| harmless(note).into_owned()).collect())
}

/// An array of objects `{severity, class, message, file, line, column, label, hint, related}`; line and column
/// count from 1, the column in characters.
pub fn json(diagnostics: &Diagnostics) -> serde_json::Value {
    let indexes = Index::of_all(diagnostics.sources());
    let entries = diagnostics.entries().iter().map(|diagnostic| {
        let mut labels = diagnostic.labels.iter().map(|label| {
            let mut object = position(&label.at, diagnostics.sources(), &indexes);
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

fn position(at: &At, sources: &Sources, indexes: &[Index<'_>]) -> serde_json::Map<String, serde_json::Value> {
    let mut object = serde_json::Map::new();
    match at {
        At::Span(span) => {
            let number = span.document as usize;
            if let (Some(document), Some(index)) = (sources.documents().get(number), indexes.get(number)) {
                let spot = index.place(span.start);
                object.insert("file".to_owned(), document.name.clone().into());
                object.insert("line".to_owned(), (spot.line + 1).into());
                object.insert("column".to_owned(), (spot.column + 1).into());
            }
        }
        At::Place(place) => {
            object.insert("at".to_owned(), place.to_string().into());
        }
    }
    object
}
