//! Definitions as canonical YAML: equal definitions give equal bytes, and reading them gives the same definitions.

use std::fmt::Write as _;

use super::definitions::{Definitions, Kind};
use super::value::{Value, write_json_text};

/// What fits on one line is written on one.
const LINE_CHARACTERS_MAX: usize = 110;

/// The whole configuration as one document. Secrets and certificates stand as references, as they were written.
pub fn export(definitions: &Definitions) -> String {
    let mut out = String::from("version: 1\n");
    for kind in Kind::ALL {
        let mut resources = definitions.of_kind(*kind).peekable();
        if resources.peek().is_none() {
            continue;
        }
        let mut section = String::new();
        for (name, resource) in resources {
            // A content that cannot be read back is shown as what it is: it will not compile either.
            let value = resource.value().unwrap_or_else(|_| Value::Text(resource.content().to_owned()));
            match kind {
                Kind::Settings | Kind::Tests => block(&mut section, &value, 1),
                Kind::Listener => element(&mut section, &value, 1),
                Kind::Host | Kind::Chain => {
                    let _ = write!(section, "  {}:", key(name));
                    if value.entries().is_empty() && !matches!(&value, Value::List(list) if !list.is_empty())
                    {
                        section.push(' ');
                        section.push_str(&flow(&value));
                        section.push('\n');
                    } else {
                        section.push('\n');
                        block(&mut section, &value, 2);
                    }
                }
                _ => entry(&mut section, name, &value, 1),
            }
        }
        let _ = writeln!(out, "{}:", kind.section());
        out.push_str(&section);
    }
    out
}

fn indent(out: &mut String, depth: usize) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

/// Each entry or element on lines of its own.
fn block(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Map(entries) => entries.iter().for_each(|(name, value)| entry(out, name, value, depth)),
        Value::List(elements) => elements.iter().for_each(|value| element(out, value, depth)),
        scalar => {
            indent(out, depth);
            out.push_str(&flow(scalar));
            out.push('\n');
        }
    }
}

fn entry(out: &mut String, name: &str, value: &Value, depth: usize) {
    indent(out, depth);
    let name = key(name);
    let line = flow(value);
    out.push_str(&name);
    out.push(':');
    if is_scalar(value) || depth * 2 + name.chars().count() + 2 + line.chars().count() <= LINE_CHARACTERS_MAX
    {
        out.push(' ');
        out.push_str(&line);
        out.push('\n');
    } else {
        out.push('\n');
        block(out, value, depth + 1);
    }
}

fn element(out: &mut String, value: &Value, depth: usize) {
    let line = flow(value);
    if is_scalar(value) || depth * 2 + 2 + line.chars().count() <= LINE_CHARACTERS_MAX {
        indent(out, depth);
        let _ = writeln!(out, "- {line}");
        return;
    }
    // The first line of the block begins after the dash.
    let mut inner = String::new();
    block(&mut inner, value, depth + 1);
    let start = out.len() + depth * 2;
    out.push_str(&inner);
    out.replace_range(start..start + 1, "-");
}

fn is_scalar(value: &Value) -> bool {
    match value {
        Value::Map(entries) => entries.is_empty(),
        Value::List(elements) => elements.is_empty(),
        _ => true,
    }
}

/// A value on one line.
pub(crate) fn flow(value: &Value) -> String {
    let mut out = String::new();
    write_flow(&mut out, value);
    out
}

fn write_flow(out: &mut String, value: &Value) {
    match value {
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Integer(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Text(text) => write_text(out, text),
        Value::Referred(referred) => write_text(out, &referred.reference),
        Value::List(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_flow(out, element);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (index, (name, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                out.push_str(&key(name));
                out.push_str(": ");
                write_flow(out, value);
            }
            out.push('}');
        }
    }
}

/// A key: quoted where a colon could be taken for its end.
fn key(name: &str) -> String {
    let mut out = String::new();
    if name.contains(':') {
        quote(&mut out, name)
    } else {
        write_text(&mut out, name)
    }
    out
}

fn write_text(out: &mut String, text: &str) {
    if is_plain(text) { out.push_str(text) } else { quote(out, text) }
}

/// Whether every YAML reader takes the text for itself, in a flow collection too.
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some((first, last)) = bytes.first().zip(bytes.last()) else { return false };
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_./-+@%*:".contains(b);
    // `off` is a word of ours where it stands, and no truth value in YAML 1.2.
    let reserved = ["null", "true", "false", "yes", "no", "on", "y", "n"];
    (first.is_ascii_alphanumeric() || b"/_".contains(first))
        && *last != b':'
        && bytes.iter().all(plain)
        && !looks_numeric(text)
        && !reserved.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Numbers of YAML 1.2, and the underscored and base-60 ones of YAML 1.1.
fn looks_numeric(text: &str) -> bool {
    let base_60 = text.bytes().all(|b| b.is_ascii_digit() || b == b':' || b == b'_');
    text.parse::<f64>().is_ok() || text.starts_with("0x") || text.starts_with("0o") || base_60
}

/// JSON's escapes are YAML's too; what is not printable in YAML is escaped beside them (YAML 1.2 §5.1).
fn quote(out: &mut String, text: &str) {
    let start = out.len();
    write_json_text(out, text);
    let hidden = |c: char| {
        matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    let written = out.split_off(start);
    for c in written.chars() {
        if hidden(c) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
}
