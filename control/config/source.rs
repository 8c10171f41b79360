//! The documents themselves, and where in them a definition stands.

use std::sync::OnceLock;

use super::definitions::Kind;
use super::diagnostic::{Part, Place, Span, Step};
use super::path::canonical_key;
use super::scalar::socket_address;
use super::yaml::{self, Content, Item, Key};

/// One file of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// How it is named in diagnostics; references in it are relative to this path's folder.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What some editors begin a text in UTF-8 with.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Documents in the order of their names.
#[derive(Debug, Default)]
pub struct Sources {
    documents: Vec<Document>,
    trees: OnceLock<Vec<Option<Item>>>,
}

impl Sources {
    /// Keeps the documents sorted by name, which breaks ties between routes; a byte order mark is no character of theirs.
    pub fn new(mut documents: Vec<Document>) -> Self {
        for document in documents.iter_mut().filter(|document| document.text.starts_with(BYTE_ORDER_MARK)) {
            document.text.remove(0);
        }
        documents.sort_by(|a, b| a.name.cmp(&b.name));
        Self { documents, trees: OnceLock::new() }
    }

    /// All of them; a [`Span`]'s index points here.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The characters of a place, or of the nearest thing around it that is written. The documents are read
    /// again for it, once: only a configuration with mistakes pays.
    pub fn locate(&self, place: &Place) -> Option<Span> {
        let trees = self.trees();
        let mut nearest: Option<(usize, Span)> = None;
        let mut tests_before = 0;
        for tree in trees.iter().flatten() {
            let Some((key, section)) = entry(tree, place.kind.section()) else { continue };
            let found = in_section(place, key, section, tests_before);
            if let Content::List(items) = &section.content {
                tests_before += items.len();
            }
            let Some(found) = found else { continue };
            if nearest.is_none_or(|(depth, _)| found.0 > depth) {
                nearest = Some(found);
            }
        }
        nearest.map(|(_, span)| span)
    }

    fn trees(&self) -> &[Option<Item>] {
        self.trees.get_or_init(|| {
            let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
            let parse = |(index, document): (usize, &Document)| {
                yaml::parse(number(index), &document.text, &mut Vec::new())
            };
            self.documents.iter().enumerate().map(parse).collect()
        })
    }
}

fn entry<'a>(item: &'a Item, key: &str) -> Option<(&'a Key, &'a Item)> {
    let Content::Map(entries) = &item.content else { return None };
    let exact = entries.iter().find(|(k, _)| &*k.text == key);
    let found = exact.or_else(|| entries.iter().find(|(k, _)| canonical_key(&k.text) == key));
    found.map(|(key, item)| (key, item))
}

/// How deep the place could be followed, and what stands there.
fn in_section(place: &Place, key: &Key, section: &Item, tests_before: usize) -> Option<(usize, Span)> {
    let mut key = key;
    let mut item = section;
    let mut steps = place.path.as_slice();
    match place.kind {
        Kind::Settings => {}
        Kind::Listener => {
            let Content::List(items) = &section.content else { return None };
            item = items.iter().find(|item| is_at(item, &place.name))?;
        }
        Kind::Tests => {
            let (Step::Index(index), rest) = steps.split_first()? else { return None };
            let Content::List(items) = &section.content else { return None };
            item = items.get(index.checked_sub(tests_before)?)?;
            steps = rest;
        }
        _ => (key, item) = entry(section, &place.name)?,
    }
    let mut depth = 1;
    let mut at_key = Some(key);
    for step in steps {
        match (step, &item.content) {
            (Step::Key(name), Content::Map(_)) => {
                let Some((next_key, next)) = entry(item, name) else {
                    return Some((depth, first_of(at_key, item)));
                };
                at_key = Some(next_key);
                item = next;
            }
            (Step::Index(index), Content::List(items)) => {
                let Some(next) = items.get(*index) else { break };
                at_key = None;
                item = next;
            }
            // A list that has a shorthand: the map around it.
            (Step::Index(index), Content::Map(entries)) => {
                let list = entries.iter().find_map(|(_, item)| match &item.content {
                    Content::List(items) => items.get(*index),
                    _ => None,
                });
                if let Some(next) = list {
                    at_key = None;
                    item = next;
                }
            }
            // A shorthand: the scalar stands for the map or the list around it.
            _ => {}
        }
        depth += 1;
    }
    match (place.part, at_key) {
        (Part::Key, Some(key)) => Some((depth, key.span)),
        _ => Some((depth, item.span)),
    }
}

fn first_of(key: Option<&Key>, item: &Item) -> Span {
    key.map_or(item.span, |key| key.span)
}

/// Whether a listener's address is this one, however it is written.
fn is_at(item: &Item, address: &str) -> bool {
    scalar_at(item, "address")
        .and_then(|text| socket_address(text).ok())
        .is_some_and(|written| written.to_string() == address)
}

fn scalar_at<'a>(item: &'a Item, key: &str) -> Option<&'a str> {
    match &entry(item, key)?.1.content {
        Content::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

impl Sources {
    /// The same documents with these characters hidden: a secret literal is never shown.
    pub(crate) fn without(mut self, hidden: &[Span]) -> Self {
        if !hidden.is_empty() {
            // Read before: what takes their place is no YAML.
            self.trees();
        }
        for span in hidden {
            let Some(document) = self.documents.get_mut(span.document as usize) else { continue };
            let hide = |(index, c): (usize, char)| {
                let inside = index >= span.start as usize && index < span.end as usize;
                if inside && !c.is_whitespace() { '*' } else { c }
            };
            document.text = document.text.chars().enumerate().map(hide).collect();
        }
        self
    }
}
