//! What differs between two configurations, in the words of the configuration.

use std::fmt;

use super::definitions::{Definitions, Kind, Resource, ResourceKey};
use super::export::flow;
use super::key::{Fallback, RowId, Schema};
use super::value::Value;

/// Longest value that is shown; the whole is in the data.
const SHOWN_CHARACTERS_MAX: usize = 100;

/// What happened to a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// `+`
    Added,
    /// `-`
    Removed,
    /// `~`
    Changed,
}

impl Sign {
    /// The character at the beginning of a line.
    pub const fn character(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What happened.
    pub sign: Sign,
    /// The section of what it happened to.
    pub kind: Kind,
    /// `upstream orders`, `api.example.com /orders/v2/*`.
    pub subject: String,
    /// The key that changed, from the subject on; empty for the whole.
    pub path: String,
    /// The value before, defaults included; secrets as references.
    pub before: Option<String>,
    /// The value after.
    pub after: Option<String>,
}

/// `~ api.example.com /orders/v2/*: to orders → orders_next`
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sign.character(), self.subject)?;
        match (self.sign, &self.before, &self.after) {
            (Sign::Changed, before, after) => {
                let shown =
                    |value: &Option<String>| value.as_deref().map_or_else(|| "nothing".to_owned(), shorten);
                let separator = if self.path.is_empty() { "" } else { " " };
                write!(f, ": {}{separator}{} → {}", self.path, shown(before), shown(after))
            }
            (_, Some(value), None) | (_, None, Some(value)) => write!(f, ": {}", shorten(value)),
            _ => Ok(()),
        }
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARACTERS_MAX {
        return text.to_owned();
    }
    let kept: String = text.chars().take(SHOWN_CHARACTERS_MAX - 1).collect();
    format!("{kept}…")
}

/// All differences, in the order of the sections and of names. Values that equal a default differ from nothing written no
/// more than the default does.
pub fn diff(before: &Definitions, after: &Definitions) -> Vec<Difference> {
    let mut out = Vec::new();
    let mut keys: Vec<&ResourceKey> = before.resources.keys().chain(after.resources.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let (old, new) = (before.resources.get(key), after.resources.get(key));
        if old.map(Resource::hash) != new.map(Resource::hash) {
            resource(&mut out, key, old, new);
        }
    }
    out
}

fn resource(out: &mut Vec<Difference>, key: &ResourceKey, old: Option<&Resource>, new: Option<&Resource>) {
    let value = |resource: Option<&Resource>| resource.and_then(|resource| resource.value().ok());
    let (old, new) = (value(old), value(new));
    let schema = Schema::table();
    let (path, subject) = match key.kind {
        Kind::Settings | Kind::Tests => (key.kind.section().to_owned(), key.kind.one().to_owned()),
        Kind::Listener => ("listeners[]".to_owned(), format!("listener {}", key.name)),
        Kind::Host => ("hosts.*".to_owned(), key.name.clone()),
        kind => (format!("{}.*", kind.section()), format!("{} {}", kind.one(), key.name)),
    };
    let mut walk = Walk { out, schema, kind: key.kind, subject };
    let start = walk.out.len();
    match key.kind {
        Kind::Host => walk.host(old.as_ref(), new.as_ref()),
        Kind::Settings => {
            let empty = Value::Map(Vec::new());
            walk.value(
                schema.at(&path),
                "",
                Some(old.as_ref().unwrap_or(&empty)),
                Some(new.as_ref().unwrap_or(&empty)),
            );
        }
        _ => walk.whole(schema.at(&path), old.as_ref(), new.as_ref()),
    }
    if walk.out.len() == start && key.kind == Kind::Host && old.is_some() && new.is_some() {
        // The same paths in another order: it breaks ties between expressions.
        let order = |value: &Option<Value>| {
            let names =
                value.iter().flat_map(Value::entries).map(|(key, _)| key.as_str()).collect::<Vec<_>>();
            Some(names.join(" "))
        };
        let (before, after) = (order(&old), order(&new));
        if before != after {
            walk.push(Sign::Changed, "order", before, after);
        }
    }
}

struct Walk<'a> {
    out: &'a mut Vec<Difference>,
    schema: &'static Schema,
    kind: Kind,
    subject: String,
}

