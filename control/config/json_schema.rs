//! The JSON Schema (draft 2020-12) of a configuration, printed from the key table, for editors.

use serde_json::{Map, Value, json};

use super::key::{Fallback, List, Names, RowId, Schema, Stage};
use super::scalar::Scalar;

/// The schema of a document; `config/schema.json` is this, and a test fails where it differs.
pub fn json_schema() -> Value {
    let schema = Schema::table();
    let mut printer = Printer { schema, shared: Map::new() };
    let root = printer.map(Schema::ROOT);
    let mut out = Map::new();
    out.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    out.insert("title".to_owned(), json!("Ringway configuration"));
    out.extend(root);
    out.insert("$defs".to_owned(), Value::Object(printer.shared));
    Value::Object(out)
}

struct Printer {
    schema: &'static Schema,
    /// What stands at several places, by the path of its row.
    shared: Map<String, Value>,
}

impl Printer {
    fn row(&mut self, id: RowId) -> Value {
        let row = self.schema.row(id);
        let form = row.form;
        let mut forms: Vec<Map<String, Value>> = Vec::new();
        if let Some(scalar) = form.scalar {
            forms.push(scalar_schema(scalar));
        }
        if form.keys || form.names.is_some() {
            forms.push(self.map(id));
        }
        match form.list {
            List::No => {}
            List::Own => {
                let items = self.schema.element(id).map(|element| self.row(element)).unwrap_or_default();
                forms.push(object([("type", json!("array")), ("items", items)]));
            }
            List::As(path) => {
                let name = path.to_owned();
                if !self.shared.contains_key(&name) {
                    self.shared.insert(name.clone(), Value::Null);
                    let element = self.schema.at(path).map(|element| Value::Object(self.map(element)));
                    self.shared.insert(name.clone(), element.unwrap_or_default());
                }
                let reference = format!("#/$defs/{}", path.replace('~', "~0").replace('/', "~1"));
                forms.push(object([("type", json!("array")), ("items", json!({"$ref": reference}))]));
            }
        }
        let mut out = if forms.len() == 1 {
            forms.pop().unwrap_or_default()
        } else {
            object([("anyOf", forms.into_iter().map(Value::Object).collect())])
        };
        out.insert("description".to_owned(), json!(row.meaning));
        if let Fallback::Value(text) = row.fallback {
            out.insert("default".to_owned(), default_value(form.scalar, text));
        }
        Value::Object(out)
    }

    /// The map form of a row.
    fn map(&mut self, id: RowId) -> Map<String, Value> {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for (key, child) in self.schema.children(id) {
            let row = self.schema.row(*child);
            if row.stage == Stage::Later {
                continue;
            }
            if row.fallback == Fallback::Required {
                required.push(json!(key));
            }
            let value = self.row(*child);
            properties.insert((*key).to_owned(), value);
        }
        let mut out = object([("type", json!("object"))]);
        if !properties.is_empty() {
            out.insert("properties".to_owned(), Value::Object(properties));
        }
        if !required.is_empty() {
            out.insert("required".to_owned(), Value::Array(required));
        }
        let named = self.schema.named(id).map(|named| self.row(named));
        match (self.schema.row(id).form.names.and_then(pattern), named) {
            (Some(pattern), Some(named)) => {
                out.insert("patternProperties".to_owned(), json!({pattern: named}));
                out.insert("additionalProperties".to_owned(), json!(false));
            }
            (None, Some(named)) => {
                out.insert("additionalProperties".to_owned(), named);
            }
            (_, None) => {
                out.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        out
    }
}

fn object<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn pattern(names: Names) -> Option<&'static str> {
    match names {
        Names::Identifier => Some("^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"),
        Names::Route => Some("^([A-Z,]+ )?[/~]"),
        Names::Field => Some("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"),
        Names::Host | Names::Parameter => None,
    }
}

/// Numbers and words without quotes are text to this grammar where text belongs, so the schema lets them be.
fn scalar_schema(scalar: Scalar) -> Map<String, Value> {
    let text = |pattern: &str| object([("type", json!("string")), ("pattern", json!(pattern))]);
    match scalar {
        Scalar::Bool => object([("type", json!("boolean"))]),
        Scalar::Integer(min, max) => {
            object([("type", json!("integer")), ("minimum", json!(min)), ("maximum", json!(max))])
        }
        Scalar::Duration(..) => text("^[0-9]+(ms|s|m|h|d)$"),
        Scalar::Size(..) => text("^[0-9]+(B|KiB|MiB|GiB|TiB)$"),
        Scalar::Rate => text("^[0-9]+/([0-9]+(ms|s|m|h|d)|ms|s|m|h|d)$"),
        Scalar::Choice(now, _) => {
            let numbers = now.iter().filter_map(|word| word.parse::<f64>().ok().map(number));
            object([("enum", now.iter().map(|word| json!(word)).chain(numbers).collect())])
        }
        Scalar::Reference(_) => text("^(file|env):.+$"),
        Scalar::SocketAddress | Scalar::Endpoint => text("^.+:[0-9]{1,5}$"),
        Scalar::Path => text("^/"),
        Scalar::Date => text("^[0-9]{4}-[0-9]{2}-[0-9]{2}"),
        Scalar::RedirectHttps => text("^https(:[0-9]{1,5})?$"),
        Scalar::AccessLog => text("^(off|stdout|file:.+)$"),
        Scalar::RequestLine => text("^[A-Z]+ https?://.+$"),
        Scalar::FieldValue | Scalar::Text => object([("type", json!(["string", "number", "boolean"]))]),
        Scalar::Name(_)
        | Scalar::Network
        | Scalar::IpAddress
        | Scalar::DnsName
        | Scalar::CertificateName
        | Scalar::Authority
        | Scalar::Token
        | Scalar::Method
        | Scalar::FieldName
        | Scalar::ParameterName
        | Scalar::Expression
        | Scalar::LimitKey => object([("type", json!("string"))]),
    }
}

fn number(number: f64) -> Value {
    if number.fract() == 0.0 { json!(number as u64) } else { json!(number) }
}

fn default_value(scalar: Option<Scalar>, text: &str) -> Value {
    match (scalar, text) {
        (_, "[]") => json!([]),
        (_, "[http1]") => json!(["http1"]),
        (Some(Scalar::Bool), text) => json!(text == "true"),
        (Some(Scalar::Integer(..)), text) => text.parse::<u64>().map_or(Value::Null, |number| json!(number)),
        (_, text) => json!(text.trim_matches('"')),
    }
}
