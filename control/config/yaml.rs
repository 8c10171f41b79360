//! YAML to a tree of items with their places: a strict subset, bounded in every direction.
//!
//! Scalars stay text; what they mean is for the key table to say, so `minimum: 1.2` and `"1.2"` are the same and
//! nothing is ever a boolean by accident. Aliases are copied; merge keys and tags are refused.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::diagnostic::{Class, Diagnostic, Span};
use super::limits::{ALIAS_ITEMS_MAX, DEPTH_MAX, DOCUMENT_BYTES_MAX, ITEMS_MAX};

/// A piece of a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    /// Where it stands; an alias stands where its anchor is.
    pub(crate) span: Span,
    /// What it is.
    pub(crate) content: Content,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// A single value.
    Scalar {
        /// Without quotes, escapes resolved.
        text: Box<str>,
        /// Whether it was quoted or a block.
        quoted: bool,
    },
    /// A sequence.
    List(Vec<Item>),
    /// A mapping; no key stands twice.
    Map(Vec<(Key, Item)>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    /// Where it stands.
    pub(crate) span: Span,
    /// Its text.
    pub(crate) text: Box<str>,
}

impl Item {
    /// Null: nothing written, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, quoted: false } if matches!(&**text, "" | "~" | "null"))
    }

    fn size(&self) -> usize {
        1 + match &self.content {
            Content::Scalar { .. } => 0,
            Content::List(items) => items.iter().map(Self::size).sum(),
            Content::Map(entries) => entries.iter().map(|(_, item)| 1 + item.size()).sum(),
        }
    }
}

/// Reads one document. What can be read in spite of a mistake is returned beside the mistakes.
pub(crate) fn parse(document: u32, text: &str, found: &mut Vec<Diagnostic>) -> Option<Item> {
    let whole = Span { document, start: 0, end: 0 };
    if text.len() > DOCUMENT_BYTES_MAX {
        let message = format!("the document is larger than {} MiB", DOCUMENT_BYTES_MAX >> 20);
        found.push(
            Diagnostic::error(Class::TooLarge, whole, message)
                .hint("split it into several files of one directory"),
        );
        return None;
    }
    if text.trim().is_empty() {
        found.push(Diagnostic::error(Class::Syntax, whole, "the document is empty").hint(
            "it may have been cut short, as by a full disk; the smallest configuration is `version: 1`",
        ));
        return None;
    }
    let mut reader = Reader {
        document,
        found,
        open: Vec::new(),
        anchors: HashMap::new(),
        items: 0,
        copied: 0,
        root: None,
    };
    for event in Parser::new_from_str(text) {
        let (event, at) = match event {
            Ok(pair) => pair,
            Err(error) => {
                let at = reader.span_at(error.marker().index(), error.marker().index() + 1);
                let message = format!("not YAML: {}", error.info());
                reader.found.push(Diagnostic::error(Class::Syntax, at, message).hint(way_out(error.info())));
                return None;
            }
        };
        let span = reader.span_at(at.start.index(), at.end.index());
        if let Err(diagnostic) = reader.take(event, span) {
            reader.found.push(*diagnostic);
            return None;
        }
    }
    reader.root
}

/// What to do about what the parser does not read, by its words.
fn way_out(info: &str) -> &'static str {
    const WAYS: [(&str, &str); 6] = [
        ("tabs", "indent with spaces"),
        ("anchor", "an alias stands after its anchor; quote a text that begins with `*` or `&`"),
        ("unprintable", "take the control character out"),
        ("quoted scalar", "close the quote, and double one that belongs to the text"),
        ("flow", "close the bracket or brace that was opened before"),
        ("recursion", "no key needs more than a few levels"),
    ];
    let known = WAYS.iter().find(|(word, _)| info.contains(word));
    known.map_or(
        "see that lines of one map are indented alike, and that quotes and brackets are closed",
        |(_, way)| way,
    )
}

/// A collection whose end has not been read yet.
struct Open {
    span: Span,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Item>),
    Map { entries: Vec<(Key, Item)>, key: Option<Key> },
}

struct Reader<'a> {
    document: u32,
    found: &'a mut Vec<Diagnostic>,
    open: Vec<Open>,
    anchors: HashMap<usize, Item>,
    items: usize,
    copied: usize,
    root: Option<Item>,
}

type Step = Result<(), Box<Diagnostic>>;

fn refuse(class: Class, span: Span, message: &str, hint: &str) -> Step {
    Err(Box::new(Diagnostic::error(class, span, message).hint(hint)))
}

