//! Documents to definitions: each document is checked, then all are merged by key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::check::Checker;
use super::definitions::{Definitions, Kind, Resource, ResourceKey};
use super::diagnostic::{Class, Diagnostic, Place, Span};
use super::environment::CompileEnvironment;
use super::key::{RowId, Schema};
use super::path::canonical_key;
use super::reference::Referents;
use super::source::{Document, Sources};
use super::suggest::nearest;
use super::value::Value;
use super::yaml::{self, Content, Item, Key};

/// What came of the documents: definitions without what is wrong in them, and what is wrong.
pub(crate) struct Loaded {
    pub(crate) definitions: Definitions,
    pub(crate) sources: Sources,
    pub(crate) found: Vec<Diagnostic>,
}

/// Reads and merges documents. Resources with mistakes stay under their names, so that references to them hold.
pub(crate) fn load(documents: Vec<Document>, environment: &CompileEnvironment<'_>) -> Loaded {
    let sources = Sources::new(documents);
    let mut found = Vec::new();
    let mut referents = Referents::new(environment);
    let mut merged: BTreeMap<ResourceKey, Value> = BTreeMap::new();
    for (index, document) in sources.documents().iter().enumerate() {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let Some(root) = yaml::parse(number, &document.text, &mut found) else { continue };
        let folder = Path::new(&document.name).parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let schema = Schema::table();
        let checker = Checker { schema, found: &mut found, referents: &mut referents, folder };
        Merger { checker, merged: &mut merged }.document(root);
    }
    let Referents { materials, literals, .. } = referents;
    let resources = merged.into_iter().map(|(key, value)| (key, Resource::new(&value))).collect();
    Loaded { definitions: Definitions { resources, materials }, sources: sources.without(&literals), found }
}

/// Where a definition stands.
struct Stands {
    span: Span,
    /// Of a host that several files define: where each of its paths stands.
    paths: HashMap<String, Span>,
}

struct Merger<'a, 'e> {
    checker: Checker<'a, 'e>,
    merged: &'a mut BTreeMap<ResourceKey, Value>,
}

impl Merger<'_, '_> {
    fn document(&mut self, root: Item) {
        if root.is_null() {
            return;
        }
        let Content::Map(entries) = root.content else {
            let diagnostic = Diagnostic::error(Class::WrongShape, root.span, "a configuration is a map");
            self.checker.found.push(diagnostic.saying("begin with `listeners:`, `upstreams:`, `hosts:`"));
            return;
        };
        for (key, item) in entries {
            let row = self.checker.schema.child(Schema::ROOT, &key.text).map(|(_, id)| id);
            match (row, Kind::of_section(&key.text)) {
                (Some(id), Some(kind)) => self.section(kind, id, item),
                (Some(id), None) => {
                    self.checker.value(id, item);
                }
                (None, _) => self.unknown_section(&key),
            }
        }
    }

    fn unknown_section(&mut self, key: &Key) {
        let sections: Vec<&str> =
            self.checker.schema.children(Schema::ROOT).iter().map(|(name, _)| *name).collect();
        let message = format!("there is no section `{}`", key.text);
        let diagnostic = Diagnostic::error(Class::UnknownKey, key.span, message);
        let diagnostic = match nearest(&key.text, sections.iter().copied()) {
            Some(word) => diagnostic.saying(format!("did you mean `{word}`?")),
            None => diagnostic.hint(format!("sections: {}", sections.join(", "))),
        };
        self.checker.found.push(diagnostic);
    }

    fn section(&mut self, kind: Kind, id: RowId, item: Item) {
        match kind {
            Kind::Settings => self.settings(id, item),
            Kind::Listener => self.listeners(id, item),
            Kind::Tests => self.tests(id, item),
            _ => self.named(kind, id, item),
        }
    }

    fn settings(&mut self, id: RowId, item: Item) {
        let span = item.span;
        let Some(Value::Map(entries)) = self.checker.value(id, item) else { return };
        let key = ResourceKey { kind: Kind::Settings, name: String::new() };
        let schema = self.checker.schema;
        let whole = self.merged.entry(key).or_insert(Value::Map(Vec::new()));
        let Value::Map(present) = whole else { return };
        for (key, value) in entries {
            if present.iter().any(|(other, _)| *other == key) {
                let place = Place { path: Vec::new(), ..Place::new(Kind::Settings, "") }.key(&key).as_key();
                self.checker.found.push(twice(&format!("settings.{key}"), span, place));
                continue;
            }
            present.push((key, value));
        }
        present.sort_by_key(|(key, _)| schema.child(id, key).map(|(order, _)| order));
    }

