//! A document's items against the key table: what comes out is checked and canonical.

use std::collections::HashMap;

use super::diagnostic::{Class, Diagnostic, Span};
use super::key::{Fallback, List, Names, RowId, Schema, Stage};
use super::path::{RouteKey, is_token, looks_like_route, parse_host, write_host};
use super::reference::{Referents, Request};
use super::scalar::{self, Complaint, Scalar};
use super::suggest::nearest;
use super::value::Value;
use super::yaml::{Content, Item, Key, duplicate};

/// Checks items; mistakes are collected and the rest goes on.
pub(crate) struct Checker<'a, 'e> {
    pub(crate) schema: &'static Schema,
    pub(crate) found: &'a mut Vec<Diagnostic>,
    pub(crate) referents: &'a mut Referents<'e>,
    /// Folder of the document, for references.
    pub(crate) folder: std::path::PathBuf,
}

impl Checker<'_, '_> {
    /// The canonical value of an item, without what is wrong in it.
    pub(crate) fn value(&mut self, id: RowId, item: Item) -> Option<Value> {
        let form = self.schema.row(id).form;
        let span = item.span;
        if self.is_later(id, span) {
            return None;
        }
        let empty = item.is_null() && form.scalar.is_none();
        match item.content {
            Content::Scalar { .. } if empty && (form.keys || form.names.is_some()) => {
                self.map(id, Vec::new(), span)
            }
            Content::Scalar { .. } if empty && form.list != List::No => Some(Value::List(Vec::new())),
            Content::Scalar { text, quoted } => match form.scalar {
                Some(kind) => self.scalar(id, kind, &text, quoted, span),
                None => self.wrong_shape(id, span),
            },
            Content::List(items) if form.list != List::No => self.list(id, items),
            Content::Map(entries) if form.keys || form.names.is_some() => self.map(id, entries, span),
            _ => self.wrong_shape(id, span),
        }
    }

    fn is_later(&mut self, id: RowId, span: Span) -> bool {
        let row = self.schema.row(id);
        if row.stage == Stage::Now {
            return false;
        }
        let key = row.path.rsplit('.').next().unwrap_or_default();
        let complaint = Complaint::planned(&format!("`{key}`"))
            .hint(format!("{}: a later version; leave it out", row.meaning));
        self.complain(complaint, span);
        true
    }

    fn wrong_shape(&mut self, id: RowId, span: Span) -> Option<Value> {
        let row = self.schema.row(id);
        let mut shapes = Vec::new();
        if row.form.scalar.is_some() {
            shapes.push("a single value");
        }
        if row.form.keys || row.form.names.is_some() {
            shapes.push("a map");
        }
        if row.form.list != List::No {
            shapes.push("a list");
        }
        if row.path == "hosts.*.*.to" {
            self.complain(Complaint::planned("splitting by weight").label("name one upstream"), span);
            return None;
        }
        let (above, last) = row.path.rsplit_once('.').unwrap_or(("", row.path));
        let subject = match (last.strip_suffix("[]"), last) {
            (Some(list), _) => format!("an element of `{}`", if list == "*" { above } else { list }),
            (None, "*") => format!("an entry of `{above}`"),
            (None, "") => "a configuration".to_owned(),
            (None, key) => format!("`{key}`"),
        };
        let message = format!("{subject} is {}", scalar::list(&shapes));
        let mut diagnostic = Diagnostic::error(Class::WrongShape, span, message);
        if !row.example.is_empty() {
            diagnostic = diagnostic.saying(format!("for example: {}", row.example));
        }
        self.found.push(diagnostic);
        None
    }

    fn complain(&mut self, complaint: Complaint, span: Span) {
        let class = if complaint.planned { Class::Unavailable } else { Class::BadValue };
        let mut diagnostic = Diagnostic::error(class, span, complaint.message).saying(complaint.label);
        diagnostic.hint = complaint.hint;
        self.found.push(diagnostic);
    }