impl Reader<'_> {
    fn span_at(&self, start: usize, end: usize) -> Span {
        let clamp = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        Span { document: self.document, start: clamp(start), end: clamp(end) }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Step {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_none() => Ok(()),
            Event::DocumentStart(_) => {
                refuse(Class::Syntax, span, "a second document begins here", "use one file for each document")
            }
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                self.no_tag(tag.is_some(), span)?;
                let quoted = style != ScalarStyle::Plain;
                let content = Content::Scalar { text: text.into_owned().into_boxed_str(), quoted };
                self.put(Item { span, content }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.no_tag(tag.is_some(), span)?;
                self.begin(Open { span, anchor, kind: OpenKind::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                self.no_tag(tag.is_some(), span)?;
                self.begin(Open { span, anchor, kind: OpenKind::Map { entries: Vec::new(), key: None } })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
        }
    }

    fn no_tag(&self, tagged: bool, span: Span) -> Step {
        if tagged {
            return refuse(
                Class::Syntax,
                span,
                "tags are refused",
                "leave the tag out: the key says what type its value has",
            );
        }
        Ok(())
    }

    fn begin(&mut self, open: Open) -> Step {
        if self.open.len() >= DEPTH_MAX {
            return refuse(
                Class::TooLarge,
                open.span,
                "nested too deeply",
                "no key needs more than a few levels",
            );
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self, end: Span) -> Step {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let span = Span { end: end.end.max(open.span.end), ..open.span };
        let content = match open.kind {
            OpenKind::List(items) => Content::List(items),
            OpenKind::Map { entries, .. } => Content::Map(self.unique(entries)),
        };
        self.put(Item { span, content }, open.anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Step {
        let Some(item) = self.anchors.get(&anchor) else {
            let hint = "an anchor can be used after its own value has ended";
            return refuse(Class::Syntax, span, "the alias stands inside of its own anchor", hint);
        };
        self.copied += item.size();
        if self.copied > ALIAS_ITEMS_MAX {
            return refuse(
                Class::TooLarge,
                span,
                "the aliases expand to too much",
                "write a named chain or upstream instead",
            );
        }
        let item = item.clone();
        self.put(item, 0)
    }

    fn put(&mut self, item: Item, anchor: usize) -> Step {
        self.items += 1;
        if self.items > ITEMS_MAX {
            return refuse(
                Class::TooLarge,
                item.span,
                "the document has too many values",
                "split it into several files",
            );
        }
        if anchor != 0 {
            self.anchors.insert(anchor, item.clone());
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => {
                self.root = Some(item);
                Ok(())
            }
            Some(OpenKind::List(items)) => {
                items.push(item);
                Ok(())
            }
            Some(OpenKind::Map { entries, key }) => match key.take() {
                Some(key) => {
                    entries.push((key, item));
                    Ok(())
                }
                None => {
                    *key = Some(as_key(item)?);
                    Ok(())
                }
            },
        }
    }

    /// Keeps the first of equal keys and reports the others.
    fn unique(&mut self, mut entries: Vec<(Key, Item)>) -> Vec<(Key, Item)> {
        let mut seen = HashSet::with_capacity(entries.len());
        if entries.iter().all(|(key, _)| seen.insert(&*key.text)) {
            return entries;
        }
        drop(seen);
        let mut first: HashMap<Box<str>, Span> = HashMap::new();
        let found = &mut *self.found;
        entries.retain(|(key, _)| match first.get(&key.text) {
            None => {
                first.insert(key.text.clone(), key.span);
                true
            }
            Some(before) => {
                found.push(duplicate(&key.text, key.span, *before));
                false
            }
        });
        entries
    }
}

/// The same key twice.
pub(crate) fn duplicate(key: &str, again: Span, before: Span) -> Diagnostic {
    Diagnostic::error(Class::DuplicateKey, again, format!("`{key}` is defined twice"))
        .saying("again here")
        .and(before, "first here")
        .hint("keep one of them")
}

fn as_key(item: Item) -> Result<Key, Box<Diagnostic>> {
    let Content::Scalar { text, .. } = item.content else {
        let diagnostic =
            Diagnostic::error(Class::Syntax, item.span, "a key is a single word or a quoted text")
                .hint("begin a map's key without `{`, `[` or `?`; quote a text that begins with one of them");
        return Err(Box::new(diagnostic));
    };
    if &*text == "<<" {
        let diagnostic = Diagnostic::error(Class::Syntax, item.span, "merge keys are refused")
            .hint("an alias may stand for a whole value; to share policies, name a chain");
        return Err(Box::new(diagnostic));
    }
    if text.is_empty() {
        return Err(Box::new(Diagnostic::error(Class::Syntax, item.span, "the key is empty")));
    }
    Ok(Key { span: item.span, text })
}
