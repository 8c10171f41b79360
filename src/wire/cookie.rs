//! Cookie look-up (RFC 6265 §5.4), without decoding.

use crate::field::FieldId;
use crate::head::RequestHead;
use crate::syntax::trim;

/// Name and value of each cookie of one Cookie value; values without their quotes.
pub fn cookies(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|byte| *byte == b';').filter_map(|pair| {
        let pair = trim(pair);
        let at = memchr::memchr(b'=', pair)?;
        let value = trim(pair.get(at + 1..)?);
        let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        Some((trim(pair.get(..at)?), bare))
    })
}

/// The value of the first cookie of this name; names are case-sensitive.
#[must_use]
pub fn cookie<'a>(head: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
    head.values(FieldId::Cookie).flat_map(cookies).find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// Appends a Cookie value without the cookies of this name; true: something is left.
pub fn write_without(value: &[u8], name: &[u8], out: &mut Vec<u8>) -> bool {
    let before = out.len();
    for pair in value.split(|byte| *byte == b';').map(trim).filter(|pair| !pair.is_empty()) {
        let found = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        if trim(found) == name {
            continue;
        }
        if out.len() > before {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(pair);
    }
    out.len() > before
}

#[cfg(test)]
mod tests {
    use super::{cookies, write_without};

    #[test]
    fn cookies_are_split_and_unquoted() {
        let all: Vec<_> = cookies(b"a=1; b=\"x y\";c = d=e ; junk;=v").collect();
        assert_eq!(all, [(&b"a"[..], &b"1"[..]), (b"b", b"x y"), (b"c", b"d=e"), (b"", b"v")]);
    }

    #[test]
    fn a_cookie_is_taken_out() {
        let mut out = Vec::new();
        assert!(write_without(b"a=1; key=s; b=2", b"key", &mut out));
        assert_eq!(out, b"a=1; b=2");
        out.clear();
        assert!(!write_without(b"key=s", b"key", &mut out));
    }
}