    fn listeners(&mut self, id: RowId, item: Item) {
        let Content::List(items) = item.content else {
            self.checker.value(id, item);
            return;
        };
        let Some(element) = self.checker.schema.element(id) else { return };
        for item in items {
            let span = item.span;
            let Some(value) = self.checker.value(element, item) else { continue };
            let Some(address) = value.find("address").and_then(Value::text).map(str::to_owned) else {
                continue;
            };
            self.add(Kind::Listener, address, value, &Stands { span, paths: HashMap::new() });
        }
    }

    fn tests(&mut self, id: RowId, item: Item) {
        let Some(Value::List(more)) = self.checker.value(id, item) else { return };
        let key = ResourceKey { kind: Kind::Tests, name: String::new() };
        if let Value::List(tests) = self.merged.entry(key).or_insert(Value::List(Vec::new())) {
            tests.extend(more);
        }
    }

    fn named(&mut self, kind: Kind, id: RowId, item: Item) {
        let entries = match item.content {
            Content::Map(entries) => entries,
            _ if item.is_null() => return,
            _ => {
                self.checker.value(id, item);
                return;
            }
        };
        let Some(row) = self.checker.schema.named(id) else { return };
        for (key, item) in entries {
            let Some(name) = self.checker.free_name(id, &key) else { continue };
            let paths = self.paths(kind, &name, &item);
            let empty = if kind == Kind::Chain { Value::List(Vec::new()) } else { Value::Map(Vec::new()) };
            let value = self.checker.value(row, item).unwrap_or(empty);
            self.add(kind, name, value, &Stands { span: key.span, paths });
        }
    }

    /// Where the paths of a host stand, if another file has paths of it too.
    fn paths(&self, kind: Kind, name: &str, item: &Item) -> HashMap<String, Span> {
        let key = ResourceKey { kind, name: name.to_owned() };
        match &item.content {
            Content::Map(entries) if kind == Kind::Host && self.merged.contains_key(&key) => {
                entries.iter().map(|(key, _)| (canonical_key(&key.text), key.span)).collect()
            }
            _ => HashMap::new(),
        }
    }

    fn add(&mut self, kind: Kind, name: String, value: Value, at: &Stands) {
        let key = ResourceKey { kind, name };
        match self.merged.get_mut(&key) {
            None => {
                self.merged.insert(key, value);
            }
            Some(present) if kind == Kind::Host => {
                merge_host(&key.name, present, value, at, self.checker.found)
            }
            Some(_) => {
                let (shown, first) =
                    (format!("{}.{}", kind.section(), key.name), Place::new(kind, &key.name));
                // A listener has no key of its own.
                let first = if kind == Kind::Listener { first } else { first.as_key() };
                self.checker.found.push(twice(&shown, at.span, first));
            }
        }
    }
}

/// Several files may add paths to one host: file name and then order break ties.
fn merge_host(host: &str, present: &mut Value, more: Value, at: &Stands, found: &mut Vec<Diagnostic>) {
    let (Value::Map(present), Value::Map(more)) = (present, more) else { return };
    let known: HashSet<String> = present.iter().map(|(key, _)| key.clone()).collect();
    for (key, value) in more {
        if known.contains(&key) {
            let place = Place::new(Kind::Host, host).key(&key).as_key();
            let span = at.paths.get(&key).copied().unwrap_or(at.span);
            found.push(twice(&format!("{host} {key}"), span, place));
            continue;
        }
        // Known keys (`path_policy`) stand before routes.
        let index = if key.contains('/') || key.contains('~') { present.len() } else { 0 };
        present.insert(index, (key, value));
    }
}

fn twice(what: &str, again: Span, first: Place) -> Diagnostic {
    Diagnostic::error(Class::DuplicateKey, again, format!("`{what}` is defined twice"))
        .saying("again here")
        .and(first, "first here")
        .hint("keep one of the two; files of one folder are merged by key")
}
