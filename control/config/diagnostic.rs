//! What is wrong with a configuration, where, and what to do about it; all of it at once.

use std::fmt;
use std::sync::Arc;

use super::definitions::Kind;
use super::source::Sources;

/// A range of characters of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Index of the document in its [`Sources`].
    pub document: u32,
    /// First character.
    pub start: u32,
    /// One past the last character.
    pub end: u32,
}

/// A place in the definitions, found in the documents only when a diagnostic is shown: so that a
/// million routes carry no spans, and definitions from the store can be diagnosed too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which section.
    pub kind: Kind,
    /// Which resource of it; empty for a section without names.
    pub name: String,
    /// The way down from there.
    pub path: Vec<Step>,
    /// Whether the key or its value is meant.
    pub part: Part,
}

/// One step down into a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into a map.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// The key of an entry or its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl Place {
    /// A whole resource.
    pub fn new(kind: Kind, name: &str) -> Self {
        Self { kind, name: name.to_owned(), path: Vec::new(), part: Part::Value }
    }

    /// One map entry further down.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.path.push(Step::Key(key.to_owned()));
        self
    }

    /// One list element further down.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.path.push(Step::Index(index));
        self
    }

    /// The same place, but its key rather than its value.
    #[must_use]
    pub fn as_key(mut self) -> Self {
        self.part = Part::Key;
        self
    }
}

/// `limits.per_application.rate`, `hosts."api.example.com"."/orders/*".to`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.section())?;
        if !self.name.is_empty() {
            write_key(f, &self.name)?;
        }
        for step in &self.path {
            match step {
                Step::Key(key) => write_key(f, key)?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

fn write_key(f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    if key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        write!(f, ".{key}")
    } else {
        write!(f, ".\"{key}\"")
    }
}

/// Where a label points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// These characters.
    Span(Span),
    /// This place, whose characters are looked up when shown.
    Place(Place),
}

impl From<Span> for At {
    fn from(span: Span) -> Self {
        Self::Span(span)
    }
}

impl From<Place> for At {
    fn from(place: Place) -> Self {
        Self::Place(place)
    }
}

/// A pointer into the documents with what is to be said there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub at: At,
    /// What; may be empty.
    pub text: String,
}

/// Whether it stops the compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is published.
    Error,
    /// It is published, but look at it.
    Warning,
}

impl Severity {
    /// `error`, `warning`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

macro_rules! classes {
    ($($variant:ident $word:literal $meaning:literal;)*) => {
        /// The closed list of what can be wrong; the word stands in JSON output and in the reference.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Class { $(#[doc = $meaning] $variant,)* }

        impl Class {
            /// All of them, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Stable word for programs.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// One sentence for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

classes! {
    Syntax "syntax" "The document is not YAML, or uses a part of YAML that is refused (tags, merge keys, several documents).";
    TooLarge "too_large" "A document, its depth or the expansion of its aliases is beyond a limit.";
    DuplicateKey "duplicate_key" "The same key stands twice, in one file or in two.";
    UnknownKey "unknown_key" "No such key exists here.";
    WrongShape "wrong_shape" "A map, a list or a single value stands where another of them belongs.";
    MissingKey "missing_key" "A key that has no default is not there.";
    BadValue "bad_value" "A value is not of its key's type or out of its range.";
    Unavailable "unavailable" "The key or value is planned but this version cannot carry it out.";
    SecretLiteral "secret_literal" "A secret stands in the file itself instead of being referred to.";
    Unreadable "unreadable" "A file or environment variable that is referred to cannot be read, or is not what it should be.";
    Certificate "certificate" "A certificate, its key or its names do not fit.";
    UnknownReference "unknown_reference" "A name is referred to that nothing defines.";
    Conflict "conflict" "Two definitions exclude each other.";
    Unreachable "unreachable" "A definition can never take effect.";
    Damaged "damaged" "A stored definition cannot be read back; the store was changed by something else.";
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the compilation.
    pub severity: Severity,
    /// Which kind of mistake.
    pub class: Class,
    /// One line, without full stop.
    pub message: String,
    /// The first is where the mistake is; others help to understand it.
    pub labels: Vec<Label>,
    /// What to do.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(class: Class, at: impl Into<At>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            class,
            message: message.into(),
            labels: vec![Label { at: at.into(), text: String::new() }],
            hint: None,
        }
    }

    /// A warning at a place.
    pub fn warning(class: Class, at: impl Into<At>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(class, at, message) }
    }

    /// Says something at the first label.
    #[must_use]
    pub fn saying(mut self, text: impl Into<String>) -> Self {
        if let Some(first) = self.labels.first_mut() {
            first.text = text.into();
        }
        self
    }

    /// Points at one more place.
    #[must_use]
    pub fn and(mut self, at: impl Into<At>, text: impl Into<String>) -> Self {
        self.labels.push(Label { at: at.into(), text: text.into() });
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Everything that is wrong with one set of documents, in the order of the documents.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    entries: Vec<Diagnostic>,
    sources: Arc<Sources>,
}

impl Diagnostics {
    /// Sorted by where the first labels point.
    pub fn new(mut entries: Vec<Diagnostic>, sources: Arc<Sources>) -> Self {
        for diagnostic in &mut entries {
            for label in &mut diagnostic.labels {
                if let At::Place(place) = &label.at
                    && let Some(span) = sources.locate(place)
                {
                    label.at = At::Span(span);
                }
            }
        }
        entries.sort_by_key(|diagnostic| match diagnostic.labels.first().map(|label| &label.at) {
            Some(At::Span(span)) => (0, Some(*span)),
            _ => (1, None),
        });
        Self { entries, sources }
    }

    /// Each of them.
    pub fn entries(&self) -> &[Diagnostic] {
        &self.entries
    }

    /// The documents that they point into.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether something stops the compilation.
    pub fn has_errors(&self) -> bool {
        self.entries.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// The plain text form, for `Error` chains and logs.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::render::text(self, super::render::Colour::Never))
    }
}

impl std::error::Error for Diagnostics {}
