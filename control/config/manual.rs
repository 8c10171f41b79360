//! What the key table says to people: `ringway explain config PATH` and the page `docs/reference/config.md`.

use std::fmt::Write as _;

use super::diagnostic::Class;
use super::key::{Fallback, List, Names, RowId, Schema, Stage};
use super::scalar::{Referent, Scalar, duration_text, list, size_text};
use super::suggest::nearest;

/// What a key is: type, default, meaning, example, and the keys below it.
///
/// # Errors
/// A sentence with the nearest path where no key is meant.
pub fn explain(path: &str) -> Result<String, String> {
    let schema = Schema::table();
    let Some(id) = schema.resolve(path.trim()) else {
        let known = schema.rows().filter(|row| !row.path.is_empty()).map(|row| row.path);
        let last = path.rsplit('.').next().unwrap_or(path);
        let keys = schema.rows().filter_map(|row| row.path.rsplit('.').next());
        return Err(match nearest(path, known) {
            Some(near) => format!("there is no key `{path}`; did you mean `{near}`?"),
            None => match nearest(last, keys) {
                Some(near) if near != last => {
                    format!("there is no key `{path}`; did you mean `{near}` at its end?")
                }
                _ => format!("there is no key `{path}`; the sections are {}", sections(schema)),
            },
        });
    };
    let row = schema.row(id);
    let mut out = String::new();
    let shown = if row.path.is_empty() { "the whole configuration" } else { row.path };
    let _ = writeln!(out, "{shown}\n  {}", row.meaning);
    if row.stage == Stage::Later {
        out.push_str("  Not available yet: writing it is an error.\n");
        return Ok(out);
    }
    let _ = writeln!(out, "  type:    {}", type_text(schema, id));
    if let Some(fallback) = fallback_text(row.fallback) {
        let _ = writeln!(out, "  default: {fallback}");
    }
    if !row.example.is_empty() {
        let _ = writeln!(out, "  example: {}", row.example);
    }
    let below = if schema.children(id).is_empty() {
        schema.named(id).or_else(|| schema.element(id))
    } else {
        Some(id)
    };
    let children = below.map(|below| schema.children(below)).unwrap_or_default();
    if !children.is_empty() {
        out.push_str("  keys:\n");
    }
    for (key, child) in children.iter().filter(|(_, child)| schema.row(*child).stage == Stage::Now) {
        let row = schema.row(*child);
        let fallback = fallback_text(row.fallback).map(|text| format!(" [{text}]")).unwrap_or_default();
        let _ = writeln!(out, "    {key}{fallback}: {}", row.meaning);
    }
    Ok(out)
}

fn sections(schema: &Schema) -> String {
    schema.children(Schema::ROOT).iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The page `docs/reference/config.md`; a test fails where the file differs.
pub fn reference() -> String {
    let schema = Schema::table();
    let mut out = String::from(
        "# Configuration keys\n\n\
         Printed from the key table of `control/config/key/rows.rs`: do not edit by hand. `*` is any name, `[]` any element of a \
         list. `ringway explain config PATH` prints a row, `ringway schema` the JSON Schema. An unknown key is an error.\n",
    );
    let mut section = "";
    for row in schema.rows().filter(|row| !row.path.is_empty() && row.stage == Stage::Now) {
        let own = row.path.split(['.', '[']).next().unwrap_or_default();
        if own != section {
            section = own;
            let _ =
                write!(out, "\n## {section}\n\n| key | type | default | meaning | example |\n|-|-|-|-|-|\n");
        }
        let Some(id) = schema.at(row.path) else { continue };
        let example = if row.example.is_empty() { String::new() } else { format!("`{}`", row.example) };
        let fallback = fallback_text(row.fallback).unwrap_or_default();
        let cells =
            [format!("`{}`", row.path), type_text(schema, id), fallback, row.meaning.to_owned(), example];
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out.push_str(
        "\n## Not available yet\n\nThese keys are planned; writing one is an error, never ignored.\n\n",
    );
    for row in schema.rows().filter(|row| row.stage == Stage::Later) {
        let _ = writeln!(out, "- `{}`: {}.", row.path, row.meaning);
    }
    out.push_str(
        "\n## Classes of mistakes\n\nThe word stands in `--output json`.\n\n| word | meaning |\n|-|-|\n",
    );
    for class in Class::ALL {
        let _ = writeln!(out, "| `{}` | {} |", class.word(), class.meaning());
    }
    out
}

fn fallback_text(fallback: Fallback) -> Option<String> {
    match fallback {
        Fallback::Required => Some("required".to_owned()),
        Fallback::Absent => None,
        Fallback::Value(text) => Some(format!("`{text}`")),
        Fallback::Words(words) => Some(words.to_owned()),
    }
}

fn type_text(schema: &Schema, id: RowId) -> String {
    let form = schema.row(id).form;
    let mut types = Vec::new();
    if let Some(scalar) = form.scalar {
        types.push(scalar_text(scalar));
    }
    match form.names {
        Some(Names::Identifier) => types.push("map by name".to_owned()),
        Some(Names::Host) => types.push("map by host name".to_owned()),
        Some(Names::Route) => types.push("map by route".to_owned()),
        Some(Names::Field) => types.push("map by field name".to_owned()),
        Some(Names::Parameter) => types.push("map by parameter".to_owned()),
        None if form.keys => types.push("map".to_owned()),
        None => {}
    }
    match form.list {
        List::No => {}
        List::Own => types.push("list".to_owned()),
        List::As(path) => types.push(format!("list of `{path}`")),
    }
    list(&types.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The type of a single value, in words.
pub(crate) fn scalar_text(scalar: Scalar) -> String {
    let plain = match scalar {
        Scalar::Bool => "`true` or `false`",
        Scalar::Integer(1, 1) => "`1`",
        Scalar::Integer(min, max) => return format!("number, {min} to {max}"),
        Scalar::Duration(min, max) => {
            return format!("duration, {} to {}", duration_text(min), duration_text(max));
        }
        Scalar::Size(min, max) => return format!("size, {} to {}", size_text(min), size_text(max)),
        Scalar::Choice(now, _) => {
            return list(
                &now.iter()
                    .map(|word| format!("`{word}`"))
                    .collect::<Vec<_>>()
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>(),
            );
        }
        Scalar::Name(section) => return format!("name under `{section}`"),
        Scalar::Rate => "rate: requests per `s`, `m`, `h`, `d` or a duration",
        Scalar::Text => "text",
        Scalar::SocketAddress => "IP address and port",
        Scalar::Endpoint => "IP address or name, and port",
        Scalar::Network => "network or address",
        Scalar::IpAddress => "IP address",
        Scalar::DnsName => "DNS name",
        Scalar::CertificateName => "DNS name or wildcard",
        Scalar::Authority => "host and optional port",
        Scalar::Path => "path",
        Scalar::Token => "token (RFC 9110)",
        Scalar::Method => "method",
        Scalar::FieldName => "field name",
        Scalar::FieldValue => "field value",
        Scalar::ParameterName => "name",
        Scalar::Expression => "regular expression",
        Scalar::Date => "date or time (RFC 3339)",
        Scalar::LimitKey => "key of a limit",
        Scalar::AccessLog => "`off`, `stdout` or `file:PATH`",
        Scalar::RedirectHttps => "`https` or `https:PORT`",
        Scalar::RequestLine => "method and URL",
        Scalar::Reference(Referent::PrivateKey | Referent::ApiKey) => "secret: `file:PATH` or `env:NAME`",
        Scalar::Reference(_) => "`file:PATH` or `env:NAME`",
    };
    plain.to_owned()
}
