//! Query strings, compared without decoding them into memory. A `+` is a space (the WHATWG form encoding).

use crate::syntax::hex_digit;

/// The raw names and values of a query, in order; a name without `=` has an empty value.
pub fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default())
    })
}

/// The bytes that an encoded text stands for. A `%` that no two hex digits follow stands for itself.
pub fn decoded(raw: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (byte, after) = match rest {
            [b'%', high, low, after @ ..] => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', rest.get(1..).unwrap_or_default()),
            },
            [b'+', after @ ..] => (b' ', after),
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        rest = after;
        Some(byte)
    })
}

/// Whether an encoded text stands for these bytes.
#[must_use]
pub fn decoded_eq(raw: &[u8], expected: &[u8]) -> bool {
    raw.len() >= expected.len() && decoded(raw).eq(expected.iter().copied())
}

/// The raw value of the first parameter of this (decoded) name.
#[must_use]
pub fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    parameters(query).find(|(raw, _)| decoded_eq(raw, name)).map(|(_, value)| value)
}

/// Appends what an encoded text stands for.
pub fn decode_into(raw: &[u8], out: &mut Vec<u8>) {
    out.extend(decoded(raw));
}

/// Appends the query without the parameters of this (decoded) name, in their raw form; true: something is left.
pub fn write_without(query: &[u8], name: &[u8], out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let pairs = query.split(|byte| *byte == b'&');
    for pair in pairs {
        let raw = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        if decoded_eq(raw, name) {
            continue;
        }
        if out.len() > before {
            out.push(b'&');
        }
        out.extend_from_slice(pair);
    }
    out.len() > before
}

#[cfg(test)]
mod tests {
    use super::{decode_into, decoded_eq, parameter, parameters, write_without};

    #[test]
    fn parameters_are_split_and_found_by_their_decoded_name() {
        let query = b"a=1&&b&c=x=y&%61pi%5Fkey=s%2Fq+r";
        let all: Vec<_> = parameters(query).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(parameter(query, b"a"), Some(&b"1"[..]));
        assert_eq!(parameter(query, b"b"), Some(&b""[..]));
        assert_eq!(parameter(query, b"c"), Some(&b"x=y"[..]));
        let key = parameter(query, b"api_key").unwrap();
        assert!(decoded_eq(key, b"s/q r"));
        assert!(!decoded_eq(key, b"s/q"));
        assert_eq!(parameter(query, b"d"), None);
        let mut out = Vec::new();
        decode_into(b"%zz%4", &mut out);
        assert_eq!(out, b"%zz%4");
    }

    #[test]
    fn a_parameter_is_taken_out_and_the_rest_stays_raw() {
        let mut out = Vec::new();
        assert!(write_without(b"a=%41&k=1&b=+&%6b=2", b"k", &mut out));
        assert_eq!(out, b"a=%41&b=+");
        out.clear();
        assert!(!write_without(b"k=1", b"k", &mut out));
        assert!(out.is_empty());
    }
}