impl Walk<'_> {
    fn push(&mut self, sign: Sign, path: &str, before: Option<String>, after: Option<String>) {
        let subject = self.subject.clone();
        self.out.push(Difference { sign, kind: self.kind, subject, path: path.to_owned(), before, after });
    }

    /// Something that is there, or not, as a whole.
    fn whole(&mut self, row: Option<RowId>, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (Some(old), Some(new)) => self.value(row, "", Some(old), Some(new)),
            (Some(old), None) => self.push(Sign::Removed, "", Some(flow(old)), None),
            (None, Some(new)) => self.push(Sign::Added, "", None, Some(flow(new))),
            (None, None) => {}
        }
    }

    fn host(&mut self, old: Option<&Value>, new: Option<&Value>) {
        let host = self.subject.clone();
        let row = self.schema.at("hosts.*");
        let entries = |value: Option<&Value>| value.map(Value::entries).unwrap_or_default().to_vec();
        let (old, new) = (entries(old), entries(new));
        let before: std::collections::HashMap<&str, &Value> =
            old.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let after: std::collections::HashMap<&str, &Value> =
            new.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let gone = old.iter().filter(|(key, _)| !after.contains_key(key.as_str()));
        for (key, _) in gone.chain(new.iter()) {
            let (old, new) = (before.get(key.as_str()).copied(), after.get(key.as_str()).copied());
            if let Some((_, child)) = row.and_then(|row| self.schema.child(row, key)) {
                self.value(Some(child), key, old, new);
                continue;
            }
            self.subject = format!("{host} {key}");
            self.whole(self.schema.at("hosts.*.*"), old, new);
            self.subject.clone_from(&host);
        }
    }

    fn value(&mut self, row: Option<RowId>, path: &str, old: Option<&Value>, new: Option<&Value>) {
        if old == new {
            return;
        }
        let below = |value: Option<&Value>| matches!(value, None | Some(Value::Map(_)));
        let open = old.or(new).is_some_and(|value| matches!(value, Value::Map(_)));
        if open && below(old) && below(new) && (path.is_empty() || self.has_defaults(row, old, new)) {
            return self.map(row, path, old, new);
        }
        if let (Some(Value::List(old)), Some(Value::List(new))) = (old, new)
            && old.len() == new.len()
            && old.iter().chain(new).all(|value| matches!(value, Value::Map(_)))
        {
            let row = row.and_then(|row| self.schema.element(row));
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                self.value(row, &format!("{path}[{index}]"), Some(old), Some(new));
            }
            return;
        }
        let shown = |value: Option<&Value>| value.map(flow).or_else(|| self.default(row));
        let (before, mut after) = (shown(old), shown(new));
        if before == after {
            if !referred_changed(old, new) {
                return;
            }
            after = after.map(|text| format!("{text} (new content)"));
        }
        self.push(Sign::Changed, path, before, after);
    }

    /// Both are there, or what is missing has defaults inside.
    fn has_defaults(&self, row: Option<RowId>, old: Option<&Value>, new: Option<&Value>) -> bool {
        let inside = |row: RowId| {
            let rows = self.schema.children(row);
            !rows.is_empty() && rows.iter().all(|(_, child)| self.default(Some(*child)).is_some())
        };
        (old.is_some() && new.is_some()) || row.is_some_and(inside)
    }

    fn map(&mut self, row: Option<RowId>, path: &str, old: Option<&Value>, new: Option<&Value>) {
        let entries = |value: Option<&Value>| value.map(Value::entries).unwrap_or_default().to_vec();
        let (old, new) = (entries(old), entries(new));
        let find = |entries: &[(String, Value)], key: &str| {
            entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
        };
        let mut keys: Vec<&String> = old.iter().chain(&new).map(|(key, _)| key).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let child = row.and_then(|row| {
                self.schema.child(row, key).map(|(_, id)| id).or_else(|| self.schema.named(row))
            });
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.value(child, &path, find(&old, key).as_ref(), find(&new, key).as_ref());
        }
    }

    fn default(&self, row: Option<RowId>) -> Option<String> {
        match self.schema.row(row?).fallback {
            Fallback::Value(text) => Some(text.to_owned()),
            _ => None,
        }
    }
}

/// The same reference with another content.
fn referred_changed(old: Option<&Value>, new: Option<&Value>) -> bool {
    old.is_some() && new.is_some() && old != new
}
