//! HPACK (RFC 7541), as far as we write it: with the static table alone, so that a head depends on no other and may be encoded
//! when it is made, whatever leaves before it.

mod fixed;

pub(crate) use self::fixed::TABLE;

use crate::fixed::Found;
use crate::http3::qpack::{huffman, integer};
use crate::message::OutgoingHead;
use crate::trailers::Trailers;

/// What each field counts beside its name and value (RFC 9113 §6.5.2).
const FIELD_BYTES: usize = 32;

/// Texts from this length on are coded where that is shorter. For shorter ones the time is worth more than the bytes.
const CODED_BYTES_MIN: usize = 64;

/// A head that was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Encoded {
    /// Its size as SETTINGS_MAX_HEADER_LIST_SIZE counts it.
    pub list_bytes: u64,
    /// Bytes of its names and values.
    pub text_bytes: usize,
    /// What it announces its content to be long.
    pub length: Option<u64>,
}

/// Appends the field block of a head.
pub fn write_head(out: &mut Vec<u8>, head: &OutgoingHead<'_>) -> Encoded {
    let mut encoded = Encoded::default();
    if let Some(status) = head.status() {
        encoded.list_bytes += (b":status".len() + 3 + FIELD_BYTES) as u64;
        write_status(out, status);
    }
    head.each(|name, value| {
        encoded.list_bytes += (name.len() + value.len() + FIELD_BYTES) as u64;
        encoded.text_bytes += name.len() + value.len();
        if name == b"content-length" {
            encoded.length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
        }
        write_field(out, name, value);
    });
    encoded
}

/// Appends the field block of trailers, those that may be passed on. Returns its size, as [`Encoded::list_bytes`].
pub fn write_trailers(out: &mut Vec<u8>, trailers: &Trailers) -> u64 {
    let mut size = 0;
    for (name, value, _) in trailers.fields() {
        size += name.len() + value.len() + FIELD_BYTES;
        if name.iter().any(u8::is_ascii_uppercase) {
            write_field(out, &name.to_ascii_lowercase(), value);
        } else {
            write_field(out, name, value);
        }
    }
    size as u64
}

/// Appends `:status`.
pub fn write_status(out: &mut Vec<u8>, status: u16) {
    write_field(out, b":status", itoa::Buffer::new().format(status).as_bytes());
}

/// Appends a field; `name` is in lower case. As a literal it enters no table (RFC 7541 §6.2.2).
#[inline]
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    // The table's first index is 1.
    match TABLE.find(name, value) {
        Found::Field(row) => return integer::write(out, 0x80, 7, u64::from(row) + 1),
        Found::Name(row) => integer::write(out, 0, 4, u64::from(row) + 1),
        Found::Nothing => {
            out.push(0);
            write_text(out, name);
        }
    }
    write_text(out, value);
}

/// Appends a string literal (RFC 7541 §5.2).
#[inline]
fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() >= CODED_BYTES_MIN {
        let coded = huffman::coded_len(text);
        if coded < text.len() {
            integer::write(out, 0x80, 7, coded as u64);
            return huffman::encode(text, out);
        }
    }
    integer::write(out, 0, 7, text.len() as u64);
    out.extend_from_slice(text);
}

/// How many bytes at the front of a field block are changes of the table's size (RFC 7541 §6.3).
pub(super) fn size_updates(block: &[u8]) -> usize {
    let mut rest = block;
    while rest.first().is_some_and(|first| first & 0xe0 == 0x20) && integer::take(&mut rest, 5).is_some() {}
    block.len() - rest.len()
}

#[cfg(test)]
mod tests;
