//! The key table: every key of the configuration is one row. From it come the check of a document, the JSON Schema, the
//! reference and `ringway explain config`.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::scalar::Scalar;

pub(crate) mod rows;

/// One key.
#[derive(Debug)]
pub(crate) struct Row {
    /// From the top of a document; `*` is any name, `[]` any element of a list.
    pub(crate) path: &'static str,
    /// What may stand there.
    pub(crate) form: Form,
    /// What holds without it.
    pub(crate) fallback: Fallback,
    /// One or two sentences.
    pub(crate) meaning: &'static str,
    /// A value in YAML; empty where the default says it all.
    pub(crate) example: &'static str,
    /// Whether this version carries it out.
    pub(crate) stage: Stage,
}

/// What may stand at a key. More than one form: a shorthand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Form {
    /// A single value.
    pub(crate) scalar: Option<Scalar>,
    /// A map of the keys below.
    pub(crate) keys: bool,
    /// A map whose names are free.
    pub(crate) names: Option<Names>,
    /// A list.
    pub(crate) list: List,
    /// The key that the single value stands for, where it is short for a map.
    pub(crate) short_for: Option<&'static str>,
}

/// What free names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Letters, digits, `_`, `-`, `.`.
    Identifier,
    /// Host names and wildcards.
    Host,
    /// Route keys, order kept.
    Route,
    /// Field names.
    Field,
    /// Query parameters.
    Parameter,
}

/// What a list consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// No list may stand here.
    No,
    /// Elements described by the row with `[]`.
    Own,
    /// Elements like those of this row, which is no list itself.
    As(&'static str),
}

/// What holds where a key is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// It must be written.
    Required,
    /// Nothing.
    Absent,
    /// This value.
    Value(&'static str),
    /// Described in words.
    Words(&'static str),
}

/// Whether this version carries a key out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It does.
    Now,
    /// A later one will; writing it is an error.
    Later,
}

impl Form {
    /// Nothing yet: the base for the other forms.
    pub(crate) const NONE: Self =
        Self { scalar: None, keys: false, names: None, list: List::No, short_for: None };
    /// A map of known keys.
    pub(crate) const KEYS: Self = Self { keys: true, ..Self::NONE };
    /// A list.
    pub(crate) const LIST: Self = Self { list: List::Own, ..Self::NONE };

    /// A single value.
    pub(crate) const fn one(scalar: Scalar) -> Self {
        Self { scalar: Some(scalar), ..Self::NONE }
    }

    /// A map with free names.
    pub(crate) const fn named(names: Names) -> Self {
        Self { names: Some(names), ..Self::NONE }
    }

    /// Also a map of known keys, of which the single value is short for this one.
    pub(crate) const fn or_keys(self, short_for: &'static str) -> Self {
        Self { keys: true, short_for: Some(short_for), ..self }
    }

    /// Also free names beside known keys.
    pub(crate) const fn or_names(self, names: Names) -> Self {
        Self { names: Some(names), ..self }
    }
}

/// Index of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RowId(usize);

/// The table as a tree.
pub(crate) struct Schema {
    rows: Vec<&'static Row>,
    links: Vec<Links>,
    by_path: HashMap<&'static str, RowId>,
}

#[derive(Default)]
struct Links {
    children: Vec<(&'static str, RowId)>,
    named: Option<RowId>,
    element: Option<RowId>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::build);

impl Schema {
    /// The one table.
    pub(crate) fn table() -> &'static Self {
        &SCHEMA
    }

