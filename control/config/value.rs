//! A definition's content after checking: canonical scalars in maps and lists, and its one JSON form.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Names the content of a file or secret: BLAKE3 of public content or of a key's public half, or an API key's
/// digest under the pepper. It never tells the content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Lower-case hexadecimal.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads what [`Self::to_hex`] wrote.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_hex().get(..12).unwrap_or_default())
    }
}

/// What stands outside the document: how the document names it and which content it had when read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referred {
    /// `file:tls/example.pem`, `env:ACME_KEY`, `self_signed`.
    pub reference: String,
    /// Its content, among the definitions' materials unless only the digest is kept.
    pub digest: Digest,
    /// Which seal key an API key's digest depends on; 0 for what depends on none.
    pub key_id: u32,
    /// What may be shown of it (an API key's prefix); empty otherwise.
    pub shown: String,
}

/// A checked value. Scalars with units are canonical text (`1500ms`, `64KiB`, `100/s`).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(u64),
    /// Text in the canonical form of its key's type.
    Text(String),
    /// A file or secret.
    Referred(Box<Referred>),
    /// In order.
    List(Vec<Value>),
    /// Known keys in the order of the table, names sorted; paths of a host as declared.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// The value of a key, of a map.
    pub fn find(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// A map's entries; none of anything else.
    pub fn entries(&self) -> &[(String, Self)] {
        if let Self::Map(entries) = self { entries } else { &[] }
    }

    /// A list's elements; anything else is a list of itself.
    pub fn elements(&self) -> &[Self] {
        if let Self::List(elements) = self { elements } else { std::slice::from_ref(self) }
    }

    /// A text.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// A whole number.
    pub fn integer(&self) -> Option<u64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }

    /// A truth value.
    pub fn bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// A file or secret.
    pub fn referred(&self) -> Option<&Referred> {
        if let Self::Referred(referred) = self { Some(referred) } else { None }
    }

    /// The canonical JSON form: no spaces, entries in their order; equal values give equal text.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Integer(number) => out.push_str(&number.to_string()),
            Self::Text(text) => write_json_text(out, text),
            Self::Referred(referred) => {
                out.push_str("{\"\":");
                write_json_text(out, &referred.reference);
                out.push_str(",\"digest\":");
                write_json_text(out, &referred.digest.to_hex());
                out.push_str(",\"key\":");
                out.push_str(&referred.key_id.to_string());
                out.push_str(",\"shown\":");
                write_json_text(out, &referred.shown);
                out.push('}');
            }
            Self::List(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    element.write_json(out);
                }
                out.push(']');
            }
            Self::Map(entries) => {
                out.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_json_text(out, key);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// Where the text is anything else.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// A JSON string, escaped as RFC 8259 §7 demands and no further.
pub(crate) fn write_json_text(out: &mut String, text: &str) {
    out.push('"');
    let mut clean_from = 0;
    for (index, byte) in text.bytes().enumerate() {
        let escape: &str = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(text.get(clean_from..index).unwrap_or_default());
        clean_from = index + 1;
        if escape.is_empty() {
            out.push_str(&format!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(text.get(clean_from..).unwrap_or_default());
    out.push('"');
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a definition")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Value::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(String, Value)> = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        // INVARIANT: no key of a definition is empty; that key marks what stands outside the document.
        let mark = entries.first().is_some_and(|(key, _)| key.is_empty());
        if !mark {
            return Ok(Value::Map(entries));
        }
        referred(&entries)
            .map(|referred| Value::Referred(Box::new(referred)))
            .ok_or_else(|| A::Error::custom("a reference is damaged"))
    }
}

fn referred(entries: &[(String, Value)]) -> Option<Referred> {
    let [(_, reference), (_, digest), (_, key), (_, shown)] = entries else { return None };
    Some(Referred {
        reference: reference.text()?.to_owned(),
        digest: Digest::from_hex(digest.text()?)?,
        key_id: u32::try_from(key.integer()?).ok()?,
        shown: shown.text()?.to_owned(),
    })
}