    fn scalar(&mut self, id: RowId, kind: Scalar, text: &str, quoted: bool, span: Span) -> Option<Value> {
        if !quoted && matches!(text, "" | "~" | "null") {
            let example = self.schema.row(id).example;
            self.found.push(
                Diagnostic::error(Class::WrongShape, span, "a value is missing")
                    .saying(format!("for example: {example}")),
            );
            return None;
        }
        if let Scalar::Reference(referent) = kind {
            return self.referents.read(&Request { referent, text, folder: &self.folder, span }, self.found);
        }
        match kind.read(text, quoted) {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.complain(complaint, span);
                None
            }
        }
    }

    fn list(&mut self, id: RowId, items: Vec<Item>) -> Option<Value> {
        let element = self.schema.element(id)?;
        let of_itself = element == id;
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            if of_itself && !matches!(item.content, Content::Map(_)) {
                self.wrong_shape(id, item.span);
                continue;
            }
            // INVARIANT: an element with mistakes keeps its place, so that indices in places stay right.
            values.push(self.value(element, item).unwrap_or(Value::Map(Vec::new())));
        }
        match values.pop() {
            Some(only) if of_itself && values.is_empty() => Some(only),
            Some(last) => {
                values.push(last);
                Some(Value::List(values))
            }
            None => Some(Value::List(values)),
        }
    }

    /// Known keys come out in the order of the table, then free names: sorted, but routes as declared.
    fn map(&mut self, id: RowId, entries: Vec<(Key, Item)>, span: Span) -> Option<Value> {
        let row = self.schema.row(id);
        let mut known: Vec<(usize, String, Value)> = Vec::new();
        let mut written: Vec<usize> = Vec::new();
        let mut named: Vec<(String, Value)> = Vec::new();
        let mut spans: HashMap<String, Span> = HashMap::new();
        for (key, item) in entries {
            if let Some((order, child)) = self.schema.child(id, &key.text) {
                written.push(order);
                // What is wrong leaves an empty map, so that nobody misses the key a second time.
                let value = self.value(child, item).unwrap_or(Value::Map(Vec::new()));
                known.push((order, key.text.into(), value));
                continue;
            }
            let Some(name) = self.free_name(id, &key) else { continue };
            let same =
                if row.form.names == Some(Names::Field) { name.to_ascii_lowercase() } else { name.clone() };
            if let Some(before) = spans.insert(same, key.span) {
                self.found.push(duplicate(&name, key.span, before));
                continue;
            }
            if let Some(value) = self.schema.named(id).and_then(|named| self.value(named, item)) {
                named.push((name, value));
            }
        }
        self.require(id, &written, span);
        known.sort_by_key(|(order, _, _)| *order);
        if row.form.names != Some(Names::Route) {
            named.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        let mut out: Vec<(String, Value)> = known.into_iter().map(|(_, key, value)| (key, value)).collect();
        out.append(&mut named);
        Some(shorten(row.form.short_for, out))
    }

    fn require(&mut self, id: RowId, written: &[usize], span: Span) {
        for (order, (key, child)) in self.schema.children(id).iter().enumerate() {
            let row = self.schema.row(*child);
            if row.fallback == Fallback::Required && !written.contains(&order) {
                let message = format!("`{key}` is missing");
                let hint = format!("{} For example: {key}: {}", row.meaning, row.example);
                self.found.push(Diagnostic::error(Class::MissingKey, span, message).hint(hint));
            }
        }
    }

    /// The canonical form of a free name, where the row has such; reports what is neither that nor a known key.
    pub(crate) fn free_name(&mut self, id: RowId, key: &Key) -> Option<String> {
        let names = self.schema.row(id).form.names;
        let canonical = match names {
            None => return self.unknown(id, key),
            Some(Names::Route) if !looks_like_route(&key.text) => return self.unknown(id, key),
            Some(Names::Route) => RouteKey::parse(&key.text).map(|route| route.canonical()),
            Some(Names::Host) => parse_host(&key.text).map(|host| write_host(&host)),
            Some(Names::Identifier) => scalar::name(&key.text).map(|()| key.text.to_string()),
            Some(Names::Field) if is_token(&key.text) => Ok(key.text.to_string()),
            Some(Names::Field) => Err(Complaint::new(format!("`{}` is not a field name", key.text))
                .label("letters, digits and `-`")),
            Some(Names::Parameter) => {
                Scalar::ParameterName.read(&key.text, true).map(|_| key.text.to_string())
            }
        };
        match canonical {
            Ok(name) => Some(name),
            Err(complaint) => {
                self.complain(complaint, key.span);
                None
            }
        }
    }

    fn unknown(&mut self, id: RowId, key: &Key) -> Option<String> {
        let row = self.schema.row(id);
        let keys: Vec<&str> = self
            .schema
            .children(id)
            .iter()
            .filter(|(_, child)| self.schema.row(*child).stage == Stage::Now)
            .map(|(key, _)| *key)
            .collect();
        let mut diagnostic =
            Diagnostic::error(Class::UnknownKey, key.span, format!("there is no key `{}` here", key.text));
        diagnostic = match nearest(&key.text, keys.iter().copied()) {
            Some(word) => diagnostic.saying(format!("did you mean `{word}`?")),
            None if row.form.names == Some(Names::Route) => {
                diagnostic.saying("a route's key has a path: `/orders/*`, `GET /status`")
            }
            None => diagnostic.hint(format!("possible here: {}", keys.join(", "))),
        };
        if let Some(elsewhere) = elsewhere(self.schema, &key.text, row.path) {
            diagnostic = diagnostic.hint(format!("`{}` is a key of {elsewhere}", key.text));
        }
        self.found.push(diagnostic);
        None
    }
}

/// Where a misplaced key belongs, if that is but one place.
fn elsewhere(schema: &Schema, key: &str, not_here: &str) -> Option<String> {
    let mut places = Vec::new();
    for row in schema.rows() {
        if let Some(parent) = row.path.strip_suffix(key).and_then(|rest| rest.strip_suffix('.'))
            && parent != not_here
            && schema.at(parent).is_some()
        {
            places.push(parent);
        }
    }
    match places.as_slice() {
        [only] => Some(format!("`{only}`")),
        _ => None,
    }
}

/// A map that says no more than its shorthand becomes that.
fn shorten(short_for: Option<&'static str>, mut entries: Vec<(String, Value)>) -> Value {
    if let (Some(short_for), [(key, value)]) = (short_for, entries.as_mut_slice())
        && key == short_for
    {
        match value {
            Value::List(elements) => {
                if let [only @ Value::Text(_)] = elements.as_mut_slice() {
                    return std::mem::replace(only, Value::Bool(false));
                }
            }
            Value::Map(_) => {}
            scalar => return std::mem::replace(scalar, Value::Bool(false)),
        }
    }
    Value::Map(entries)
}