    fn build() -> Self {
        let rows: Vec<&'static Row> = rows::PARTS.iter().flat_map(|part| part.iter()).collect();
        let by_path: HashMap<_, _> =
            rows.iter().enumerate().map(|(index, row)| (row.path, RowId(index))).collect();
        let mut links: Vec<Links> = rows.iter().map(|_| Links::default()).collect();
        for (index, row) in rows.iter().enumerate() {
            if let List::As(path) = row.form.list
                && let (Some(id), Some(own)) = (by_path.get(path), links.get_mut(index))
            {
                own.element = Some(*id);
            }
            let Some((parent, last)) = split_last(row.path) else { continue };
            let Some(parent) = by_path.get(parent).and_then(|id| links.get_mut(id.0)) else { continue };
            match last {
                "[]" => parent.element = Some(RowId(index)),
                "*" => parent.named = Some(RowId(index)),
                key => parent.children.push((key, RowId(index))),
            }
        }
        Self { rows, links, by_path }
    }

    /// The whole document.
    pub(crate) const ROOT: RowId = RowId(0);

    /// The row itself.
    pub(crate) fn row(&self, id: RowId) -> &'static Row {
        // INVARIANT: a `RowId` is made from an index of this very table.
        self.rows.get(id.0).copied().unwrap_or(&rows::ROOT)
    }

    /// All of them, in the order of a canonical document.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &'static Row> {
        self.rows.iter().copied()
    }

    /// The row of a path with `*` and `[]`.
    pub(crate) fn at(&self, path: &str) -> Option<RowId> {
        self.by_path.get(path).copied()
    }

    /// Known keys below it, in the order of the table.
    pub(crate) fn children(&self, id: RowId) -> &[(&'static str, RowId)] {
        self.links.get(id.0).map_or(&[], |links| &links.children)
    }

    /// A known key below it and its place in the order.
    pub(crate) fn child(&self, id: RowId, key: &str) -> Option<(usize, RowId)> {
        self.children(id)
            .iter()
            .enumerate()
            .find(|(_, (name, _))| *name == key)
            .map(|(order, (_, id))| (order, *id))
    }

    /// What stands under a free name.
    pub(crate) fn named(&self, id: RowId) -> Option<RowId> {
        self.links.get(id.0)?.named
    }

    /// What an element of its list is.
    pub(crate) fn element(&self, id: RowId) -> Option<RowId> {
        self.links.get(id.0)?.element
    }

    /// The row that a written path means: `upstreams.orders.timeout.request`, `hosts.api.example.com./x/*.to`.
    /// Names may hold dots; the shortest name that leads somewhere is taken.
    pub(crate) fn resolve(&self, path: &str) -> Option<RowId> {
        if let Some(id) = self.at(path) {
            return Some(id);
        }
        let plain = path.replace('"', "");
        let parts: Vec<&str> = plain.split('.').filter(|part| !part.is_empty()).collect();
        self.walk(Self::ROOT, &parts)
    }

    fn walk(&self, id: RowId, parts: &[&str]) -> Option<RowId> {
        let Some((first, rest)) = parts.split_first() else { return Some(id) };
        let (key, indexed) = match first.split_once('[') {
            Some((key, _)) => (key, true),
            None => (*first, false),
        };
        let step = |id: RowId, rest: &[&str]| {
            let id = if indexed { self.element(id)? } else { id };
            self.walk(id, rest)
        };
        if let Some((_, child)) = self.child(id, key)
            && let Some(found) = step(child, rest)
        {
            return Some(found);
        }
        if let Some(named) = self.named(id) {
            for taken in 0..parts.len() {
                if let Some(found) = parts.get(taken + 1..).and_then(|rest| step(named, rest)) {
                    return Some(found);
                }
            }
        }
        // An index may be left out: `chains.public_api.limit`.
        self.element(id).filter(|element| *element != id).and_then(|element| self.walk(element, parts))
    }
}

/// `a.b` to `a` and `b`; `a[]` to `a` and `[]`; a top key's parent is the empty path.
fn split_last(path: &'static str) -> Option<(&'static str, &'static str)> {
    if path.is_empty() {
        return None;
    }
    if let Some(parent) = path.strip_suffix("[]") {
        return Some((parent, "[]"));
    }
    Some(path.rsplit_once('.').unwrap_or(("", path)))
}
